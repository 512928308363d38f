"""Maintain the store's schema: migrations, and one partition of comparisons per day."""

import datetime as dt
from importlib.resources import files
from typing import Final

from comparator import postgres
from comparator.postgres import SCHEMA_LOCK, Connection
from comparator.settings import StoreSettings
from comparator.store.finding_sets import fold_slots
from comparator.store.rollups import delete_old_rollups
from comparator.store.step_evidence import delete_old_step_evidence

DAYS_AHEAD: Final = 2
"""Days after today for which partitions are created in advance, so that a missed `maintain` does no harm."""


async def migrate(conn: Connection) -> tuple[str, ...]:
    """Apply the store's pending migrations; return their names."""
    return await postgres.migrate(conn, "comparator", files("comparator.store") / "migrations")


SELECT_PARTITIONS = """
SELECT child.relname AS name
FROM pg_inherits
JOIN pg_class AS child ON child.oid = pg_inherits.inhrelid
WHERE pg_inherits.inhparent = 'shadow.comparison'::regclass AND child.relname ~ '^comparison_[0-9]{8}$'
ORDER BY child.relname
"""


async def partitions(conn: Connection) -> tuple[str, ...]:
    """Return the names of the partitions, oldest first: comparison_YYYYMMDD."""
    return tuple([record["name"] for record in await conn.fetch(SELECT_PARTITIONS)])


def partition_of(day: dt.date) -> str:
    """Return the name of a day's partition."""
    return f"comparison_{day:%Y%m%d}"


async def maintain_partitions(conn: Connection, settings: StoreSettings, now: dt.datetime) -> int:
    """Create the partitions of the next days, drop those past retention, and shrink those with too many rows.

    Args:
        conn: a connection outside of a transaction.
        settings: section `store:`.
        now: aware time; a day is a UTC day.

    Returns:
        The number of rows deleted from partitions with too many rows.
    """
    today = now.astimezone(dt.UTC).date()
    async with conn.transaction():
        await conn.execute("SELECT pg_advisory_xact_lock($1)", SCHEMA_LOCK)
        existing = await partitions(conn)
        for day in (today + dt.timedelta(days=ahead) for ahead in range(-1, DAYS_AHEAD + 1)):
            if partition_of(day) not in existing:
                await _make(conn, day)
        oldest = partition_of(today - dt.timedelta(days=settings.retention_days))
        for name in existing:
            if name < oldest:
                await conn.execute(f"DROP TABLE shadow.{name}")
        await conn.execute(DELETE_OLD_REST, now - dt.timedelta(days=settings.retention_days))
        await fold_slots(conn, now)
        await delete_old_rollups(conn, now - dt.timedelta(days=settings.retention_days))
        await delete_old_step_evidence(conn, now, now - dt.timedelta(days=settings.retention_days))
    remaining = [name for name in await partitions(conn) if name >= oldest]
    return sum([await shrink(conn, name, settings.partition_max_rows) for name in remaining])


DELETE_OLD_REST = "DELETE FROM shadow.comparison_rest WHERE served_at < $1"
TAKE_REST = """
WITH moved AS (
    DELETE FROM shadow.comparison_rest WHERE served_at >= $1 AND served_at < $2 RETURNING *
)
INSERT INTO shadow.{name} SELECT * FROM moved
"""


async def _make(conn: Connection, day: dt.date) -> None:
    """Create a day's partition, and move the rows of that day out of the default partition."""
    start = dt.datetime.combine(day, dt.time(), dt.UTC)
    end = start + dt.timedelta(days=1)
    name = partition_of(day)
    await conn.execute(f"CREATE TABLE shadow.{name} (LIKE shadow.comparison INCLUDING ALL)")
    await conn.execute(TAKE_REST.format(name=name), start, end)
    await conn.execute(
        f"ALTER TABLE shadow.comparison ATTACH PARTITION shadow.{name} "
        f"FOR VALUES FROM ('{start.isoformat()}') TO ('{end.isoformat()}')"
    )


SHRINK = """
DELETE FROM shadow.{name} AS partition USING (
    SELECT served_at, exchange_id FROM shadow.{name}
    ORDER BY verdict = 'match' DESC, served_at
    LIMIT greatest(0, (SELECT count(*) FROM shadow.{name}) - $1)
) AS gone
WHERE partition.served_at = gone.served_at AND partition.exchange_id = gone.exchange_id
"""


async def shrink(conn: Connection, name: str, rows_max: int) -> int:
    """Delete rows above `rows_max` from a partition, matches first, then the oldest; return how many. Totals stay as they are."""
    status = await conn.execute(SHRINK.format(name=name), rows_max)
    return int(status.rpartition(" ")[2])
