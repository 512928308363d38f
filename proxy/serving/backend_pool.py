"""The connections to one backend instance: a bounded pool, and whoever waits for one of them."""

import asyncio
import logging
import ssl
from collections import deque
from urllib.parse import urlsplit

from comparator.exchanges.model import FailureCause
from proxy.config.backends import BackendSettings
from proxy.http1.head_cache import CachedResponseParser
from proxy.http1.serializer import backend_address_of
from proxy.serving.backend_connection import BackendConnection, ExchangeHandler

logger = logging.getLogger(__name__)

_ANY_AGE = float("inf")


class BackendPool:
    """The connections to one backend instance.

    Args:
        settings: where it is and how many connections it gets.
        group: runs the connecting; lives as long as the proxy.
    """

    def __init__(self, settings: BackendSettings, group: asyncio.TaskGroup) -> None:
        url = urlsplit(settings.url)
        self.settings = settings
        self.heads = CachedResponseParser()
        self.authority = url.netloc.rpartition("@")[2]
        self.place = backend_address_of(settings.host, authority=self.authority, prefix=url.path.rstrip("/"))
        self._address = (url.hostname or "", url.port or (443 if url.scheme == "https" else 80))
        self._tls = ssl.create_default_context() if url.scheme == "https" else None
        self._group = group
        # (asking for the running loop each time costs a system call in CPython 3.11)
        self._now = asyncio.get_running_loop().time
        self._idle: list[BackendConnection] = []
        self._all: set[BackendConnection] = set()
        self._connecting = 0
        self._waiting: deque[ExchangeHandler] = deque()
        self._closed = False

    @property
    def connections(self) -> int:
        """Connections open or being opened."""
        return len(self._all) + self._connecting

    def acquire(self, holder: ExchangeHandler, *, idle_max_s: float = _ANY_AGE) -> None:
        """Give `holder` a connection: at once where one is kept that was used within `idle_max_s`, else when there is one.

        Where there can be none, the holder is told so.
        """
        idle = self._idle
        oldest = 0.0 if idle_max_s == _ANY_AGE else self._now() - idle_max_s
        while idle and idle[-1].idle_since >= oldest:
            connection = idle.pop()
            if connection.usable:
                connection.hold(holder)
                return
        if self.connections < self.settings.connections_max:
            self._connecting += 1
            self._group.create_task(self._connect(holder), name="connect-backend")
        elif len(self._waiting) < self.settings.connections_max:
            self._waiting.append(holder)
        else:
            holder.backend_failed(FailureCause.OVERLOAD, "every connection to the backend is in use")

    def give_up(self, holder: ExchangeHandler) -> None:
        """`holder` waits no more."""
        if holder in self._waiting:
            self._waiting.remove(holder)

    def put_back(self, connection: BackendConnection) -> None:
        """A connection is free: for the first who waits, else to be kept."""
        if self._closed:
            connection.abort()
        elif self._waiting:
            connection.hold(self._waiting.popleft())
        else:
            connection.idle_since = self._now()
            self._idle.append(connection)

    def forget(self, connection: BackendConnection) -> None:
        """A connection is gone; those who wait may have a new one."""
        self._all.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        if self._waiting and not self._closed:
            self.acquire(self._waiting.popleft())

    def sweep(self, now: float) -> None:
        """Close connections that were kept unused for longer than `idle_s`; the newest are reused first."""
        while self._idle and now - self._idle[0].idle_since > self.settings.idle_s:
            self._idle.pop(0).abort()

    def close(self) -> None:
        """Keep nothing any more; connections in use end with their request. Idempotent."""
        self._closed = True
        while self._idle:
            self._idle.pop().abort()

    async def _open(self) -> BackendConnection:
        loop = asyncio.get_running_loop()
        host, port = self._address
        if not self.settings.socket:
            _, made = await loop.create_connection(lambda: BackendConnection(self), host, port, ssl=self._tls)
            return made
        name = host if self._tls else None
        _, made = await loop.create_unix_connection(
            lambda: BackendConnection(self), self.settings.socket, ssl=self._tls, server_hostname=name
        )
        return made

    async def _connect(self, holder: ExchangeHandler) -> None:
        """Open a connection for `holder`. Outermost loop of its task."""
        failure: tuple[FailureCause, str] | None = None
        connection: BackendConnection | None = None
        try:
            async with asyncio.timeout(self.settings.connect_s):
                connection = await self._open()
        except TimeoutError:
            failure = (FailureCause.TIMEOUT, "connecting took too long")
        except (OSError, ssl.SSLError) as error:
            failure = (FailureCause.REFUSED, type(error).__name__)
        except Exception:  # (a task's outermost loop)
            logger.exception("backend_connect_failed")
            failure = (FailureCause.REFUSED, "unexpected")
        finally:
            self._connecting -= 1
        if connection is None:
            cause, detail = failure or (FailureCause.REFUSED, "unexpected")
            holder.backend_failed(cause, detail)
            holder.flush()
            return
        self._all.add(connection)
        if connection.usable:
            connection.hold(holder)
        else:
            holder.backend_failed(FailureCause.RESET, "closed as soon as it was opened")
            holder.flush()
