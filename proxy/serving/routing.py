"""Match requests to routes, find their ordering keys, and decide by policy whether they are mirrored. Pure."""

import binascii
import json
import re
from base64 import urlsafe_b64decode
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, cast
from urllib.parse import parse_qsl, unquote

from comparator.exchanges.skip import SAFE_METHODS, Skip
from proxy.config.routes import MirrorPolicy, RecordIf, RecordOnly, RouteSettings, WritePolicy
from proxy.errors import SettingsError
from proxy.rollout.buckets import BUCKETS, bucket_of, threshold_of
from proxy.serving.record_filter import RecordFilter, compile_filter

FieldValue = Callable[[str], str | None]
"""Return the first value of a request's field by its lower-case name, None when it is absent."""

_PARAMETER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)(:path)?\}")


class KeySource(StrEnum):
    """The part of a request that has the ordering key."""

    NONE = "none"
    PARAMETER = "parameter"
    HEADER = "header"
    BODY = "body"
    QUERY = "query"
    TOKEN = "token"  # noqa: S105 (the name of a source, not a token)


@dataclass(frozen=True, slots=True)
class Route:
    """A compiled route.

    Attributes:
        methods: in upper case; empty for any.
        key_path: the name of the parameter, the lower-case name of the header, the dotted path in the body, or the claim.
        sampled_buckets: keys in the buckets below are journaled.
        mirrors_all_safe: whether every request with a safe method is mirrored.
    """

    name: str
    pattern: re.Pattern[str]
    methods: frozenset[str]
    key_source: KeySource
    key_path: str
    mirror: MirrorPolicy
    writes: WritePolicy
    sampled_buckets: int
    record_if: RecordFilter | None = None
    mirrors_all_safe: bool = field(init=False)

    def __post_init__(self) -> None:
        mirrors_all_safe = self.mirror is MirrorPolicy.MIRROR and self.sampled_buckets >= BUCKETS
        object.__setattr__(self, "mirrors_all_safe", mirrors_all_safe)


def compile_routes(settings: Sequence[RouteSettings]) -> tuple[Route, ...]:
    """Compile routes, in the order of config.yaml: the first that matches a request has it.

    Raises:
        SettingsError: a path or key is malformed.
    """
    return tuple(_compile(route, f"routes[{index}] ({route.name})") for index, route in enumerate(settings))


def match_route(routes: Sequence[Route], method: str, target: str, value: FieldValue) -> tuple[Route | None, str]:
    """Return the route and the ordering key of a request.

    Args:
        routes: compiled.
        method: of the request.
        target: path and query.
        value: looks a header field up.

    Returns:
        None if no route matches; and "" for a key that is missing, or that `key_from_body` finds later.
    """
    path = target.partition("?")[0]
    for route in routes:
        match = route.pattern.fullmatch(path)
        if match is None or (route.methods and method not in route.methods):
            continue
        if route.key_source is KeySource.PARAMETER:
            key = match.group(route.key_path)
            return route, _folded(unquote(key) if "%" in key else key)
        return route, _key_from_head(route, target, value)
    return None, ""


def _key_from_head(route: Route, target: str, value: FieldValue) -> str:
    match route.key_source:
        case KeySource.HEADER:
            return _folded(value(route.key_path) or "")
        case KeySource.QUERY:
            return _folded(_query_value(target.partition("?")[2], route.key_path))
        case KeySource.TOKEN:
            return _folded(claimed_address(value("authorization") or "", route.key_path))
        case _:
            return ""


def _query_value(query: str, name: str) -> str:
    try:
        pairs = parse_qsl(query)
    except ValueError:
        return ""
    return next((value for key, value in reversed(pairs) if key == name), "")


def claimed_address(authorization: str, claim: str) -> str:
    """Return the address that a bearer token names in a claim; "" when it names none.

    The address is the part behind the last colon: 0xab of `did:pkh:eip155:1:0xab`. Source: observed of the legacy.

    The token is decoded but not verified. A key only decides which requests are kept in order, which rows are attributed to them, and
    which bucket they are in. It authorizes nothing: both sides verify the token themselves, and reject a forged one.
    """
    scheme, _, token = authorization.partition(" ")
    parts = token.strip().split(".")
    if scheme.lower() != "bearer" or len(parts) != 3:
        return ""
    try:
        claims: Any = json.loads(urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (binascii.Error, ValueError, RecursionError):
        return ""
    value = cast("dict[str, Any]", claims).get(claim) if isinstance(claims, dict) else None
    return value.rpartition(":")[2] if isinstance(value, str) else ""


def key_from_body(route: Route, body: bytes) -> str:
    """Return the ordering key at the route's path in a JSON body; "" when there is none."""
    try:
        node: Any = json.loads(body)
    except (ValueError, RecursionError):
        return ""
    for name in route.key_path.split("."):
        node = cast("dict[str, Any]", node).get(name) if isinstance(node, dict) else None
    return _folded(str(node)) if isinstance(node, str | int) and not isinstance(node, bool) else ""


def policy_skip(route: Route | None, method: str, value: FieldValue, *, shadow: bool, bucket: int) -> Skip | None:
    """Return why policy keeps a request from being mirrored, None when it does not.

    Args:
        route: of the request, None for none.
        method: of the request.
        value: looks a header field up.
        shadow: whether the request is marked as a mirrored one.
        bucket: of the request's key, as of `sample_bucket`.
    """
    if shadow:
        return Skip.SHADOW
    if route is None:
        return Skip.UNROUTED
    if bucket >= route.sampled_buckets:
        return Skip.SAMPLE
    if route.mirror is MirrorPolicy.SKIP:
        return Skip.POLICY
    if method in SAFE_METHODS or route.writes is WritePolicy.MIRROR:
        return None
    idempotent = route.writes is WritePolicy.IDEMPOTENT and bool(value("idempotency-key"))
    return None if idempotent else Skip.WRITE


def sample_bucket(key: str, salt: bytes) -> int:
    """Return the bucket that decides sampling. It is independent of the rollout's: otherwise a small sample would be of one side only."""
    return bucket_of(key, b"sample" + salt[:32])


def _compile(settings: RouteSettings, location: str) -> Route:
    names: list[str] = []
    parts: list[str] = []
    position = 0
    for parameter in _PARAMETER.finditer(settings.path):
        parts.append(re.escape(settings.path[position : parameter.start()]))
        names.append(parameter.group(1))
        parts.append(f"(?P<{parameter.group(1)}>{'.*' if parameter.group(2) else '[^/]+'})")
        position = parameter.end()
    tail = settings.path[position:]
    if not settings.path.startswith("/") or "{" in tail or "}" in tail or len(set(names)) != len(names):
        raise SettingsError(f"{location}.path: `{settings.path}` is not a path template")
    parts.append(re.escape(tail))
    source, path = _key_source(settings.key, names, location)
    return Route(
        name=settings.name,
        pattern=re.compile("".join(parts), re.DOTALL),
        methods=frozenset(method.upper() for method in settings.methods),
        key_source=source,
        key_path=path,
        mirror=settings.mirror,
        writes=settings.writes,
        sampled_buckets=BUCKETS if settings.sample >= 1 else threshold_of(settings.sample * 100),
        record_if=_record_filter(settings.record_if, f"{location}.record_if"),
    )


def _record_filter(settings: RecordIf | None, location: str) -> RecordFilter | None:
    """Compile the filter that the proxy applies. With `only: mismatches` the runner applies it, and the proxy records everything."""
    record_filter = compile_filter(settings, location) if settings else None
    return record_filter if record_filter and record_filter.conditions.only is RecordOnly.ALL else None


def _key_source(key: str, names: Sequence[str], location: str) -> tuple[KeySource, str]:
    kind, colon, rest = key.partition(":")
    if not key:
        return KeySource.NONE, ""
    if not colon:
        if key not in names:
            raise SettingsError(f"{location}.key: the path has no parameter `{key}`")
        return KeySource.PARAMETER, key
    if kind == "header" and rest:
        return KeySource.HEADER, rest.lower()
    if kind == "json" and rest:
        return KeySource.BODY, rest.removeprefix("$.")
    if kind == "query" and rest:
        return KeySource.QUERY, rest
    if kind == "jwt" and rest:
        return KeySource.TOKEN, rest
    raise SettingsError(
        f"{location}.key: `{key}` is none of PARAMETER, header:NAME, query:NAME, jwt:CLAIM and json:PATH"
    )


def _folded(key: str) -> str:
    r"""Fold the case of a key. At worst, two requests with different keys are ordered without need.

    JSON may contain half of a surrogate pair (`"\ud800"`), which is no text that could be journaled: it becomes `\ud800`.
    """
    return key.lower() if key.isascii() else key.lower().encode(errors="backslashreplace").decode()
