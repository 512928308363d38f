"""The heads this hop writes: the request's towards the backend, the reply's framing towards the caller. Pure."""

from proxy.headers import Block
from proxy.http1 import Framing, ReplyHead, RequestHead

_NONE, _LENGTH, _CHUNKED = Framing.NONE, Framing.LENGTH, Framing.CHUNKED
UPGRADE = "Connection: Upgrade\r\nUpgrade: websocket\r\n"


def wants_websocket(head: RequestHead) -> bool:
    """An upgrade to WebSocket without a body; other protocols are not switched to (RFC 9110 section 7.8 lets us)."""
    options = head.named.get("connection", "").lower()
    protocol = head.named.get("upgrade", "").lower()
    return protocol == "websocket" and "upgrade" in options and head.method == "GET" and head.framing is Framing.NONE


def host_for(policy: str, *, asked: str, authority: str) -> str:
    """The Host sent on: the backend's own, the one the caller asked for, or a literal name."""
    if policy == "backend":
        return authority
    return (asked or authority) if policy == "preserve" else policy


def request_head(head: RequestHead, added: Block, own: str, *, host: str, prefix: str) -> bytes:
    """The request's head. `own` are this request's own lines: its id, its trace, an upgrade."""
    framing = ""
    if head.framing is _LENGTH:
        framing = f"Content-Length: {head.length}\r\n"
    elif head.framing is _CHUNKED:
        framing = "Transfer-Encoding: chunked\r\n"
    elif "content-length" in head.named:
        framing = "Content-Length: 0\r\n"
    target = head.target if head.target == "*" else prefix + head.target
    lines = "\r\n".join((f"{head.method} {target} HTTP/1.1\r\nHost: {host}", *head.passed(head.lines)))
    return f"{lines}\r\n{added.text}{own}{framing}\r\n".encode("latin-1")


def reply_head(head: ReplyHead, asked: RequestHead, own: str, *, chunked: bool, close: bool) -> bytes:
    """The reply's head for the caller who asked. `own` are this reply's own lines; after `close` the connection is closed."""
    lines = "\r\n".join((f"HTTP/1.1 {head.status} {head.reason}", *head.returned(head.lines)))
    if head.status == 101:
        framing = UPGRADE
    elif head.framing is _LENGTH:
        framing = f"Content-Length: {head.length}\r\n"
    elif head.framing is _NONE:
        framing = _bodiless_length(head, asked.method)
    else:
        framing = "Transfer-Encoding: chunked\r\n" if chunked else ""
    if close:
        framing += "Connection: close\r\n"
    elif asked.minor == 0 and head.status != 101:
        framing += "Connection: keep-alive\r\n"
    return f"{lines}\r\n{own}{framing}\r\n".encode("latin-1")


def _bodiless_length(head: ReplyHead, method: str) -> str:
    """HEAD and 304 may say the length a body would have; 1xx and 204 have none; an empty body is said to be empty."""
    if head.status == 204:
        return ""
    if method == "HEAD" or head.status == 304:
        stated = head.named.get("content-length", "")
        return f"Content-Length: {stated}\r\n" if stated.isascii() and stated.isdigit() else ""
    return "Content-Length: 0\r\n"
