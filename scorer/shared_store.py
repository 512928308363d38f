"""The Redis or Valkey that several processes share: rate-limit counters and cached texts. The only module that knows redis.

Whoever asks gets an answer or `StoreUnavailableError` within the timeout, never a hang: after a failure the store is left alone for a
while, so that a dead one costs one timeout, not one a request.
"""

import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from scorer.errors import ScorerSettingsError, StoreUnavailableError

if TYPE_CHECKING:
    from redis.asyncio import Redis

_CONNECTIONS_MAX = 16
_FREE_CONNECTION_TIMEOUT_S = 1.0
# What may stand before "://", and what the library calls it.
_SCHEMES = {"redis": "redis", "rediss": "rediss", "valkey": "redis", "valkeys": "rediss", "unix": "unix"}


class SharedStore:
    """One server by its URL (redis, rediss, valkey, valkeys or unix).

    Raises:
        SettingsError: the URL is none of these.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout_s: float = 0.5,
        rest_s: float = 1.0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._url = _known_scheme(url)
        self._timeout_s = timeout_s
        self._rest_s = rest_s
        self._monotonic = monotonic
        self._resting_until = 0.0
        self._client: Redis | None = None

    async def get(self, key: str) -> str | None:
        """The text under `key`, None when there is none.

        Raises:
            StoreUnavailableError: the server did not answer.
        """
        return await self._ask(lambda client: client.get(key))

    async def put(self, key: str, text: str, *, ttl_s: int) -> None:
        """Keep `text` for `ttl_s` seconds.

        Raises:
            StoreUnavailableError: the server did not answer.
        """
        await self._ask(lambda client: client.set(key, text, ex=ttl_s))

    async def count(self, key: str, *, ttl_s: int) -> int:
        """Add one to a counter that lives `ttl_s` seconds from its first count; return what it is now.

        Raises:
            StoreUnavailableError: the server did not answer.
        """

        async def add(client: "Redis") -> int:
            async with client.pipeline(transaction=True) as pipeline:
                # The life is set by the first count alone: the window must not slide.
                pipeline.set(key, 0, nx=True, ex=ttl_s)
                pipeline.incr(key)
                return int((await pipeline.execute())[1])

        return await self._ask(add)

    async def ping(self) -> None:
        """Ask whether the server is there.

        Raises:
            StoreUnavailableError: it is not.
        """
        await self._ask(lambda client: client.ping())  # pyright: ignore[reportUnknownMemberType] - as above.

    async def close(self) -> None:
        """Close the connections; closing twice is fine."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    async def _ask(self, question: "Callable[[Redis], Awaitable[Any]]") -> Any:
        if self._monotonic() < self._resting_until:
            raise StoreUnavailableError("resting")
        from redis.exceptions import RedisError  # noqa: PLC0415 - loaded by whoever configures a store, not by each start.

        try:
            return await question(self._connected())
        except (RedisError, OSError, TimeoutError) as error:
            self._resting_until = self._monotonic() + self._rest_s
            raise StoreUnavailableError(type(error).__name__) from error

    def _connected(self) -> "Redis":
        if self._client is None:
            # Imported here because it costs a tenth of a second, which only a configured store is worth.
            from redis.asyncio import BlockingConnectionPool, Redis  # noqa: PLC0415
            from redis.asyncio.retry import Retry  # noqa: PLC0415
            from redis.backoff import NoBackoff  # noqa: PLC0415

            # A pool that waits for a free connection: a burst of requests is no failure of the store.
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
        # The address itself may hold a password, so it is not shown.
        raise ScorerSettingsError("the Redis URL is not of the form redis://host:port/number")
    return f"{_SCHEMES[scheme]}://{rest}"


def _has_readable_port(url: str) -> bool:
    try:
        _ = urlsplit(url).port
    except ValueError:
        return False
    return True
