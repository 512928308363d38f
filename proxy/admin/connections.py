"""The connections to the control port: a protocol before that of aiohttp, which lets no request through that should not cost anything.

    HEAD --head--> checked, its token recognized or not --+--> PASSED: from here on aiohttp's
                                                          +--> PACED --wait--> PASSED      without a right token
                                                          +--> ENDING                      refused

Everything is decided on the head, before a byte of the body is read. A connection without a right token has one request, and time limits
for its head and for all of it. At most `connections_max` are open: beyond that the oldest one of the address that has the most is closed,
so that a thousand half-sent requests do not keep the operator out. A token only exempts from waiting here; the handler of the request authorizes it.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Collection
from enum import Enum, auto
from typing import Final, cast

from aiohttp import web

from proxy.admin.request_checks import CheckFailure, check_request, path_of
from proxy.admin.throttle import (
    BURST,
    COSTS,
    PER_S,
    ROLLBACKS_BURST,
    ROLLBACKS_PER_S,
    WAIT_MAX_S,
    AddressLimiter,
)
from proxy.errors import MalformedError
from proxy.http1.parser import HEAD_END, RequestHead, parse_request
from proxy.rollout.auth import bearer_token
from proxy.rollout.http_api import ROLLBACK

CONNECTIONS_MAX: Final = 256
HEAD_MAX_BYTES: Final = 16 * 1024
FIELDS_MAX: Final = 64
HEAD_S: Final = 5.0
REQUEST_S: Final = 30.0
"""Time for a request without a right token, from its head to the end of its response."""
ENDING_S: Final = 1.0
"""Time in which the rest of a refused request is discarded, so that its sender reads the response (RFC 9112 section 9.6)."""
SECURITY_FIELDS: Final = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
"""Fields of every response; a page may have a policy of its own."""
REASONS: Final = {
    400: "Bad Request",
    403: "Forbidden",
    408: "Request Timeout",
    413: "Content Too Large",
    415: "Unsupported Media Type",
    417: "Expectation Failed",
    421: "Misdirected Request",
    431: "Request Header Fields Too Large",
    501: "Not Implemented",
    503: "Service Unavailable",
    505: "HTTP Version Not Supported",
}


class _State(Enum):
    HEAD = auto()
    PACED = auto()
    PASSED = auto()
    ENDING = auto()


class AdminConnections:
    """All connections to the control port of one process.

    Args:
        recognizes: returns whether a token is a right one.
        hosts: names that the port is reached by; None for any, on a port that only reads.
        connections_max: connections that may be open.
        checks: check heads and tokens; without it, requests are passed on as they are once their head is complete, as on a port whose
            handlers do that.
    """

    def __init__(
        self,
        *,
        recognizes: Callable[[str], bool],
        hosts: Collection[str] | None,
        connections_max: int = CONNECTIONS_MAX,
        checks: bool = True,
    ) -> None:
        self._connections_max = connections_max
        self.checks = checks
        self._server: web.Server | None = None
        self.recognizes = recognizes
        self.hosts = None if hosts is None else frozenset(host.lower() for host in hosts)
        self._open: dict[asyncio.BaseTransport, AdminConnection] = {}
        self._requests = AddressLimiter(PER_S, BURST)
        self._rollbacks = AddressLimiter(ROLLBACKS_PER_S, ROLLBACKS_BURST)

    def serve_with(self, server: web.Server | None) -> None:
        """Pass requests to aiohttp's server from now on."""
        self._server = server

    def handler(self) -> asyncio.Protocol:
        """Make the protocol that a connection's requests are passed to."""
        assert self._server is not None, "requests are served before there is a server"
        return self._server()

    def connection(self) -> "AdminConnection":
        """Make the protocol of a new connection."""
        return AdminConnection(self)

    def __len__(self) -> int:
        """Return the number of open connections."""
        return len(self._open)

    def opened(self, transport: asyncio.BaseTransport, connection: "AdminConnection") -> None:
        """Count a connection, and close another one if they are too many."""
        if len(self._open) >= self._connections_max:
            self._evict()
        self._open[transport] = connection

    def closed(self, transport: asyncio.BaseTransport) -> None:
        """Forget a connection."""
        self._open.pop(transport, None)

    def is_recognized(self, transport: asyncio.BaseTransport | None) -> bool:
        """Return whether the request on a connection has a right token."""
        connection = self._open.get(transport) if transport is not None else None
        return connection is not None and connection.recognized

    def wait_s(self, address: str, path: str, now: float) -> float:
        """Return the seconds that a request without a right token has to wait."""
        if path == ROLLBACK:
            return self._rollbacks.wait_s(address, now)
        return self._requests.wait_s(address, now, COSTS.get(path, 1))

    def _evict(self) -> None:
        """Close the oldest connection without a right token, of the address that has the most of them; one that waits first."""
        others = [one for one in self._open.values() if not one.recognized]
        candidates = [one for one in others if not one.passed] or others or list(self._open.values())
        ((address, _),) = Counter(one.address for one in candidates).most_common(1)
        next(one for one in candidates if one.address == address).abort()


class AdminConnection(asyncio.Protocol):
    """One connection.

    Attributes:
        address: of the client.
        recognized: whether its request has a right token.
    """

    def __init__(self, connections: AdminConnections) -> None:
        self.address = ""
        self.recognized = False
        self._connections = connections
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._inner: asyncio.Protocol | None = None
        self._state = _State.HEAD
        self._buffer = b""
        self._timer: asyncio.TimerHandle | None = None
        self._eof = False

    @property
    def passed(self) -> bool:
        """True when the request was passed to aiohttp."""
        return self._state is _State.PASSED

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Implement asyncio.Protocol."""
        self._transport = cast("asyncio.Transport", transport)
        peer: tuple[str, int] | str | None = transport.get_extra_info("peername")
        self.address = peer[0] if isinstance(peer, tuple) else ""
        self._connections.opened(transport, self)
        self._after(HEAD_S, self.abort)

    def data_received(self, data: bytes) -> None:
        """Implement asyncio.Protocol."""
        if self._inner is not None:
            self._inner.data_received(data)
        elif self._state is _State.HEAD:
            self._buffer += data
            if HEAD_END in self._buffer:
                self._decide()
            elif len(self._buffer) > HEAD_MAX_BYTES:
                self._refuse(CheckFailure(431, "the header is too large"))
        elif self._state is _State.PACED:
            # (reading is paused; this came before that)
            self._buffer += data

    def eof_received(self) -> bool | None:
        """Implement asyncio.Protocol."""
        self._eof = True
        if self._inner is not None:
            return self._inner.eof_received()
        return self._state is _State.PACED

    def connection_lost(self, exc: Exception | None) -> None:
        """Implement asyncio.Protocol."""
        self._cancel_timer()
        if self._transport is not None:
            self._connections.closed(self._transport)
        if self._inner is not None:
            self._inner.connection_lost(exc)
        self._transport = None

    def pause_writing(self) -> None:
        """Implement asyncio.Protocol."""
        if self._inner is not None:
            self._inner.pause_writing()

    def resume_writing(self) -> None:
        """Implement asyncio.Protocol."""
        if self._inner is not None:
            self._inner.resume_writing()

    # Internal.

    def abort(self) -> None:
        """Close the connection at once."""
        self._cancel_timer()
        if self._transport is not None:
            # (its place is free now, although `connection_lost` comes later)
            self._connections.closed(self._transport)
            self._transport.abort()

    def _decide(self) -> None:
        """Check the head of the request: refuse it, pass it on, or let it wait."""
        if not self._connections.checks:
            self.recognized = True
            self._pass()
            return
        end = self._buffer.index(HEAD_END) + len(HEAD_END)
        try:
            head = parse_request(self._buffer[:end], fields_max=FIELDS_MAX)
        except MalformedError as error:
            self._refuse(CheckFailure(error.status, str(error)))
            return
        self.recognized = self._is_recognized(head)
        failure = check_request(head, hosts=self._connections.hosts, recognized=self.recognized)
        wait_s = 0.0
        if not self.recognized:
            wait_s = self._connections.wait_s(self.address, path_of(head), self._loop.time())
        if wait_s > WAIT_MAX_S:
            failure = CheckFailure(503, "too many requests to the control port: try again later")
        if failure is not None:
            self._refuse(failure)
        elif wait_s:
            self._state = _State.PACED
            assert self._transport is not None
            self._transport.pause_reading()
            self._after(wait_s, self._pass)
        else:
            self._pass()

    def _is_recognized(self, head: RequestHead) -> bool:
        token = bearer_token(head.value("authorization") or "")
        return bool(token) and self._connections.recognizes(token)

    def _pass(self) -> None:
        """Give the request to aiohttp, and everything that follows."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        self._cancel_timer()
        if not self.recognized:
            self._after(REQUEST_S, self.abort)
        paced, self._state = self._state is _State.PACED, _State.PASSED
        inner = self._inner = self._connections.handler()
        inner.connection_made(transport)
        data, self._buffer = self._buffer, b""
        inner.data_received(data)
        if paced:
            transport.resume_reading()
        if self._eof:
            inner.eof_received()

    def _refuse(self, failure: CheckFailure) -> None:
        assert self._transport is not None
        self._state = _State.ENDING
        self._buffer = b""
        self._transport.write(refusal(failure))
        if not self._transport.can_write_eof():
            self._transport.close()
            return
        self._transport.write_eof()
        self._after(ENDING_S, self.abort)

    def _after(self, seconds: float, action: Callable[[], None]) -> None:
        self._cancel_timer()
        self._timer = self._loop.call_later(seconds, action)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def refusal(failure: CheckFailure) -> bytes:
    """Return the response to a request that is not passed on."""
    body = json.dumps({"detail": failure.detail}).encode()
    fields = {"Content-Type": "application/json", "Content-Length": str(len(body)), "Connection": "close"}
    if failure.status == 503:
        fields["Retry-After"] = "1"
    lines = "".join(f"{name}: {value}\r\n" for name, value in (fields | SECURITY_FIELDS).items())
    return f"HTTP/1.1 {failure.status} {REASONS[failure.status]}\r\n{lines}\r\n".encode() + body


def secure(connections: AdminConnections) -> Callable[[web.Request, web.StreamResponse], Awaitable[None]]:
    """Make the signal handler that adds SECURITY_FIELDS, and closes connections without a right token after their one request."""

    async def on_response_prepare(request: web.Request, response: web.StreamResponse) -> None:
        for name, value in SECURITY_FIELDS.items():
            response.headers.setdefault(name, value)
        if not connections.is_recognized(request.transport):
            response.force_close()
            response.headers["Connection"] = "close"

    return on_response_prepare
