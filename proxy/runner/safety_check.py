"""Refuse to start when the configured shadow may be live: everything that the runner writes goes to the shadow.

Two mistakes are detected: both DSNs lead to one database, and the DSNs are swapped (or the shadow was not made by
`shadow align clone`). The sequences of a shadow are far ahead of live's (`shadow_sequences`), but for those that a migration has added
since it was cloned:

    live    registry_score_id_seq at 81,204        shadow    registry_score_id_seq at 1,099,511,627,903
            note_id_seq at 17                                note_id_seq at 12: it is new, and moved
"""

import secrets
from collections.abc import Sequence

import asyncpg

from comparator.capture.schema_difference import shape_differences
from comparator.capture.table_shape import Catalog
from comparator.capture.write_obstacles import ShadowWriteFacts, write_obstacles
from comparator.postgres import Connection
from proxy.errors import SettingsError
from proxy.runner.shadow_sequences import SequencePair, advance, read_sequences

TIMEOUT_S = 10.0
LOCK = "SELECT pg_try_advisory_lock($1)"
UNLOCK = "SELECT pg_advisory_unlock($1)"


async def refuse_unsafe(live: asyncpg.Pool, shadow: asyncpg.Pool, catalog: Catalog) -> None:
    """Check that writing to the shadow cannot reach live.

    Raises:
        SettingsError: both are one database, or the shadow's sequences are not ahead of live's.
    """
    async with live.acquire(timeout=TIMEOUT_S) as of_live, shadow.acquire(timeout=TIMEOUT_S) as of_shadow:
        if await _one_database(of_live, of_shadow):
            raise SettingsError(
                "databases.live and databases.shadow are the same database: the runner would write to live"
            )
        captured = {shape.oid for shape in catalog.tables.values()}
        sequences = await read_sequences(of_live, of_shadow, without_schemas=())
        await _refuse_swapped([sequence for sequence in sequences if sequence.owners & captured], of_shadow)


async def _refuse_swapped(sequences: Sequence[SequencePair], shadow: Connection) -> None:
    """Refuse a shadow whose sequences were not moved apart from live's; move those that a migration has added since."""
    behind = [sequence for sequence in sequences if sequence.is_behind]
    if any(sequence.looks_swapped for sequence in behind) or not any(sequence.is_apart for sequence in sequences):
        for sequence in behind:
            raise SettingsError(
                f"databases.shadow: its sequence {sequence.name} is not ahead of live's. Either databases.live and "
                "databases.shadow are swapped, or the shadow was not made by `shadow align clone`"
            )
    await advance(shadow, behind)


def refuse_different_tables(live: Catalog, shadow: Catalog) -> None:
    """Check that both databases define the captured tables alike: rows of different tables cannot be compared, nor copied.

    Raises:
        SettingsError: a table is missing in live, or a column, a type or the primary key differs; all of it is named.
    """
    problems = [
        str(difference)
        for name, shape in shadow.tables.items()
        for difference in shape_differences(name, live.tables.get(name), shape)
    ]
    if problems:
        raise SettingsError(
            f"databases.live and databases.shadow differ: {'; '.join(problems)}. Run the same migration on both, or make the "
            "shadow again with `shadow align clone`"
        )


def refuse_unwritable(facts: ShadowWriteFacts, catalog: Catalog) -> None:
    """Check that every captured table of the shadow becomes exactly what the runner writes.

    Raises:
        SettingsError: triggers, rules, privileges or row level security are in the way; all tables are named, with the remedies.
    """
    obstacles = write_obstacles(facts, catalog)
    if obstacles:
        problems = "; ".join(f"table {obstacle.table}: {obstacle.problem}" for obstacle in obstacles)
        remedies = " ".join(dict.fromkeys(statement for obstacle in obstacles for statement in obstacle.remedy))
        raise SettingsError(f"databases.shadow cannot be kept equal to live: {problems}. Run: {remedies}")


async def _one_database(live: asyncpg.pool.PoolConnectionProxy, shadow: asyncpg.pool.PoolConnectionProxy) -> bool:
    """Return whether both sessions use one database: an advisory lock that one holds excludes the other only then."""
    key = secrets.randbits(62)
    await live.fetchval(LOCK, key, timeout=TIMEOUT_S)
    try:
        free = await shadow.fetchval(LOCK, key, timeout=TIMEOUT_S)
        if free:
            await shadow.fetchval(UNLOCK, key, timeout=TIMEOUT_S)
        return not free
    finally:
        await live.fetchval(UNLOCK, key, timeout=TIMEOUT_S)
