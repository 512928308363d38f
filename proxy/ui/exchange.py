"""The screen of one exchange: when each step happened, both responses and rows, and its outcome in words."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from comparator.exchanges.comparison import Verdict
from comparator.store import cause_activity, causes, queries
from comparator.store.rows import ComparisonRow
from comparator.verdict import Comparator
from proxy.ui.case_view import CaseView, case_view
from proxy.ui.causes import LONG_AGO
from proxy.ui.outcome_words import OutcomeText, outcome_of
from proxy.ui.screens import ScreenNotFoundError, ScreenRequest
from proxy.ui.timeline_view import TimelineView, timeline_view

DIFFERENCES_SHOWN: Final = 50


@dataclass(frozen=True, slots=True)
class DifferenceLine:
    """One stored difference: its place, the natural key of its row, and both sides' values as text."""

    kind: str
    place: str
    key: str
    candidate: str
    legacy: str
    known: str = ""


@dataclass(frozen=True, slots=True)
class ExchangeDocument:
    """One exchange.

    Attributes:
        outcome: in words.
        causes: ids and titles of the causes in it.
        trace_id: W3C trace id.
        differences: stored differences, at most DIFFERENCES_SHOWN.
        more: differences that are not shown.
        example: both observations, None unless the exchange is an example of a finding.
        others: other exchanges with this id.
    """

    comparison: ComparisonRow
    outcome: OutcomeText
    causes: Mapping[str, str]
    trace_id: str
    timeline: TimelineView
    differences: tuple[DifferenceLine, ...]
    more: int
    example: CaseView | None
    others: int = 0


async def read(request: ScreenRequest) -> ExchangeDocument:
    """Read one exchange.

    Raises:
        ScreenNotFoundError: no comparison of it is stored.
    """
    identity = request.path["id"]
    async with request.reader.store.connection() as conn:
        found = await queries.comparisons(conn, since=LONG_AGO, exchange_id=identity, limit=10)
        if not found:
            raise ScreenNotFoundError(
                f"no comparison of exchange {identity[:200]!r} is stored: it was not compared (shadow status counts why), is in flight, or "
                f"is older than store.retention_days"
            )
        row = found[0]
        case = await cause_activity.example_of_exchange(conn, identity)
        ids = await cause_activity.causes_of_set(conn, row.finding_set) if row.finding_set else ()
        titles = await causes.titles(conn, ids)
    example = None
    if case is not None:
        comparator = Comparator(request.settings.compare)
        example = await asyncio.to_thread(case_view, case, comparator, timeline=row.timeline, now=request.now)
    candidate_serves = row.served_by == "candidate"
    known = [(text, f"known: {text.reason}") for text in row.detail.known]
    texts = [(text, "") for text in row.detail.differences] + known
    lines = [
        DifferenceLine(
            text.kind,
            text.place,
            text.key,
            text.served if candidate_serves else text.mirrored,
            text.mirrored if candidate_serves else text.served,
            words,
        )
        for text, words in texts[:DIFFERENCES_SHOWN]
    ]
    return ExchangeDocument(
        comparison=row,
        outcome=outcome_of(
            Verdict(row.verdict),
            row.cause,
            confirmed=row.confirmed,
            rows_compared=row.effects_compared,
            left_out=row.left_out,
        ),
        causes={
            identity: f"{titles[identity].where} {titles[identity].what}" for identity in ids if identity in titles
        },
        trace_id=(row.timeline.trace_id or row.exchange_id) if row.timeline is not None else "",
        timeline=timeline_view(row),
        differences=tuple(lines),
        more=max(0, len(texts) - len(lines)) + row.detail.omitted,
        example=example,
        others=len(found) - 1,
    )
