"""Keeps states and the audit log in PostgreSQL, in the schema `shadow`.

A state is only ever replaced by one of higher rank (proxy.rollout.group_state), which the statement itself checks, so a writer that was
cut off for a week cannot undo anything. Every replaced state is announced on the channel CHANNEL.
"""

from collections.abc import Sequence
from importlib.resources import files
from typing import Final, TypeAlias

import asyncpg
import msgspec

from proxy.rollout.audit import AuditEntry, ChainLink, chain_entry
from proxy.rollout.group_state import GroupState

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

CHANNEL: Final = "shadow_rollout"
UNAVAILABLE: Final = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.TransactionRollbackError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.ObjectNotInPrerequisiteStateError,
    asyncpg.ReadOnlySQLTransactionError,
)
"""What a store that is away, or in no state to answer, raises."""
# The lock under which all migrations of the schema `shadow` are made.
_MIGRATION_LOCK: Final = 0x5AD0_0001
_CHAIN_LOCK: Final = 0x5AD0_0002
_LEAD_LOCK: Final = 0x5AD0_0003

CREATE_SCHEMA = """
CREATE SCHEMA IF NOT EXISTS shadow;
CREATE TABLE IF NOT EXISTS shadow.rollout_migration (
    name text PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now()
);
"""
SELECT_APPLIED = "SELECT name FROM shadow.rollout_migration"
INSERT_APPLIED = "INSERT INTO shadow.rollout_migration (name) VALUES ($1)"


async def migrate(conn: Connection) -> None:
    """Bring the tables up to date, also when several processes start together."""
    folder = files("proxy.rollout") / "migrations"
    async with conn.transaction():
        await conn.execute("SELECT pg_advisory_xact_lock($1)", _MIGRATION_LOCK)
        await conn.execute(CREATE_SCHEMA)
        applied = {record["name"] for record in await conn.fetch(SELECT_APPLIED)}
        for name in sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".sql")):
            if name not in applied:
                await conn.execute((folder / name).read_text())
                await conn.execute(INSERT_APPLIED, name)


SELECT_STATES = "SELECT group_name, state FROM shadow.rollout_state"


async def read_states(conn: Connection) -> dict[str, GroupState]:
    """The stored state of every group."""
    records = await conn.fetch(SELECT_STATES)
    return {record["group_name"]: msgspec.json.decode(record["state"], type=GroupState) for record in records}


PUT_STATE = """
INSERT INTO shadow.rollout_state (group_name, epoch, latched, version, changed_at, state) VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (group_name) DO UPDATE SET
    epoch = excluded.epoch, latched = excluded.latched, version = excluded.version,
    changed_at = excluded.changed_at, state = excluded.state
WHERE (rollout_state.epoch, rollout_state.latched, rollout_state.version, rollout_state.changed_at)
    < (excluded.epoch, excluded.latched, excluded.version, excluded.changed_at)
RETURNING group_name
"""


async def put_state(conn: Connection, state: GroupState) -> bool:
    """Store a state unless one of the same or a higher rank is stored; whether it was."""
    text = msgspec.json.encode(state).decode()
    return await conn.fetchval(PUT_STATE, state.group, *state.rank, text) is not None


REPLACE_STATE = """
INSERT INTO shadow.rollout_state (group_name, epoch, latched, version, changed_at, state) VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (group_name) DO UPDATE SET
    epoch = excluded.epoch, latched = excluded.latched, version = excluded.version,
    changed_at = excluded.changed_at, state = excluded.state
WHERE (rollout_state.epoch, rollout_state.latched, rollout_state.version, rollout_state.changed_at)
    <= ($7, $8, $9, $10 COLLATE "C")
RETURNING group_name
"""


async def replace_state(conn: Connection, state: GroupState, known: GroupState) -> bool:
    """Store a state that was decided on `known`; not if anything newer than `known` is stored. Whether it was."""
    text = msgspec.json.encode(state).decode()
    return await conn.fetchval(REPLACE_STATE, state.group, *state.rank, text, *known.rank) is not None


LOCK_CHAIN = "SELECT pg_advisory_xact_lock($1)"
SELECT_LAST = "SELECT sequence, body, previous, hash FROM shadow.rollout_audit ORDER BY sequence DESC LIMIT 1"
SELECT_KNOWN_IDS = "SELECT id FROM shadow.rollout_audit WHERE id = ANY($1)"
INSERT_LINK = "INSERT INTO shadow.rollout_audit (sequence, id, body, previous, hash) VALUES ($1, $2, $3, $4, $5)"


async def append_entries(conn: Connection, entries: Sequence[AuditEntry]) -> tuple[AuditEntry, ...]:
    """Add entries to the end of the log, each once; inside a transaction. Those that were not there yet."""
    if not entries:
        return ()
    await conn.execute(LOCK_CHAIN, _CHAIN_LOCK)
    known = {record["id"] for record in await conn.fetch(SELECT_KNOWN_IDS, [entry.id for entry in entries])}
    record = await conn.fetchrow(SELECT_LAST)
    last = ChainLink(*record.values()) if record else None
    fresh = tuple({entry.id: entry for entry in entries if entry.id not in known}.values())
    for entry in fresh:
        last = chain_entry(entry, last)
        await conn.execute(INSERT_LINK, last.sequence, entry.id, last.body, last.previous, last.hash)
    return fresh


SELECT_LINKS = """
SELECT sequence, body, previous, hash FROM (
    SELECT sequence, body, previous, hash FROM shadow.rollout_audit ORDER BY sequence DESC LIMIT $1
) AS latest ORDER BY sequence
"""


async def read_links(conn: Connection, *, limit: int | None = None) -> tuple[ChainLink, ...]:
    """The last `limit` entries of the log, or all, oldest first."""
    return tuple([ChainLink(*record.values()) for record in await conn.fetch(SELECT_LINKS, limit)])


TAKE_LEAD = """
SELECT CASE
    WHEN EXISTS (
        SELECT 1 FROM pg_locks
        WHERE locktype = 'advisory' AND pid = pg_backend_pid() AND granted AND objid = ($1::bigint)::oid
    ) THEN true
    ELSE pg_try_advisory_lock($1)
END
"""


async def acquire_leadership(conn: Connection) -> bool:
    """Whether this session is the one that acts by itself; it is until it ends."""
    return bool(await conn.fetchval(TAKE_LEAD, _LEAD_LOCK))
