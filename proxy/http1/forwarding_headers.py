"""Which header fields pass a hop, which are added, and what they say. Pure."""

import re
from dataclasses import dataclass, field

from comparator.exchanges.model import HeaderList, Side
from proxy.http1.fields import Pair
from proxy.http1.parser import RequestHead

HOSTS_REMEMBERED_MAX = 16

_REQUEST_ID = re.compile(r"[\x21-\x7e]{1,128}")
_TRACEPARENT = re.compile(r"(?!ff)([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_CONTINUED = frozenset(("x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "forwarded"))
_NO_TRACE, _NO_SPAN = "0" * 32, "0" * 16
# What may stand unquoted in Forwarded is a token; a port or an IPv6 address is not one (RFC 7239 section 4).
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")


@dataclass(frozen=True, slots=True)
class HeaderBlock:
    """Fields that are added together, and their lines."""

    fields: HeaderList
    text: str


NOTHING_ADDED = HeaderBlock((), "")


@dataclass(slots=True)
class ClientAddress:
    """Who sent the request, as known from the connection. `trusted`: its address is in a trusted network."""

    address: str
    scheme: str
    trusted: bool
    added: dict[str, HeaderBlock] = field(default_factory=dict[str, HeaderBlock])
    """What `added_block` made for the hosts that this client asked for."""

    @property
    def forwarded_for(self) -> str:
        """The address as Forwarded writes it."""
        return f'"[{self.address}]"' if ":" in self.address else self.address or "unknown"


def sane_request_id(head: RequestHead) -> str | None:
    """The client's X-Request-Id if it is sane (1-128 visible ASCII characters)."""
    given = head.value("x-request-id")
    return given if given is not None and _REQUEST_ID.fullmatch(given) else None


def traceparent(given: str | None, trace_id: str, span_id: str) -> str:
    """W3C trace context: the client's trace goes on in a span of our own; a trace is begun when there is none."""
    match = _TRACEPARENT.fullmatch(given) if given is not None else None
    valid = match is not None and match.group(2) != _NO_TRACE and match.group(3) != _NO_SPAN
    if match is None or not valid or (match.group(1) == "00" and match.group(5)):
        return f"00-{trace_id}-{span_id}-01"
    return f"00-{match.group(2)}-{span_id}-{match.group(4)}"


def added_block(head: RequestHead, client: ClientAddress) -> HeaderBlock:
    """X-Forwarded-*, Forwarded and Via. What an untrusted client says of others' hops is not believed."""
    has, host = head.shape.has, head.host
    if head.minor == 0 or "via" in has or (client.trusted and not _CONTINUED.isdisjoint(has)):
        return _block(head.pairs, head.named, client, host, minor=head.minor)
    block = client.added.get(host)
    if block is None:
        if len(client.added) >= HOSTS_REMEMBERED_MAX:
            client.added.clear()
        block = client.added[host] = _block([], {}, client, host)
    return block


def _block(
    pairs: list[Pair], named: dict[str, str], client: ClientAddress, host: str, *, minor: int = 1
) -> HeaderBlock:
    before = {name: combined(pairs, name) for name in _CONTINUED if name in named} if client.trusted else {}
    element = f"for={client.forwarded_for};host={_quoted(host)};proto={client.scheme}"
    fields = (
        ("X-Forwarded-For", _appended(before.get("x-forwarded-for"), client.address)),
        ("X-Forwarded-Proto", before.get("x-forwarded-proto") or client.scheme),
        ("X-Forwarded-Host", before.get("x-forwarded-host") or host),
        ("Forwarded", _appended(before.get("forwarded"), element)),
        ("Via", _appended(combined(pairs, "via") if "via" in named else None, f"1.{minor} shadow")),
    )
    return HeaderBlock(fields, "".join([f"{name}: {value}\r\n" for name, value in fields]))


def combined(pairs: list[Pair], lower: str) -> str:
    """All values of a list-valued field as one (RFC 9110 section 5.3)."""
    return ", ".join(value for name, value in pairs if name.lower() == lower)


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


def _appended(before: str | None, value: str) -> str:
    return f"{before}, {value}" if before else value


def _quoted(value: str) -> str:
    return value if _TOKEN.fullmatch(value) else '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
