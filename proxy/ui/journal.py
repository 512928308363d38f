"""The journal screen: the exchanges that were compared, newest first, filtered and page by page."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlencode

from comparator.exchanges.comparison import Verdict
from comparator.exchanges.model import Side
from comparator.store import queries
from comparator.store.rows import ComparisonFilter, ComparisonLine
from proxy.ui.screens import ScreenRequest
from proxy.ui.words import parsed_time

PAGE_SIZE: Final = 50
LAST_ID: Final = "\U0010ffff"
"""Greater than every id: the first page begins before it."""
TONES: Final = {
    Verdict.MATCH: "good",
    Verdict.KNOWN: "sup",
    Verdict.MISMATCH: "bad",
    Verdict.TRANSIENT: "few",
    Verdict.FAILED: "few",
}


@dataclass(frozen=True, slots=True)
class JournalLine:
    """One exchange, with the tone of its verdict."""

    comparison: ComparisonLine
    tone: str


@dataclass(frozen=True, slots=True)
class JournalDocument:
    """A page of exchanges.

    Attributes:
        chosen: the filter.
        is_filtered: any filter but the time range is set.
        older: the query of the next page; "" at the end.
    """

    lines: tuple[JournalLine, ...]
    chosen: ComparisonFilter
    is_filtered: bool
    routes: tuple[str, ...]
    verdicts: tuple[str, ...]
    sides: tuple[str, ...]
    older: str


async def read(request: ScreenRequest) -> JournalDocument:
    """Read a page.

    Raises:
        StoreUnavailableError: the store does not answer.
    """
    chosen = filter_of(request.query)
    before = parsed_time(request.query.get("before")) or request.now + dt.timedelta(days=1)
    last_id = request.query.get("id") or LAST_ID
    async with request.reader.store.connection() as conn:
        found = await queries.comparison_page(
            conn, chosen, since=request.since, before=(before, last_id), limit=PAGE_SIZE + 1
        )
    page = found[:PAGE_SIZE]
    older = ""
    if len(found) > PAGE_SIZE:
        last = page[-1]
        older = urlencode({**request.query, "before": last.served_at.isoformat(), "id": last.exchange_id})
    return JournalDocument(
        tuple(JournalLine(one, TONES[Verdict(one.verdict)]) for one in page),
        chosen,
        chosen != ComparisonFilter(),
        tuple(route.name for route in request.settings.routes),
        tuple(verdict.value for verdict in Verdict),
        tuple(side.value for side in Side),
        older,
    )


def filter_of(query: Mapping[str, str]) -> ComparisonFilter:
    """Return the filter that a query chooses; what is not a number does not restrict anything."""
    status, slow = query.get("status", ""), query.get("slower_ms", "")
    return ComparisonFilter(
        route=query.get("route", ""),
        verdict=query.get("verdict", ""),
        served_by=query.get("served_by", ""),
        status=int(status) if status.isdigit() and len(status) == 3 else None,
        served_us_min=int(slow) * 1000 if slow.isdigit() and len(slow) < 9 else 0,
        exchange_id=query.get("exchange", "").strip(),
    )
