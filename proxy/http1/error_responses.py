"""The responses the proxy makes itself: JSON that says what happened and how to name the request when asking for help. Pure."""

import json

from comparator.exchanges.model import FailureCause

REASONS = {
    400: "Bad Request",
    405: "Method Not Allowed",
    408: "Request Timeout",
    413: "Content Too Large",
    414: "URI Too Long",
    417: "Expectation Failed",
    431: "Request Header Fields Too Large",
    501: "Not Implemented",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Gateway Timeout",
    505: "HTTP Version Not Supported",
}
DETAILS = {
    FailureCause.REFUSED: "The service cannot be reached.",
    FailureCause.RESET: "The service closed the connection before it answered.",
    FailureCause.PROTOCOL: "The service answered with something that is not HTTP/1.1.",
    FailureCause.TIMEOUT: "The service did not answer in time.",
    FailureCause.OVERLOAD: "The service is at its limit of connections.",
    FailureCause.EJECTED: "The service failed too often and is spared for a moment.",
}


def failure_response(
    status: int, cause: FailureCause, request_id: str, *, date: str, keep_alive: bool, retry_after_s: int = 0
) -> bytes:
    """The response when the served side gave none. `retry_after_s` 0: nobody knows when to ask again."""
    own = f"Retry-After: {retry_after_s}\r\n" if retry_after_s else ""
    return _response(status, f"backend_{cause}", DETAILS[cause], request_id, date=date, keep_alive=keep_alive, own=own)


def refusal(status: int, detail: str, request_id: str, *, date: str) -> bytes:
    """The response to a request that is not forwarded; the connection is closed after it."""
    code = REASONS[status].lower().replace(" ", "_")
    return _response(status, code, f"{detail[:1].upper()}{detail[1:]}.", request_id, date=date, keep_alive=False)


def options_response(request_id: str, *, date: str) -> bytes:
    """The response to OPTIONS that may go no further than here; the connection is closed after it."""
    fields = f"Content-Length: 0\r\nDate: {date}\r\nX-Request-Id: {request_id}\r\nConnection: close\r\n"
    return f"HTTP/1.1 200 OK\r\n{fields}\r\n".encode("latin-1")


def _response(
    status: int, code: str, detail: str, request_id: str, *, date: str, keep_alive: bool, own: str = ""
) -> bytes:
    body = json.dumps({"detail": detail, "error": code, "request_id": request_id}).encode()
    close = "" if keep_alive else "Connection: close\r\n"
    head = (
        f"HTTP/1.1 {status} {REASONS[status]}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        f"Cache-Control: no-store\r\nDate: {date}\r\nX-Request-Id: {request_id}\r\n{own}{close}\r\n"
    )
    return head.encode("latin-1") + body
