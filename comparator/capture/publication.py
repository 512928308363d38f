"""Publish tables for change data capture, in an order that never breaks a write.

A published table without a usable replica identity refuses UPDATE and DELETE, so the identity is set before the table is published.
Since PostgreSQL 18 a full identity that covers a stored generated column has the same effect unless the publication publishes generated
columns. The functions that return statements are pure: the preflight prints them, `prepare` runs them.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import asyncpg

from comparator.capture.catalog import CATALOG_TIMEOUT_S, published_tables, read_catalog
from comparator.capture.errors import LockTimeoutError, PublicationError, ReplicaIdentityError, RightsError
from comparator.capture.settings import CaptureSettings
from comparator.capture.table_shape import Catalog, ReplicaIdentity, TableShape, quote

GENERATED_SINCE = 18
"""First PostgreSQL version that can publish generated columns."""


@dataclass(frozen=True, slots=True)
class PublicationState:
    """The state of a publication.

    Attributes:
        tables: published tables; None when the publication does not exist.
        all_tables: the publication is FOR ALL TABLES.
        publishes_all: it publishes INSERT, UPDATE, DELETE and TRUNCATE.
        publishes_generated: it publishes stored generated columns.
        filtered: tables that are published with a row filter or a column list.
    """

    tables: tuple[str, ...] | None
    all_tables: bool = False
    publishes_all: bool = True
    publishes_generated: bool = False
    filtered: tuple[str, ...] = ()


PUBLICATION = """
SELECT puballtables, pubinsert AND pubupdate AND pubdelete AND pubtruncate AS publishes_all, to_jsonb(p) ->> 'pubgencols' AS gencols
FROM pg_publication p WHERE pubname = $1
"""

FILTERED = """
SELECT n.nspname || '.' || c.relname AS name FROM pg_publication p JOIN pg_publication_rel r ON r.prpubid = p.oid
JOIN pg_class c ON c.oid = r.prrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE p.pubname = $1 AND (to_jsonb(r) ->> 'prqual' IS NOT NULL OR to_jsonb(r) ->> 'prattrs' IS NOT NULL) ORDER BY 1
"""


async def read_publication(conn: asyncpg.Connection, publication: str) -> PublicationState:
    """Read the state of a publication."""
    row = await conn.fetchrow(PUBLICATION, publication, timeout=CATALOG_TIMEOUT_S)
    if row is None:
        return PublicationState(None)
    filtered = await conn.fetch(FILTERED, publication, timeout=CATALOG_TIMEOUT_S)
    return PublicationState(
        tables=await published_tables(conn, publication),
        all_tables=row["puballtables"],
        publishes_all=row["publishes_all"],
        publishes_generated=row["gencols"] == "s",
        filtered=tuple(record["name"].removeprefix("public.") for record in filtered),
    )


def breaks_writes(table: TableShape, *, version: int, publishes_generated: bool) -> str:
    """Return the reason for which UPDATE or DELETE on the table would fail once it is published; "" when they would not."""
    generated = [column.name for column in table.columns if column.generated]
    match table.replica_identity:
        case ReplicaIdentity.NOTHING:
            return "its replica identity is NOTHING"
        case ReplicaIdentity.DEFAULT if not table.primary_key:
            return "it has no primary key and its replica identity is DEFAULT"
        case ReplicaIdentity.FULL if version >= GENERATED_SINCE and generated and not publishes_generated:
            return f"its replica identity covers the generated column {generated[0]}, which is not published"
        case _:
            return ""


def identity_statements(catalog: Catalog) -> tuple[str, ...]:
    """Return the statements that give every table REPLICA IDENTITY FULL, which makes old images complete."""
    return tuple(
        f"ALTER TABLE {table.quoted} REPLICA IDENTITY FULL;"
        for table in catalog.tables.values()
        if table.replica_identity is not ReplicaIdentity.FULL
    )


def needs_generated(tables: Iterable[TableShape], *, version: int) -> bool:
    """Return whether the publication has to publish generated columns for the writes of these tables to work."""
    return version >= GENERATED_SINCE and any(column.generated for table in tables for column in table.columns)


def generated_statement(publication: str) -> str:
    """Return the statement that makes the publication publish stored generated columns (PostgreSQL 18 and later)."""
    return f"ALTER PUBLICATION {quote(publication)} SET (publish_generated_columns = stored);"


def publication_statements(
    catalog: Catalog, state: PublicationState, publication: str, *, version: int
) -> tuple[str, ...]:
    """Return the statements that make the publication contain exactly these tables, whole; none when it does already."""
    tables = catalog.tables
    generated = needs_generated(tables.values(), version=version)
    if state.tables is None:
        option = " WITH (publish_generated_columns = stored)" if generated else ""
        names = ", ".join(table.quoted for table in tables.values())
        return (f"CREATE PUBLICATION {quote(publication)} FOR TABLE {names}{option};",)
    statements: list[str] = []
    if generated and not state.publishes_generated:
        statements.append(generated_statement(publication))
    if not state.publishes_all:
        statements.append(f"ALTER PUBLICATION {quote(publication)} SET (publish = 'insert, update, delete, truncate');")
    if set(state.tables) != set(tables) or state.filtered:
        names = ", ".join(table.quoted for table in tables.values())
        statements.append(f"ALTER PUBLICATION {quote(publication)} SET TABLE {names};")
    return tuple(statements)


async def publish(conn: asyncpg.Connection, settings: CaptureSettings, tables: Iterable[str]) -> tuple[str, ...]:
    """Make the publication contain exactly these tables; return the statements that were run. Idempotent.

    Raises:
        ReplicaIdentityError: publishing a table would break its writes; the error has the remedy.
        PublicationError: a table cannot be published, or the publication is FOR ALL TABLES.
        RightsError: the role lacks a privilege.
        LockTimeoutError: a table was busy.
    """
    catalog = await read_catalog(conn, tables)
    state = await read_publication(conn, settings.publication)
    version = conn.get_server_version().major
    refuse_unpublishable(catalog, state, publication=settings.publication)
    # The statements publish generated columns before they publish the tables, so only the identities can break writes.
    broken = {
        name: reason
        for name, table in catalog.tables.items()
        if (reason := breaks_writes(table, version=version, publishes_generated=True))
    }
    if broken:
        remedy = tuple(f"ALTER TABLE {catalog.tables[name].quoted} REPLICA IDENTITY FULL;" for name in broken)
        reasons = "; ".join(f"{name}: {reason}" for name, reason in broken.items())
        raise ReplicaIdentityError(f"publishing would break the writes of a table ({reasons})", remedy=remedy)
    statements = publication_statements(catalog, state, settings.publication, version=version)
    await run_statements(conn, statements, lock_timeout_ms=settings.lock_timeout_ms)
    return statements


async def prepare(conn: asyncpg.Connection, settings: CaptureSettings, tables: Iterable[str]) -> tuple[str, ...]:
    """Give each table REPLICA IDENTITY FULL, then publish it; return the statements that were run. Idempotent.

    Raises:
        CatalogError: a table does not exist.
        PublicationError, RightsError, LockTimeoutError: as `publish`.
    """
    names = tuple(tables)
    catalog = await read_catalog(conn, names)
    refuse_unpublishable(catalog, await read_publication(conn, settings.publication), publication=settings.publication)
    await _allow_generated(conn, catalog, settings)
    statements = identity_statements(catalog)
    await run_statements(conn, statements, lock_timeout_ms=settings.lock_timeout_ms)
    return statements + await publish(conn, settings, names)


async def _allow_generated(conn: asyncpg.Connection, catalog: Catalog, settings: CaptureSettings) -> None:
    """Publish generated columns of tables that are published already, before their identities cover these columns."""
    state = await read_publication(conn, settings.publication)
    generated = needs_generated(catalog.tables.values(), version=conn.get_server_version().major)
    if state.tables is not None and generated and not state.publishes_generated:
        statements = (generated_statement(settings.publication),)
        await run_statements(conn, statements, lock_timeout_ms=settings.lock_timeout_ms)


def refuse_unpublishable(catalog: Catalog, state: PublicationState, *, publication: str) -> None:
    """Check for problems that none of our statements would fix.

    Raises:
        PublicationError: the publication is FOR ALL TABLES, there are no tables, or one cannot be published.
    """
    if state.all_tables:
        raise PublicationError(
            f"the publication {publication} is FOR ALL TABLES, which may break the writes of tables that were not checked",
            remedy=(f"DROP PUBLICATION {quote(publication)};",),
        )
    if not catalog.tables:
        raise PublicationError("no tables are configured (capture.tables or compare.tables)")
    unpublishable = [table.name for table in catalog.tables.values() if table.kind != "table" or not table.logged]
    if unpublishable:
        raise PublicationError(
            f"not an ordinary, logged table (configure the partitions of a partitioned one): {', '.join(unpublishable)}"
        )


async def run_statements(conn: asyncpg.Connection, statements: Iterable[str], *, lock_timeout_ms: int) -> None:
    """Run DDL statements, each in a transaction of its own, with a short lock timeout so that clients never queue behind it.

    Raises:
        RightsError: the role lacks a privilege.
        LockTimeoutError: a table was busy.
    """
    for statement in statements:
        try:
            async with conn.transaction():
                await conn.execute(f"SET LOCAL lock_timeout = {int(lock_timeout_ms)}")
                await conn.execute(statement, timeout=lock_timeout_ms / 1000 + CATALOG_TIMEOUT_S)
        except asyncpg.InsufficientPrivilegeError as error:
            raise RightsError(f"the role lacks a privilege: {error}", remedy=(statement,)) from error
        except asyncpg.LockNotAvailableError as error:
            raise LockTimeoutError(f"no lock within {lock_timeout_ms} ms, run it again: {statement}") from error
