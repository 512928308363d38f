"""Keep states and the audit log in PostgreSQL, in the schema `shadow`.

A state is only ever replaced by one of higher rank (proxy.rollout.group_state). The statement itself checks it, so a writer that was
cut off for a week cannot undo anything. Every replaced state is announced on the channel CHANNEL.
"""

from collections.abc import Sequence
from importlib.resources import files
from typing import Final

import msgspec

from comparator import postgres
from comparator.postgres import Connection
from proxy.rollout.audit import AuditEntry, ChainLink, chain_entry
from proxy.rollout.group_state import GroupState

CHANNEL: Final = "shadow_rollout"
# Advisory locks; comparator.postgres.SCHEMA_LOCK is their neighbour.
_CHAIN_LOCK: Final = 0x5AD0_0002
_LEADER_LOCK: Final = 0x5AD0_0003


async def migrate(conn: Connection) -> None:
    """Bring the tables up to date, also when several processes start together."""
    await postgres.migrate(conn, "rollout", files("proxy.rollout") / "migrations")


SELECT_STATES = "SELECT group_name, state FROM shadow.rollout_state"


async def read_states(conn: Connection) -> dict[str, GroupState]:
    """Return the stored state of every group."""
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
    """Store a state unless one of the same or a higher rank is stored.

    Returns:
        True when it was stored.
    """
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
    """Store a state that was decided on `known`, unless something newer than `known` is stored.

    Returns:
        True when it was stored.
    """
    text = msgspec.json.encode(state).decode()
    return await conn.fetchval(REPLACE_STATE, state.group, *state.rank, text, *known.rank) is not None


LOCK_CHAIN = "SELECT pg_advisory_xact_lock($1)"
SELECT_LAST = "SELECT sequence, body, previous, hash FROM shadow.rollout_audit ORDER BY sequence DESC LIMIT 1"
SELECT_KNOWN_IDS = "SELECT id FROM shadow.rollout_audit WHERE id = ANY($1)"
INSERT_LINK = "INSERT INTO shadow.rollout_audit (sequence, id, body, previous, hash) VALUES ($1, $2, $3, $4, $5)"


async def append_entries(conn: Connection, entries: Sequence[AuditEntry]) -> tuple[AuditEntry, ...]:
    """Append entries to the audit log, each once. The caller holds a transaction open.

    Returns:
        The entries that were not in the log yet.
    """
    if not entries:
        return ()
    await conn.execute(LOCK_CHAIN, _CHAIN_LOCK)
    known = {record["id"] for record in await conn.fetch(SELECT_KNOWN_IDS, [entry.id for entry in entries])}
    record = await conn.fetchrow(SELECT_LAST)
    last = ChainLink(*record.values()) if record else None
    new = tuple({entry.id: entry for entry in entries if entry.id not in known}.values())
    for entry in new:
        last = chain_entry(entry, last)
        await conn.execute(INSERT_LINK, last.sequence, entry.id, last.body, last.previous, last.hash)
    return new


SELECT_LINKS = """
SELECT sequence, body, previous, hash FROM (
    SELECT sequence, body, previous, hash FROM shadow.rollout_audit ORDER BY sequence DESC LIMIT $1
) AS latest ORDER BY sequence
"""


async def read_links(conn: Connection, *, limit: int | None = None) -> tuple[ChainLink, ...]:
    """Return the last `limit` entries of the audit log, or all, oldest first."""
    return tuple([ChainLink(*record.values()) for record in await conn.fetch(SELECT_LINKS, limit)])


# A session that asks again for a lock that it holds would hold it twice, so the lock is looked up first.
ACQUIRE_LEADERSHIP = """
SELECT CASE
    WHEN EXISTS (
        SELECT 1 FROM pg_locks
        WHERE locktype = 'advisory' AND pid = pg_backend_pid() AND granted AND objid = ($1::bigint)::oid
    ) THEN true
    ELSE pg_try_advisory_lock($1)
END
"""


async def acquire_leadership(conn: Connection) -> bool:
    """Return True when this session is the leader, which it is until it ends."""
    return bool(await conn.fetchval(ACQUIRE_LEADERSHIP, _LEADER_LOCK))
