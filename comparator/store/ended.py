"""Note the exchanges that ended, by the numbers that their writers gave them, in the transaction of their verdicts.

A number ends once: an exchange that is read again after a restart keeps its first outcome here, as it does in the comparisons.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import asyncpg

from comparator.exchanges.number_ranges import EndedNumbers, NumberRanges
from comparator.postgres import Connection


class EndedAs(StrEnum):
    """The kinds of outcomes."""

    COMPARED = "compared"
    FAILED = "failed"
    SKIPPED = "skipped"
    UNREAD = "unread"
    OTHER_SLICE = "other_slice"
    """The runner of another slice has the outcome; no total includes it."""


@dataclass(frozen=True, slots=True)
class EndedExchanges:
    """Exchanges of one writer with the same outcome, `first` to `last`; `cause` is the verdict, or why there is none."""

    writer: str
    first: int
    last: int
    outcome: EndedAs
    cause: str


@dataclass(frozen=True, slots=True)
class EndedTotal:
    """The number of exchanges of one writer with one outcome."""

    writer: str
    outcome: EndedAs
    cause: str
    count: int


@dataclass(frozen=True, slots=True)
class EndedBatch:
    """Exchanges that ended in one runner.

    Attributes:
        runner: its name.
        exchanges: those that ended.
        begun: by writer, the number up to which the runner never reads, because it began behind.
    """

    runner: str
    exchanges: Sequence[EndedExchanges]
    begun: Mapping[str, int]


INSERT_WRITER = """
INSERT INTO shadow.ended (runner, writer, numbers) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING
"""
LOCK_WRITER = "SELECT numbers FROM shadow.ended WHERE runner = $1 AND writer = $2 FOR UPDATE"
ADD_NUMBERS = "UPDATE shadow.ended SET numbers = numbers + $3, unread = unread + $4 WHERE runner = $1 AND writer = $2"
ADD_TOTALS = """
INSERT INTO shadow.ended_total (runner, writer, outcome, cause, count)
SELECT $1, $2, * FROM unnest($3::text[], $4::text[], $5::bigint[])
ON CONFLICT (runner, writer, outcome, cause) DO UPDATE SET count = ended_total.count + excluded.count
"""
SELECT_NUMBERS = "SELECT writer, numbers, unread FROM shadow.ended WHERE runner = ANY ($1)"
SELECT_TOTALS = """
SELECT writer, outcome, cause, sum(count)::bigint AS count FROM shadow.ended_total
WHERE runner = ANY ($1) AND outcome <> 'other_slice' GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
"""


async def add_ended(conn: Connection, batch: EndedBatch) -> None:
    """Add exchanges that ended, in the transaction that stores their verdicts."""
    runner = batch.runner
    by_writer: dict[str, list[EndedExchanges]] = {}
    for exchanges in batch.exchanges:
        by_writer.setdefault(exchanges.writer, []).append(exchanges)
    # In the order of names, so that two transactions never wait for each other in a circle.
    for writer, own in sorted(by_writer.items()):
        before = NumberRanges.of(1, batch.begun.get(writer, 0))
        await conn.execute(INSERT_WRITER, runner, writer, _ranges(before))
        known = numbers_of(await conn.fetchval(LOCK_WRITER, runner, writer))
        totals: Counter[tuple[str, str]] = Counter()
        fresh = unread = NumberRanges()
        for exchanges in own:
            new = NumberRanges.of(exchanges.first, exchanges.last) - known - fresh
            totals[exchanges.outcome.value, exchanges.cause] += len(new)
            fresh |= new
            if exchanges.outcome is EndedAs.UNREAD:
                unread |= new
        if not fresh:
            continue
        await conn.execute(ADD_NUMBERS, runner, writer, _ranges(fresh), _ranges(unread))
        rows = [(outcome, cause, count) for (outcome, cause), count in sorted(totals.items()) if count]
        await conn.execute(ADD_TOTALS, runner, writer, *(list(column) for column in zip(*rows, strict=True)))


async def ended_numbers(conn: Connection, *runners: str) -> dict[str, EndedNumbers]:
    """Return the numbers of the exchanges that ended, by writer; with slices those that every one of them is done with."""
    by_writer: dict[str, list[EndedNumbers]] = {}
    for record in await conn.fetch(SELECT_NUMBERS, runners):
        own = EndedNumbers(numbers_of(record["numbers"]), numbers_of(record["unread"]))
        by_writer.setdefault(record["writer"], []).append(own)
    return {writer: EndedNumbers.of_all(own) for writer, own in by_writer.items() if len(own) == len(runners)}


async def ended_totals(conn: Connection, *runners: str) -> tuple[EndedTotal, ...]:
    """Return how many exchanges ended, by writer, outcome and cause; each counts once, for the slice that owns it."""
    records = await conn.fetch(SELECT_TOTALS, runners)
    return tuple(EndedTotal(r["writer"], EndedAs(r["outcome"]), r["cause"], r["count"]) for r in records)


def numbers_of(ranges: Iterable["asyncpg.Range[int]"]) -> NumberRanges:
    """Convert PostgreSQL's int8multirange."""
    return NumberRanges(
        (found.lower, found.upper - 1) for found in ranges if found.lower is not None and found.upper is not None
    )


def _ranges(numbers: NumberRanges) -> list["asyncpg.Range[int]"]:
    return [asyncpg.Range(first, last + 1) for first, last in numbers]
