"""The fields that the proxy adds to a request or reads for itself: request ids, trace context, X-Forwarded-*, overrides. Pure."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from comparator.exchanges.model import HeaderList, Side
from proxy.http1.fields import Field, combined_value
from proxy.http1.parser import RequestHead

CACHED_HOSTS_MAX = 16

_REQUEST_ID = re.compile(r"[\x21-\x7e]{1,128}")
_TRACEPARENT = re.compile(r"(?!ff)([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_CONTINUED = frozenset(("x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "forwarded"))
_ZERO_TRACE_ID, _ZERO_SPAN_ID = "0" * 32, "0" * 16
# Forwarded may have a token without quotes; a host with a port and an IPv6 address are not tokens (RFC 7239 section 4).
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")


@dataclass(frozen=True, slots=True)
class HeaderBlock:
    """Fields that are added together, and their lines as one text."""

    fields: HeaderList
    text: str


EMPTY_BLOCK = HeaderBlock((), "")


@dataclass(slots=True)
class ClientAddress:
    """The client at the other end of a connection.

    Attributes:
        address: IP address, "" on a unix socket.
        trusted: whether the address is in a trusted network.
        blocks: the results of `forwarding_block` by the host that was requested.
    """

    address: str
    scheme: str
    trusted: bool
    blocks: dict[str, HeaderBlock] = field(default_factory=dict[str, HeaderBlock])

    @property
    def forwarded_for(self) -> str:
        """The address as Forwarded spells it."""
        return f'"[{self.address}]"' if ":" in self.address else self.address or "unknown"


class TraceContext(NamedTuple):
    """The parts of a traceparent that a span of our own continues."""

    trace_id: str
    flags: str

    @property
    def sampled(self) -> bool:
        """True if the caller says that it may have recorded the trace (W3C Trace Context, section 3.2.2.5)."""
        return int(self.flags, 16) & 1 == 1


def valid_request_id(head: RequestHead) -> str | None:
    """Return the client's X-Request-Id if it is 1 to 128 visible ASCII characters, else None."""
    value = head.value("x-request-id")
    return value if value is not None and _REQUEST_ID.fullmatch(value) else None


def parse_traceparent(text: str) -> TraceContext | None:
    """Parse a traceparent; None when it is malformed (W3C Trace Context, sections 3.2 and 4.3)."""
    match = _TRACEPARENT.fullmatch(text)
    if match is None or match.group(2) == _ZERO_TRACE_ID or match.group(3) == _ZERO_SPAN_ID:
        return None
    if match.group(1) == "00" and match.group(5):
        return None
    return TraceContext(match.group(2), match.group(4))


def traceparent(received: TraceContext | None, trace_id: str, span_id: str) -> str:
    """Return the traceparent to send: it continues the client's trace, or starts one.

    Args:
        received: the client's trace context, None if it is missing or malformed.
        trace_id: of the trace that starts then.
        span_id: of the proxy's own span.
    """
    if received is None:
        return f"00-{trace_id}-{span_id}-01"
    return f"00-{received.trace_id}-{span_id}-{received.flags}"


def forwarding_block(head: RequestHead, client: ClientAddress) -> HeaderBlock:
    """Return X-Forwarded-*, Forwarded and Via for a request. Those of an untrusted client are replaced, not continued."""
    present, host = head.template.present, head.host
    if head.minor == 0 or "via" in present or (client.trusted and not _CONTINUED.isdisjoint(present)):
        return _build_block(head.fields, present, client, host, minor=head.minor)
    block = client.blocks.get(host)
    if block is None:
        if len(client.blocks) >= CACHED_HOSTS_MAX:
            client.blocks.clear()
        block = client.blocks[host] = _build_block((), (), client, host)
    return block


def _build_block(
    fields: Sequence[Field], present: Collection[str], client: ClientAddress, host: str, *, minor: int = 1
) -> HeaderBlock:
    before = {name: combined_value(fields, name) for name in _CONTINUED if name in present} if client.trusted else {}
    element = f"for={client.forwarded_for};host={_quoted(host)};proto={client.scheme}"
    added = (
        ("X-Forwarded-For", _appended(before.get("x-forwarded-for"), client.address)),
        ("X-Forwarded-Proto", before.get("x-forwarded-proto") or client.scheme),
        ("X-Forwarded-Host", before.get("x-forwarded-host") or host),
        ("Forwarded", _appended(before.get("forwarded"), element)),
        ("Via", _appended(combined_value(fields, "via") if "via" in present else None, f"1.{minor} shadow")),
    )
    return HeaderBlock(added, "".join([f"{name}: {value}\r\n" for name, value in added]))


def requested_side(first_values: Mapping[str, str]) -> Side | None:
    """Return the side that X-Serve-With or X-Use-Rust-Scorer requests; None when neither has a known value."""
    side = first_values.get("x-serve-with", "").strip().lower()
    if side in (Side.CANDIDATE, Side.LEGACY):
        return Side(side)
    match first_values.get("x-use-rust-scorer", "").strip().lower():
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
