"""The Redis or Valkey shared by all processes: rate-limit counters and cached texts. The only module that imports redis.

A call returns or raises `SharedStoreUnavailableError` within the timeout. After a failure, calls fail at once for `retry_after_s`, so
that an unavailable server costs one timeout and not one for each request.
"""

import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from scorer.errors import ScorerSettingsError, SharedStoreUnavailableError

if TYPE_CHECKING:
    from redis.asyncio import Redis

_CONNECTIONS_MAX = 16
_FREE_CONNECTION_TIMEOUT_S = 1.0
# The schemes accepted in a URL, and the library's name of each.
_SCHEMES = {"redis": "redis", "rediss": "rediss", "valkey": "redis", "valkeys": "rediss", "unix": "unix"}


class SharedStore:
    """A client of one server.

    Args:
        url: of scheme redis, rediss, valkey, valkeys or unix.
        timeout_s: for connecting and for each command.
        retry_after_s: pause after a failure in which calls fail at once.

    Raises:
        ScorerSettingsError: the URL is malformed.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout_s: float = 0.5,
        retry_after_s: float = 1.0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._url = _known_scheme(url)
        self._timeout_s = timeout_s
        self._retry_after_s = retry_after_s
        self._monotonic = monotonic
        self._retry_at = 0.0
        self._client: Redis | None = None

    async def get(self, key: str) -> str | None:
        """Return the text under `key`, or None.

        Raises:
            SharedStoreUnavailableError: the server did not answer.
        """
        return await self._run(lambda client: client.get(key))

    async def put(self, key: str, text: str, *, ttl_s: int) -> None:
        """Store `text` for `ttl_s` seconds.

        Raises:
            SharedStoreUnavailableError: the server did not answer.
        """
        await self._run(lambda client: client.set(key, text, ex=ttl_s))

    async def count(self, key: str, *, ttl_s: int) -> int:
        """Increment a counter that expires `ttl_s` seconds after its first increment, and return its value.

        Raises:
            SharedStoreUnavailableError: the server did not answer.
        """

        async def add(client: "Redis") -> int:
            async with client.pipeline(transaction=True) as pipeline:
                # Only the first increment sets the expiry: the window must not slide.
                pipeline.set(key, 0, nx=True, ex=ttl_s)
                pipeline.incr(key)
                return int((await pipeline.execute())[1])

        return await self._run(add)

    async def ping(self) -> None:
        """Ping the server.

        Raises:
            SharedStoreUnavailableError: it did not answer.
        """
        await self._run(lambda client: client.ping())  # pyright: ignore[reportUnknownMemberType] - as above.

    async def close(self) -> None:
        """Close the connections; idempotent."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    async def _run(self, question: "Callable[[Redis], Awaitable[Any]]") -> Any:
        if self._monotonic() < self._retry_at:
            raise SharedStoreUnavailableError("failed a moment ago")
        from redis.exceptions import RedisError  # noqa: PLC0415 - loaded only where a store is configured.

        try:
            return await question(self._connected())
        except (RedisError, OSError, TimeoutError) as error:
            self._retry_at = self._monotonic() + self._retry_after_s
            raise SharedStoreUnavailableError(type(error).__name__) from error

    def _connected(self) -> "Redis":
        if self._client is None:
            # Importing redis takes 100 ms, so it happens only where a store is configured.
            from redis.asyncio import BlockingConnectionPool, Redis  # noqa: PLC0415
            from redis.asyncio.retry import Retry  # noqa: PLC0415
            from redis.backoff import NoBackoff  # noqa: PLC0415

            # A pool that waits for a free connection: a burst of requests is not a failure of the store.
            pool = BlockingConnectionPool.from_url(  # pyright: ignore[reportUnknownMemberType] - kwargs are untyped there.
                self._url,
                timeout=_FREE_CONNECTION_TIMEOUT_S,
                decode_responses=True,
                socket_timeout=self._timeout_s,
                socket_connect_timeout=self._timeout_s,
                max_connections=_CONNECTIONS_MAX,
                retry=Retry(NoBackoff(), 0),
            )
            self._client = Redis.from_pool(pool)
        return self._client


def _known_scheme(url: str) -> str:
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in _SCHEMES or not _has_readable_port(url):
        # The URL may contain a password, so the message does not show it.
        raise ScorerSettingsError(
            "the Redis URL (SCORER_REDIS_URL or CELERY_BROKER_URL) is not of the form redis://host:port/number"
        )
    return f"{_SCHEMES[scheme]}://{rest}"


def _has_readable_port(url: str) -> bool:
    try:
        _ = urlsplit(url).port
    except ValueError:
        return False
    return True
