"""Read the facts about the tables of a database: definitions, defaults, what triggers assign, counts of writes."""

from collections.abc import Mapping
from typing import Final

from comparator.capture.catalog import CATALOG_TIMEOUT_S, user_tables
from comparator.capture.schema_difference import TableDefinition
from comparator.capture.schema_reading import OWN_SCHEMAS, read_schema
from comparator.capture.settings import CaptureSettings
from comparator.postgres import Connection
from proxy.initial_config.table_facts import TableFacts, assignments_of

DEFAULT: Final = "DEFAULT "

COUNTS = """
SELECT relid::bigint AS oid, n_tup_ins AS inserts, n_tup_upd AS updates, n_tup_del AS deletes FROM pg_stat_user_tables
WHERE relid = ANY($1::oid[])
"""

TRIGGER_FUNCTIONS = """
SELECT t.tgrelid::bigint AS oid, p.prosrc AS source FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid
WHERE t.tgrelid = ANY($1::oid[]) AND NOT t.tgisinternal AND t.tgenabled <> 'D' AND t.tgtype & 2 = 2 AND t.tgtype & 1 = 1
"""
"""Functions that run before a row is written, which alone can change it."""


async def read_facts(conn: Connection, settings: CaptureSettings) -> tuple[TableFacts, ...]:
    """Read the facts about all tables of applications, in the order of their names."""
    definitions = await read_definitions(conn, settings)
    shapes = [one.shape for one in definitions.values() if one.shape is not None]
    oids = [shape.oid for shape in shapes]
    counts = {row["oid"]: row for row in await conn.fetch(COUNTS, oids, timeout=CATALOG_TIMEOUT_S)}
    assigned: dict[int, dict[str, str]] = {}
    for row in await conn.fetch(TRIGGER_FUNCTIONS, oids, timeout=CATALOG_TIMEOUT_S):
        assigned.setdefault(row["oid"], {}).update(assignments_of(row["source"]))
    return tuple(
        TableFacts(
            shape,
            {
                one.column: one.text.removeprefix(DEFAULT)
                for one in definitions[shape.name].behaviour
                if one.text.startswith(DEFAULT)
            },
            assigned.get(shape.oid, {}),
            *(
                (counts[shape.oid][name] for name in ("inserts", "updates", "deletes"))
                if shape.oid in counts
                else (0, 0, 0)
            ),
        )
        for shape in shapes
    )


async def read_definitions(conn: Connection, settings: CaptureSettings) -> Mapping[str, TableDefinition]:
    """Read the definitions of all tables of applications, by name."""
    names = await user_tables(conn, without_schemas=(*OWN_SCHEMAS, settings.log_schema), foreign=False)
    return dict(sorted((await read_schema(conn, settings, names)).definitions.items()))
