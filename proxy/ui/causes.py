"""The causes screens: the list with its facets, one cause with its examples, one finding, and the lines for config.yaml."""

import asyncio
import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypedDict

from comparator.findings.cases import Case, OpenedCase, dump, open_case
from comparator.findings.rule_trial import RuleTrial, try_rules
from comparator.postgres import Connection
from comparator.stats.confidence import Interval, rate_interval
from comparator.store import cause_activity, causes, queries
from comparator.store.cause_activity import CauseActivity, ComparedActivity
from comparator.store.rows import CauseRow, ComparisonRow, Finding
from comparator.verdict import Comparator
from proxy.ui.case_view import CaseView, case_view, compare_opened, values_at
from proxy.ui.cause_list import (
    NO_ACTIVITY,
    CauseActivityText,
    Facet,
    ListedCause,
    cause_line,
    facets_of,
    filters_of,
    matches,
    ordered,
    page_of,
)
from proxy.ui.config_patch import ConfigPatch, Declaration, known_patch, rule_patch
from proxy.ui.screens import ScreenNotFoundError, ScreenRequest

BINS_MAX: Final = 30
CAUSES_MAX: Final = 2_000
FINDINGS_MAX: Final = 1_000
EXAMPLES_MAX: Final = 5
TRIAL_EXAMPLES_MAX: Final = 20
LONG_AGO: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
GATE_LIMIT: Final = 0.001


@dataclass(frozen=True, slots=True)
class Range:
    """The time range of a screen, in bins of `bin_s` seconds, with what was compared in it.

    Attributes:
        since: its begin.
        bins: comparisons by bin.
        by_side: comparisons by serving side.
        mismatches: exchanges that differ.
        rows_compared: comparisons of the rows of all tables; `rows_in_part` those without the rows of some, the others are of responses alone.
        interval: of the mismatch rate; it holds at all times at once, with 99 %.
        routes: routes with a comparison.
        keys: different keys of all comparisons that are kept.
    """

    since: dt.datetime
    bin_s: int
    compared: int
    mismatches: int
    rows_compared: int
    rows_in_part: int
    interval: Interval
    bins: tuple[int, ...]
    by_side: Mapping[str, int]
    routes: tuple[str, ...]
    keys: int


@dataclass(frozen=True, slots=True)
class CausesDocument:
    """The list of causes.

    Attributes:
        causes: one page of those that match.
        total: causes that match.
        all: causes of all states.
        facets: properties to filter by.
        filters: number of filters beside the default ones.
        text: the text that is looked for.
        states: number of causes by state.
        after: the id to page from; "" at the end.
        findings: findings of the causes that match.
        unattributed: exchanges whose causes are not solved yet.
        exchange: id of an exchange that the text names, "" for none.
    """

    range: Range
    causes: tuple[ListedCause, ...]
    total: int
    all: int
    facets: tuple[Facet, ...]
    filters: int
    text: str
    states: Mapping[str, int]
    new: int
    with_rows: int
    after: str
    findings: int
    unattributed: int
    exchange: str
    routes_configured: int


class _Span(TypedDict):
    since: dt.datetime
    until: dt.datetime
    bin_length: dt.timedelta


@dataclass(frozen=True, slots=True)
class _Bins:
    """The bins of a range, by their begins."""

    since: dt.datetime
    length: dt.timedelta
    begins: tuple[dt.datetime, ...]

    @classmethod
    def of(cls, request: ScreenRequest) -> "_Bins":
        span = request.now - request.since
        length = cause_activity.bin_length_of(span, bins_max=BINS_MAX, age=span)
        # (what was compared is counted by minute, so the range begins with one)
        since = request.since.replace(second=0, microsecond=0)
        count = -(-(request.now - since) // length)
        return cls(since, length, tuple([since + number * length for number in range(count)]))

    def span(self, now: dt.datetime) -> "_Span":
        """Return the arguments of queries; they end behind the present minute, because clocks differ."""
        return {"since": self.since, "until": now + dt.timedelta(minutes=1), "bin_length": self.length}

    def sums(self, counts: Mapping[dt.datetime, int]) -> tuple[int, ...]:
        """Return the counts by bin, with zeros."""
        return tuple([counts.get(begins, 0) for begins in self.begins])


def _activity_text(activity: CauseActivity | None, bins: _Bins) -> CauseActivityText:
    if activity is None:
        return NO_ACTIVITY
    return CauseActivityText(bins.sums(activity.bins), dict(activity.by_side), dict(activity.by_stage))


def _range(activity: ComparedActivity, bins: _Bins, keys: int) -> Range:
    interval = rate_interval(activity.mismatches, activity.compared, alpha=0.01)
    return Range(
        bins.since,
        int(bins.length.total_seconds()),
        activity.compared,
        activity.mismatches,
        activity.rows_compared,
        activity.rows_in_part,
        interval,
        bins.sums(activity.bins),
        dict(activity.by_side),
        tuple(sorted(activity.by_route)),
        keys,
    )


async def read(request: ScreenRequest) -> CausesDocument:
    """Read the list of causes."""
    bins, filters = _Bins.of(request), filters_of(request.query)
    span = bins.span(request.now)
    async with request.reader.store.connection() as conn:
        listed = await causes.causes(conn, all_causes=True, limit=CAUSES_MAX)
        activity = await cause_activity.cause_activity(conn, **span)
        compared = await cause_activity.compared_activity(conn, **span)
        tables = await cause_activity.tables_by_cause(conn)
        keys = await cause_activity.keys_seen(conn)
        exchange = await _exchange_named(conn, filters.text)
    whole = _range(compared, bins, keys)
    lines = [
        cause_line(
            cause,
            _activity_text(activity.get(cause.id), bins),
            whole.bins,
            tables.get(cause.id, ()),
            since=bins.since,
            now=request.now,
        )
        for cause in listed.causes
        if cause.exchanges
    ]
    matching = ordered(line for line in lines if matches(line, filters))
    shown, after = page_of(matching, request.query.get("after", ""))
    states: dict[str, int] = {}
    for line in lines:
        states[line.state] = states.get(line.state, 0) + 1
    return CausesDocument(
        range=whole,
        causes=tuple(shown),
        total=len(matching),
        all=len(lines),
        facets=facets_of(lines, filters),
        filters=filters.count,
        text=filters.text,
        states=states,
        new=states.get("new", 0),
        with_rows=sum(line.open and any("row only" in token.what for token in line.tokens) for line in lines),
        after=after,
        findings=sum(line.findings for line in matching),
        unattributed=listed.unattributed,
        exchange=exchange,
        routes_configured=len(request.settings.routes),
    )


async def _exchange_named(conn: Connection, text: str) -> str:
    """Return the id of the exchange that a filter names as a whole, "" for none."""
    if not text:
        return ""
    found = await queries.comparisons(conn, since=LONG_AGO, exchange_id=text, limit=1)
    return found[0].exchange_id if found else ""


# One cause.


@dataclass(frozen=True, slots=True)
class CauseDocument:
    """One cause.

    Attributes:
        cause: as the list shows it.
        stored_state: the state as it is stored.
        range: what was compared in the time range.
        by_side: its exchanges in the range by serving side.
        keys_of_routes: different keys of its routes.
        example: the chosen example, None where none is stored.
        number: of the example, from 1 on.
        examples: ids of the exchanges of all examples.
        comparison: the stored comparison of the example's exchange, None where it is not kept any more.
        findings: its findings.
        alone: no other cause is in the example's exchange.
    """

    cause: ListedCause
    stored_state: str
    range: Range
    by_side: Mapping[str, int]
    keys_of_routes: int
    example: CaseView | None
    number: int
    examples: tuple[str, ...]
    comparison: ComparisonRow | None
    findings: tuple[Finding, ...]
    former_ids: tuple[str, ...]
    gone_in: str
    last_release: str
    alone: bool


async def read_one(request: ScreenRequest) -> CauseDocument:
    """Read one cause with one of its examples.

    Raises:
        UnknownCauseError: no cause has this id.
    """
    bins, identity = _Bins.of(request), request.path["id"]
    span = bins.span(request.now)
    async with request.reader.store.connection() as conn:
        cause = await causes.cause(conn, identity)
        activity = (await cause_activity.cause_activity(conn, **span, cause=cause.id)).get(cause.id)
        compared = await cause_activity.compared_activity(conn, **span)
        keys = await cause_activity.keys_seen(conn, routes=cause.routes)
        findings = await queries.findings(conn, ids=cause.findings, limit=FINDINGS_MAX)
        cases = await causes.cases_of(conn, cause, limit=EXAMPLES_MAX)
        number = min(max(1, _int(request.query.get("example"), 1)), max(1, len(cases)))
        chosen = cases[number - 1] if cases else None
        comparison = await _comparison_of(conn, chosen)
        others = await cause_activity.causes_of_set(conn, comparison.finding_set) if comparison else ()
    example = await _viewed(request, chosen, comparison)
    whole = _range(compared, bins, keys)
    text = _activity_text(activity, bins)
    tables = sorted(
        {finding.place.partition(".")[0] for finding in findings if "row" in finding.kind or finding.kind == "column"}
    )
    return CauseDocument(
        cause=cause_line(cause, text, whole.bins, tables, since=bins.since, now=request.now),
        stored_state=cause.state,
        range=whole,
        by_side=text.by_side,
        keys_of_routes=keys,
        example=example,
        number=number,
        examples=tuple(case.exchange for case in cases),
        comparison=comparison,
        findings=findings,
        former_ids=cause.former_ids,
        gone_in=cause.gone_in,
        last_release=cause.last_release,
        alone=len(others) <= 1,
    )


def _int(text: str | None, default: int) -> int:
    return int(text) if text and text.isascii() and text.isdigit() else default


async def _comparison_of(conn: Connection, case: Case | None) -> ComparisonRow | None:
    if case is None:
        return None
    # (an example of a replay has no start, and its comparison is not in the store)
    found = await queries.comparisons(conn, since=LONG_AGO, exchange_id=case.exchange, limit=1)
    return found[0] if found else None


async def _viewed(request: ScreenRequest, case: Case | None, comparison: ComparisonRow | None) -> CaseView | None:
    """Show an example, off the event loop: comparing large bodies takes seconds."""
    if case is None:
        return None
    comparator = Comparator(request.settings.compare)
    timeline = comparison.timeline if comparison is not None else None
    return await asyncio.to_thread(case_view, case, comparator, timeline=timeline, now=request.now)


# One finding.


@dataclass(frozen=True, slots=True)
class FindingDocument:
    """One finding with its examples."""

    finding: Finding
    where: str
    what: str
    example: CaseView | None
    number: int
    examples: tuple[str, ...]


async def read_finding(request: ScreenRequest) -> FindingDocument:
    """Read one finding with one of its examples.

    Raises:
        UnknownFindingError: no finding has this id.
    """
    async with request.reader.store.connection() as conn:
        finding = await queries.finding(conn, request.path["id"])
        cases = await queries.exemplars(conn, finding.id)
        number = min(max(1, _int(request.query.get("example"), 1)), max(1, len(cases)))
        chosen = cases[number - 1] if cases else None
        comparison = await _comparison_of(conn, chosen)
    example = await _viewed(request, chosen, comparison)
    exchanges = tuple(case.exchange for case in cases)
    return FindingDocument(finding, finding.where, finding.what, example, number, exchanges)


# Lines for config.yaml.


@dataclass(frozen=True, slots=True)
class PatchDocument:
    """Lines for config.yaml, and their effect on stored examples.

    Attributes:
        ids: the causes that it is about.
        titles: their titles.
        place: the place of a rule, "" for known differences.
        trial: the effect on stored examples, None where it could not be tried.
    """

    ids: tuple[str, ...]
    titles: tuple[str, ...]
    place: str
    words: Declaration
    patch: ConfigPatch
    trial: RuleTrial | None
    route: str = ""
    values: tuple[str, str] = ("", "")


async def read_known(request: ScreenRequest) -> PatchDocument:
    """Read what declares causes as known.

    Raises:
        UnknownCauseError: no cause has one of the ids.
    """
    ids = tuple(dict.fromkeys(one for one in request.query.get("ids", "").split(",") if one))[:50]
    if not ids:
        nothing = ConfigPatch("", None, "no cause is selected: select some in the list of causes")
        return PatchDocument((), (), "", Declaration(), nothing, None)
    async with request.reader.store.connection() as conn:
        rows = [await causes.cause(conn, identity) for identity in ids]
        cases = [case for row in rows for case in await causes.cases_of(conn, row, limit=TRIAL_EXAMPLES_MAX)]
    words = _declaration(request.query)
    tokens = [shown.token for row in rows for shown in (*row.body.always, *row.body.sometimes)]
    routes = {route for row in rows for route in row.routes}
    patch = known_patch(request.settings.compare, [row.title for row in rows], tokens, routes, words)
    trial = await _tried(request, patch, cases)
    return PatchDocument(tuple(row.id for row in rows), tuple(row.title for row in rows), "", words, patch, trial)


async def read_rule(request: ScreenRequest) -> PatchDocument:
    """Read a rule that allows the difference at one place of an example.

    Raises:
        UnknownCauseError: no cause has this id.
        ScreenNotFoundError: no stored example differs at the place.
    """
    place = request.query.get("place", "")
    async with request.reader.store.connection() as conn:
        cause = await causes.cause(conn, request.path["id"])
        cases = await causes.cases_of(conn, cause, limit=TRIAL_EXAMPLES_MAX)
    found = await asyncio.to_thread(_difference_at, request, cases, place)
    if found is None:
        raise ScreenNotFoundError(f"no stored example of cause {cause.id} differs at {place[:200]!r}")
    route, (table, column, path, values) = found
    words = _declaration(request.query)
    patch = rule_patch(request.settings.compare, route, path, table=table, column=column, values=values, words=words)
    trial = await _tried(request, patch, cases)
    return PatchDocument((cause.id,), (cause.title,), place, words, patch, trial, route=route)


def _difference_at(
    request: ScreenRequest, cases: Sequence[Case], place: str
) -> tuple[str, tuple[str, str, str, tuple[object, object]]] | None:
    comparator = Comparator(request.settings.compare)
    for case in cases:
        comparison = compare_opened(comparator, open_case(case), None, request.now)
        found = values_at(comparison, place)
        if found is not None:
            return case.route, found
    return None


async def _tried(request: ScreenRequest, patch: ConfigPatch, cases: Sequence[Case]) -> RuleTrial | None:
    """Compare the examples with and without the change, off the event loop."""
    after = patch.compare
    if after is None:
        return None
    opened: list[OpenedCase] = [open_case(case) for case in {case.exchange: case for case in cases}.values()]

    def tried() -> RuleTrial:
        return try_rules(Comparator(request.settings.compare), Comparator(after), opened, now=request.now)

    return await asyncio.to_thread(tried)


def _declaration(query: Mapping[str, str]) -> Declaration:
    try:
        expires = dt.date.fromisoformat(query.get("expires", ""))
    except ValueError:
        expires = None
    words = {name: query.get(name, "").strip()[:500] for name in ("owner", "reason", "ticket")}
    return Declaration(words["owner"], words["reason"], words["ticket"], expires)


async def exported_case(conn: Connection, identity: str, number: int) -> tuple[str, bytes]:
    """Return the id of the exchange of an example of a cause, and the example as a file that `shadow compare` reads.

    Raises:
        UnknownCauseError: no cause has this id.
        ScreenNotFoundError: it has no such example.
    """
    cause: CauseRow = await causes.cause(conn, identity)
    cases = await causes.cases_of(conn, cause, limit=EXAMPLES_MAX)
    if not 1 <= number <= len(cases):
        raise ScreenNotFoundError(f"cause {cause.id} has {len(cases)} examples; there is no number {number}")
    return cases[number - 1].exchange, dump(cases[number - 1]) + b"\n"
