"""Which header fields pass a hop, which are added, and what they say. Pure."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from comparator.exchange import HeaderList, Side

HOP_BY_HOP = frozenset(
    (
        "connection",
        "proxy-connection",
        "keep-alive",
        "te",
        "transfer-encoding",
        "upgrade",
        "trailer",
        "proxy-authenticate",
        "proxy-authorization",
    )
)
"""RFC 9110 section 7.6.1; the fields that Connection names are taken out too."""

OVERRIDE_HEADERS = frozenset(("x-serve-with", "x-use-rust-scorer", "x-shadow-token"))
SHADOW_MARK = "x-shadow-request"
REWRITTEN = frozenset(
    (
        "host",
        "expect",
        "x-request-id",
        "traceparent",
        "x-forwarded-for",
        "x-forwarded-proto",
        "x-forwarded-host",
        "forwarded",
        "via",
        "content-length",
        SHADOW_MARK,
    )
)
VIA = "1.1 shadow"
NOT_FORWARDED = HOP_BY_HOP | OVERRIDE_HEADERS | REWRITTEN
NOT_RETURNED = HOP_BY_HOP | {"content-length"}

_REQUEST_ID = re.compile(r"[\x21-\x7e]{1,128}")
_TRACEPARENT = re.compile(r"(?!ff)([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_CONTINUED = ("x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "forwarded")
_NO_TRACE, _NO_SPAN = "0" * 32, "0" * 16
# What may stand unquoted in Forwarded is a token; a port or an IPv6 address is not one (RFC 7239 section 4).
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sent the request, as known from the connection. `trusted`: its address is in a trusted network."""

    address: str
    scheme: str
    trusted: bool

    @property
    def forwarded_for(self) -> str:
        """The address as Forwarded writes it."""
        return f'"[{self.address}]"' if ":" in self.address else self.address or "unknown"


def connection_options(named: dict[str, str], fields: HeaderList) -> frozenset[str]:
    """Lower names listed in all Connection fields; empty for the common values."""
    if "connection" not in named:
        return frozenset()
    value = ",".join(value for name, value in fields if name.lower() == "connection").lower()
    if value in ("keep-alive", "close"):
        return frozenset()
    return frozenset(option.strip() for option in value.split(",")) - {"", "host", "content-length"}


def request_id(named: dict[str, str], made: str) -> str:
    """The caller's X-Request-Id if it is sane (1-128 visible ASCII characters), else the one made here."""
    given = named.get("x-request-id")
    return given if given is not None and _REQUEST_ID.fullmatch(given) else made


def traceparent(named: dict[str, str], trace_id: str, span_id: str) -> str:
    """W3C trace context: the caller's trace goes on in a span of our own; a trace is begun when there is none."""
    given = named.get("traceparent")
    match = _TRACEPARENT.fullmatch(given) if given is not None else None
    valid = match is not None and match.group(2) != _NO_TRACE and match.group(3) != _NO_SPAN
    if match is None or not valid or (match.group(1) == "00" and match.group(5)):
        return f"00-{trace_id}-{span_id}-01"
    return f"00-{match.group(2)}-{span_id}-{match.group(4)}"


def forwarded_fields(fields: HeaderList, named: dict[str, str], options: frozenset[str]) -> list[tuple[str, str]]:
    """The caller's fields that pass this hop as they are."""
    dropped = NOT_FORWARDED | options if options else NOT_FORWARDED
    if dropped.isdisjoint(named):
        return list(fields)
    return [field for field in fields if field[0].lower() not in dropped]


def added_fields(fields: HeaderList, named: dict[str, str], caller: Caller, host: str) -> list[tuple[str, str]]:
    """X-Forwarded-*, Forwarded and Via. What an untrusted caller says of others' hops is not believed."""
    before = {name: combined(fields, name) for name in _CONTINUED if name in named} if caller.trusted else {}
    proto = before.get("x-forwarded-proto") or caller.scheme
    element = f"for={caller.forwarded_for};host={_quoted(host)};proto={caller.scheme}"
    return [
        ("X-Forwarded-For", _appended(before.get("x-forwarded-for"), caller.address)),
        ("X-Forwarded-Proto", proto),
        ("X-Forwarded-Host", before.get("x-forwarded-host") or host),
        ("Forwarded", _appended(before.get("forwarded"), element)),
        ("Via", _appended(combined(fields, "via") if "via" in named else None, VIA)),
    ]


def combined(fields: HeaderList, lower: str) -> str:
    """All values of a list-valued field as one (RFC 9110 section 5.3)."""
    return ", ".join(value for name, value in fields if name.lower() == lower)


def returned_fields(fields: HeaderList, named: dict[str, str], options: frozenset[str]) -> HeaderList:
    """The backend's fields that pass to the caller as they are."""
    dropped = NOT_RETURNED | options if options else NOT_RETURNED
    if dropped.isdisjoint(named):
        return fields
    return tuple(field for field in fields if field[0].lower() not in dropped)


def override(named: dict[str, str]) -> Side | None:
    """The side that X-Serve-With or X-Use-Rust-Scorer asks for; None when they say nothing."""
    side = named.get("x-serve-with", "").strip().lower()
    if side in (Side.CANDIDATE, Side.LEGACY):
        return Side(side)
    match named.get("x-use-rust-scorer", "").strip().lower():
        case "true":
            return Side.CANDIDATE
        case "false":
            return Side.LEGACY
        case _:
            return None


def encode(fields: Iterable[tuple[str, str]]) -> str:
    """Fields as lines."""
    return "".join([f"{name}: {value}\r\n" for name, value in fields])


def _appended(before: str | None, value: str) -> str:
    return f"{before}, {value}" if before else value


def _quoted(value: str) -> str:
    return value if _TOKEN.fullmatch(value) else '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
