"""Write the heads that this hop sends: a request's to the backend, a response's to the client. Pure."""

from dataclasses import dataclass, replace

from proxy.http1.fields import combined_value
from proxy.http1.forwarding_headers import HeaderBlock
from proxy.http1.head_template import HeadTemplate
from proxy.http1.parser import LENGTH, Framing, RequestHead, ResponseHead

_NONE, _LENGTH, _CHUNKED = Framing.NONE, Framing.LENGTH, Framing.CHUNKED
UPGRADE = "Connection: Upgrade\r\nUpgrade: websocket\r\n"


def wants_websocket(head: RequestHead) -> bool:
    """Return whether a request is an upgrade to WebSocket without a body. Other upgrades are ignored (RFC 9110 section 7.8)."""
    options = combined_value(head.fields, "connection").lower().split(",")
    upgrade = head.minor == 1 and "upgrade" in [option.strip() for option in options]
    protocol = (head.value("upgrade") or "").lower()
    return upgrade and protocol == "websocket" and head.method == "GET" and head.framing is Framing.NONE


def decrement_max_forwards(head: RequestHead) -> RequestHead | None:
    """Decrement Max-Forwards of OPTIONS and TRACE; None when this hop has to answer (RFC 9110 section 7.6.2).

    Other methods, and a value that is not a number, are passed on unchanged.
    """
    stated = head.value("max-forwards") or ""
    if head.method not in ("OPTIONS", "TRACE") or not LENGTH.fullmatch(stated):
        return head
    if int(stated) == 0:
        return None
    template = head.template
    lines = zip(head.fields, template.names, strict=True)
    fields = [(field[0], str(int(stated) - 1)) if name == "max-forwards" else field for field, name in lines]
    own = HeadTemplate(fields, template.names, head.first_values, template.forwarded)
    return replace(head, template=own, values=())


@dataclass(frozen=True, slots=True)
class BackendAddress:
    """The address that requests are sent to.

    Attributes:
        host: the Host that is sent; "" sends the client's, or `authority` if the client sent none.
        authority: of the backend's URL.
        prefix: of the backend's URL: a path that comes before the request's.
    """

    host: str
    authority: str
    prefix: str


def backend_address_of(policy: str, *, authority: str, prefix: str) -> BackendAddress:
    """Return the address of a backend whose `host` setting is `backend`, `preserve` or a literal name."""
    hosts = {"backend": authority, "preserve": ""}
    return BackendAddress(hosts.get(policy, policy), authority, prefix)


def request_head(head: RequestHead, added: HeaderBlock, own: str, backend: BackendAddress) -> bytes:
    """Return the head of a request as bytes.

    Args:
        head: as the client sent it.
        added: the forwarding fields.
        own: the lines that this request alone has, each with its CRLF: its id, its trace, an upgrade.
        backend: the address that it is sent to.
    """
    template, target = head.template, head.target
    if head.framing is _LENGTH:
        own += f"Content-Length: {head.length}\r\n"
    elif head.framing is _CHUNKED:
        own += "Transfer-Encoding: chunked\r\n"
    elif "content-length" in template.present:
        own += "Content-Length: 0\r\n"
    if backend.prefix and target != "*":
        target = backend.prefix + target
    host = backend.host or head.host or backend.authority
    return (
        f"{head.method} {target} HTTP/1.1\r\nHost: {host}\r\n{template.forwarded_text(head.values)}{added.text}{own}\r\n"
    ).encode("latin-1")


def response_head(head: ResponseHead, request: RequestHead, own: str, *, chunked: bool, close: bool) -> bytes:
    """Return the head of a response as bytes.

    Args:
        head: as the backend sent it.
        request: the client's; its method and version decide how the response may be framed.
        own: the lines that this response alone has, each with its CRLF.
        chunked: whether a body of unknown length is sent in chunks.
        close: whether the client's connection is closed after the response.
    """
    lines = head.template.forwarded_text(head.values)
    if head.framing is _LENGTH:
        framing = f"Content-Length: {head.length}\r\n"
    elif head.status == 101:
        framing = UPGRADE
    elif head.framing is _NONE:
        framing = _bodiless_length(head, request.method)
    else:
        framing = "Transfer-Encoding: chunked\r\n" if chunked else ""
    if close:
        framing += "Connection: close\r\n"
    elif request.minor == 0 and head.status != 101:
        framing += "Connection: keep-alive\r\n"
    return f"HTTP/1.1 {head.status} {head.reason}\r\n{lines}{own}{framing}\r\n".encode("latin-1")


def _bodiless_length(head: ResponseHead, method: str) -> str:
    """Return the Content-Length line: of HEAD and 304 that of the body not sent, none for 204, else 0."""
    if head.status == 204:
        return ""
    if method == "HEAD" or head.status == 304:
        stated = head.value("content-length") or ""
        return f"Content-Length: {stated}\r\n" if stated.isascii() and stated.isdigit() else ""
    return "Content-Length: 0\r\n"
