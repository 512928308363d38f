"""Send a mirrored request: the client's bytes, to the other side's shadow instance, marked so that no proxy mirrors it again.

It is sent at most once. aiohttp's client repeats a GET, PUT or DELETE when the peer closes the connection before the response. A side
that had begun would run the request twice, and its effects would not be those of one request.
"""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Self

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
class MirroredResponse:
    """The outcome of a mirrored request.

    Attributes:
        outcome: the response, or the cause for which there is none.
        duration_ns: from before connecting to the end of the response, in nanoseconds.
        sent: False if no connection came about: then the side cannot have begun, nor will it.
    """

    outcome: Response | Failed
    duration_ns: int
    sent: bool = True


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

    async def __aenter__(self) -> Self:
        for side, instance in self._instances.items():
            self._sessions[side] = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    limit_per_host=self._connections_max, ttl_dns_cache=60, keepalive_timeout=instance.idle_s
                ),
                middlewares=(_once,),
                timeout=aiohttp.ClientTimeout(total=self._timeout_s, sock_connect=instance.connect_s),
                auto_decompress=False,
                cookie_jar=aiohttp.DummyCookieJar(),
                skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
            )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        sessions, self._sessions = self._sessions, {}
        for session in sessions.values():
            await session.close()

    def reaches(self, side: Side) -> bool:
        """Return whether this side has a shadow instance."""
        return side in self._instances

    async def send(self, exchange: Exchange, side: Side) -> MirroredResponse:
        """Send the exchange's request to the shadow instance of `side`; a failure is a value."""
        instance, sent = self._instances[side], True
        headers = [*mirrored_headers(exchange)]
        if host := _host(instance.host, exchange):
            headers.append(("Host", host))
        started_ns = time.perf_counter_ns()
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
                outcome: Response | Failed = Response(response.status, raw, body, truncated)
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            outcome = _failed(error)
            sent = not isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError)
        return MirroredResponse(outcome, time.perf_counter_ns() - started_ns, sent)


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
