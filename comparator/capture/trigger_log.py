"""The change log of the trigger driver: what is installed in the database, and how it is taken away again.

Each row change calls a trigger that writes both images, as text, into an unlogged table. What it costs: about twice the
database's work for a write, inside the writing transaction. It writes only while a reader holds the lease (a sequence,
because a sequence's value is seen at once by every transaction, whatever its snapshot), so a dead reader stops the log by
itself. A crash of the server empties the log; the marker table, unlogged too, is how the reader notices.
"""

from collections.abc import Iterable

import asyncpg

from comparator.capture import trigger_tags as tags
from comparator.capture.catalog import CATALOG_TIMEOUT_S, read_catalog
from comparator.capture.pgoutput import table_name
from comparator.capture.publication import run_statements
from comparator.capture.settings import CaptureSettings
from comparator.capture.table_shape import Catalog, TableShape, quote

TRIGGER = "zz_shadow_capture"
"""After-triggers fire in the order of their names: this one sees what the others left."""

REQUEST_SETTING = "shadow.request"
"""A side that sets this for its transaction (`set_config('shadow.request', id, true)`) names its request in the log."""

SCHEMA = """
CREATE SCHEMA IF NOT EXISTS {schema};
CREATE UNLOGGED TABLE IF NOT EXISTS {schema}.log (
    seq bigint GENERATED ALWAYS AS IDENTITY, xid bigint NOT NULL, lsn pg_lsn NOT NULL, at timestamptz NOT NULL,
    application text NOT NULL, request text NOT NULL, schema_name text NOT NULL, relation text NOT NULL,
    op text NOT NULL, before text, after text);
CREATE UNLOGGED TABLE IF NOT EXISTS {schema}.marker (reader text NOT NULL);
CREATE SEQUENCE IF NOT EXISTS {schema}.lease MINVALUE 0 START 0;
"""

FUNCTION = """
CREATE OR REPLACE FUNCTION {schema}.record() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' SET datestyle = 'ISO' SET intervalstyle = 'postgres'
SET extra_float_digits = '3' SET bytea_output = 'hex' AS $body$
BEGIN
    IF (SELECT last_value FROM {schema}.lease) < extract(epoch FROM clock_timestamp()) THEN
        RETURN NULL;
    END IF;
    INSERT INTO {schema}.log (xid, lsn, at, application, request, schema_name, relation, op, before, after)
    VALUES (pg_current_xact_id()::text::bigint, pg_current_wal_insert_lsn(), clock_timestamp(),
        current_setting('application_name'), coalesce(current_setting('shadow.request', true), ''),
        TG_TABLE_SCHEMA, TG_TABLE_NAME, TG_OP,
        CASE WHEN TG_OP IN ('UPDATE', 'DELETE') THEN OLD::text END,
        CASE WHEN TG_OP IN ('INSERT', 'UPDATE') THEN NEW::text END);
    RETURN NULL;
END
$body$;
"""

TRIGGERS = """
CREATE OR REPLACE TRIGGER {trigger} AFTER INSERT OR UPDATE OR DELETE ON {table} FOR EACH ROW EXECUTE FUNCTION {schema}.record();
CREATE OR REPLACE TRIGGER {truncate} AFTER TRUNCATE ON {table} FOR EACH STATEMENT EXECUTE FUNCTION {schema}.record();
ALTER TABLE {table} ENABLE ALWAYS TRIGGER {trigger};
ALTER TABLE {table} ENABLE ALWAYS TRIGGER {truncate};
"""

DROP_TRIGGERS = """
DROP TRIGGER IF EXISTS {tag} ON {table};
DROP TRIGGER IF EXISTS {trigger} ON {table};
DROP TRIGGER IF EXISTS {truncate} ON {table};
"""


def install_statements(catalog: Catalog, schema: str) -> tuple[str, ...]:
    """What installs the log and its triggers; may be run again."""
    tables = tuple(_filled(TRIGGERS, table, schema) for table in catalog.tables.values())
    return (SCHEMA.format(schema=quote(schema)), FUNCTION.replace("{schema}", quote(schema)), *tables)


def remove_statements(tables: Iterable[TableShape], schema: str) -> tuple[str, ...]:
    """What takes the triggers away, then the log."""
    dropped = tuple(_filled(DROP_TRIGGERS, table, schema) for table in tables)
    return (*dropped, f"DROP SCHEMA IF EXISTS {quote(schema)} CASCADE;")


async def install(conn: asyncpg.Connection, settings: CaptureSettings, tables: Iterable[str]) -> tuple[str, ...]:
    """Install the change log for these tables; return the statements run. Idempotent.

    Raises:
        CatalogError, RightsError, LockTimeoutError: nothing of the failing statement is left behind.
    """
    statements = install_statements(await read_catalog(conn, tables), settings.log_schema)
    await run_statements(conn, statements, lock_timeout_ms=settings.lock_timeout_ms)
    return statements


LOGGED = """
SELECT DISTINCT n.nspname AS schema, c.relname AS relation FROM pg_trigger t
JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE t.tgname = ANY($1::text[]) AND NOT t.tgisinternal AND t.tgenabled <> 'D' ORDER BY 1, 2
"""


async def logged_tables(conn: asyncpg.Connection) -> tuple[str, ...]:
    """Names of the tables whose changes are logged."""
    return await _tables_with(conn, [TRIGGER])


async def remove(conn: asyncpg.Connection, settings: CaptureSettings) -> tuple[str, ...]:
    """Take the change log and the tag triggers away from every table; return the statements run. Idempotent.

    Raises:
        RightsError, LockTimeoutError: run it again.
    """
    catalog = await read_catalog(conn, await _tables_with(conn, [TRIGGER, tags.TRIGGER]))
    statements = remove_statements(catalog.tables.values(), settings.log_schema)
    await run_statements(conn, statements, lock_timeout_ms=settings.lock_timeout_ms)
    return statements


async def _tables_with(conn: asyncpg.Connection, triggers: list[str]) -> tuple[str, ...]:
    rows = await conn.fetch(LOGGED, triggers, timeout=CATALOG_TIMEOUT_S)
    return tuple(table_name(row["schema"], row["relation"]) for row in rows)


def _filled(template: str, table: TableShape, schema: str) -> str:
    names = {"trigger": TRIGGER, "truncate": f"{TRIGGER}_truncate", "tag": tags.TRIGGER}
    return template.format(**names, table=table.quoted, schema=quote(schema))
