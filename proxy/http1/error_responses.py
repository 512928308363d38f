"""The responses that the proxy makes itself: JSON with a neutral message, an error code and the request id. Pure."""

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
FAILURE_STATUS = {
    FailureCause.REFUSED: 502,
    FailureCause.RESET: 502,
    FailureCause.PROTOCOL: 502,
    FailureCause.TIMEOUT: 504,
    FailureCause.OVERLOAD: 503,
    FailureCause.EJECTED: 503,
}
"""The status that a client gets when the served side gave no response."""
FAILURE_DETAILS = {
    FailureCause.REFUSED: "The service cannot be reached.",
    FailureCause.RESET: "The service closed the connection before it responded.",
    FailureCause.PROTOCOL: "The service sent an invalid response.",
    FailureCause.TIMEOUT: "The service did not respond in time.",
    FailureCause.OVERLOAD: "The service is at its connection limit.",
    FailureCause.EJECTED: "The service is temporarily unavailable.",
}


def failure_response(
    cause: FailureCause, request_id: str, *, date: str, keep_alive: bool, retry_after_s: int = 0
) -> bytes:
    """Return the response for a request that the served side gave none to.

    Args:
        cause: why there is none.
        request_id: of the request.
        date: the value of Date.
        keep_alive: whether the client's connection stays open.
        retry_after_s: the value of Retry-After; 0 leaves the field out.
    """
    own = _retry_after(retry_after_s)
    status, detail = FAILURE_STATUS[cause], FAILURE_DETAILS[cause]
    return _response(status, f"backend_{cause}", detail, request_id, date=date, keep_alive=keep_alive, own=own)


def _retry_after(seconds: int) -> str:
    return f"Retry-After: {seconds}\r\n" if seconds else ""


def refusal(status: int, detail: str, request_id: str, *, date: str, retry_after_s: int = 0) -> bytes:
    """Return the response to a request that is not forwarded. The connection is closed after it."""
    code = REASONS[status].lower().replace(" ", "_")
    text = f"{detail[:1].upper()}{detail[1:]}."
    return _response(status, code, text, request_id, date=date, keep_alive=False, own=_retry_after(retry_after_s))


def options_response(request_id: str, *, date: str) -> bytes:
    """Return the response to OPTIONS with Max-Forwards: 0. The connection is closed after it."""
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
