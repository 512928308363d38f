"""The heads this hop writes: the request's towards the backend, the response's framing towards the client. Pure."""

from dataclasses import dataclass, replace

from proxy.http1.forwarding_headers import HeaderBlock, combined
from proxy.http1.head_template import HeadTemplate
from proxy.http1.parser import LENGTH, Framing, RequestHead, ResponseHead

_NONE, _LENGTH, _CHUNKED = Framing.NONE, Framing.LENGTH, Framing.CHUNKED
UPGRADE = "Connection: Upgrade\r\nUpgrade: websocket\r\n"


def wants_websocket(head: RequestHead) -> bool:
    """An upgrade to WebSocket without a body; other protocols are not switched to (RFC 9110 section 7.8 lets us)."""
    options = combined(head.pairs, "connection").lower().split(",")
    asked = head.minor == 1 and "upgrade" in [option.strip() for option in options]
    protocol = (head.value("upgrade") or "").lower()
    return asked and protocol == "websocket" and head.method == "GET" and head.framing is Framing.NONE


def counted_down(head: RequestHead) -> RequestHead | None:
    """A request that says how far it may go, as it goes on; None when this hop is the last (RFC 9110 section 7.6.2).

    Only OPTIONS and TRACE are meant. What is not a number says nothing.
    """
    stated = head.value("max-forwards") or ""
    if head.method not in ("OPTIONS", "TRACE") or not LENGTH.fullmatch(stated):
        return head
    if int(stated) == 0:
        return None
    shape = head.shape
    lines = zip(head.pairs, shape.names, strict=True)
    pairs = [(pair[0], str(int(stated) - 1)) if name == "max-forwards" else pair for pair, name in lines]
    return replace(head, shape=HeadTemplate(pairs, shape.names, head.named, shape.passing), values=())


@dataclass(frozen=True, slots=True)
class BackendAddress:
    """Where a request goes. `host` is the Host that is sent there, "" the one that the client asked for, or else `authority`."""

    host: str
    authority: str
    prefix: str


def backend_address_of(policy: str, *, authority: str, prefix: str) -> BackendAddress:
    """The policy for Host says: the backend's own, the one the client asked for, or a literal name."""
    fixed = {"backend": authority, "preserve": ""}
    return BackendAddress(fixed.get(policy, policy), authority, prefix)


def request_head(head: RequestHead, added: HeaderBlock, own: str, place: BackendAddress) -> bytes:
    """The request's head. `own` are this request's own lines: its id, its trace, an upgrade."""
    shape, target = head.shape, head.target
    if head.framing is _LENGTH:
        own += f"Content-Length: {head.length}\r\n"
    elif head.framing is _CHUNKED:
        own += "Transfer-Encoding: chunked\r\n"
    elif "content-length" in shape.has:
        own += "Content-Length: 0\r\n"
    if place.prefix and target != "*":
        target = place.prefix + target
    host = place.host or head.host or place.authority
    return (
        f"{head.method} {target} HTTP/1.1\r\nHost: {host}\r\n{shape.text(head.values)}{added.text}{own}\r\n"
    ).encode("latin-1")


def response_head(head: ResponseHead, asked: RequestHead, own: str, *, chunked: bool, close: bool) -> bytes:
    """The response's head for the client who asked. `own` are this response's own lines; after `close` the connection is closed."""
    lines = head.shape.text(head.values)
    if head.framing is _LENGTH:
        framing = f"Content-Length: {head.length}\r\n"
    elif head.status == 101:
        framing = UPGRADE
    elif head.framing is _NONE:
        framing = _bodiless_length(head, asked.method)
    else:
        framing = "Transfer-Encoding: chunked\r\n" if chunked else ""
    if close:
        framing += "Connection: close\r\n"
    elif asked.minor == 0 and head.status != 101:
        framing += "Connection: keep-alive\r\n"
    return f"HTTP/1.1 {head.status} {head.reason}\r\n{lines}{own}{framing}\r\n".encode("latin-1")


def _bodiless_length(head: ResponseHead, method: str) -> str:
    """HEAD and 304 may say the length a body would have; 1xx and 204 have none; an empty body is said to be empty."""
    if head.status == 204:
        return ""
    if method == "HEAD" or head.status == 304:
        stated = head.named.get("content-length", "")
        return f"Content-Length: {stated}\r\n" if stated.isascii() and stated.isdigit() else ""
    return "Content-Length: 0\r\n"
