"""Pools of connections to the live backend instances, each bounded and with a bounded queue of waiting requests."""

import asyncio
import logging
import ssl
from collections import deque
from urllib.parse import urlsplit

from comparator.exchanges.model import FailureCause, Role, Side
from proxy.config.backends import BackendSettings, BackendsSettings
from proxy.http1.head_cache import CachedResponseParser
from proxy.http1.serializer import backend_address_of
from proxy.serving.backend_connection import BackendConnection, ExchangeHandler

logger = logging.getLogger(__name__)

_ANY_AGE = float("inf")
# (looking a member up in its enumeration, or hashing it, costs more than the comparison)
_CANDIDATE = Side.CANDIDATE


class BackendPool:
    """The connections to one backend instance. The most recently used one is reused first.

    Args:
        settings: of the instance.
        group: runs the connecting; lives as long as the process.

    Attributes:
        response_parser: parses the heads of this backend's responses.
        authority: host and port of its URL.
        address: that requests are sent to.
    """

    def __init__(self, settings: BackendSettings, group: asyncio.TaskGroup) -> None:
        url = urlsplit(settings.url)
        self.settings = settings
        self.response_parser = CachedResponseParser()
        self.authority = url.netloc.rpartition("@")[2]
        self.address = backend_address_of(settings.host, authority=self.authority, prefix=url.path.rstrip("/"))
        self._endpoint = (url.hostname or "", url.port or (443 if url.scheme == "https" else 80))
        self._tls = ssl.create_default_context() if url.scheme == "https" else None
        self._group = group
        self._now = asyncio.get_running_loop().time
        self._idle: list[BackendConnection] = []
        self._open: set[BackendConnection] = set()
        self._connecting = 0
        self._waiting: deque[ExchangeHandler] = deque()
        self._closed = False

    @property
    def connections(self) -> int:
        """Connections open or being opened."""
        return len(self._open) + self._connecting

    def acquire(self, handler: ExchangeHandler, *, idle_max_s: float = _ANY_AGE) -> None:
        """Assign a connection to a request: an unused one at once, else as soon as one is opened or released.

        Args:
            handler: of the request; `backend_failed` is called if it gets none.
            idle_max_s: how long the connection may have been unused; negative for a new one only.
        """
        idle = self._idle
        oldest = 0.0 if idle_max_s == _ANY_AGE else self._now() - idle_max_s
        while idle and idle[-1].idle_since >= oldest:
            connection = idle.pop()
            if connection.usable:
                connection.assign(handler)
                return
        if self.connections < self.settings.connections_max:
            self._connecting += 1
            self._group.create_task(self._connect_for(handler), name="connect-backend")
        elif len(self._waiting) < self.settings.connections_max:
            self._waiting.append(handler)
        else:
            handler.backend_failed(FailureCause.OVERLOAD, "all connections to the backend are in use")

    def cancel(self, handler: ExchangeHandler) -> None:
        """Remove a request from the queue, if it is there."""
        if handler in self._waiting:
            self._waiting.remove(handler)

    def release(self, connection: BackendConnection) -> None:
        """Assign a connection to the first request in the queue; if there is none, keep it."""
        if self._closed:
            connection.abort()
        elif self._waiting:
            connection.assign(self._waiting.popleft())
        else:
            connection.idle_since = self._now()
            self._idle.append(connection)

    def discard(self, connection: BackendConnection) -> None:
        """Forget a closed connection, and open one for the first request in the queue."""
        self._open.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        if self._waiting and not self._closed:
            self.acquire(self._waiting.popleft())

    def sweep(self, now: float) -> None:
        """Close connections that were unused for longer than `idle_s`; the first in the list is the one used least recently."""
        while self._idle and now - self._idle[0].idle_since > self.settings.idle_s:
            self._idle.pop(0).abort()

    def close(self) -> None:
        """Close unused connections now, and others when their request ends. Idempotent."""
        self._closed = True
        while self._idle:
            self._idle.pop().abort()

    async def _connect(self) -> BackendConnection:
        loop = asyncio.get_running_loop()
        host, port = self._endpoint
        if not self.settings.socket:
            _, connection = await loop.create_connection(lambda: BackendConnection(self), host, port, ssl=self._tls)
            return connection
        name = host if self._tls else None
        _, connection = await loop.create_unix_connection(
            lambda: BackendConnection(self), self.settings.socket, ssl=self._tls, server_hostname=name
        )
        return connection

    async def _connect_for(self, handler: ExchangeHandler) -> None:
        """Open a connection for a request. The outermost function of its task."""
        failure: tuple[FailureCause, str] | None = None
        connection: BackendConnection | None = None
        try:
            async with asyncio.timeout(self.settings.connect_s):
                connection = await self._connect()
        except TimeoutError:
            failure = (FailureCause.TIMEOUT, "connecting timed out")
        except (OSError, ssl.SSLError) as error:
            failure = (FailureCause.REFUSED, type(error).__name__)
        except Exception:  # (the outermost function of a task)
            logger.exception("backend_connect_failed")
            failure = (FailureCause.REFUSED, "unexpected")
        finally:
            self._connecting -= 1
        if connection is None:
            cause, detail = failure or (FailureCause.REFUSED, "unexpected")
            handler.backend_failed(cause, detail)
            handler.flush()
            return
        self._open.add(connection)
        if connection.usable:
            connection.assign(handler)
        else:
            handler.backend_failed(FailureCause.RESET, "closed right after it was opened")
            handler.flush()


class BackendPools:
    """The pool of each side's live instance. `apply` comes first.

    Args:
        group: as of BackendPool.
    """

    def __init__(self, group: asyncio.TaskGroup) -> None:
        self._group = group
        self._pools: dict[Side, BackendPool] = {}

    def apply(self, backends: BackendsSettings) -> None:
        """Put settings in force: a pool whose settings changed is replaced, and closes as its requests end."""
        for side in Side:
            settings, pool = backends.of(side, Role.SERVED), self._pools.get(side)
            if pool is None or pool.settings != settings:
                if pool is not None:
                    pool.close()
                self._pools[side] = BackendPool(settings, self._group)
        self._candidate, self._legacy = self._pools[Side.CANDIDATE], self._pools[Side.LEGACY]

    def of(self, side: Side) -> BackendPool:
        """Return the pool of a side."""
        return self._candidate if side is _CANDIDATE else self._legacy

    def sweep(self, now: float) -> None:
        """Close connections that were unused for too long."""
        for pool in self._pools.values():
            pool.sweep(now)

    def close(self) -> None:
        """Close all pools. Idempotent."""
        for pool in self._pools.values():
            pool.close()

    @property
    def connections(self) -> dict[Side, int]:
        """Connections open or being opened, by side."""
        return {side: pool.connections for side, pool in self._pools.items()}

    @property
    def head_lookups(self) -> tuple[int, int]:
        """Hits and misses of the head caches for responses, both sides together."""
        parsers = [pool.response_parser for pool in self._pools.values()]
        return sum(parser.hits for parser in parsers), sum(parser.misses for parser in parsers)
