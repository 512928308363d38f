"""Install and remove the change log of the triggers driver.

Each row change calls a trigger that writes both images, as text, into an unlogged table. This about doubles the database's work for a
write, inside of the writing transaction. Triggers write only while a reader holds the lease, so the log of a crashed reader stops growing
by itself. The lease is a sequence, because every transaction sees a sequence's current value, whatever its snapshot. A crash of the
server empties the log; the reader notices that its row in the marker table, which is unlogged too, has disappeared.

An image is a row's values without names. So each row of the log carries the columns of its table at that moment, with their types: what
is read after a column was renamed, or dropped and another one added, may have been written before:

    columns {1043:-1:first, 25:-1:last}   before (f1,l1)   after (x,l1)      ALTER TABLE a DROP COLUMN first, ADD COLUMN email text
    columns {25:-1:last, 25:-1:email}     before (l1,)     after (l1,e@x)
"""

from collections.abc import Iterable

import asyncpg

from comparator.capture import trigger_tags
from comparator.capture.catalog import CATALOG_TIMEOUT_S, read_catalog
from comparator.capture.pgoutput import table_name
from comparator.capture.publication import run_statements
from comparator.capture.settings import CaptureSettings
from comparator.capture.table_shape import Catalog, TableShape, quote

TRIGGER = "zz_shadow_capture"
"""After-triggers fire in the order of their names, so this one sees the row as other triggers left it."""

SCHEMA = """
CREATE SCHEMA IF NOT EXISTS {schema};
CREATE UNLOGGED TABLE IF NOT EXISTS {schema}.log (
    seq bigint GENERATED ALWAYS AS IDENTITY, xid bigint NOT NULL, lsn pg_lsn NOT NULL, at timestamptz NOT NULL,
    application text NOT NULL, request text NOT NULL, schema_name text NOT NULL, relation text NOT NULL,
    op text NOT NULL, before text, after text);
ALTER TABLE {schema}.log ADD COLUMN IF NOT EXISTS table_oid oid NOT NULL DEFAULT 0, ADD COLUMN IF NOT EXISTS columns text[] NOT NULL DEFAULT '{}';
CREATE UNLOGGED TABLE IF NOT EXISTS {schema}.marker (reader text NOT NULL);
CREATE SEQUENCE IF NOT EXISTS {schema}.lease MINVALUE 0 START 0;
"""

# A side names its request in the log with `set_config('shadow.request', id, true)` in its transaction.
FUNCTION = """
CREATE OR REPLACE FUNCTION {schema}.record() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' SET datestyle = 'ISO' SET intervalstyle = 'postgres'
SET extra_float_digits = '3' SET bytea_output = 'hex' AS $body$
BEGIN
    INSERT INTO {schema}.log (xid, lsn, at, application, request, schema_name, relation, op, before, after, table_oid, columns)
    SELECT pg_current_xact_id()::text::bigint, pg_current_wal_insert_lsn(), clock_timestamp(),
        current_setting('application_name'), coalesce(current_setting('shadow.request', true), ''),
        TG_TABLE_SCHEMA, TG_TABLE_NAME, TG_OP,
        CASE WHEN TG_OP IN ('UPDATE', 'DELETE') THEN OLD::text END,
        CASE WHEN TG_OP IN ('INSERT', 'UPDATE') THEN NEW::text END,
        TG_RELID, ARRAY(SELECT atttypid || ':' || atttypmod || ':' || attname FROM pg_attribute
            WHERE attrelid = TG_RELID AND attnum > 0 AND NOT attisdropped ORDER BY attnum)
    FROM {schema}.lease WHERE last_value >= extract(epoch FROM clock_timestamp());
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
    """Return the statements that install the log and its triggers. Running them again changes nothing."""
    tables = tuple(_filled(TRIGGERS, table, schema) for table in catalog.tables.values())
    return (SCHEMA.replace("{schema}", quote(schema)), FUNCTION.replace("{schema}", quote(schema)), *tables)


def remove_statements(tables: Iterable[TableShape], schema: str) -> tuple[str, ...]:
    """Return the statements that remove the triggers, then the log."""
    dropped = tuple(_filled(DROP_TRIGGERS, table, schema) for table in tables)
    return (*dropped, f"DROP SCHEMA IF EXISTS {quote(schema)} CASCADE;")


async def install(conn: asyncpg.Connection, settings: CaptureSettings, tables: Iterable[str]) -> tuple[str, ...]:
    """Install the change log for these tables; return the statements that were run. Idempotent.

    Raises:
        CatalogError: a table does not exist.
        RightsError: the role lacks a privilege.
        LockTimeoutError: a table was busy. In all cases the failed statement has had no effect.
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
    """Return the names of the tables with the change-log trigger."""
    return await _tables_with(conn, [TRIGGER])


async def remove(conn: asyncpg.Connection, settings: CaptureSettings) -> tuple[str, ...]:
    """Remove the change log and the tag triggers from every table; return the statements that were run. Idempotent.

    Raises:
        RightsError: the role lacks a privilege.
        LockTimeoutError: a table was busy; run it again.
    """
    catalog = await read_catalog(conn, await _tables_with(conn, [TRIGGER, trigger_tags.TRIGGER]))
    statements = remove_statements(catalog.tables.values(), settings.log_schema)
    await run_statements(conn, statements, lock_timeout_ms=settings.lock_timeout_ms)
    return statements


async def _tables_with(conn: asyncpg.Connection, triggers: list[str]) -> tuple[str, ...]:
    rows = await conn.fetch(LOGGED, triggers, timeout=CATALOG_TIMEOUT_S)
    return tuple(table_name(row["schema"], row["relation"]) for row in rows)


def _filled(template: str, table: TableShape, schema: str) -> str:
    names = {"trigger": TRIGGER, "truncate": f"{TRIGGER}_truncate", "tag": trigger_tags.TRIGGER}
    return template.format(**names, table=table.quoted, schema=quote(schema))
