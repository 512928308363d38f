"""Install the optional tag triggers, by which each transaction names its writer in the write-ahead log.

Before the first writing statement of a transaction a trigger emits logical messages: the session's application_name, the request id if
the side has set one (`set_config('shadow.request', id, true)`), and the trace that a client library wrote into the statement as a comment
(sqlcommenter: `/*traceparent='00-4bf9...-00f0...-01'*/`). No table is written, so nothing has to be cleaned up. A writing statement takes
about 35 us longer, and one that changes no row still uses up a transaction id.
"""

from collections.abc import Iterable

import asyncpg

from comparator.capture.catalog import read_catalog
from comparator.capture.pgoutput import APPLICATION_MESSAGE_PREFIX
from comparator.capture.settings import CaptureSettings
from comparator.capture.table_changes import TableChange, change_each
from comparator.capture.table_shape import Catalog, quote
from comparator.exchanges.row_changes import REQUEST_MESSAGE_PREFIX, TRACE_MESSAGE_PREFIX

TRIGGER = "aa_shadow_tag"

FUNCTION = """
CREATE SCHEMA IF NOT EXISTS {schema};
CREATE OR REPLACE FUNCTION {schema}.tag() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    writer text := pg_current_xact_id()::text;
    request text := coalesce(current_setting('shadow.request', true), '');
    trace text;
BEGIN
    IF current_setting('shadow.tagged', true) = writer THEN
        RETURN NULL;
    END IF;
    PERFORM set_config('shadow.tagged', writer, true);
    PERFORM pg_logical_emit_message(true, '{application}', current_setting('application_name'));
    IF request <> '' THEN
        PERFORM pg_logical_emit_message(true, '{request}', request);
    END IF;
    trace := substring(current_query() FROM 'traceparent=''([0-9a-f-]+)''');
    IF trace IS NOT NULL THEN
        PERFORM pg_logical_emit_message(true, '{trace}', trace);
    END IF;
    RETURN NULL;
END
$body$;
"""

TRIGGERS = """
CREATE OR REPLACE TRIGGER {trigger} BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON {table}
FOR EACH STATEMENT EXECUTE FUNCTION {schema}.tag();
"""


def install_statements(catalog: Catalog, schema: str) -> tuple[str, ...]:
    """Return the statements that install the tag triggers. Running them again changes nothing."""
    tables = tuple(
        TRIGGERS.format(trigger=TRIGGER, table=table.quoted, schema=quote(schema)) for table in catalog.tables.values()
    )
    function = FUNCTION.format(
        schema=quote(schema),
        application=APPLICATION_MESSAGE_PREFIX,
        request=REQUEST_MESSAGE_PREFIX,
        trace=TRACE_MESSAGE_PREFIX,
    )
    return (function, *tables)


async def install(conn: asyncpg.Connection, settings: CaptureSettings, tables: Iterable[str]) -> tuple[str, ...]:
    """Install the tag triggers on these tables; return the statements that were run. Idempotent.

    Raises:
        CatalogError: a table does not exist.
        CaptureError: as `comparator.capture.table_changes.change`. In all cases the failed change has had no effect.
    """
    catalog = await read_catalog(conn, tables)
    function, *triggers = install_statements(catalog, settings.log_schema)
    changes = [
        TableChange((trigger,), (table,)) for trigger, table in zip(triggers, catalog.tables.values(), strict=True)
    ]
    return await change_each(conn, [TableChange((function,)), *changes], settings)
