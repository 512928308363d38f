"""Make operations of recorded requests: segments that vary become parameters. Pure.

    /customers/17/orders   /customers/23/orders   /customers/ann/orders      /customers/{customer}/orders
    /health                                                                  /health

A segment is a parameter if it looks like an id (a number, a UUID, hexadecimal digits, an address, a random text), or if VALUES_MIN different
ones occur in the same place, or INNER_VALUES_MIN that are all followed by the same.
"""

import json
import re
from base64 import urlsafe_b64decode
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, cast
from urllib.parse import parse_qsl

from comparator.exchanges.model import HeaderList, Response
from proxy.http1.fields import first_value
from proxy.initial_config.names import singular, snake_case
from proxy.initial_config.operations import ApiOperation, segments_of
from proxy.recordings.model import RecordedExchange
from proxy.serving.unrouted_paths import is_id

VALUES_MIN: Final = 5
INNER_VALUES_MIN: Final = 3
BODY_MAX: Final = 64 * 1024
"""Larger bodies are not looked into."""
DEPTH_MAX: Final = 4
_VERSION: Final = re.compile(r"v\d+")
_NAMING_HEADERS: Final = re.compile(r"x-.*(id|user|tenant|account|customer|key)")


@dataclass(slots=True)
class _Seen:
    """The names that requests of one operation carry."""

    count: int = 0
    query: set[str] = field(default_factory=set[str])
    headers: set[str] = field(default_factory=set[str])
    members: set[str] = field(default_factory=set[str])
    claims: set[str] = field(default_factory=set[str])
    response_members: set[str] = field(default_factory=set[str])


def observed_operations(exchanges: Iterable[RecordedExchange], known: Iterable[str] = ()) -> tuple[ApiOperation, ...]:
    """Return the operations of recorded requests. Requests that no route of the API has (404, 405) are left out.

    Args:
        exchanges: in any order. Only names of what they carry are kept.
        known: templates of a document; a path that fits one of them has it.
    """
    seen: dict[tuple[str, str], _Seen] = defaultdict(_Seen)
    for exchange in exchanges:
        request, outcome = exchange.request, exchange.outcome
        if isinstance(outcome, Response) and outcome.status in (404, 405):
            continue
        path, _, query = request.target.partition("?")
        if not path.startswith("/"):
            continue
        one = seen[request.method.upper(), path]
        one.count += 1
        one.query |= {name for name, _ in parse_qsl(query, keep_blank_values=True, max_num_fields=1000)}
        one.headers |= {name.lower() for name, _ in request.headers if _NAMING_HEADERS.fullmatch(name.lower())}
        one.members |= set(_json_members(request.body))
        one.claims |= set(claims_of(request.headers))
        if isinstance(outcome, Response) and outcome.status < 400:
            one.response_members |= {member.rpartition(".")[2] for member in _json_members(outcome.body)}
    templates = templates_of([path for _, path in seen], tuple(known))
    merged: dict[tuple[str, str], _Seen] = defaultdict(_Seen)
    for (method, path), one in seen.items():
        into = merged[method, templates[path]]
        into.count += one.count
        for name in ("query", "headers", "members", "claims", "response_members"):
            getattr(into, name).update(getattr(one, name))
    return tuple(
        ApiOperation(
            method,
            template,
            one.count,
            frozenset(one.query),
            frozenset(one.headers),
            frozenset(one.members),
            frozenset(one.claims),
            frozenset(one.response_members),
        )
        for (method, template), one in sorted(merged.items())
    )


def templates_of(paths: Sequence[str], known: Sequence[str] = ()) -> dict[str, str]:
    """Return the template of each path.

    Args:
        paths: without a query; the more there are, the better it is seen which segments vary.
        known: templates that take precedence.
    """
    patterns = [(_pattern(template), template) for template in known]
    given = {path: next((t for pattern, t in patterns if pattern.fullmatch(path)), "") for path in paths}
    rest = [segments_of(path) for path, template in given.items() if not template]
    parameters = _varying(rest)
    return {path: template or _named(segments_of(path), parameters) for path, template in given.items()}


def _pattern(template: str) -> re.Pattern[str]:
    return re.compile(
        "".join("[^/]+" if part.startswith("{") else re.escape(part) for part in re.split(r"(\{[^}]*\})", template))
    )


def _shape(segments: Sequence[str], index: int, varying: set[tuple[str, ...]]) -> tuple[str, ...]:
    """Return the segments ahead of a place, with `{}` for those that vary: by it the values of one place are gathered."""
    shape: tuple[str, ...] = ()
    for segment in segments[:index]:
        shape = (*shape, "{}" if is_id(segment) or shape in varying else segment)
    return shape


def _varying(paths: Sequence[Sequence[str]]) -> set[tuple[str, ...]]:
    """Return the places, as the shape of what is ahead of them, in which so many different segments occur that they are parameters."""
    varying: set[tuple[str, ...]] = set()
    for index in range(1, max(map(len, paths), default=0)):
        tails: dict[tuple[str, ...], dict[str, set[tuple[str, ...]]]] = defaultdict(lambda: defaultdict(set))
        for segments in paths:
            # (what follows the version of an API, or its root, are its resources, however many)
            if index < len(segments) and segments[index] and not _is_root(segments[index - 1]):
                tails[_shape(segments, index, varying)][segments[index]].add(tuple(segments[index + 1 :]))
        varying |= {shape for shape, by_value in tails.items() if _is_parameter(by_value)}
    return varying


def _is_parameter(tails: Mapping[str, set[tuple[str, ...]]]) -> bool:
    """Tell whether the segments of one place are values, by what follows each of them."""
    followed_alike = all(tails.values()) and len(set(map(frozenset, tails.values()))) == 1
    inner = followed_alike and () not in next(iter(tails.values()))
    return len(tails) >= (INNER_VALUES_MIN if inner else VALUES_MIN)


def _is_root(segment: str) -> bool:
    return segment in ("", "api") or _VERSION.fullmatch(segment) is not None


def _named(segments: Sequence[str], varying: set[tuple[str, ...]]) -> str:
    """Return the template: a parameter is named after the segment ahead of it, `/customers/{customer}`."""
    parts: list[str] = []
    names: list[str] = []
    for index, segment in enumerate(segments):
        if segment and (is_id(segment) or _shape(segments, index, varying) in varying):
            before = segments[index - 1] if index and not parts[-1].startswith("{") else ""
            name = singular(snake_case(before)) if before and not _is_root(before) else "id"
            while name in names or not name or name[0].isdigit():
                name = f"{name}_2" if name and not name[0].isdigit() else "id"
            names.append(name)
            parts.append(f"{{{name}}}")
        else:
            parts.append(segment.replace("{", "%7B").replace("}", "%7D"))
    return "/" + "/".join(parts)


def _json_members(body: bytes) -> Iterator[str]:
    if body.lstrip()[:1] not in (b"{", b"[") or len(body) > BODY_MAX:
        return
    try:
        document: Any = json.loads(body)
    except (ValueError, RecursionError):
        return
    yield from _members(document, "", 0)


def _members(node: object, path: str, depth: int) -> Iterator[str]:
    if depth > DEPTH_MAX:
        return
    if isinstance(node, list):
        for element in cast("list[object]", node)[:20]:
            yield from _members(element, path, depth + 1)
    if isinstance(node, dict):
        for name, value in cast("dict[str, object]", node).items():
            place = f"{path}.{name}" if path else name
            yield place
            yield from _members(value, place, depth + 1)


def claims_of(headers: HeaderList) -> Iterator[str]:
    """Yield the claims of a JSON Web Token in Authorization whose values are texts. It is decoded, not verified."""
    scheme, _, token = (first_value(headers, "authorization") or "").partition(" ")
    parts = token.strip().split(".")
    if scheme.lower() != "bearer" or len(parts) != 3:
        return
    try:
        claims: Any = json.loads(urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (ValueError, RecursionError):
        return
    if isinstance(claims, Mapping):
        yield from (str(name) for name, value in cast("Mapping[str, object]", claims).items() if isinstance(value, str))
