"""Compare two responses: status, the compared headers, and the body by its kind. Pure.

Bytes are compared first. The structural comparison parses only what differs as bytes.
"""

from dataclasses import dataclass
from itertools import compress
from operator import ne
from typing import Final

from comparator.exchanges.difference import BY_GRAMMAR, Difference, Kind, RuleHit
from comparator.exchanges.json_values import ABSENT, Digest, TruncatedBody, digest_of
from comparator.exchanges.model import HeaderList, Response
from comparator.responses.bodies import BodyKind, UnreadableBody, decode, kind_of, structure_of
from comparator.responses.exact_json import InvalidJsonError, parse
from comparator.responses.header_values import Values, equal_by
from comparator.responses.json_diff import Walk, walk
from comparator.rules.actions import ComparisonTime
from comparator.rules.compile import RouteRules

_NO_NAMES: Final[frozenset[str]] = frozenset()
_IGNORED_HEADERS_MAX: Final = 1_000
_DECIDE_BODY: Final = frozenset({"content-type", "content-encoding"})


@dataclass(frozen=True, slots=True)
class ResponseResult:
    """The differences between two responses, and the rule hits."""

    differences: tuple[Difference, ...] = ()
    rule_hits: tuple[RuleHit, ...] = ()


EQUAL: Final = ResponseResult()


def surely_equal(served: Response, mirrored: Response, rules: RouteRules) -> bool:
    """Return whether two responses are certainly equal: same status, same body bytes, differences only in ignored headers.

    The fast path of most pairs. False does not mean that they differ.
    """
    if served.status != mirrored.status or served.body != mirrored.body or _either_truncated(served, mirrored):
        return False
    left, right = served.headers, mirrored.headers
    if len(left) != len(right):
        return False
    ignored = rules.ignored_headers
    for a, b in compress(zip(left, right, strict=True), map(ne, left, right)):
        if (a[0] not in ignored and not _is_ignored(a[0], rules)) or (
            b[0] not in ignored and not _is_ignored(b[0], rules)
        ):
            return False
    return True


def _is_ignored(name: str, rules: RouteRules) -> bool:
    """Return whether a header is neither compared nor decides how the body is read; cache the answer by its spelling."""
    lower = name.lower()
    if lower in rules.headers or lower in _DECIDE_BODY:
        return False
    if len(rules.ignored_headers) < _IGNORED_HEADERS_MAX:
        rules.ignored_headers.add(name)
    return True


def compare_responses(
    served: Response, mirrored: Response, rules: RouteRules, when: ComparisonTime, *, max_bytes: int
) -> ResponseResult:
    """Compare two responses of one route.

    Args:
        served: the serving side's response.
        mirrored: the mirrored side's response.
        rules: rules of the route.
        when: time of the comparison, by which rules expire.
        max_bytes: larger decoded bodies are compared by digest.
    """
    changed = _changed_names(served.headers, mirrored.headers)
    differences: list[Difference] = []
    rule_hits: list[RuleHit] = []
    if served.status != mirrored.status:
        differences.append(Difference(Kind.STATUS, (), served.status, mirrored.status))
    if not changed.isdisjoint(rules.headers):
        _compare_headers(served.headers, mirrored.headers, rules.headers, differences, rule_hits)
    alike_read = changed.isdisjoint(_DECIDE_BODY)
    if alike_read and served.body == mirrored.body and not _either_truncated(served, mirrored):
        return ResponseResult(tuple(differences), tuple(rule_hits)) if differences or rule_hits else EQUAL
    body = compare_bodies(served, mirrored, rules, when, max_bytes=max_bytes, alike_read=alike_read)
    if not differences and not rule_hits:
        return body
    return ResponseResult((*differences, *body.differences), (*rule_hits, *body.rule_hits))


def _either_truncated(served: Response, mirrored: Response) -> bool:
    return served.body_truncated or mirrored.body_truncated


def _changed_names(served: HeaderList, mirrored: HeaderList) -> frozenset[str]:
    """Return a superset of the lower-case names of the headers that differ, cheaply."""
    if served == mirrored:
        return _NO_NAMES
    if len(served) != len(mirrored):
        return frozenset([name.lower() for name, _ in set(served).symmetric_difference(mirrored)])
    names: list[str] = []
    for left, right in zip(served, mirrored, strict=True):
        if left != right:
            names.append(left[0].lower())
            names.append(right[0].lower())
    return frozenset(names)


def _compare_headers(
    served: HeaderList,
    mirrored: HeaderList,
    names: frozenset[str],
    differences: list[Difference],
    rule_hits: list[RuleHit],
) -> None:
    """Compare the named headers, add their differences, and a hit for each that is equal by its grammar only."""
    left, right = _by_name(served, names), _by_name(mirrored, names)
    for name in sorted({*left, *right}):
        a, b = left.get(name, ()), right.get(name, ())
        if a == b or (a and b and ", ".join(a) == ", ".join(b)):
            continue
        grammar = equal_by(name, a, b)
        if grammar is not None:
            rule_hits.append(RuleHit(BY_GRAMMAR + grammar, (name,)))
        else:
            left_text, right_text = (", ".join(values) if values else ABSENT for values in (a, b))
            differences.append(Difference(Kind.HEADER, (name,), left_text, right_text))


def _by_name(headers: HeaderList, names: frozenset[str]) -> dict[str, Values]:
    values: dict[str, Values] = {}
    for name, value in headers:
        lower = name.lower()
        if lower in names:
            values[lower] = (*values.get(lower, ()), value.strip())
    return values


def compare_bodies(
    served: Response,
    mirrored: Response,
    rules: RouteRules,
    when: ComparisonTime,
    *,
    max_bytes: int,
    alike_read: bool = False,
) -> ResponseResult:
    """Compare two bodies by kind; an unreadable or truncated body is a difference of its own kind.

    Args:
        served: the serving side's response.
        mirrored: the mirrored side's response.
        rules: rules of the route.
        when: time of the comparison.
        max_bytes: larger decoded bodies are compared by digest.
        alike_read: the headers that decide how a body is read are known to be equal.
    """
    if served.body_truncated or mirrored.body_truncated:
        return _truncated(served, mirrored)
    a, b = decode(served, max_bytes), decode(mirrored, max_bytes)
    if isinstance(a, UnreadableBody) or isinstance(b, UnreadableBody):
        return _unreadable(served, mirrored, a, b)
    kind = kind_of(served, a, rules.body_kind)
    # An empty body has a kind of its own, regardless of its headers.
    kinds = kind, kind if alike_read and a and b else kind_of(mirrored, b, rules.body_kind)
    if a == b and kinds[0] is kinds[1]:
        return EQUAL
    if kinds[0] is not kinds[1]:
        return ResponseResult((Difference(Kind.BODY, (), _description(kinds[0], a), _description(kinds[1], b)),))
    if max(len(a), len(b)) > max_bytes:
        return ResponseResult((Difference(Kind.BODY, (), digest_of(a), digest_of(b)),))
    if kinds[0] is BodyKind.JSON:
        return _json_texts(a, b, rules, when)
    return _structures(kinds[0], (served, a), (mirrored, b), rules, when)


def _json_texts(a: bytes, b: bytes, rules: RouteRules, when: ComparisonTime) -> ResponseResult:
    json_walk = Walk(rules.body, when)
    try:
        json_walk.compare_texts(a, b)
    except (InvalidJsonError, RecursionError):
        # Parse both bodies completely to find out which side is invalid, and why.
        faults = _fault_of(a), _fault_of(b)
        return ResponseResult((Difference(Kind.INVALID_BODY, (), *faults),))
    return ResponseResult(tuple(json_walk.bounded_differences(a, b)), tuple(json_walk.rule_hits))


def _fault_of(text: bytes) -> str:
    try:
        parse(text)
    except InvalidJsonError as error:
        return f"not JSON: {error}"
    return "JSON"


def _structures(
    kind: BodyKind,
    served: tuple[Response, bytes],
    mirrored: tuple[Response, bytes],
    rules: RouteRules,
    when: ComparisonTime,
) -> ResponseResult:
    a, b = structure_of(kind, *served), structure_of(kind, *mirrored)
    if isinstance(a, UnreadableBody) or isinstance(b, UnreadableBody):
        return ResponseResult((Difference(Kind.INVALID_BODY, (), _reason(a), _reason(b)),))
    if isinstance(a, Digest) or isinstance(b, Digest):
        return EQUAL if a == b else ResponseResult((Difference(Kind.BODY, (), a, b),))
    json_walk = walk(a, b, rules.body, when)
    return ResponseResult(tuple(json_walk.bounded_differences(served[1], mirrored[1])), tuple(json_walk.rule_hits))


def _truncated(served: Response, mirrored: Response) -> ResponseResult:
    """Compare the recorded beginnings of two bodies. Even if they agree, the bodies are not known to be equal."""
    shorter = min(len(served.body), len(mirrored.body))
    prefix_equal = served.body[:shorter] == mirrored.body[:shorter]
    left, right = (TruncatedBody(len(r.body), r.body_truncated, prefix_equal) for r in (served, mirrored))
    return ResponseResult((Difference(Kind.TRUNCATED, (), left, right),))


def _unreadable(
    served: Response, mirrored: Response, a: bytes | UnreadableBody, b: bytes | UnreadableBody
) -> ResponseResult:
    if served.body == mirrored.body and a == b:
        return EQUAL
    return ResponseResult((Difference(Kind.INVALID_BODY, (), _reason(a), _reason(b)),))


def _reason(value: object) -> str:
    return value.reason if isinstance(value, UnreadableBody) else "readable"


def _description(kind: BodyKind, body: bytes) -> str:
    return f"{kind}, {len(body)} bytes"
