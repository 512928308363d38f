"""Sends recorded requests to one instance: over the proxy's own connections, and a failure is a value."""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from comparator.exchanges.model import Exchange, Failed, FailureCause, HeaderList, Request, Response, Side
from proxy.config.backends import BackendSettings
from proxy.http1.parser import ResponseHead
from proxy.recordings.model import ascii_target, header_of
from proxy.runner.mirror_client import NOT_SENT, SHADOW_BAGGAGE, SHADOW_MARK, MirroredResponse
from proxy.serving.backend_connection import BackendConnection
from proxy.serving.backend_pool import BackendPool

SAFE = frozenset(("GET", "HEAD", "OPTIONS", "TRACE"))
_CONTROLS = str.maketrans("\0\r\n", "   ")


@dataclass(frozen=True, slots=True)
class UrlRewrite:
    """How a recorded request is changed for its new place.

    `prefix` goes before the path after `strip` was taken away from its beginning; `host` "" sends the target's own, and
    `preserve` the recorded one. `marked` requests are served by a proxy and never mirrored.
    """

    host: str = ""
    prefix: str = ""
    strip: str = ""
    marked: bool = True


def encoded(request: Request, rewrite: UrlRewrite, *, request_id: str, authority: str) -> bytes:
    """The request's bytes for the wire. Pure."""
    target = request.target
    if rewrite.strip and target.startswith(rewrite.strip):
        target = "/" + target[len(rewrite.strip) :].lstrip("/")
    host = header_of(request.headers, "host") if rewrite.host == "preserve" else rewrite.host
    lines = [f"{request.method} {rewrite.prefix}{ascii_target(target)} HTTP/1.1", f"Host: {host or authority}"]
    lines += [f"{name}: {value}".translate(_CONTROLS) for name, value in _headers(request, rewrite, request_id)]
    if request.body or request.method not in SAFE:
        lines.append(f"Content-Length: {len(request.body)}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace") + request.body


def _headers(request: Request, rewrite: UrlRewrite, request_id: str) -> HeaderList:
    kept = tuple((name, value) for name, value in request.headers if name.lower() not in NOT_SENT)
    own = (("X-Request-Id", request_id),) if request_id else ()
    baggage = [value for name, value in request.headers if name.lower() == "baggage"]
    if rewrite.marked:
        return (*kept, *own, SHADOW_MARK, ("baggage", ",".join([*baggage, SHADOW_BAGGAGE])))
    return (*kept, *own, *((("baggage", ",".join(baggage)),) if baggage else ()))


class _Call:
    """One request in flight: what holds a connection."""

    upgrade = False

    def __init__(self, pool: BackendPool, data: bytes, method: str) -> None:
        self.method = method
        self.answer: asyncio.Future[Response | Failed] = asyncio.get_running_loop().create_future()
        self.connection: BackendConnection | None = None
        self._pool = pool
        self._data = data
        self._head: ResponseHead | None = None
        self._body: list[bytes] = []
        self._ended = False
        self._retries = 1 if method in SAFE else 0

    def connected(self, connection: BackendConnection) -> None:
        if self.answer.done():
            connection.return_unused()
            return
        self.connection = connection
        connection.write(self._data)

    def response_started(self, head: ResponseHead) -> None:
        self._head = head

    def response_data(self, data: bytes) -> None:
        self._body.append(data)

    def response_ended(self) -> None:
        self._ended = True

    def flush(self) -> None:
        head, connection = self._head, self.connection
        if not self._ended or head is None or connection is None:
            return
        self.connection = None
        connection.release(complete=True)
        if not self.answer.done():
            self.answer.set_result(Response(head.status, tuple(head.fields), b"".join(self._body)))

    def backend_failed(self, cause: FailureCause, detail: str) -> None:
        stale = self.connection is not None and self.connection.reused and not self.connection.response_begun
        self.connection = None
        if stale and self._retries:
            # The backend closed a kept connection as it was used: the request was never begun.
            self._retries -= 1
            self._pool.acquire(self, idle_max_s=-1.0)
        elif not self.answer.done():
            self.answer.set_result(Failed(cause, detail))

    def backend_paused(self, paused: bool) -> None:
        """Requests are small and written at once."""

    def give_up(self) -> None:
        """Nobody waits any more."""
        self._pool.cancel(self)
        if self.connection is not None:
            self.connection.release(complete=False)
            self.connection = None


class ReplayTarget:
    """One instance. Made by `open_target`."""

    def __init__(self, pool: BackendPool, rewrite: UrlRewrite, *, timeout_s: float) -> None:
        self._pool = pool
        self._rewrite = rewrite
        self._timeout_s = timeout_s

    async def request(self, request: Request, *, request_id: str) -> MirroredResponse:
        """Send it; wait at most for the timeout."""
        data = encoded(request, self._rewrite, request_id=request_id, authority=self._pool.authority)
        call = _Call(self._pool, data, request.method)
        begun = time.perf_counter_ns()
        self._pool.acquire(call)
        try:
            async with asyncio.timeout(self._timeout_s):
                outcome = await call.answer
        except TimeoutError:
            outcome = Failed(FailureCause.TIMEOUT, f"no response within {self._timeout_s:g} s")
        finally:
            call.give_up()
        return MirroredResponse(outcome, time.perf_counter_ns() - begun)

    async def send(self, exchange: Exchange, side: Side) -> MirroredResponse:  # noqa: ARG002 (what the comparison's runs call)
        """Send an exchange's request."""
        return await self.request(exchange.request, request_id=exchange.id)


@asynccontextmanager
async def open_target(
    backend: BackendSettings, rewrite: UrlRewrite, *, timeout_s: float
) -> AsyncGenerator[ReplayTarget]:
    """Connections to an instance for the block. The path of its URL goes before that of every request."""
    async with asyncio.TaskGroup() as group:
        pool = BackendPool(backend, group)
        placed = UrlRewrite(rewrite.host, rewrite.prefix or pool.address.prefix, rewrite.strip, rewrite.marked)
        try:
            yield ReplayTarget(pool, placed, timeout_s=timeout_s)
        finally:
            pool.close()
