"""The replays: a list of the reports in `replay.reports_directory`, one report, and one run against an earlier one."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from aiohttp import web

from proxy.errors import ProxyError
from proxy.replay.baseline import RunComparison, compare_with_baseline
from proxy.replay.errors import OptionError
from proxy.replay.report_folder import ReportFolder, StoredReport
from proxy.ui.pages import UI
from proxy.ui.replay_view import ReplayDocument, ReplayLine, replay_document, replay_line
from proxy.ui.report_file import render_file
from proxy.ui.screens import ScreenNotFoundError, ScreenRequest

PAGE: Final = 20


@dataclass(frozen=True, slots=True)
class ReplaysDocument:
    """A page of the list, the latest first; `older` is the name that the next page begins before, "" on the last one."""

    folder: str
    replays: tuple[ReplayLine, ...]
    older: str


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
        baseline = next(earlier, "") if digest else ""
        lines.append(replay_line(one.name, one.report, baseline) if one.report else ReplayLine(one.name, one.error))
    return tuple(lines)


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
    return await asyncio.to_thread(replay_document, stored.name, stored.report)


async def export(request: web.Request) -> web.Response:
    """Respond with a report as one self-contained HTML file."""
    directory = request.app[UI].reader.settings.replay.reports_directory
    stored = await asyncio.to_thread(folder_of(directory).load, request.match_info["name"])
    if stored.report is None:
        raise web.HTTPNotFound(text=stored.error)
    text = await asyncio.to_thread(render_file, stored.report)
    disposition = f'attachment; filename="replay-{stored.name}.html"'
    return web.Response(text=text, content_type="text/html", headers={"Content-Disposition": disposition})
