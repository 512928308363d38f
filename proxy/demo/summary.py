"""Summary of the demo: counts that add up, the causes of mismatches with examples, latencies, and what to look at next."""

import asyncio
import datetime as dt
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import aiohttp
from rich.console import Console
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table

from comparator import postgres
from comparator.exchanges.comparison import Verdict, not_compared_text
from comparator.exchanges.difference import Kind
from comparator.exchanges.model import Role, Side
from comparator.exchanges.visible_text import visible
from comparator.store import causes, queries
from comparator.store.comparison_detail import DifferenceText
from comparator.store.report import oriented_kind
from comparator.store.rows import CauseList, CauseRow, ComparisonRow
from proxy.config.loader import read_settings
from proxy.demo.installation import Installation
from proxy.demo.screen import counts
from proxy.demo.traffic import TrafficResult
from proxy.errors import DemoError
from proxy.journal.reconciliation import WriterAccount
from proxy.rollout.accounting import TIMEOUT_S, Accounting, MetricsPages, Reading, read_all
from proxy.runner.accountant import read_accounts

_CONNECT_TIMEOUT_S = 10.0
_PROGRESS_TIMEOUT_S = 60.0
_POLL_S = 0.2
_TIMEOUT = aiohttp.ClientTimeout(total=5)
_COMPARISONS_MAX = 2_000
_CAUSES_MAX = 8
_PANELS_MAX = 4
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
"""Differences that the faults of the mirrored legacy cause: the kind, and the table ("" for the response)."""
_QUANTILES = (0.5, 0.95, 0.99)


@dataclass(slots=True)
class ProgressTimeout:
    """A timeout that restarts with each progress, since a busy machine is slow but not stuck.

    Attributes:
        timeout_s: time without progress after which it expires.
    """

    timeout_s: float
    _remaining_min: int | None = None
    _progress_at: float | None = None

    def expired(self, remaining: int | None, now: float) -> bool:
        """Return whether there was no progress for too long.

        Args:
            remaining: how much is left to do; None for unknown. Progress is a new minimum.
            now: the time in seconds, of any one clock.
        """
        progress = remaining is not None and (self._remaining_min is None or remaining < self._remaining_min)
        if progress:
            self._remaining_min = remaining
        if progress or self._progress_at is None:
            self._progress_at = now
        return now - self._progress_at > self.timeout_s


async def wait_for_outcomes(installation: Installation, *, timeout_s: float = _PROGRESS_TIMEOUT_S) -> Reading:
    """Wait until every served exchange has an outcome that is saved; return the last reading of the metrics.

    Raises:
        DemoError: no exchange got an outcome for `timeout_s`.
    """
    clock, timeout = asyncio.get_running_loop().time, ProgressTimeout(timeout_s)
    async with aiohttp.ClientSession() as session:
        while True:
            reading, remaining = await _read_progress(session, installation)
            if not remaining and reading is not None:
                return reading
            if timeout.expired(remaining, clock()):
                logs = installation.config_path.parent / "logs"
                raise DemoError(f"no exchange was compared for {timeout_s:g} s; read the log of the runner in {logs}")
            await asyncio.sleep(_POLL_S)


async def _read_progress(
    session: aiohttp.ClientSession, installation: Installation
) -> tuple[Reading | None, int | None]:
    """Return the metrics, and how many exchanges have no outcome, or none that the store has."""
    unsaved = 0
    try:
        reading = await read_all(MetricsPages.of(read_settings(installation.config_path)), timeout_s=TIMEOUT_S)
        for url in installation.runner_urls:
            async with session.get(f"{url}/status", timeout=_TIMEOUT) as response:
                unsaved += int((await response.json())["unsaved"])
    except (aiohttp.ClientError, ConnectionError, TimeoutError):
        # A busy process may respond late; the next reading follows soon.
        return None, None
    if reading.silent or reading.away:
        return None, None
    return reading, reading.accounting.in_flight + unsaved


async def print_summary(console: Console, installation: Installation, result: TrafficResult) -> None:
    """Wait for the outcomes of all exchanges, and print the summary."""
    reading = await wait_for_outcomes(installation)
    async with aiohttp.ClientSession() as session:
        accounts = await read_accounts(session, read_settings(installation.config_path)) or ()
    now = dt.datetime.now(dt.UTC)
    since = now - dt.timedelta(days=1)
    conn = await postgres.connect(installation.addresses.store_dsn, timeout_s=_CONNECT_TIMEOUT_S)
    try:
        await causes.refresh_causes(conn, now=now, force=True)
        found = await causes.causes(conn)
        findings = await queries.count_findings(conn)
        mismatches = await queries.comparisons(conn, since=since, verdicts=(Verdict.MISMATCH,), limit=_COMPARISONS_MAX)
        latencies = await queries.latency(conn, since=since.date(), quantiles=_QUANTILES)
    finally:
        await conn.close()
    console.rule("causes")
    console.print(client_results(result))
    console.print(accounting_table(reading.accounting, accounts))
    console.print(causes_table(found, findings))
    if mismatches:
        console.print(_plain(explained_by_faults(mismatches, installation.divergences)))
    for panel in examples(found.causes, mismatches):
        console.print(panel)
    console.print(latency_table(latencies))
    console.print(next_steps(installation, found.causes), soft_wrap=True, highlight=False)


def _plain(text: str) -> str:
    """Return a text without markup and control characters: values are clients' to choose."""
    return escape(visible(text, lines=True))


def client_results(result: TrafficResult) -> str:
    """Return the results of the clients as one line."""
    statuses = ", ".join(f"{count} x {status}" for status, count in sorted(result.statuses.items()))
    unexpected = counts(result.unexpected) if result.unexpected else "none"
    return f"clients: {result.sent} requests, {statuses}; with an unexpected status: {unexpected}"


def accounting_table(numbers: Accounting, accounts: Sequence[WriterAccount]) -> Table:
    """Return the counts of all outcomes, and how many exchanges are missing by their writers' numbers."""
    table = Table(title="every served exchange has one outcome", title_justify="left", show_header=False, box=None)
    table.add_row("served", str(numbers.served), "")
    for name in ("compared", "skipped", "dropped", "failed"):
        part = getattr(numbers, name)
        gaps = f"; of these {numbers.gaps()}" if name == "compared" and numbers.gaps() else ""
        table.add_row(f"- {name}", str(sum(part.values())), f"{counts(part)}{gaps}")
    table.add_row("- in flight", str(numbers.in_flight), "")
    missing = sum(len(account.missing) + len(account.unwritten) for account in accounts)
    table.add_row("missing", str(missing), "nothing is missing" if not missing else "[red]it must be 0[/]")
    return table


def causes_table(found: CauseList, findings: int) -> Table | str:
    """Return the causes of the mismatches, each with its most telling place."""
    if not found.causes:
        return "[green]no mismatch[/]"
    table = Table(
        title=f"causes: {len(found.causes)}, of {found.mismatches} mismatching exchanges and {findings} finding{'' if findings == 1 else 's'}",
        title_justify="left",
        expand=True,
    )
    table.add_column("exchanges", justify="right", width=9)
    table.add_column("keys", justify="right", width=4)
    table.add_column("most telling place", ratio=2, no_wrap=True)
    table.add_column("what it is", ratio=2, no_wrap=True)
    table.add_column("what else it shows", ratio=3, no_wrap=True)
    for cause in found.causes[:_CAUSES_MAX]:
        title = cause.body.title
        table.add_row(str(cause.exchanges), str(cause.keys), *map(_plain, (title.where, title.what, _others(cause))))
    if len(found.causes) > _CAUSES_MAX:
        table.caption = f"the {_CAUSES_MAX} most urgent of {len(found.causes)}"
    return table


def _others(cause: CauseRow) -> str:
    others = list(dict.fromkeys(shown.token.where for shown in (*cause.body.always[1:], *cause.body.sometimes)))
    return f"{len(others)} places: {', '.join(others)}" if others else "nothing"


def explained_by_faults(mismatches: Sequence[ComparisonRow], divergences: Sequence[str]) -> str:
    """Return how many mismatching exchanges show each fault that was switched on, and how many show none of them."""
    signs = {name: SIGNS[name] for name in divergences if name in SIGNS}
    shown = {name: sum(_shows(row, sign) for row in mismatches) for name, sign in signs.items()}
    none = sum(not any(_shows(row, sign) for sign in signs.values()) for row in mismatches)
    text = ", ".join(f"{count} show {name}" for name, count in shown.items())
    return f"of {len(mismatches)} mismatching exchanges {text}; {none} show none of the faults that were switched on"


def _shows(row: ComparisonRow, sign: tuple[Kind, str]) -> bool:
    kind, table = sign
    return any(
        difference.kind == kind and (difference.place.partition(".")[0] == table if table else not difference.key)
        for difference in row.detail.differences
    )


def examples(found: Sequence[CauseRow], mismatches: Sequence[ComparisonRow]) -> list[Panel]:
    """Return the clearest exchange of each of the largest causes."""
    by_set: dict[str, ComparisonRow] = {}
    for row in mismatches:
        by_set.setdefault(row.finding_set, row)
    chosen = [(cause, by_set.get(cause.body.exemplar)) for cause in found[:_PANELS_MAX]]
    return [_example(cause, row) for cause, row in chosen if row is not None]


def _example(cause: CauseRow, row: ComparisonRow) -> Panel:
    served_by = Side(row.served_by)
    table = Table(box=None, pad_edge=False, expand=True)
    table.add_column("", width=5)
    table.add_column("kind", width=11)
    roles = {served_by: Role.SERVED, served_by.other: Role.MIRRORED}
    for name, ratio in (("where", 3), *((f"{side} ({roles[side]})", 2) for side in Side)):
        table.add_column(name, ratio=ratio, no_wrap=True)
    for part, differences in _parts(row.detail.differences):
        for difference in differences[:_DIFFERENCES_MAX]:
            is_row = difference.kind in _ROW_KINDS
            location = f"{difference.place} {difference.key}" if is_row else difference.place
            values = {served_by: difference.served, served_by.other: difference.mirrored}
            cells = (location, *(values[side] or "nothing" for side in Side))
            table.add_row(part, oriented_kind(difference.kind, served_by), *map(_plain, cells))
        if len(differences) > _DIFFERENCES_MAX:
            table.add_row(part, "", f"and {len(differences) - _DIFFERENCES_MAX} more")
    gap = not_compared_text(rows_compared=row.effects_compared, left_out=row.left_out)
    title = escape(visible(f"{cause.title}; for example {row.exchange_id}{f', {gap}' if gap else ''}"))
    return Panel(table, title=title, title_align="left")


def _parts(differences: Sequence[DifferenceText]) -> list[tuple[str, list[DifferenceText]]]:
    """Return the differences of rows, with rows that only one side has first, and those of the response."""
    rows = sorted((d for d in differences if d.key), key=lambda difference: difference.kind not in _ROW_KINDS)
    return [("rows", rows), ("reply", [d for d in differences if not d.key])]


def latency_table(latencies: Sequence[queries.RouteLatency]) -> Table:
    """Return the latency of both sides, over the same exchanges."""
    table = Table(title="latency of the same exchanges, ms", title_justify="left")
    table.caption = "not a comparison of speed: mirrored requests share this machine with everything else"
    for name in ("route", "side", *(f"p{share * 100:g}" for share in _QUANTILES), "over"):
        table.add_column(name, justify="left" if name in ("route", "side") else "right")
    for route in latencies:
        served_by = Side(route.served_by)
        by_side = {
            served_by: (Role.SERVED, route.served_us),
            served_by.other: (Role.MIRRORED, route.mirrored_us),
        }
        for side in Side:
            role, values = by_side[side]
            table.add_row(
                route.route, f"{side} ({role})", *(f"{value / 1e3:.1f}" for value in values), str(route.count)
            )
    return table


def next_steps(installation: Installation, found: Sequence[CauseRow]) -> str:
    """Return commands and paths for a closer look."""
    shadow = Path(sys.executable).with_name("shadow")
    lines = [
        "where to look next:",
        f"  logs of every part      {installation.config_path.parent / 'logs'}",
        f"  the configuration used  {installation.config_path}",
        "  keep it running         make demo ARGS=--stay",
    ]
    if found:
        show = f"{shadow} causes show {found[0].id} --config {installation.config_path}"
        lines.append(f"  the first cause         {show}   (while it is running: --stay)")
    return _plain("\n".join(lines))


def running_addresses(installation: Installation) -> str:
    """Return the addresses of all parts, with example requests."""
    addresses, key = installation.addresses, installation.targets[1].headers["X-API-Key"]
    return _plain(
        "\n".join(
            [
                "it keeps running until Ctrl-C:",
                f"  web UI            {installation.ui_url}",
                f"  request a score   curl -H 'X-API-Key: {key}' {installation.url}{installation.targets[1].path}",
                *(f"  another proxy     {url}" for url in installation.urls[1:]),
                f"  proxy's admin     {installation.admin_url}/metrics /status, POST /rollback",
                *(f"  runner's admin    {url}/metrics /status" for url in installation.runner_urls),
                f"  scorer's admin    http://127.0.0.1:{addresses.candidate_live_admin}/metrics",
                f"  live database     {addresses.live_dsn}",
                f"  shadow database   {addresses.shadow_dsn}",
                f"  verdicts          {addresses.store_dsn}",
                f"  status            shadow status --config {installation.config_path}",
            ]
        )
    )
