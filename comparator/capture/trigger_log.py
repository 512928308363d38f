"""Install and remove the change log of the triggers driver.

Each row change calls a trigger that writes both images, as text, into an unlogged table. This about doubles the database's work for a
write, inside of the writing transaction. Triggers write only while a reader holds the lease, so the log of a crashed reader stops growing
by itself. The lease is a sequence, because every transaction sees a sequence's current value, whatever its snapshot. A crash of the
server empties the log; the reader notices that its row in the marker table, which is unlogged too, has disappeared.

An image is a row's values without names: their names and types are those of the table's definition, which the reader reads. Reading them
costs more than all else of a row of the log, and no other transaction can redefine a table that this one has written to until it ends. So
only a transaction that has redefined a table itself writes the columns, into each of its rows: it has written to `pg_attribute`, and the
server counts that. (It counts what the session has done since it last reported, so the next transactions may write them too.)

    INSERT INTO a ..                    row 1: NULL
    ALTER TABLE a RENAME first TO last
    INSERT INTO a ..                    row 2: {25:-1:last}

Most of the cost of a row is that of preparing expressions and queries, which PostgreSQL does once a transaction for an expression and once
a row for a query. So there are few of them: one query and two expressions.
"""

from collections.abc import Iterable, Iterator

import asyncpg

from comparator.capture import trigger_tags
from comparator.capture.capturability import not_capturable
from comparator.capture.catalog import CATALOG_TIMEOUT_S, literal, read_catalog, read_family
from comparator.capture.errors import CaptureError, NotCapturableError
from comparator.capture.settings import CaptureSettings, Driver
from comparator.capture.table_changes import Preparation, TableChange, change_each
from comparator.capture.table_shape import Catalog, TableShape, quote
from comparator.postgres import Connection
from comparator.table_names import table_name

TRIGGER = "!shadow_capture"
"""Triggers fire in the order of their names: a row is logged before what the application's triggers AFTER its change do."""
TRUNCATE_TRIGGER = f"{TRIGGER}_truncate"

TRIGGER_NAMES = {"trigger": TRIGGER, "truncate": TRUNCATE_TRIGGER, "tag": trigger_tags.TRIGGER}

SCHEMA = """
CREATE SCHEMA IF NOT EXISTS {schema};
CREATE UNLOGGED TABLE IF NOT EXISTS {schema}.log (
    seq bigint GENERATED ALWAYS AS IDENTITY, xid bigint NOT NULL, lsn pg_lsn NOT NULL, at timestamptz NOT NULL,
    application text NOT NULL, request text NOT NULL, schema_name text NOT NULL, relation text NOT NULL,
    op text NOT NULL, before text, after text);
ALTER TABLE {schema}.log ADD COLUMN IF NOT EXISTS table_oid oid NOT NULL DEFAULT 0, ADD COLUMN IF NOT EXISTS columns text[],
    ADD COLUMN IF NOT EXISTS written_oid oid NOT NULL DEFAULT 0;
ALTER TABLE {schema}.log ALTER COLUMN columns DROP NOT NULL;
CREATE UNLOGGED TABLE IF NOT EXISTS {schema}.marker (reader text NOT NULL);
CREATE SEQUENCE IF NOT EXISTS {schema}.lease MINVALUE 0 START 0;
"""

# A side names its request in the log with `set_config('shadow.request', id, true)` in its transaction. A partition's rows are logged as
# rows of the table at the root, as the write-ahead log has them, whose columns may be in another order. The name of the root is read as the
# catalogue is now, like all that PostgreSQL itself reads from it: a query would read it as the transaction's snapshot has it.
FUNCTION = """
CREATE OR REPLACE FUNCTION {schema}.record() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' SET datestyle = 'ISO' SET intervalstyle = 'postgres'
SET extra_float_digits = '3' SET bytea_output = 'hex' SET lc_monetary = 'C' AS $body$
DECLARE
    root regclass;
    name text[];
BEGIN
    -- The table of the proof is in this schema: a write of it does all the work, without a lease.
    IF (to_timestamp(pg_sequence_last_value({lease})) >= clock_timestamp()) IS NOT TRUE AND TG_TABLE_SCHEMA <> {own} THEN
        RETURN NULL;
    END IF;
    IF {redefined} OR pg_partition_root(TG_RELID) <> TG_RELID THEN
        root := coalesce(pg_partition_root(TG_RELID), TG_RELID);
        name := parse_ident(root::text);
        {insert root};
    ELSE
        {insert};
    END IF;
    RETURN NULL;
END
$body$;
"""

INSERT = """INSERT INTO {schema}.log (xid, lsn, at, application, request, schema_name, relation, op, before, after, table_oid,
            written_oid, columns)
        VALUES (txid_current(), pg_current_wal_insert_lsn(), clock_timestamp(),
            current_setting('application_name'), coalesce(current_setting('shadow.request', true), ''),
            {names}, TG_OP, OLD::text, NEW::text, {table}, TG_RELID, {columns})"""

COLUMNS = """CASE WHEN {redefined} THEN
                ARRAY(SELECT atttypid || ':' || atttypmod || ':' || attname FROM pg_attribute
                    WHERE attrelid = TG_RELID AND attnum > 0 AND NOT attisdropped ORDER BY attnum) END"""

REDEFINED = """(pg_stat_get_xact_tuples_inserted('pg_attribute'::regclass)
            + pg_stat_get_xact_tuples_updated('pg_attribute'::regclass) > 0 OR current_setting('track_counts') <> 'on')"""
"""The transaction, or one of the session's before it, has written rows of `pg_attribute`; or they are not counted."""

TRIGGERS = """
CREATE OR REPLACE TRIGGER "{trigger}" AFTER INSERT OR UPDATE OR DELETE ON {table} FOR EACH ROW EXECUTE FUNCTION {schema}.record();
CREATE OR REPLACE TRIGGER "{truncate}" AFTER TRUNCATE ON {table} FOR EACH STATEMENT EXECUTE FUNCTION {schema}.record();
ALTER TABLE {table} ENABLE ALWAYS TRIGGER "{trigger}";
ALTER TABLE {table} ENABLE ALWAYS TRIGGER "{truncate}";
"""

DROP_TRIGGERS = """
DROP TRIGGER IF EXISTS {tag} ON {table};
DROP TRIGGER IF EXISTS "{trigger}" ON {table};
DROP TRIGGER IF EXISTS "{truncate}" ON {table};
"""


def log_statements(schema: str) -> tuple[str, ...]:
    """Return the statements that create the log and its function."""
    parts = {
        "insert root": _insert(names="name[1], name[2]", table="root", columns=COLUMNS),
        "insert": _insert(names="TG_TABLE_SCHEMA, TG_TABLE_NAME", table="TG_RELID", columns="NULL"),
        "schema": quote(schema),
        "own": literal(schema),
        "lease": f"{literal(f'{quote(schema)}.lease')}::regclass",
        "redefined": REDEFINED,
    }
    function = FUNCTION
    for name, text in parts.items():
        function = function.replace(f"{{{name}}}", text)
    return (SCHEMA.replace("{schema}", quote(schema)), function)


def _insert(*, names: str, table: str, columns: str) -> str:
    return INSERT.replace("{names}", names).replace("{table}", table).replace("{columns}", columns)


def install_statements(catalog: Catalog, schema: str) -> tuple[str, ...]:
    """Return the statements that install the log and its triggers. Running them again changes nothing."""
    return (*log_statements(schema), *(_filled(TRIGGERS, table, schema) for table in catalog.tables.values()))


async def install(conn: asyncpg.Connection, settings: CaptureSettings, tables: Iterable[str]) -> tuple[str, ...]:
    """Install the change log for these tables; return the statements that were run. Idempotent.

    Raises:
        CatalogError: a table does not exist.
        CaptureError: a table cannot be captured exactly, its writes would break, it was busy, or the role lacks a privilege. It was left
            as it was; the others were prepared.
    """
    return (await install_tables(conn, settings, tables)).checked()


async def install_tables(conn: asyncpg.Connection, settings: CaptureSettings, tables: Iterable[str]) -> Preparation:
    """Install the change log for these tables; name those that were left as they were. Idempotent.

    Raises:
        CatalogError: a table does not exist.
    """
    await read_catalog(conn, tables := tuple(tables))
    catalog = await read_family(conn, tables)
    schema, version = settings.log_schema, conn.get_server_version().major
    log = TableChange(log_statements(schema), proof=tuple(_proof(schema)))
    refused: dict[str, CaptureError] = {}
    try:
        statements = [*await change_each(conn, [log], settings)]
    except CaptureError as error:
        return Preparation((), dict.fromkeys(catalog.tables, error))
    logged = await logged_tables(conn)
    for table in catalog.tables.values():
        reason = not_capturable(table, Driver.TRIGGERS, version=version)
        if reason:
            refused[table.name] = NotCapturableError(f"table {table.name} is not capturable: {reason}")
        elif table.name not in logged:
            try:
                statements += await change_each(
                    conn, [TableChange((_filled(TRIGGERS, table, schema),), (table,))], settings
                )
            except CaptureError as error:
                refused[table.name] = error
    return Preparation(tuple(statements), refused)


def _proof(schema: str) -> Iterator[str]:
    """Yield statements that fire the triggers on a table of our own: the tables of live are tried without changing a row."""
    scratch = f"{quote(schema)}.scratch"
    names = {**TRIGGER_NAMES, "table": scratch, "schema": quote(schema)}
    yield f"CREATE TABLE {scratch} (v int)"
    yield TRIGGERS.format(**names)
    yield f"INSERT INTO {scratch} VALUES (1)"  # noqa: S608 (a quoted name)
    yield f"UPDATE {scratch} SET v = 2"  # noqa: S608 (a quoted name)
    yield f"DELETE FROM {scratch}"  # noqa: S608 (a quoted name)
    yield f"TRUNCATE {scratch}"


LOGGED = """
SELECT DISTINCT n.nspname AS schema, c.relname AS relation FROM pg_trigger t
JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE t.tgname = ANY($1::text[]) AND t.tgparentid = 0 AND NOT t.tgisinternal AND t.tgenabled = ANY($2::"char"[]) ORDER BY 1, 2
"""

TRIGGER_SCHEMAS = """
SELECT DISTINCT n.nspname::text FROM pg_trigger t JOIN pg_proc f ON f.oid = t.tgfoid JOIN pg_namespace n ON n.oid = f.pronamespace
WHERE t.tgname = ANY($1::text[]) AND n.nspname <> $2
"""


async def logged_tables(conn: Connection) -> tuple[str, ...]:
    """Return the names of the tables whose changes the trigger logs, whatever session makes them."""
    return await _tables_with(conn, [TRIGGER], enabled="A")


async def remove(conn: asyncpg.Connection, settings: CaptureSettings) -> tuple[str, ...]:
    """Remove the change log and the tag triggers from every table; return the statements that were run. Idempotent.

    Raises:
        RightsError: the role lacks a privilege.
        LockTimeoutError: a table was busy; run it again.
    """
    triggers = list(TRIGGER_NAMES.values())
    # The triggers of a clone may be those of another schema than the configured one.
    schemas = [settings.log_schema, *await _schemas_of(conn, triggers, settings)]
    catalog = await read_catalog(conn, await _tables_with(conn, triggers, enabled="OARD"))
    changes = [
        TableChange((_filled(DROP_TRIGGERS, table, settings.log_schema),), (table,))
        for table in catalog.tables.values()
    ]
    existing = [
        schema for schema in schemas if await conn.fetchval("SELECT to_regnamespace($1) IS NOT NULL", quote(schema))
    ]
    changes += [TableChange((f"DROP SCHEMA IF EXISTS {quote(schema)} CASCADE;",)) for schema in existing]
    return await change_each(conn, changes, settings)


async def _schemas_of(conn: asyncpg.Connection, triggers: list[str], settings: CaptureSettings) -> list[str]:
    rows = await conn.fetch(TRIGGER_SCHEMAS, triggers, settings.log_schema, timeout=CATALOG_TIMEOUT_S)
    return [row["nspname"] for row in rows]


async def _tables_with(conn: Connection, triggers: list[str], *, enabled: str) -> tuple[str, ...]:
    rows = await conn.fetch(LOGGED, triggers, [state.encode() for state in enabled], timeout=CATALOG_TIMEOUT_S)
    return tuple(table_name(row["schema"], row["relation"]) for row in rows)


def _filled(template: str, table: TableShape, schema: str) -> str:
    return template.format(**TRIGGER_NAMES, table=table.quoted, schema=quote(schema))
