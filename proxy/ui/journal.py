"""The journal screen: the exchanges that were compared, newest first, filtered, page by page, and exported from the journal."""

import asyncio
import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlencode

from aiohttp import web

from comparator.exchanges.comparison import Verdict, not_compared_text
from comparator.exchanges.model import Side
from comparator.findings.redaction import digest_key
from comparator.store import queries
from comparator.store.rows import ComparisonFilter, ComparisonLine, ComparisonPage
from proxy.config.settings import Settings
from proxy.journal.keys import available_keys, load_keys
from proxy.journal.redaction import JournalRedactor
from proxy.journal.registry import journal_exists
from proxy.recordings import journal
from proxy.recordings.formats import WRITERS
from proxy.recordings.model import RecordedExchange
from proxy.ui.pages import UI
from proxy.ui.parts import InstallationReader
from proxy.ui.screens import SPANS, ScreenNotFoundError, ScreenRequest, span_of
from proxy.ui.words import number, parsed_time

PAGE_SIZE: Final = 50
LAST_ID: Final = "\U0010ffff"
"""Greater than every id: the first page begins before it."""
KEY_CHARS_MAX: Final = 500
FORMATS: Final = {"har": "application/json", "ndjson": "application/x-ndjson", "gor": "application/octet-stream"}
"""Formats of an export, with their media types."""
EXPORT_MAX: Final = 1_000
"""Exchanges of one export: the newest ones."""
EXPORT_MAX_BYTES: Final = 64 * 1024**2
TONES: Final = {
    Verdict.MATCH: "good",
    Verdict.KNOWN: "sup",
    Verdict.MISMATCH: "bad",
    Verdict.TRANSIENT: "few",
    Verdict.FAILED: "few",
}


@dataclass(frozen=True, slots=True)
class SideFigures:
    """The figures of one side: its status, None for no response, its duration in microseconds, and the rows that it changed."""

    status: int | None
    duration_us: int
    rows: int


@dataclass(frozen=True, slots=True)
class JournalLine:
    """One exchange, with the tone of its verdict, and what the verdict does not rest on; "" if it rests on the rows of all tables."""

    comparison: ComparisonLine
    tone: str
    not_compared: str

    @property
    def candidate(self) -> SideFigures:
        """The figures of the candidate, whichever side served."""
        return self._figures(Side.CANDIDATE)

    @property
    def legacy(self) -> SideFigures:
        """The figures of the legacy."""
        return self._figures(Side.LEGACY)

    def _figures(self, side: Side) -> SideFigures:
        one = self.comparison
        if one.served_by == side:
            return SideFigures(one.served_status, one.served_us, one.rows_served)
        return SideFigures(one.mirrored_status, one.mirrored_us, one.rows_mirrored)


@dataclass(frozen=True, slots=True)
class JournalDocument:
    """A page of exchanges.

    Attributes:
        chosen: the filter.
        key: the ordering key that is looked for, "" for any.
        key_problem: why exchanges cannot be found by their key; "" where they can.
        ignored: members of the query that restrict nothing, because they are no numbers.
        is_filtered: any filter but the time range is set.
        older: the query of the next page; "" at the end.
        searched_to: time at which the search for this page ended early; None where it did not.
        export: the query of the selection, without the page.
        exports: formats of an export; none where the journal is not on this machine.
    """

    lines: tuple[JournalLine, ...]
    chosen: ComparisonFilter
    key: str
    key_problem: str
    ignored: tuple[str, ...]
    is_filtered: bool
    routes: tuple[str, ...]
    verdicts: tuple[str, ...]
    sides: tuple[str, ...]
    older: str
    searched_to: dt.datetime | None
    export: str
    exports: tuple[str, ...]


async def read(request: ScreenRequest) -> JournalDocument:
    """Read a page.

    Raises:
        StoreUnavailableError: the store does not answer.
    """
    query, settings = request.query, request.settings
    key = query.get("key", "").strip()[:KEY_CHARS_MAX]
    digests = await asyncio.to_thread(key_digests, request.reader, key) if key else None
    chosen = filter_of(query, digests)
    before = parsed_time(query.get("before")) or request.now + dt.timedelta(days=1)
    found = await _page(request.reader, chosen, request.since, (before, query.get("id") or LAST_ID), PAGE_SIZE + 1)
    lines, older = found.lines[:PAGE_SIZE], found.searched_to
    if len(found.lines) > PAGE_SIZE:
        older = lines[-1].served_at, lines[-1].exchange_id
    selection = {name: value for name, value in query.items() if name not in {"before", "id"}}
    return JournalDocument(
        lines=tuple(_line(one) for one in lines),
        chosen=chosen,
        key=key,
        key_problem=""
        if not key or digests
        else "the key of the journal, by which keys are found, is not on this machine",
        ignored=ignored_members(query),
        is_filtered=chosen != ComparisonFilter(),
        routes=tuple(route.name for route in settings.routes),
        verdicts=tuple(verdict.value for verdict in Verdict),
        sides=tuple(side.value for side in Side),
        older=urlencode({**selection, "before": older[0].isoformat(), "id": older[1]}) if older else "",
        searched_to=found.searched_to[0] if found.searched_to else None,
        export=urlencode(selection),
        exports=tuple(FORMATS) if journal_exists(settings.journal) else (),
    )


def _line(one: ComparisonLine) -> JournalLine:
    verdict = Verdict(one.verdict)
    if verdict is Verdict.FAILED:
        return JournalLine(one, TONES[verdict], "")
    gap = not_compared_text(rows_compared=one.effects_compared, left_out=one.left_out)
    return JournalLine(one, "few" if verdict is Verdict.MATCH and one.left_out else TONES[verdict], gap)


async def _page(
    reader: InstallationReader,
    chosen: ComparisonFilter,
    since: dt.datetime,
    before: tuple[dt.datetime, str],
    limit: int,
) -> ComparisonPage:
    async with reader.store.connection() as conn:
        return await queries.comparison_page(conn, chosen, since=since, before=before, limit=limit)


def key_digests(reader: InstallationReader, key: str) -> tuple[int, ...]:
    """Return the digests by which the store knows an ordering key, one for each key of the journal; none without one. Blocks."""
    keys = available_keys(Path(reader.settings.journal.directory), reader.environ)
    return tuple(digest_key(key.lower(), one.digest) for one in keys or ())


def ignored_members(query: Mapping[str, str]) -> tuple[str, ...]:
    """Return the members of a query that should be numbers and are not, e.g. `status=abc`."""
    return tuple(
        f"{name}={query[name][:40]}"
        for name, digits_max in (("status", 3), ("slower_ms", 8))
        if query.get(name) and not (query[name].isdecimal() and len(query[name]) <= digits_max)
    )


def filter_of(query: Mapping[str, str], digests: tuple[int, ...] | None = None) -> ComparisonFilter:
    """Return the filter that a query chooses; `ignored_members` do not restrict anything."""
    status, slow = query.get("status", ""), query.get("slower_ms", "")
    return ComparisonFilter(
        route=query.get("route", ""),
        verdict=query.get("verdict", ""),
        served_by=query.get("served_by", ""),
        status=int(status) if status.isdecimal() and len(status) <= 3 else None,
        served_us_min=int(slow) * 1000 if slow.isdecimal() and len(slow) <= 8 else 0,
        exchange_id=query.get("exchange", "").strip(),
        key_digests=digests,
    )


# Export.


async def export(request: web.Request) -> web.Response:
    """Respond with the newest exchanges of a selection as a file, as far as the journal still has them; secrets are always redacted."""
    reader, now = request.app[UI].reader, dt.datetime.now(dt.UTC)
    name = request.match_info["format"]
    try:
        recorded = await _selected(reader, request.query, now)
        body = await asyncio.to_thread(_written, name, recorded)
    except ScreenNotFoundError as error:
        raise web.HTTPNotFound(text=str(error)) from error
    fields = {"Content-Disposition": f'attachment; filename="journal-{now:%Y%m%d-%H%M%S}.{name}"'}
    return web.Response(body=body, content_type=FORMATS[name], headers=fields)


async def _selected(
    reader: InstallationReader, query: Mapping[str, str], now: dt.datetime
) -> Sequence[RecordedExchange]:
    """Return the exchanges of a selection, oldest first.

    Raises:
        ScreenNotFoundError: the journal is not on this machine, or it has none of them.
    """
    settings = reader.settings
    if not journal_exists(settings.journal):
        raise ScreenNotFoundError(f"there is no journal in {settings.journal.directory} on this machine")
    key = query.get("key", "").strip()[:KEY_CHARS_MAX]
    digests = await asyncio.to_thread(key_digests, reader, key) if key else None
    since = now - SPANS[span_of(query)]
    page = await _page(reader, filter_of(query, digests), since, (now + dt.timedelta(days=1), LAST_ID), EXPORT_MAX)
    if not page.lines:
        raise ScreenNotFoundError("nothing is selected")
    oldest_ns = int(page.lines[-1].served_at.timestamp() * 1_000_000_000)
    ids = {line.exchange_id for line in page.lines}
    recorded = await asyncio.to_thread(lambda: list(_recorded(settings, reader.environ, ids, oldest_ns)))
    if not recorded:
        raise ScreenNotFoundError(f"the journal has none of the {number(len(ids))} selected exchanges any more")
    return recorded


def _recorded(
    settings: Settings, environ: Mapping[str, str], ids: set[str], since_ns: int
) -> Iterator[RecordedExchange]:
    """Yield the exchanges with these ids, redacted; what cannot be read is left out. Blocks."""
    directory = Path(settings.journal.directory)
    keys = load_keys(directory, environ)
    redactor = JournalRedactor(settings.journal.redaction, keys.active)
    missing = set(ids)
    for item in journal.read(directory, keys, redactor, since_ns=since_ns):
        if isinstance(item, RecordedExchange) and item.id in missing:
            missing.remove(item.id)
            yield item
            if not missing:
                return


def _written(name: str, recorded: Sequence[RecordedExchange]) -> bytes:
    body = bytearray()
    for piece in WRITERS[name](recorded):
        body += piece
        if len(body) > EXPORT_MAX_BYTES:
            raise ScreenNotFoundError(
                f"the selection has more than {EXPORT_MAX_BYTES // 1024**2} MiB; narrow it, or use `shadow journal export`"
            )
    return bytes(body)
