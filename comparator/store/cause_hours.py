"""Count the exchanges of each cause by hour while verdicts are stored, so that long time ranges cost little to show.

Writers add exchanges of a set to the causes that the set is assigned to; the process that solves causes adds and subtracts the sets whose
assignment it changes. Both hold the rows of these sets in `finding_set` locked, so no exchange is counted twice and none is left out:

    writer   upserts set s (locks it), adds its slots, adds them to the causes of s      commit
    solver   assigns s to cause c, waits for s, adds the slots of s to c                 commit
"""

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Final

from comparator.postgres import Connection

HOUR: Final = dt.timedelta(hours=1)

ADD_TO_CAUSES = """
INSERT INTO shadow.cause_hour (cause_id, hour, served_by, stage, count)
SELECT cause_set.cause_id, date_bin('1 hour', part.slot, 'epoch'), part.served_by, part.stage, sum(part.count)
FROM unnest($1::text[], $2::timestamptz[], $3::text[], $4::text[], $5::bigint[]) AS part (set_id, slot, served_by, stage, count)
JOIN shadow.cause_set USING (set_id)
GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4
ON CONFLICT (cause_id, hour, served_by, stage) DO UPDATE SET count = cause_hour.count + excluded.count
"""


async def add_to_causes(conn: Connection, slots: Mapping[tuple[str, dt.datetime, str, str], int]) -> None:
    """Add exchanges to the causes of their sets.

    Args:
        conn: a connection in the transaction that has upserted the sets.
        slots: exchanges by set, begin of the slot, serving side and stage.
    """
    if slots:
        rows = [(*key, count) for key, count in slots.items()]
        await conn.execute(ADD_TO_CAUSES, *(list(column) for column in zip(*rows, strict=True)))


MOVE_SETS = """
INSERT INTO shadow.cause_hour (cause_id, hour, served_by, stage, count)
SELECT moved.cause_id, date_bin('1 hour', part.slot, 'epoch'), part.served_by, part.stage, sum(moved.sign * part.count)
FROM unnest($1::text[], $2::text[], $3::integer[]) AS moved (cause_id, set_id, sign)
JOIN shadow.finding_set_slot AS part USING (set_id)
GROUP BY 1, 2, 3, 4 HAVING sum(moved.sign * part.count) <> 0 ORDER BY 1, 2, 3, 4
ON CONFLICT (cause_id, hour, served_by, stage) DO UPDATE SET count = cause_hour.count + excluded.count
"""
DELETE_EMPTY = "DELETE FROM shadow.cause_hour WHERE cause_id = ANY($1) AND count <= 0"


async def move_sets(conn: Connection, *, added: Sequence[tuple[str, str]], removed: Sequence[tuple[str, str]]) -> None:
    """Add and subtract the exchanges of sets whose causes have changed.

    Args:
        conn: a connection in the transaction that has changed the assignments; it holds the rows of the sets locked.
        added: pairs of a cause and a set that were assigned.
        removed: pairs that are assigned no longer.
    """
    pairs = [*((*pair, 1) for pair in added), *((*pair, -1) for pair in removed)]
    if pairs:
        await conn.execute(MOVE_SETS, *(list(column) for column in zip(*pairs, strict=True)))
        await conn.execute(DELETE_EMPTY, sorted({cause for cause, _, _ in pairs}))
