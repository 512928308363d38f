r"""Publish tables for change data capture without breaking a write, and take it back.

A published table without a usable replica identity refuses UPDATE and DELETE, so each table gets REPLICA IDENTITY FULL in the transaction
that publishes it, and its writes are tried before the commit (`table_changes`). Partitions have identities of their own; their changes
are published as those of the partitioned table. Tables that inherit from another are published each by itself.

The replica identity that a relation had before is kept in the comment of the publication, by object id, for `withdraw`:

    COMMENT ON PUBLICATION "shadow" IS 'replica identities before capture: {"16385": "DEFAULT", "16390": "USING INDEX \"a_key\""}'

The functions that return statements are pure: the preflight prints them, `prepare` runs them.
"""

import json
from collections.abc import Iterable, Mapping
from typing import cast

import asyncpg

from comparator.capture.capturability import GENERATED_SINCE, PublicationState, incomplete_identities, not_capturable
from comparator.capture.catalog import CATALOG_TIMEOUT_S, literal, read_catalog, read_existing, read_family
from comparator.capture.errors import CaptureError, NotCapturableError, PublicationError
from comparator.capture.settings import CaptureSettings
from comparator.capture.table_changes import Preparation, TableChange, change
from comparator.capture.table_shape import Catalog, TableKind, TableShape, quote
from comparator.postgres import Connection
from comparator.table_names import table_name

FORMER = "replica identities before capture: "
"""Beginning of the line of the publication's comment that has them, as JSON by object id."""

PUBLICATION = """
SELECT puballtables, pubinsert AND pubupdate AND pubdelete AND pubtruncate AS publishes_all, pubviaroot AS via_root,
       to_jsonb(p) ->> 'pubgencols' AS gencols, obj_description(p.oid, 'pg_publication') AS comment
FROM pg_publication p WHERE pubname = $1
"""

MEMBERS = """
SELECT n.nspname AS schema, c.relname AS relation,
       to_jsonb(r) ->> 'prqual' IS NOT NULL OR to_jsonb(r) ->> 'prattrs' IS NOT NULL AS filtered
FROM pg_publication p JOIN pg_publication_rel r ON r.prpubid = p.oid
JOIN pg_class c ON c.oid = r.prrelid JOIN pg_namespace n ON n.oid = c.relnamespace WHERE p.pubname = $1 ORDER BY 1, 2
"""

HAS_SCHEMAS = "SELECT to_regclass('pg_catalog.pg_publication_namespace') IS NOT NULL"

WHOLE_SCHEMAS = """
SELECT EXISTS (SELECT 1 FROM pg_publication_namespace s JOIN pg_publication p ON p.oid = s.pnpubid WHERE p.pubname = $1)
"""

IDENTITIES = """
SELECT c.oid::bigint AS oid, n.nspname AS schema, c.relname AS relation, c.relreplident::text AS identity,
       (SELECT x.relname FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid
        WHERE i.indrelid = c.oid AND i.indisreplident) AS index
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.oid = $1::oid OR c.oid IN (SELECT relid FROM pg_partition_tree($1::oid) WHERE isleaf)
"""


async def read_publication(conn: Connection, publication: str) -> PublicationState:
    """Read the state of a publication."""
    row = await conn.fetchrow(PUBLICATION, publication, timeout=CATALOG_TIMEOUT_S)
    if row is None:
        return PublicationState(None)
    members = await conn.fetch(MEMBERS, publication, timeout=CATALOG_TIMEOUT_S)
    names = [(table_name(member["schema"], member["relation"]), member["filtered"]) for member in members]
    schemas = await conn.fetchval(HAS_SCHEMAS) and await conn.fetchval(WHOLE_SCHEMAS, publication)
    return PublicationState(
        tables=tuple(name for name, _ in names),
        all_tables=row["puballtables"] or schemas,
        publishes_all=row["publishes_all"],
        publishes_generated=row["gencols"] == "s",
        filtered=tuple(name for name, filtered in names if filtered),
        via_root=row["via_root"],
        former=former_identities(row["comment"]),
        note=_without_former(row["comment"]),
    )


def former_identities(comment: str | None) -> dict[int, str]:
    """Read the replica identities before capture from the comment of a publication."""
    for line in (comment or "").splitlines():
        if line.startswith(FORMER):
            try:
                recorded = cast("dict[str, str]", json.loads(line.removeprefix(FORMER)))
                return {int(oid): identity for oid, identity in recorded.items()}
            except (ValueError, AttributeError):
                return {}
    return {}


def _without_former(comment: str | None) -> str:
    return "\n".join(line for line in (comment or "").splitlines() if not line.startswith(FORMER))


def needs_generated(tables: Iterable[TableShape], *, version: int) -> bool:
    """Return whether the publication has to publish generated columns for the writes of these tables to work."""
    return version >= GENERATED_SINCE and any(column.generated for table in tables for column in table.columns)


def option_statements(catalog: Catalog, state: PublicationState, publication: str, *, version: int) -> tuple[str, ...]:
    """Return the statements that create the publication, or give it the options that these tables need."""
    tables = catalog.tables.values()
    wanted: list[str] = []
    if needs_generated(tables, version=version) and not state.publishes_generated:
        wanted.append("publish_generated_columns = stored")
    if not state.via_root and any(table.kind is TableKind.PARTITIONED for table in tables):
        wanted.append("publish_via_partition_root = true")
    if state.tables is None:
        options = f" WITH ({', '.join(wanted)})" if wanted else ""
        return (f"CREATE PUBLICATION {quote(publication)}{options};",)
    if not state.publishes_all:
        wanted.append("publish = 'insert, update, delete, truncate'")
    return tuple(f"ALTER PUBLICATION {quote(publication)} SET ({option});" for option in wanted)


def table_statements(
    table: TableShape, state: PublicationState, publication: str, former: Mapping[int, str]
) -> tuple[str, ...]:
    """Return the statements that publish one table whole with complete old images; none when it is published so already.

    Args:
        table: the table.
        state: state of the publication, which exists.
        publication: its name.
        former: present replica identity of the table and its partitions, by object id, where it is not FULL.
    """
    statements: list[str] = []
    member = table.name in (state.tables or ())
    if member and table.name in state.filtered:
        statements.append(f"ALTER PUBLICATION {quote(publication)} DROP TABLE {table.own_rows};")
    if not member or table.name in state.filtered:
        statements.append(f"ALTER PUBLICATION {quote(publication)} ADD TABLE {table.own_rows};")
    incomplete = incomplete_identities(table)
    if incomplete:
        statements += [f"ALTER TABLE {relation} REPLICA IDENTITY FULL;" for relation in incomplete]
        statements.append(comment_statement(state, publication, {**former, **(state.former or {})}))
    return tuple(statements)


def comment_statement(state: PublicationState, publication: str, former: Mapping[int, str]) -> str:
    """Return the statement that keeps the former replica identities in the comment of the publication."""
    record = FORMER + json.dumps({str(oid): former[oid] for oid in sorted(former)}) if former else ""
    comment = "\n".join(part for part in (state.note, record) if part)
    return f"COMMENT ON PUBLICATION {quote(publication)} IS {literal(comment) if comment else 'NULL'};"


async def read_former(conn: asyncpg.Connection, table: TableShape) -> dict[int, str]:
    """Read the replica identities that `table_statements` changes, by object id, as `ALTER TABLE .. REPLICA IDENTITY` takes them."""
    changed = frozenset(incomplete_identities(table))
    identities = await _identities(conn, table)
    return {oid: identity for oid, (relation, identity) in identities.items() if relation in changed}


async def _identities(conn: asyncpg.Connection, table: TableShape) -> dict[int, tuple[str, str]]:
    """Return quoted name and replica identity by object id, of a table and its partitions."""
    rows = await conn.fetch(IDENTITIES, table.oid, timeout=CATALOG_TIMEOUT_S)
    words = {"d": "DEFAULT", "n": "NOTHING", "f": "FULL"}
    return {
        row["oid"]: (
            f"{quote(row['schema'])}.{quote(row['relation'])}",
            words.get(row["identity"]) or (f"USING INDEX {quote(row['index'])}" if row["index"] else "NOTHING"),
        )
        for row in rows
    }


async def prepare(conn: asyncpg.Connection, settings: CaptureSettings, tables: Iterable[str]) -> tuple[str, ...]:
    """Publish exactly these tables, with complete old images; return the statements that were run. Idempotent.

    Raises:
        CatalogError: a table does not exist.
        PublicationError: the publication is FOR ALL TABLES, or there are no tables.
        CaptureError: a table cannot be captured exactly, its writes would break, it was busy, or the role lacks a privilege. It was left
            as it was; the others were prepared.
    """
    return (await prepare_tables(conn, settings, tables)).checked()


async def prepare_tables(conn: asyncpg.Connection, settings: CaptureSettings, tables: Iterable[str]) -> Preparation:
    """Publish these tables, each in a transaction of its own, and unpublish others; name those that were left as they were. Idempotent.

    Raises:
        CatalogError: a table does not exist.
        PublicationError: the publication is FOR ALL TABLES, or there are no tables.
    """
    await read_catalog(conn, tables := tuple(tables))
    catalog = await read_family(conn, tables)
    version, name = conn.get_server_version().major, settings.publication
    refuse_all_tables(await read_publication(conn, name), name)
    if not catalog.tables:
        raise PublicationError("no tables are configured (capture.tables or compare.tables)")
    refused: dict[str, CaptureError] = {}
    for table in catalog.tables.values():
        reason = not_capturable(table, settings.driver, version=version)
        if reason:
            refused[table.name] = NotCapturableError(f"table {table.name} is not capturable: {reason}")
    capturable = Catalog({key: table for key, table in catalog.tables.items() if key not in refused})
    statements: list[str] = []
    for table in capturable.tables.values():
        try:
            state = await read_publication(conn, name)
            options = option_statements(capturable, state, name, version=version)
            members = (await read_existing(conn, state.tables or ())).tables
            own = table_statements(table, state, name, await read_former(conn, table))
            if state.tables is None:
                planned = [TableChange((*options, *own), (table,))]
            else:
                planned = [TableChange(options, tuple(members.values())), TableChange(own, (table,))]
            for one in planned:
                await change(conn, one, settings)
                statements += one.statements
        except CaptureError as error:
            refused[table.name] = error
    statements += await withdraw(conn, settings, keep=capturable.tables)
    return Preparation(tuple(statements), refused)


async def withdraw(conn: asyncpg.Connection, settings: CaptureSettings, *, keep: Iterable[str] = ()) -> tuple[str, ...]:
    """Unpublish all tables but those to keep, and give them back the replica identity that they had; return what was run.

    Raises:
        CaptureError: a table was busy, or the role lacks a privilege; run it again.
    """
    kept = frozenset(keep)
    name = settings.publication
    state = await read_publication(conn, name)
    leaving = await read_existing(conn, [table for table in state.tables or () if table not in kept])
    ran: list[str] = []
    for table in leaving.tables.values():
        state = await read_publication(conn, name)
        planned = TableChange(await _withdrawal(conn, table, state, name), (table,))
        await change(conn, planned, settings)
        ran += planned.statements
    return tuple(ran)


async def withdrawal_statements(
    conn: asyncpg.Connection, state: PublicationState, publication: str, *, keep: Iterable[str]
) -> tuple[str, ...]:
    """Return the statements that `withdraw` would run."""
    kept = frozenset(keep)
    leaving = await read_existing(conn, [table for table in state.tables or () if table not in kept])
    statements = [
        one for table in leaving.tables.values() for one in await _withdrawal(conn, table, state, publication)
    ]
    return tuple(statements)


async def _withdrawal(
    conn: asyncpg.Connection, table: TableShape, state: PublicationState, publication: str
) -> tuple[str, ...]:
    former = dict(state.former or {})
    identities = await _identities(conn, table)
    restored = [(relation, former.pop(oid, "")) for oid, (relation, _) in identities.items()]
    statements = [f"ALTER PUBLICATION {quote(publication)} DROP TABLE {table.own_rows};"]
    statements += [
        f"ALTER TABLE {relation} REPLICA IDENTITY {identity};" for relation, identity in restored if identity
    ]
    if former != (state.former or {}):
        statements.append(comment_statement(state, publication, former))
    return tuple(statements)


def refuse_all_tables(state: PublicationState, publication: str) -> None:
    """Refuse a publication that contains tables which were not checked.

    Raises:
        PublicationError: the publication is FOR ALL TABLES, or for all tables of a schema.
    """
    if state.all_tables:
        raise PublicationError(
            f"the publication {publication} is FOR ALL TABLES (or those of a schema), which may break the writes of tables that were not "
            "checked",
            remedy=(f"DROP PUBLICATION {quote(publication)};",),
        )
