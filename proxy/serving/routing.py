"""Which route a request belongs to, its ordering key, and whether policy lets it be mirrored. Pure."""

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
from proxy.serving.record_filter import RecordFilter, compile_rule

FieldValue = Callable[[str], str | None]
"""The first value of a request's field by its lower name."""

_PARAMETER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)(:path)?\}")


class KeySource(StrEnum):
    """Where an ordering key is found."""

    NONE = "none"
    PARAMETER = "parameter"
    HEADER = "header"
    BODY = "body"
    QUERY = "query"
    TOKEN = "token"  # noqa: S105 (the name of a place, not a token)


@dataclass(frozen=True, slots=True)
class Route:
    """A route, made ready to match. `key_path` is the parameter, the lower header name, the dotted path in the body, the claim."""

    name: str
    pattern: re.Pattern[str]
    methods: frozenset[str]
    key_source: KeySource
    key_path: str
    mirror: MirrorPolicy
    writes: WritePolicy
    sampled_buckets: int
    record_if: RecordFilter | None = None

    plain: bool = field(init=False)
    """Whether all that is safe is mirrored."""

    def __post_init__(self) -> None:
        plain = self.mirror is MirrorPolicy.MIRROR and self.sampled_buckets >= BUCKETS
        object.__setattr__(self, "plain", plain)


def compile_routes(settings: Sequence[RouteSettings]) -> tuple[Route, ...]:
    """Make routes ready, in the order of config.yaml: the first that fits wins.

    Raises:
        SettingsError: a path or key that makes no sense.
    """
    return tuple(_compile(route, f"routes[{index}] ({route.name})") for index, route in enumerate(settings))


def match(routes: Sequence[Route], method: str, target: str, value: FieldValue) -> tuple[Route | None, str]:
    """The route and the ordering key of a request; keys in the body come later, from `key_in_body`."""
    path = target.partition("?")[0]
    for route in routes:
        found = route.pattern.fullmatch(path)
        if found is None or method not in route.methods:
            continue
        if route.key_source is KeySource.PARAMETER:
            key = found.group(route.key_path)
            return route, _folded(unquote(key) if "%" in key else key)
        return route, _key_in_head(route, target, value)
    return None, ""


def _key_in_head(route: Route, target: str, value: FieldValue) -> str:
    match route.key_source:
        case KeySource.HEADER:
            return _folded(value(route.key_path) or "")
        case KeySource.QUERY:
            return _folded(_in_query(target.partition("?")[2], route.key_path))
        case KeySource.TOKEN:
            return _folded(claimed_address(value("authorization") or "", route.key_path))
        case _:
            return ""


def _in_query(query: str, name: str) -> str:
    try:
        pairs = parse_qsl(query)
    except ValueError:
        return ""
    return next((value for found, value in reversed(pairs) if found == name), "")


def claimed_address(authorization: str, claim: str) -> str:
    """The address that a bearer token names in a claim: what stands behind the last colon of a DID; "" when there is none.

    The token is decoded and not verified. That is right for what a key does: it says which requests are kept in order, whose rows
    they wrote, and which bucket they are in. It lets nobody in: both sides verify the token themselves, and a forged one is refused
    by both. Observed of the legacy: the address is the part of `did` behind the last colon.
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


def key_in_body(route: Route, body: bytes) -> str:
    """The ordering key at the route's path of a JSON body; "" when there is none."""
    try:
        node: Any = json.loads(body)
    except (ValueError, RecursionError):
        return ""
    for name in route.key_path.split("."):
        node = cast("dict[str, Any]", node).get(name) if isinstance(node, dict) else None
    return _folded(str(node)) if isinstance(node, str | int) and not isinstance(node, bool) else ""


def skip_of(route: Route | None, method: str, value: FieldValue, *, shadow: bool, bucket: int) -> Skip | None:
    """Why policy keeps this request from being mirrored, None when it does not. `bucket` decides the sample, sticky by key."""
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
    """The bucket that decides sampling: another one than the rollout's, so that both shares are independent."""
    return bucket_of(key, b"sample" + salt[:32])


def _compile(settings: RouteSettings, place: str) -> Route:
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
        raise SettingsError(f"{place}.path: `{settings.path}` is not a path template")
    parts.append(re.escape(tail))
    source, path = _key_source(settings.key, names, place)
    return Route(
        name=settings.name,
        pattern=re.compile("".join(parts), re.DOTALL),
        methods=frozenset(method.upper() for method in settings.methods),
        key_source=source,
        key_path=path,
        mirror=settings.mirror,
        writes=settings.writes,
        sampled_buckets=BUCKETS if settings.sample >= 1 else threshold_of(settings.sample * 100),
        record_if=_rule(settings.record_if, f"{place}.record_if"),
    )


def _rule(settings: RecordIf | None, place: str) -> RecordFilter | None:
    """What decides before the journal; which exchanges differ is known only after it."""
    wanted = compile_rule(settings, place) if settings else None
    return wanted if wanted and wanted.rule.only is RecordOnly.ALL else None


def _key_source(key: str, names: Sequence[str], place: str) -> tuple[KeySource, str]:
    kind, colon, rest = key.partition(":")
    if not key:
        return KeySource.NONE, ""
    if not colon:
        if key not in names:
            raise SettingsError(f"{place}.key: the path has no parameter `{key}`")
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
        f"{place}.key: `{key}` is none of PARAMETER, header:NAME, query:NAME, jwt:CLAIM and json:PATH"
    )


def _folded(key: str) -> str:
    """Keys are compared without case: at worst two requests that need no order get one."""
    return key.lower()
