"""Sends recorded requests to one instance, over the proxy's own connection pool. A failure is a value."""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from comparator.exchanges.model import Failed, FailureCause, HeaderList, Request, Response
from comparator.exchanges.skip import SAFE_METHODS
from proxy.config.backends import BackendSettings
from proxy.http1.parser import ResponseHead
from proxy.recordings.model import ascii_target, header_of
from proxy.replay.errors import TargetUnavailableError
from proxy.runner.mirror_client import NOT_SENT, SHADOW_BAGGAGE, SHADOW_MARK, MirroredResponse
from proxy.serving.backend_connection import BackendConnection
from proxy.serving.backend_pool import BackendPool

_CONTROLS = str.maketrans("\0\r\n", "   ")


@dataclass(frozen=True, slots=True)
class UrlRewrite:
    """The changes to a recorded request for its target.

    Attributes:
        host: the Host header; "" for the target's own, `preserve` for the recorded one.
        prefix: put before the path, after `strip`.
        strip: removed from the beginning of the path.
        marked: mark requests as shadow traffic: a proxy serves them and does not journal them.
    """

    host: str = ""
    prefix: str = ""
    strip: str = ""
    marked: bool = True


def encode_request(request: Request, rewrite: UrlRewrite, *, request_id: str, authority: str) -> bytes:
    """Return the request's bytes for the wire.

    Args:
        request: the recorded one.
        rewrite: the changes to it.
        request_id: for X-Request-Id; "" keeps the recorded one.
        authority: the target's own, for Host.
    """
    target = request.target
    if rewrite.strip and target.startswith(rewrite.strip):
        target = "/" + target[len(rewrite.strip) :].lstrip("/")
    host = header_of(request.headers, "host") if rewrite.host == "preserve" else rewrite.host
    lines = [f"{request.method} {rewrite.prefix}{ascii_target(target)} HTTP/1.1", f"Host: {host or authority}"]
    lines += [f"{name}: {value}" for name, value in _headers(request, rewrite, request_id)]
    if request.body or request.method not in SAFE_METHODS:
        lines.append(f"Content-Length: {len(request.body)}")
    return ("\r\n".join(line.translate(_CONTROLS) for line in lines) + "\r\n\r\n").encode(
        "latin-1", "replace"
    ) + request.body


def _headers(request: Request, rewrite: UrlRewrite, request_id: str) -> HeaderList:
    forwarded = tuple((name, value) for name, value in request.headers if name.lower() not in NOT_SENT)
    own = (("X-Request-Id", request_id),) if request_id else ()
    baggage = [value for name, value in request.headers if name.lower() == "baggage"]
    if rewrite.marked:
        return (*forwarded, *own, SHADOW_MARK, ("baggage", ",".join([*baggage, SHADOW_BAGGAGE])))
    return (*forwarded, *own, *((("baggage", ",".join(baggage)),) if baggage else ()))


class _Probe:
    """A request that is given a connection and sends nothing. `outcome` is None once it had one."""

    upgrade = False
    method = "GET"

    def __init__(self) -> None:
        self.outcome: asyncio.Future[Failed | None] = asyncio.get_running_loop().create_future()

    def connected(self, connection: BackendConnection) -> None:
        connection.return_unused()
        if not self.outcome.done():
            self.outcome.set_result(None)

    def backend_failed(self, cause: FailureCause, detail: str) -> None:
        if not self.outcome.done():
            self.outcome.set_result(Failed(cause, detail))

    def response_started(self, head: ResponseHead) -> None:
        """Ignore a response that nothing asked for."""

    def response_data(self, data: bytes) -> None:
        """Ignore its data."""

    def response_ended(self) -> None:
        """Ignore its end."""

    def flush(self) -> None:
        """Do nothing."""

    def backend_paused(self, paused: bool) -> None:
        """Ignore back-pressure: nothing is written."""


class _Call:
    """One request in flight. The client of a backend connection."""

    upgrade = False

    def __init__(self, pool: BackendPool, data: bytes, method: str) -> None:
        self.method = method
        self.outcome: asyncio.Future[Response | Failed] = asyncio.get_running_loop().create_future()
        self.connection: BackendConnection | None = None
        self._pool = pool
        self._data = data
        self._head: ResponseHead | None = None
        self._body: list[bytes] = []
        self._ended = False
        self._retries = 1 if method in SAFE_METHODS else 0

    def connected(self, connection: BackendConnection) -> None:
        if self.outcome.done():
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
        if not self.outcome.done():
            self.outcome.set_result(Response(head.status, tuple(head.fields), b"".join(self._body)))

    def backend_failed(self, cause: FailureCause, detail: str) -> None:
        stale = self.connection is not None and self.connection.reused and not self.connection.response_begun
        self.connection = None
        if stale and self._retries:
            # The backend closed an idle connection as this request was sent on it: it was not processed.
            self._retries -= 1
            self._pool.acquire(self, idle_max_s=-1.0)
        elif not self.outcome.done():
            self.outcome.set_result(Failed(cause, detail))

    def backend_paused(self, paused: bool) -> None:
        """Ignore back-pressure: a request is written at once."""

    def give_up(self) -> None:
        """Release the connection, or stop waiting for one."""
        self._pool.cancel(self)
        if self.connection is not None:
            self.connection.release(complete=False)
            self.connection = None


class ReplayTarget:
    """An instance to send requests to; opened by `open_target`."""

    def __init__(self, pool: BackendPool, rewrite: UrlRewrite, *, timeout_s: float) -> None:
        self._pool = pool
        self._rewrite = rewrite
        self._timeout_s = timeout_s

    async def connect(self) -> None:
        """Open a connection, to be used by the first request.

        Raises:
            TargetUnavailableError: it cannot be opened.
        """
        probe = _Probe()
        self._pool.acquire(probe)
        try:
            async with asyncio.timeout(self._timeout_s):
                failed = await probe.outcome
        except TimeoutError:
            failed = Failed(FailureCause.TIMEOUT, f"no connection within {self._timeout_s:g} s")
        finally:
            self._pool.cancel(probe)
        if failed is not None:
            raise TargetUnavailableError(
                f"cannot connect to {self._pool.settings.url}: {failed.detail or failed.cause}"
            )

    async def request(self, request: Request, *, request_id: str) -> MirroredResponse:
        """Send a request and wait for its response, or for the timeout."""
        data = encode_request(request, self._rewrite, request_id=request_id, authority=self._pool.authority)
        call = _Call(self._pool, data, request.method)
        started_ns = time.perf_counter_ns()
        self._pool.acquire(call)
        try:
            async with asyncio.timeout(self._timeout_s):
                outcome = await call.outcome
        except TimeoutError:
            outcome = Failed(FailureCause.TIMEOUT, f"no response within {self._timeout_s:g} s")
        finally:
            call.give_up()
        return MirroredResponse(outcome, time.perf_counter_ns() - started_ns)


@asynccontextmanager
async def open_target(
    backend: BackendSettings, rewrite: UrlRewrite, *, timeout_s: float
) -> AsyncGenerator[ReplayTarget]:
    """Open connections to an instance for the block. The path of its URL is put before that of every request."""
    async with asyncio.TaskGroup() as group:
        pool = BackendPool(backend, group)
        placed = UrlRewrite(rewrite.host, rewrite.prefix or pool.address.prefix, rewrite.strip, rewrite.marked)
        try:
            yield ReplayTarget(pool, placed, timeout_s=timeout_s)
        finally:
            pool.close()
