"""Send a mirrored request: the client's bytes, to the other side's shadow instance, marked so that no proxy mirrors it again.

It is sent at most once. aiohttp's client repeats a GET, PUT or DELETE when the peer closes the connection before the response. A side
that had begun would run the request twice, and its effects would not be those of one request.

A request that has failed by its timeout keeps its connection: the response, however late, tells that the side has ended with it.

    sent ---- timeout_s ---- failed ("timeout"), the caller goes on ................. response: the side writes nothing more
"""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self, TypeAlias

import aiohttp
from yarl import URL

from comparator.exchanges.model import Exchange, Failed, FailureCause, HeaderList, Response, Side
from proxy.config.backends import BackendSettings

SHADOW_MARK = ("X-Shadow-Request", "1")
SHADOW_BAGGAGE = "shadow=1"
NOT_SENT = frozenset(
    {
        "host", "content-length", "transfer-encoding", "connection", "keep-alive", "te", "trailer", "upgrade",
        "proxy-authorization", "proxy-connection", "expect", "x-request-id", "x-shadow-request", "baggage",
    }
)  # fmt: skip
"""Fields of the client's own connection, and those that are set here."""
LATE_MAX: Final = 256
"""Connections that are kept for responses that are late; beyond it a request that has failed by its timeout is cut off."""

_Sent: TypeAlias = tuple[Response | Failed, bool]
"""The outcome of a request, and whether it may have been sent."""


class _DisconnectedError(aiohttp.ClientConnectionError):
    """The peer closed the connection before its response. aiohttp does not repeat a request for this error."""


async def _once(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Keep aiohttp from repeating a request; a client middleware."""
    try:
        return await handler(request)
    except aiohttp.ClientConnectorError:
        # Nothing was sent, and aiohttp does not repeat it.
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise _DisconnectedError(f"{type(error).__name__}: {error}") from error


@dataclass(frozen=True, slots=True)
class LateResponse:
    """The response of a request that has failed by its timeout, which is still awaited."""

    _result: "asyncio.Future[_Sent]"

    @property
    def has_come(self) -> bool | None:
        """True once it has come, False once its connection has broken, None before."""
        if not self._result.done():
            return None
        return self._result.exception() is None and isinstance(self._result.result()[0], Response)

    async def wait(self, timeout_s: float) -> bool | None:
        """Wait until it has come or cannot come any more, for `timeout_s` at most; return `has_come`."""
        await asyncio.wait((self._result,), timeout=timeout_s)
        return self.has_come


@dataclass(frozen=True, slots=True)
class MirroredResponse:
    """The outcome of a mirrored request.

    Attributes:
        outcome: the response, or the cause for which there is none.
        duration_ns: from before connecting to the end of the response, in nanoseconds.
        sent: False if no connection came about: then the side cannot have begun, nor will it.
        late: the response that is awaited although the request has failed, None for none.
    """

    outcome: Response | Failed
    duration_ns: int
    sent: bool = True
    late: LateResponse | None = None


def mirrored_headers(exchange: Exchange) -> HeaderList:
    """Return the client's header list for the mirrored side: in the same order, with the mark, and with its baggage."""
    headers = [(name, value) for name, value in exchange.request.headers if name.lower() not in NOT_SENT]
    baggage = [value for name, value in exchange.request.headers if name.lower() == "baggage"]
    return (
        *headers,
        ("X-Request-Id", exchange.id),
        SHADOW_MARK,
        ("baggage", ",".join([*baggage, SHADOW_BAGGAGE])),
    )


class MirrorClient:
    """Sends exchanges to the shadow instances. Use as an async context manager.

    Args:
        instances: each side's shadow instance; a side whose instance has no URL cannot be mirrored.
        timeout_s: time after which a request has failed (cause `timeout`), in seconds.
        connections_max: connections to each side.
        body_max_bytes: longer response bodies are cut, as the journal cuts those of the served side.
    """

    def __init__(
        self,
        instances: Mapping[Side, BackendSettings],
        *,
        timeout_s: float,
        connections_max: int,
        body_max_bytes: int,
    ) -> None:
        self._instances = {side: instance for side, instance in instances.items() if instance.url}
        self._timeout_s = timeout_s
        self._connections_max = connections_max
        self._body_max_bytes = body_max_bytes
        self._sessions: dict[Side, aiohttp.ClientSession] = {}
        self._tasks = asyncio.TaskGroup()
        self._late: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        await self._tasks.__aenter__()
        for side, instance in self._instances.items():
            self._sessions[side] = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    limit=0,
                    limit_per_host=self._connections_max + LATE_MAX,
                    ttl_dns_cache=60,
                    keepalive_timeout=instance.idle_s,
                ),
                middlewares=(_once,),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=instance.connect_s),
                auto_decompress=False,
                cookie_jar=aiohttp.DummyCookieJar(),
                skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
            )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        sessions, self._sessions = self._sessions, {}
        for task in self._late:
            task.cancel()
        await self._tasks.__aexit__(kind, error, trace)
        for session in sessions.values():
            await session.close()

    def reaches(self, side: Side) -> bool:
        """Return whether this side has a shadow instance."""
        return side in self._instances

    async def send(self, exchange: Exchange, side: Side) -> MirroredResponse:
        """Send the exchange's request to the shadow instance of `side`; a failure is a value."""
        result: asyncio.Future[_Sent] = asyncio.get_running_loop().create_future()
        started_ns = time.perf_counter_ns()
        task = self._tasks.create_task(self._settle(exchange, side, result), name="mirrored-request")
        try:
            await asyncio.wait((result,), timeout=self._timeout_s)
        except asyncio.CancelledError:
            task.cancel()
            raise
        duration_ns = time.perf_counter_ns() - started_ns
        if result.done():
            outcome, sent = result.result()
            return MirroredResponse(outcome, duration_ns, sent)
        failed = Failed(FailureCause.TIMEOUT, f"no response within {self._timeout_s:g} s")
        if len(self._late) >= LATE_MAX:
            task.cancel()
            return MirroredResponse(failed, duration_ns)
        self._late.add(task)
        task.add_done_callback(self._late.discard)
        return MirroredResponse(failed, duration_ns, late=LateResponse(result))

    async def _settle(self, exchange: Exchange, side: Side, result: "asyncio.Future[_Sent]") -> None:
        try:
            result.set_result(await self._request(exchange, side))
        except Exception as error:  # noqa: BLE001 (raised by `send`)
            result.set_exception(error)

    async def _request(self, exchange: Exchange, side: Side) -> _Sent:
        instance = self._instances[side]
        headers = [*mirrored_headers(exchange)]
        if host := _host(instance.host, exchange):
            headers.append(("Host", host))
        try:
            async with self._sessions[side].request(
                exchange.request.method,
                URL(instance.url.rstrip("/") + exchange.request.target, encoded=True),
                data=exchange.request.body or None,
                headers=headers,
                allow_redirects=False,
            ) as response:
                body, truncated = await _read(response, self._body_max_bytes)
                raw = tuple((n.decode("latin-1"), v.decode("latin-1")) for n, v in response.raw_headers)
                return Response(response.status, raw, body, truncated), True
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            return _failed(error), not isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError)


def _host(setting: str, exchange: Exchange) -> str:
    """Return the Host header that an instance with this setting gets, "" for that of its URL."""
    if setting == "preserve":
        return next((value for name, value in exchange.request.headers if name.lower() == "host"), "")
    return "" if setting == "backend" else setting


async def _read(response: aiohttp.ClientResponse, limit: int) -> tuple[bytes, bool]:
    """Return the body, and whether it was cut at the limit."""
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > limit:
            return bytes(body[:limit]), True
    return bytes(body), False


def _failed(error: Exception) -> Failed:
    match error:
        case TimeoutError() | asyncio.TimeoutError():
            cause = FailureCause.TIMEOUT
        case aiohttp.ClientConnectorError():
            cause = FailureCause.REFUSED
        case aiohttp.ClientPayloadError() | _DisconnectedError() | OSError():
            cause = FailureCause.RESET
        case _:
            cause = FailureCause.PROTOCOL
    return Failed(cause, f"{type(error).__name__}: {error}"[:300])
