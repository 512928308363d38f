"""Compares what two sides answered: status, the headers that count, the body by its kind.

Pure. Bytes first; then the structural walk, which reads no more than it must.
"""

from dataclasses import dataclass
from itertools import compress
from operator import ne
from typing import Final

from comparator.exchanges.difference import Difference, Kind, RuleHit
from comparator.exchanges.json_values import ABSENT, Digest, digest_of
from comparator.exchanges.model import HeaderList, Response
from comparator.responses.bodies import BodyKind, UnreadableBody, decode, kind_of, media_type, structure_of
from comparator.responses.exact_json import InvalidJsonError, parse
from comparator.responses.json_diff import Walk, walk
from comparator.rules.actions import ComparisonTime
from comparator.rules.compile import RouteRules

_NO_NAMES: Final[frozenset[str]] = frozenset()
_UNWATCHED_MAX: Final = 1_000
_DECIDE_BODY: Final = frozenset({"content-type", "content-encoding"})


@dataclass(frozen=True, slots=True)
class ResponseResult:
    """What differs between two responses, and the rules that were touched."""

    differences: tuple[Difference, ...] = ()
    rule_hits: tuple[RuleHit, ...] = ()


EQUAL: Final = ResponseResult()


def surely_equal(served: Response, mirrored: Response, rules: RouteRules) -> bool:
    """Whether two responses are surely equal: same status, same bytes, header lines that differ only where nothing looks.

    Most pairs are, so this decides before anything else is made. False says nothing.
    """
    if served.status != mirrored.status or served.body != mirrored.body or _cut(served, mirrored):
        return False
    ours, theirs = served.headers, mirrored.headers
    if len(ours) != len(theirs):
        return False
    unwatched = rules.unwatched
    for one, other in compress(zip(ours, theirs, strict=True), map(ne, ours, theirs)):
        if (one[0] not in unwatched and not _is_unwatched(one[0], rules)) or (
            other[0] not in unwatched and not _is_unwatched(other[0], rules)
        ):
            return False
    return True


def _is_unwatched(name: str, rules: RouteRules) -> bool:
    """Whether nothing looks at a header; the answer for its spelling is kept in the rules."""
    lower = name.lower()
    if lower in rules.headers or lower in _DECIDE_BODY:
        return False
    if len(rules.unwatched) < _UNWATCHED_MAX:
        rules.unwatched.add(name)
    return True


def compare_responses(
    served: Response, mirrored: Response, rules: RouteRules, when: ComparisonTime, *, max_bytes: int
) -> ResponseResult:
    """Compare two responses of one route."""
    changed = _changed_names(served.headers, mirrored.headers)
    differences: list[Difference] = []
    if served.status != mirrored.status:
        differences.append(Difference(Kind.STATUS, (), served.status, mirrored.status))
    if not changed.isdisjoint(rules.headers):
        differences += _headers(served.headers, mirrored.headers, rules.headers)
    alike_read = changed.isdisjoint(_DECIDE_BODY)
    if alike_read and served.body == mirrored.body and not _cut(served, mirrored):
        return ResponseResult(tuple(differences)) if differences else EQUAL
    body = compare_bodies(served, mirrored, rules, when, max_bytes=max_bytes, alike_read=alike_read)
    if not differences:
        return body
    return ResponseResult((*differences, *body.differences), body.rule_hits)


def _cut(served: Response, mirrored: Response) -> bool:
    return served.body_truncated or mirrored.body_truncated


def _changed_names(served: HeaderList, mirrored: HeaderList) -> frozenset[str]:
    """Lower-case names of headers that may differ: a cheap look that leaves nothing out and may name too many."""
    if served == mirrored:
        return _NO_NAMES
    if len(served) != len(mirrored):
        return frozenset([name.lower() for name, _ in set(served).symmetric_difference(mirrored)])
    names: list[str] = []
    for ours, theirs in zip(served, mirrored, strict=True):
        if ours != theirs:
            names.append(ours[0].lower())
            names.append(theirs[0].lower())
    return frozenset(names)


def _headers(served: HeaderList, mirrored: HeaderList, names: frozenset[str]) -> list[Difference]:
    left, right = _by_name(served, names), _by_name(mirrored, names)
    differences: list[Difference] = []
    for name in sorted({*left, *right}):
        a, b = left.get(name, ABSENT), right.get(name, ABSENT)
        if a != b and not (name == "content-type" and media_type(served) == media_type(mirrored)):
            differences.append(Difference(Kind.HEADER, (name,), a, b))
    return differences


def _by_name(headers: HeaderList, names: frozenset[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in headers:
        lower = name.lower()
        if lower in names:
            found[lower] = f"{found[lower]}, {value.strip()}" if lower in found else value.strip()
    return found


def compare_bodies(
    served: Response,
    mirrored: Response,
    rules: RouteRules,
    when: ComparisonTime,
    *,
    max_bytes: int,
    alike_read: bool = False,
) -> ResponseResult:
    """Compare two bodies by kind; what cannot be read or was cut off is reported as such.

    `alike_read`: the headers that say how a body is read are known to be the same.
    """
    if served.body_truncated or mirrored.body_truncated:
        return _truncated(served, mirrored)
    a, b = decode(served, max_bytes), decode(mirrored, max_bytes)
    if isinstance(a, UnreadableBody) or isinstance(b, UnreadableBody):
        return _unreadable(served, mirrored, a, b)
    kind = kind_of(served, a, rules.body_kind)
    # An empty body is of a kind of its own, whatever its header says.
    kinds = kind, kind if alike_read and a and b else kind_of(mirrored, b, rules.body_kind)
    if a == b and kinds[0] is kinds[1]:
        return EQUAL
    if kinds[0] is not kinds[1]:
        return ResponseResult((Difference(Kind.BODY, (), _named(kinds[0], a), _named(kinds[1], b)),))
    if max(len(a), len(b)) > max_bytes:
        return ResponseResult((Difference(Kind.BODY, (), digest_of(a), digest_of(b)),))
    if kinds[0] is BodyKind.JSON:
        return _json_texts(a, b, rules, when)
    return _structures(kinds[0], (served, a), (mirrored, b), rules, when)


def _json_texts(a: bytes, b: bytes, rules: RouteRules, when: ComparisonTime) -> ResponseResult:
    finished = Walk(rules.body, when)
    try:
        finished.compare_texts(a, b)
    except (InvalidJsonError, RecursionError):
        # Said again from the whole bodies: which side is at fault, and why.
        faults = _fault_of(a), _fault_of(b)
        return ResponseResult((Difference(Kind.INVALID_BODY, (), *faults),))
    return ResponseResult(tuple(finished.bounded_differences(a, b)), tuple(finished.rule_hits))


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
    finished = walk(a, b, rules.body, when)
    return ResponseResult(tuple(finished.bounded_differences(served[1], mirrored[1])), tuple(finished.rule_hits))


def _truncated(served: Response, mirrored: Response) -> ResponseResult:
    """A body that was cut off says only as much as its beginning: equal beginnings are still not known to be equal."""
    shorter = min(len(served.body), len(mirrored.body))
    note = "the same up to the cut" if served.body[:shorter] == mirrored.body[:shorter] else "different before the cut"
    return ResponseResult(
        (
            Difference(
                Kind.TRUNCATED,
                (),
                f"{len(served.body)} bytes{' (cut)' if served.body_truncated else ''}, {note}",
                f"{len(mirrored.body)} bytes{' (cut)' if mirrored.body_truncated else ''}, {note}",
            ),
        )
    )


def _unreadable(
    served: Response, mirrored: Response, a: bytes | UnreadableBody, b: bytes | UnreadableBody
) -> ResponseResult:
    if served.body == mirrored.body and a == b:
        return EQUAL
    return ResponseResult((Difference(Kind.INVALID_BODY, (), _reason(a), _reason(b)),))


def _reason(value: object) -> str:
    return value.reason if isinstance(value, UnreadableBody) else "readable"


def _named(kind: BodyKind, body: bytes) -> str:
    return f"{kind}, {len(body)} bytes"
