"""What was found, in words: counts that add up, mismatches by kind and field with one example each, latencies, where to look next."""

import asyncio
import datetime as dt
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import aiohttp
import asyncpg
from rich.console import Console, Group
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table

from comparator.exchanges.difference import Kind
from comparator.exchanges.model import Side
from comparator.store import queries
from comparator.store.comparison_detail import DifferenceText
from comparator.verdict import Verdict
from proxy.accounting import Accounting, Reading, read
from proxy.demo.installation import Installation
from proxy.demo.screen import counts
from proxy.demo.traffic import TrafficResult
from proxy.errors import DemoError

_CONNECT_TIMEOUT_S = 10.0
_SETTLE_S = 60.0
_POLL_S = 0.2
_TIMEOUT = aiohttp.ClientTimeout(total=5)
_FINDINGS_MAX = 12
_FINDINGS_READ_MAX = 200
_COMPARISONS_MAX = 2_000
_GROUPS_MAX = 6
_DIFFERENCES_MAX = 5
_ROW_KINDS = (Kind.MISSING_ROW, Kind.EXTRA_ROW)
SIGNS: Final[Mapping[str, tuple[Kind, str]]] = {
    "lost_stamp": (Kind.MISSING_ROW, "registry_stamp"),
    "missing_event": (Kind.MISSING_ROW, "registry_event"),
    "doubled_event": (Kind.EXTRA_ROW, "registry_event"),
    "wrong_weight": (Kind.CHANGED, "registry_score"),
    "threshold_off_by_one": (Kind.COLUMN, "registry_score"),
    "error_500": (Kind.STATUS, ""),
}
"""What a fault of the mirrored legacy shows as: the kind of a difference and its table ("" for the response)."""
_QUANTILES = (0.5, 0.95, 0.99)


@dataclass(slots=True)
class SettleTimeout:
    """How long nothing may come forward: a busy machine is slow and not stuck. Times are those of any one clock, in seconds."""

    timeout_s: float
    _fewest: int | None = None
    _since: float | None = None

    def ends(self, left: int | None, now: float) -> bool:
        """Whether to give up, with so many left to do; None is not known."""
        forward = left is not None and (self._fewest is None or left < self._fewest)
        if forward:
            self._fewest = left
        if forward or self._since is None:
            self._since = now
        return now - self._since > self.timeout_s


async def settled(installation: Installation, *, timeout_s: float = _SETTLE_S) -> Reading:
    """Wait until every served exchange has an outcome that is kept; the last reading.

    Raises:
        DemoError: no exchange got an outcome for `timeout_s`.
    """
    clock, patience = asyncio.get_running_loop().time, SettleTimeout(timeout_s)
    async with aiohttp.ClientSession() as session:
        while True:
            reading, left = await _look(session, installation)
            if not left and reading is not None:
                return reading
            if patience.ends(left, clock()):
                logs = installation.config_path.parent / "logs"
                raise DemoError(f"for {timeout_s:g} s no exchange was compared; the log of the runner is in {logs}")
            await asyncio.sleep(_POLL_S)


async def _look(session: aiohttp.ClientSession, installation: Installation) -> tuple[Reading | None, int | None]:
    """The reading, and how many exchanges have no outcome or one that the store does not have yet."""
    try:
        reading = await read(session, installation.admin_url, installation.runner_url)
        async with session.get(f"{installation.runner_url}/status", timeout=_TIMEOUT) as response:
            unkept = int((await response.json())["unkept"])
    except (aiohttp.ClientError, TimeoutError):
        # A busy process may be late to answer; the next look is soon.
        return None, None
    return reading, reading.accounting.in_flight + unkept


async def print_summary(console: Console, installation: Installation, seen: TrafficResult) -> None:
    """Print the summary."""
    reading = await settled(installation)
    since = dt.datetime.now(dt.UTC) - dt.timedelta(days=1)
    conn = await asyncpg.connect(installation.places.store_dsn, timeout=_CONNECT_TIMEOUT_S)
    try:
        findings = await queries.findings(conn, limit=_FINDINGS_READ_MAX)
        mismatches = await queries.comparisons(conn, since=since, verdicts=(Verdict.MISMATCH,), limit=_COMPARISONS_MAX)
        latencies = await queries.latency(conn, since=since, quantiles=_QUANTILES)
    finally:
        await conn.close()
    console.rule("what was found")
    console.print(clients(seen))
    console.print(accounting(reading.accounting))
    console.print(found(findings))
    if mismatches:
        console.print(escape(explained(mismatches, installation.divergences)))
        console.print("what differs together, with one exchange of each: what the mirrored side has against the served")
    for panel in examples(mismatches):
        console.print(panel)
    console.print(speeds(latencies))
    console.print(look_next(installation, findings), soft_wrap=True, highlight=False)


def clients(seen: TrafficResult) -> str:
    """What clients saw."""
    statuses = ", ".join(f"{count} x {status}" for status, count in sorted(seen.statuses.items()))
    unexpected = counts(seen.unexpected) if seen.unexpected else "none"
    return f"clients: {seen.sent} requests, {statuses}; with another status than meant: {unexpected}"


def accounting(numbers: Accounting) -> Table:
    """The sum that has to come out even."""
    table = Table(title="every served exchange has one outcome", title_justify="left", show_header=False, box=None)
    table.add_row("served", str(numbers.served), "")
    for name in ("compared", "skipped", "dropped", "failed"):
        part = getattr(numbers, name)
        table.add_row(f"- {name}", str(sum(part.values())), counts(part))
    table.add_row("- in flight", str(numbers.in_flight), "")
    table.add_row("= left over", str(numbers.balance), "it adds up" if not numbers.balance else "[red]it must be 0[/]")
    return table


def found(findings: Sequence[queries.Finding]) -> Table | str:
    """Mismatches by kind and field, seen from the candidate."""
    if not findings:
        return "[green]no mismatch[/]"
    table = Table(
        title="mismatches by kind and field: what the candidate has against the legacy",
        title_justify="left",
        expand=True,
    )
    table.add_column("kind", width=11)
    table.add_column("where", ratio=1, no_wrap=True)
    table.add_column("count", justify="right", width=5)
    table.add_column("keys", justify="right", width=4)
    table.add_column("one example", ratio=1, no_wrap=True)
    for one in findings[:_FINDINGS_MAX]:
        values = one.example.partition(": served ")[2]
        table.add_row(one.kind, escape(one.place), str(one.count), str(one.keys), escape(f"served {values}"))
    if len(findings) > _FINDINGS_MAX:
        table.caption = f"the {_FINDINGS_MAX} most urgent of {len(findings)}"
    return table


def explained(mismatches: Sequence[queries.ComparisonRow], divergences: Sequence[str]) -> str:
    """How many mismatching exchanges show the sign of each fault that was switched on, and how many show none."""
    signs = {name: SIGNS[name] for name in divergences if name in SIGNS}
    shown = {name: sum(_shows(row, sign) for row in mismatches) for name, sign in signs.items()}
    none = sum(not any(_shows(row, sign) for sign in signs.values()) for row in mismatches)
    words = ", ".join(f"{count} show {name}" for name, count in shown.items())
    return f"of {len(mismatches)} mismatching exchanges {words}; {none} show none of the faults that were switched on"


def _shows(row: queries.ComparisonRow, sign: tuple[Kind, str]) -> bool:
    kind, table = sign
    return any(
        one.kind == kind and (one.place.partition(".")[0] == table if table else not one.key)
        for one in row.detail.differences
    )


def examples(mismatches: Sequence[queries.ComparisonRow]) -> list[Panel]:
    """One mismatching exchange for each set of tables and response that differ together, the most frequent first."""
    groups: dict[frozenset[str], list[queries.ComparisonRow]] = {}
    for row in mismatches:
        groups.setdefault(frozenset(map(_area, row.detail.differences)), []).append(row)
    ordered = sorted(groups.items(), key=lambda group: -len(group[1]))[:_GROUPS_MAX]
    return [_example(rows[0], areas=areas, count=len(rows)) for areas, rows in ordered]


def _area(difference: DifferenceText) -> str:
    """What differs, coarsely: differences with one cause come with the same areas."""
    if not difference.key:
        return "response"
    table = difference.place.partition(".")[0]
    return f"{difference.kind} {table}" if difference.kind in _ROW_KINDS else f"changed {table}"


def _example(row: queries.ComparisonRow, *, areas: frozenset[str], count: int) -> Panel:
    table = Table(box=None, pad_edge=False, expand=True)
    table.add_column("", width=5)
    table.add_column("kind", width=11)
    for name, ratio in (("where", 3), (f"served ({row.served_by})", 2), ("mirrored", 2)):
        table.add_column(name, ratio=ratio, no_wrap=True)
    for part, differences in _parts(row.detail.differences):
        for one in differences[:_DIFFERENCES_MAX]:
            where = f"{one.place} {one.key}" if one.kind in _ROW_KINDS else one.place
            words = (where, one.served or "nothing", one.mirrored or "nothing")
            table.add_row(part, one.kind, *map(escape, words))
        if len(differences) > _DIFFERENCES_MAX:
            table.add_row(part, "", f"and {len(differences) - _DIFFERENCES_MAX} more")
    heading = f"{', '.join(sorted(areas))}; for example {row.exchange_id}"
    return Panel(Group(escape(heading), table), title=f"{count} exchanges", title_align="left")


def _parts(differences: Sequence[DifferenceText]) -> list[tuple[str, list[DifferenceText]]]:
    """The differences of the response, then those of the rows: rows that only one side has come first."""
    rows = sorted((one for one in differences if one.key), key=lambda one: one.kind not in _ROW_KINDS)
    return [("response", [one for one in differences if not one.key]), ("rows", rows)]


def speeds(latencies: Sequence[queries.Latency]) -> Table:
    """Latency of both sides, over the same exchanges."""
    table = Table(title="latency of the same exchanges, ms", title_justify="left")
    table.caption = "mirrored requests wait their turn beside everything else on this machine: no speed comparison"
    for name in ("route", "role", *(f"p{share * 100:g}" for share in _QUANTILES), "over"):
        table.add_column(name, justify="left" if name in ("route", "role") else "right")
    for one in latencies:
        for role, values in ((f"served by {one.served_by}", one.served_us), (_mirrored_by(one), one.mirrored_us)):
            table.add_row(one.route, role, *(f"{value / 1e3:.1f}" for value in values), str(one.count))
    return table


def _mirrored_by(one: queries.Latency) -> str:
    return f"mirrored by {Side(one.served_by).other}"


def look_next(installation: Installation, findings: Sequence[queries.Finding]) -> str:
    """Where to go from here."""
    often = max(findings, key=lambda one: one.count, default=None)
    shadow = Path(sys.executable).with_name("shadow")
    first = f"{shadow} findings show {often.id} --config {installation.config_path}" if often else ""
    lines = [
        "where to look next:",
        f"  logs of every part      {installation.config_path.parent / 'logs'}",
        f"  the configuration used  {installation.config_path}",
        "  keep it up and look on  make demo ARGS=--stay",
    ]
    if first:
        lines.append(f"  the most frequent       {first}   (while it is up: --stay)")
    return escape("\n".join(lines))


def addresses(installation: Installation) -> str:
    """Where everything listens while it stays up."""
    places, key = installation.places, installation.targets[1].headers["X-API-Key"]
    return escape(
        "\n".join(
            [
                "it stays up until Ctrl-C:",
                f"  ask for a score   curl -H 'X-API-Key: {key}' {installation.url}{installation.targets[1].path}",
                f"  proxy's admin     {installation.admin_url}/metrics /status, POST /rollback",
                f"  runner's admin    {installation.runner_url}/metrics /status",
                f"  scorer's admin    http://127.0.0.1:{places.candidate_live_admin}/metrics",
                f"  live database     {places.live_dsn}",
                f"  shadow database   {places.shadow_dsn}",
                f"  verdicts          {places.store_dsn}",
                f"  status            shadow status --config {installation.config_path}",
            ]
        )
    )
