"""Show one stored example: the comparison of its observations under the rules in force, aligned for people. Pure, but slow (milliseconds).

The example is redacted as a whole, so nothing else has to be left out here. Tolerances do not apply to redacted values, so a redacted place
may differ here that does not in the stored verdict.
"""

import datetime as dt
import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from comparator.exchanges.comparison import Comparison, places_by_rule
from comparator.exchanges.difference import Kind
from comparator.exchanges.json_values import ABSENT
from comparator.exchanges.model import Failed, HeaderList, Observation, Response, Side
from comparator.exchanges.visible_text import visible
from comparator.findings.cases import Case, OpenedCase, open_case
from comparator.responses.bodies import BodyKind, UnreadableBody, decode, kind_of, structure_of
from comparator.store.timeline import Timeline
from comparator.verdict import Comparator
from proxy.ui.json_view import JsonView, json_view, response_marks
from proxy.ui.marked_text import cut
from proxy.ui.row_view import RowsView, rows_view
from proxy.ui.rule_words import RuleWords, rules_in_words, words_of

RAW_CHARS_MAX: Final = 100_000
HEADERS_MAX: Final = 100
HEADER_CHARS_MAX: Final = 500
BODY_CHARS_MAX: Final = 2_000
RULES_MAX: Final = 50


@dataclass(frozen=True, slots=True)
class HeaderLine:
    """One header of both responses.

    Attributes:
        candidate: its value, None where it is absent.
        mark: differs, equal, or ignored: it differs and is not compared.
    """

    name: str
    candidate: str | None
    legacy: str | None
    mark: str


@dataclass(frozen=True, slots=True)
class SideText:
    """One side's observation in figures and words.

    Attributes:
        role: served or mirrored.
        status: "200", or why there is no response.
        raw: its body as text, shortened.
        size: bytes of the body as recorded.
        changes: row changes.
    """

    side: str
    role: str
    status: str
    duration_us: int
    size: int
    raw: str
    changes: int


@dataclass(frozen=True, slots=True)
class RequestText:
    """The request, redacted: the line, the headers, the body, and a command that sends it again."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: str
    curl: str


@dataclass(frozen=True, slots=True)
class RuleUse:
    """A rule that matched, and its places."""

    rule: str
    words: str
    places: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CaseView:
    """One example, aligned.

    Attributes:
        verdict: under the rules in force; it may differ from the stored one when rules have changed since.
        candidate: what the candidate did.
        legacy: what the legacy did.
        status_differs: the status codes differ.
        body: both bodies aligned.
        headers: headers of both responses.
        rows: committed rows.
        rules: the rules that matched.
    """

    exchange: str
    route: str
    stage: str
    started_at: dt.datetime
    served_by: str
    verdict: str
    confirmed: bool | None
    request: RequestText
    candidate: SideText
    legacy: SideText
    status_differs: bool
    body: JsonView
    headers: tuple[HeaderLine, ...]
    rows: RowsView
    rules: tuple[RuleUse, ...]


_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def compare_opened(
    comparator: Comparator, opened: OpenedCase, timeline: Timeline | None, now: dt.datetime
) -> Comparison:
    """Compare an example under the rules in force, at the distance in time that both sides really had."""
    mirrored = opened.mirrored
    if timeline is not None and not mirrored.started_ns:
        # Earlier versions stored when the mirrored side began in the timeline alone.
        mirrored = replace(mirrored, started_ns=opened.exchange.started_ns + timeline.first.sent_us * 1_000)
    return comparator.compare(
        opened.route,
        opened.served,
        mirrored,
        now=now,
        request=opened.exchange.request,
        key=opened.exchange.key,
    )


def case_view(case: Case, comparator: Comparator, *, timeline: Timeline | None, now: dt.datetime) -> CaseView:
    """Show an example.

    Args:
        case: the example, redacted.
        comparator: with the rules in force.
        timeline: of its exchange, None where it is not stored any more.
        now: aware time, by which rules expire.

    Raises:
        CaseError: the example is damaged.
    """
    opened = open_case(case)
    comparison = compare_opened(comparator, opened, timeline, now)
    words = rules_in_words(comparator.settings)
    sides = {opened.served.side: opened.served, opened.mirrored.side: opened.mirrored}
    documents = [_document(one, comparator, opened.route) for one in (opened.served, opened.mirrored)]
    body = json_view(
        documents[0],
        documents[1],
        response_marks(comparison, words),
        served_by=opened.served.side,
        is_document=ABSENT not in documents,
    )
    rows = rows_view(
        comparison, opened.served, opened.mirrored, comparator.rows_by_key(opened.served, opened.mirrored), words
    )
    return CaseView(
        exchange=opened.exchange.id,
        route=opened.route,
        stage=opened.exchange.stage,
        started_at=_EPOCH + dt.timedelta(microseconds=case.started_ns // 1_000),
        served_by=opened.served.side,
        verdict=comparison.verdict,
        confirmed=comparison.confirmed,
        request=_request_text(case),
        candidate=_side_text(sides[Side.CANDIDATE]),
        legacy=_side_text(sides[Side.LEGACY]),
        status_differs=any(difference.kind is Kind.STATUS for difference in comparison.differences),
        body=body,
        headers=_headers(sides, comparator.rules_of(opened.route).headers),
        rows=rows,
        rules=_rule_uses(comparison, words),
    )


def _document(observation: Observation, comparator: Comparator, route: str) -> object:
    """Return the body of a response as the comparator parses it; ABSENT where that is not a document."""
    outcome = observation.outcome
    if isinstance(outcome, Failed) or outcome.body_truncated:
        return ABSENT
    body = decode(outcome, comparator.settings.body_max_bytes)
    if isinstance(body, UnreadableBody) or len(body) > comparator.settings.body_max_bytes:
        return ABSENT
    kind = kind_of(outcome, body, comparator.rules_of(route).body_kind)
    document = structure_of(kind, outcome, body)
    return ABSENT if isinstance(document, UnreadableBody) or kind in {BodyKind.BINARY, BodyKind.EMPTY} else document


def _side_text(observation: Observation) -> SideText:
    outcome = observation.outcome
    status, size, raw = "", 0, ""
    match outcome:
        case Failed(cause, detail):
            status, raw = str(cause), detail
        case Response(code, _, body, _):
            status, size = str(code), len(body)
            raw = visible(cut(_pretty(body), RAW_CHARS_MAX), lines=True)
    changes = sum(len(transaction.changes) for transaction in observation.effects.transactions)
    return SideText(observation.side, observation.role, status, observation.duration_ns // 1_000, size, raw, changes)


def _pretty(body: bytes) -> str:
    text = body.decode("utf-8", "backslashreplace")
    try:
        return json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        return text


def _request_text(case: Case) -> RequestText:
    request = case.request
    headers = tuple(
        (visible(name), visible(cut(value, HEADER_CHARS_MAX))) for name, value in request.headers[:HEADERS_MAX]
    )
    body = request.body.text if request.body.text is not None else f"(base64) {request.body.base64}"
    return RequestText(
        visible(request.method),
        visible(request.target),
        headers,
        visible(cut(body, BODY_CHARS_MAX), lines=True),
        curl_of(case),
    )


_NOT_FOR_CURL: Final = frozenset(
    {"host", "content-length", "connection", "transfer-encoding", "x-request-id", "traceparent", "via", "forwarded"}
)


def curl_of(case: Case) -> str:
    """Return a command that sends the redacted request again; secrets are to be put in by hand."""
    request = case.request
    host = next((value for name, value in request.headers if name.lower() == "host"), "localhost")
    parts = ["curl", "-X", request.method]
    for name, value in request.headers:
        if name.lower() not in _NOT_FOR_CURL and not name.lower().startswith("x-forwarded"):
            parts += ["-H", f"{name}: {value}"]
    if request.body.text:
        parts += ["--data-binary", request.body.text]
    parts.append(f"http://{host}{request.target}")
    return cut(" ".join(shlex.quote(part) for part in parts), RAW_CHARS_MAX)


def _headers(sides: Mapping[Side, Observation], compared: frozenset[str]) -> tuple[HeaderLine, ...]:
    by_side = [_by_name(sides[side]) for side in (Side.CANDIDATE, Side.LEGACY)]
    lines: list[HeaderLine] = []
    for name in sorted({*by_side[0], *by_side[1]})[:HEADERS_MAX]:
        candidate, legacy = by_side[0].get(name), by_side[1].get(name)
        mark = "equal" if candidate == legacy else "differs" if name in compared else "ignored"
        lines.append(HeaderLine(name, candidate, legacy, mark))
    order = ("differs", "ignored", "equal")
    return tuple(sorted(lines, key=lambda line: (order.index(line.mark), line.name)))


def _by_name(observation: Observation) -> dict[str, str]:
    outcome = observation.outcome
    headers: HeaderList = outcome.headers if isinstance(outcome, Response) else ()
    values: dict[str, str] = {}
    for name, value in headers:
        lower = name.lower()
        values[lower] = visible(cut(f"{values[lower]}, {value}" if lower in values else value, HEADER_CHARS_MAX))
    return values


def _rule_uses(comparison: Comparison, words: Mapping[str, RuleWords]) -> tuple[RuleUse, ...]:
    uses = list(places_by_rule(comparison).items())[:RULES_MAX]
    return tuple(RuleUse(rule, words_of(words, rule).line, _few(places)) for rule, places in uses)


def _few(places: Sequence[str], limit: int = 8) -> tuple[str, ...]:
    shown = tuple(cut(place, 120) for place in places[:limit])
    return shown if len(places) <= limit else (*shown, f"{len(places) - limit:,} more")


def values_at(comparison: Comparison, place: str) -> tuple[str, str, str, tuple[object, object]] | None:
    """Return table, column, path and both values of the difference at a place; None where nothing differs there."""
    for difference in comparison.differences:
        if difference.place == place:
            path = difference.place
            if difference.table:
                path = path.removeprefix(f"{difference.table}.{difference.column}").removeprefix(".")
            return difference.table, difference.column, path, (difference.served, difference.mirrored)
    return None
