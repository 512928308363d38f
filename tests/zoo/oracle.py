"""Judges what came of the requests, and whether both databases are equal, without asking only the product."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import asyncpg
import zstandard

from comparator.capture.session import connect
from comparator.capture.verify import DatabasePair, TableReport, verify
from comparator.table_names import split_name
from tests.zoo.shape import Operation, Shape
from tests.zoo.visits import EQUAL, Visit, Work


@dataclass(frozen=True)
class Problem:
    """A promise that was not kept."""

    shape: str
    text: str

    def __str__(self) -> str:
        return f"{self.shape}: {self.text}"


COMPARISONS = (
    "SELECT exchange_id, verdict, confirmed, effects_compared, effects_note, rows_served, detail FROM shadow.comparison"
)


@dataclass(frozen=True)
class Outcome:
    """The stored result of one request."""

    verdict: str
    confirmed: bool | None
    effects: bool
    note: str
    rows: int
    places: tuple[str, ...]
    kinds: tuple[str, ...]


async def outcomes(store_dsn: str) -> dict[str, Outcome]:
    """Read the results from the store."""
    conn = await asyncpg.connect(store_dsn)
    try:
        return {record["exchange_id"]: _outcome(record) for record in await conn.fetch(COMPARISONS)}
    finally:
        await conn.close()


def _outcome(record: asyncpg.Record) -> Outcome:
    detail = json.loads(zstandard.decompress(record["detail"])) if record["detail"] else {}
    differences = detail.get("differences", [])
    return Outcome(
        record["verdict"],
        record["confirmed"],
        record["effects_compared"],
        record["effects_note"],
        record["rows_served"],
        tuple(sorted(d["place"] for d in differences)),
        tuple(sorted(d["kind"] for d in differences)),
    )


def judge(shape: Shape, visit: Visit, work: Work, outcome: Outcome | None) -> str:
    """Return what is wrong with the result of a request; "" for nothing."""
    if outcome is None:
        return "not compared"
    if not outcome.effects:
        return f"{outcome.verdict}, rows not compared: {outcome.note}"
    if visit.deviation == EQUAL:
        if outcome.verdict != "match":
            return f"equal sides: {outcome.verdict} {outcome.kinds} at {outcome.places}"
        return "" if outcome.rows or visit.operation is Operation.TRUNCATE or not work.served else "match of no rows"
    fault = shape.faults.get(visit.deviation)
    if (outcome.verdict, outcome.confirmed) != ("mismatch", True if fault is None or fault.undoable else None):
        return f"one difference: {outcome.verdict}, confirmed {outcome.confirmed}"
    places = set(outcome.places)
    if fault is not None and fault.undoable:
        return "" if places == work.places and len(outcome.places) == 1 else f"one difference: named {outcome.places}"
    return "" if places and within(places, work.places) else f"named {outcome.places}"


def within(places: Iterable[str], tables: Iterable[str]) -> bool:
    """Return whether each place is a table of these, or a column of one."""
    names = tuple(tables)
    return all(any(place == table or place.startswith(f"{table}.") for table in names) for place in places)


CONTENT = """
SELECT count(*) || ' ' || coalesce(md5(string_agg(md5(t::text), '' ORDER BY md5(t::text))), '') FROM {} t
"""
INHERITED = "SELECT relkind = 'r' FROM pg_class WHERE oid = $1::text::regclass"


async def contents(dsn: str, tables: Iterable[str]) -> dict[str, str]:
    """Return number and digest of the rows of each table, read without the product; those of heirs are not its own."""
    conn = await asyncpg.connect(dsn, server_settings={"timezone": "UTC"})
    result: dict[str, str] = {}
    try:
        for table in tables:
            only = "ONLY " if await conn.fetchval(INHERITED, quoted(table)) else ""
            result[table] = await conn.fetchval(CONTENT.format(only + quoted(table)))
    finally:
        await conn.close()
    return result


def quoted(table: str) -> str:
    """Quote the name of a table as the configuration writes it."""
    return ".".join('"' + part.replace('"', '""') + '"' for part in split_name(table))


async def disagreements(live_dsn: str, shadow_dsn: str, shapes: Sequence[Shape]) -> list[Problem]:
    """Compare both databases, with `verify` and without; both have to say that they are equal."""
    tables = [table for shape in shapes for table in shape.tables]
    one, other = await connect(live_dsn, timeout_s=30), await connect(shadow_dsn, timeout_s=30)
    try:
        reports = {report.table: report for report in await verify(DatabasePair(one, other), tables)}
    finally:
        await one.close()
        await other.close()
    live, shadow = await contents(live_dsn, tables), await contents(shadow_dsn, tables)
    return [
        Problem(shape.name, text)
        for shape in shapes
        for table in shape.tables
        for text in _of_table(reports[table], live[table], shadow[table])
    ]


def _of_table(report: TableReport, live: str, shadow: str) -> Iterator[str]:
    if live != shadow:
        first = [(d.kind.value, d.key) for d in report.first[:4]]
        yield f"{report.table} differs after all: live {live}, shadow {shadow}, {report.problem} {first}"
    if report.equal != (live == shadow):
        yield f"verify says equal={report.equal} of {report.table}: {report.problem}"
    if report.rows_live != int(live.split(maxsplit=1)[0]):
        yield f"verify counts {report.rows_live} rows of {report.table} in live"
