"""The replays: a list of the reports in `replay.reports_directory`, one report, and one run against an earlier one."""

import asyncio
import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from aiohttp import web

from comparator.stats.confidence import Interval, rate_interval
from proxy.errors import ProxyError
from proxy.replay.baseline import RunComparison, compare_with_baseline
from proxy.replay.errors import OptionError
from proxy.replay.html_report import render_html
from proxy.replay.report import LatencyReport, ReplayReport, latency_rows
from proxy.replay.report_folder import ReportFolder, StoredReport
from proxy.ui.pages import UI
from proxy.ui.screens import ScreenNotFoundError, ScreenRequest

PAGE: Final = 20
SHARES: Final = ("0.5", "0.95", "0.99", "1")


@dataclass(frozen=True, slots=True)
class ReplayLine:
    """One replay of the list.

    Attributes:
        name: its name in the folder.
        error: why its report cannot be read; "" where it can.
        began: time at which it began; None where it cannot be read.
        outcome: PASS, FAIL or INCOMPLETE.
        differ: interval of the share of comparisons that differ; None where nothing was compared.
        baseline: name of the run before with the same exchanges; "" for none on this page.
    """

    name: str
    error: str = ""
    began: dt.datetime | None = None
    outcome: str = ""
    reasons: tuple[str, ...] = ()
    source: str = ""
    to: str = ""
    sent: int = 0
    duration_s: float = 0.0
    compared: int = 0
    mismatch: int = 0
    differ: Interval | None = None
    causes: int = 0
    baseline: str = ""


@dataclass(frozen=True, slots=True)
class ReplaysDocument:
    """A page of the list, the latest first; `older` is the name that the next page begins before, "" on the last one."""

    folder: str
    replays: tuple[ReplayLine, ...]
    older: str


@dataclass(frozen=True, slots=True)
class LatencyLine:
    """The latencies of one side from one point: quantiles in ms, None where there are too few for one."""

    side: str
    title: str
    count: int
    quantiles_ms: tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class ReplayDocument:
    """One report; `line` is what the list says of it."""

    name: str
    line: ReplayLine
    report: ReplayReport
    latencies: tuple[LatencyLine, ...]


@dataclass(frozen=True, slots=True)
class ComparedReplays:
    """One run against an earlier one: `refused` says why they cannot be compared, else `comparison` is there."""

    baseline: ReplayDocument
    run: ReplayDocument
    comparison: RunComparison | None
    refused: str = ""
    exchanges_most: int = 0


@cache
def folder_of(directory: str) -> ReportFolder:
    """Return the folder of reports; it keeps those it has parsed."""
    return ReportFolder(Path(directory))


async def read_list(request: ScreenRequest) -> ReplaysDocument:
    """Read a page of the list."""
    directory = request.settings.replay.reports_directory
    if not directory:
        return ReplaysDocument("", (), "")
    before = request.query.get("before", "")
    try:
        stored = await asyncio.to_thread(_load_page, folder_of(directory), before)
    except OSError as error:
        raise ProxyError(f"{directory} cannot be read: {error.strerror}") from error
    shown, rest = stored[:PAGE], stored[PAGE:]
    return ReplaysDocument(directory, replay_lines(shown), shown[-1].name if rest else "")


def _load_page(folder: ReportFolder, before: str) -> Sequence[StoredReport]:
    return [folder.load(name) for name in folder.names(before=before, limit=PAGE + 1)]


def replay_lines(stored: Sequence[StoredReport]) -> tuple[ReplayLine, ...]:
    """Return the lines of reports, the latest first, each with the run that it can be compared with."""
    lines: list[ReplayLine] = []
    for number, one in enumerate(stored):
        digest = one.report.exchanges.digest if one.report else ""
        earlier = (
            other.name for other in stored[number + 1 :] if other.report and other.report.exchanges.digest == digest
        )
        lines.append(replay_line(one, next(earlier, "") if digest else ""))
    return tuple(lines)


def replay_line(stored: StoredReport, baseline: str = "") -> ReplayLine:
    """Return the line of one report."""
    report = stored.report
    if report is None:
        return ReplayLine(stored.name, stored.error)
    verdicts = report.verdicts
    return ReplayLine(
        name=stored.name,
        began=dt.datetime.fromisoformat(report.began),
        outcome=report.outcome,
        reasons=(*report.violations, *report.doubts),
        source=report.source,
        to=report.to,
        sent=report.sent,
        duration_s=report.duration_s,
        compared=verdicts.compared,
        mismatch=verdicts.mismatch,
        differ=rate_interval(verdicts.mismatch, verdicts.compared) if verdicts.compared else None,
        causes=len(report.causes),
        baseline=baseline,
    )


async def read_one(request: ScreenRequest) -> ReplayDocument:
    """Read one report."""
    return await _document(request, request.path["name"])


async def read_compared(request: ScreenRequest) -> ComparedReplays:
    """Read one run against an earlier one."""
    baseline = await _document(request, request.path["baseline"])
    run = await _document(request, request.path["name"])
    try:
        comparison = compare_with_baseline(baseline.report, run.report)
    except OptionError as error:
        return ComparedReplays(baseline, run, None, str(error))
    most = max((max(one.before, one.after) for one in comparison.causes), default=0)
    return ComparedReplays(baseline, run, comparison, exchanges_most=most)


async def _document(request: ScreenRequest, name: str) -> ReplayDocument:
    stored = await asyncio.to_thread(folder_of(request.settings.replay.reports_directory).load, name)
    if stored.report is None:
        raise ScreenNotFoundError(f"no report of a replay {name[:60]!r}: {stored.error}")
    return ReplayDocument(name, replay_line(stored), stored.report, latency_lines(stored.report))


async def export(request: web.Request) -> web.Response:
    """Respond with the report as one self-contained HTML file."""
    directory = request.app[UI].reader.settings.replay.reports_directory
    stored = await asyncio.to_thread(folder_of(directory).load, request.match_info["name"])
    if stored.report is None:
        raise web.HTTPNotFound(text=stored.error)
    text = await asyncio.to_thread(render_html, stored.report)
    disposition = f'attachment; filename="replay-{stored.name}.html"'
    return web.Response(text=text, content_type="text/html", headers={"Content-Disposition": disposition})


def latency_lines(report: ReplayReport) -> tuple[LatencyLine, ...]:
    """Return the latencies of a report, the candidate's first."""
    return tuple(
        LatencyLine(side, title, latency.count, _shown(latency))
        for side, counts in sorted(report.sides.items())
        for title, latency in latency_rows(counts)
    )


def _shown(latency: LatencyReport) -> tuple[float | None, ...]:
    return tuple(latency.shown(share) if share in latency.quantiles_ms else None for share in SHARES)
