"""Up to where the readers of a shared journal have read, and which process may move each of them on.

A process holds the lease of a reader's name for a limited time, by the database's clock, and renews it. Each holder has an epoch of its
own; everything that a holder stores locks the row for as long as its transaction lasts, and compares the epoch:

    runner A   epoch 7   stores verdicts; then its machine hangs
    runner B   epoch 8   takes over when the lease has expired, after a transaction of A that is still open
    runner A   wakes up, and finds epoch 8: nothing that it would store is stored
"""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from comparator.postgres import Connection


@dataclass(frozen=True, slots=True)
class JournalOffset:
    """The place of a reader.

    Attributes:
        numbers: of the last exchange that is done, by writer.
        lost: exchanges that could not be read, so far.
        live_us: Unix microseconds up to which the live database's commits are dealt with too; 0 for unknown.
    """

    numbers: Mapping[str, int]
    lost: int = 0
    live_us: int = 0


@dataclass(frozen=True, slots=True)
class LeaseState:
    """A reader's lease: `held` by `holder` or expired; `released` where its last holder gave it back."""

    holder: str
    held: bool
    released: bool


INSERT_READERS = """
INSERT INTO shadow.journal_reader (reader) SELECT * FROM unnest($1::text[]) AS name ORDER BY name ON CONFLICT DO NOTHING
"""


async def add_readers(conn: Connection, readers: Sequence[str]) -> None:
    """Add readers that are not known yet: nothing is deleted from the journal before each of them has read it."""
    await conn.execute(INSERT_READERS, readers)


TAKE_LEASE = """
UPDATE shadow.journal_reader SET epoch = epoch + 1, holder = $2, held_until = clock_timestamp() + $3
WHERE reader = $1 AND held_until < clock_timestamp() RETURNING epoch
"""


async def take_lease(conn: Connection, reader: str, *, holder: str, ttl: dt.timedelta) -> int | None:
    """Take the lease of a reader; return the epoch, None while another process holds it."""
    await add_readers(conn, [reader])
    return await conn.fetchval(TAKE_LEASE, reader, holder, ttl)


RENEW_LEASE = """
UPDATE shadow.journal_reader SET held_until = clock_timestamp() + $3 WHERE reader = $1 AND epoch = $2 RETURNING true
"""


async def renew_lease(conn: Connection, reader: str, epoch: int, *, ttl: dt.timedelta) -> bool:
    """Renew the lease; return False when another process has taken it."""
    return bool(await conn.fetchval(RENEW_LEASE, reader, epoch, ttl))


RELEASE_LEASE = """
UPDATE shadow.journal_reader SET held_until = CASE WHEN $3 THEN '-infinity'::timestamptz ELSE clock_timestamp() END
WHERE reader = $1 AND epoch = $2
"""


async def release_lease(conn: Connection, reader: str, epoch: int, *, is_finished: bool) -> None:
    """Give the lease back, so that the next process need not wait until it expires.

    Args:
        conn: a connection.
        reader: name of the reader.
        epoch: of the lease.
        is_finished: whether nothing that the holder began is still running; otherwise the next one sees an expired lease.
    """
    await conn.execute(RELEASE_LEASE, reader, epoch, is_finished)


SELECT_LEASE = """
SELECT holder, held_until >= clock_timestamp() AS held, held_until = '-infinity' AS released
FROM shadow.journal_reader WHERE reader = $1
"""


async def lease_state(conn: Connection, reader: str) -> LeaseState:
    """Return the state of a reader's lease."""
    record = await conn.fetchrow(SELECT_LEASE, reader)
    if record is None:
        return LeaseState("", held=False, released=True)
    return LeaseState(record["holder"], held=record["held"], released=record["released"])


# A holder whose machine is gone in the middle of a transaction must not keep the next one from taking over.
LOCK_EPOCH = """
SELECT set_config('idle_in_transaction_session_timeout', '10s', true), epoch
FROM shadow.journal_reader WHERE reader = $1 FOR SHARE OF journal_reader
"""


async def holds_lease(conn: Connection, reader: str, epoch: int) -> bool:
    """Return whether this epoch holds the lease, and keep others from taking it until the end of the transaction."""
    record = await conn.fetchrow(LOCK_EPOCH, reader)
    return record is not None and record["epoch"] == epoch


UPDATE_READER = "UPDATE shadow.journal_reader SET lost = $2, live_us = $3 WHERE reader = $1"
UPSERT_NUMBERS = """
INSERT INTO shadow.journal_offset (reader, writer, number) SELECT $1, * FROM unnest($2::text[], $3::bigint[])
ON CONFLICT (reader, writer) DO UPDATE SET number = excluded.number WHERE journal_offset.number <> excluded.number
"""


async def store_offset(conn: Connection, reader: str, offset: JournalOffset) -> None:
    """Store the place of a reader, in the transaction that has checked the lease."""
    await conn.execute(UPDATE_READER, reader, offset.lost, offset.live_us)
    writers = sorted(offset.numbers)
    await conn.execute(UPSERT_NUMBERS, reader, writers, [offset.numbers[writer] for writer in writers])


SELECT_READER = "SELECT lost, live_us FROM shadow.journal_reader WHERE reader = $1"
SELECT_NUMBERS = "SELECT writer, number FROM shadow.journal_offset WHERE reader = $1"


async def load_offset(conn: Connection, reader: str) -> JournalOffset:
    """Return the place of a reader; that of a new one has no numbers."""
    record = await conn.fetchrow(SELECT_READER, reader)
    numbers = {row["writer"]: row["number"] for row in await conn.fetch(SELECT_NUMBERS, reader)}
    return JournalOffset(numbers, record["lost"], record["live_us"]) if record is not None else JournalOffset(numbers)


SELECT_SLOWEST = """
SELECT writer, min(number) AS number FROM shadow.journal_offset GROUP BY writer
HAVING count(*) = (SELECT count(*) FROM shadow.journal_reader)
"""


async def slowest_offsets(conn: Connection) -> dict[str, int]:
    """Return by writer the number that every reader has done; a writer that one of them has not begun with is left out."""
    return {row["writer"]: row["number"] for row in await conn.fetch(SELECT_SLOWEST)}


DELETE_READER = """
DELETE FROM shadow.journal_reader WHERE reader = $1 AND held_until < clock_timestamp() RETURNING true
"""


async def forget_reader(conn: Connection, reader: str) -> bool:
    """Delete a reader that is gone for good; return False when there is none of this name, or one that runs."""
    return bool(await conn.fetchval(DELETE_READER, reader))


DELETE_WRITER = "DELETE FROM shadow.journal_offset WHERE writer = $1"


async def forget_writer(conn: Connection, writer: str) -> None:
    """Delete the numbers of a writer that is gone for good."""
    await conn.execute(DELETE_WRITER, writer)
