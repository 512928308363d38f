"""Connections to one backend: a bounded pool, and the protocol that reads replies off them.

A connection carries one request at a time. It reads the reply's head and body and tells the forwarding that holds it; it never
decides what the caller gets.
"""

import asyncio
import logging
import ssl
from collections import deque
from enum import Enum, auto
from typing import Protocol, cast
from urllib.parse import urlsplit

from comparator.exchange import FailureCause
from proxy.errors import MalformedError
from proxy.http1 import HEAD_END, ChunkDecoder, Framing, ReplyHead, parse_reply
from proxy.settings import Backend

logger = logging.getLogger(__name__)

REPLY_HEAD_MAX_BYTES = 64 * 1024
INTERIM_REPLIES_MAX = 8


class Holder(Protocol):
    """Who is answered by a connection: one request in flight."""

    method: str
    upgrade: bool

    def connected(self, connection: "BackendConnection") -> None:
        """A connection is this holder's."""
        ...

    def reply_started(self, head: ReplyHead) -> None:
        """The final reply's head is here."""
        ...

    def reply_data(self, data: bytes) -> None:
        """Some of the reply's body, decoded."""
        ...

    def reply_ended(self) -> None:
        """The reply is complete."""
        ...

    def flush(self) -> None:
        """All that arrived at once was told: write it on."""
        ...

    def backend_failed(self, cause: FailureCause, detail: str) -> None:
        """There is no reply, or no more of it."""
        ...

    def backend_paused(self, paused: bool) -> None:
        """The backend takes no more bytes for now, or takes them again."""
        ...


class _State(Enum):
    IDLE = auto()
    HEAD = auto()
    BODY = auto()
    TUNNEL = auto()
    CLOSED = auto()


class BackendConnection(asyncio.Protocol):
    """One connection; `holder` is the request it carries, None while it waits in the pool."""

    def __init__(self, pool: "Pool") -> None:
        self.holder: Holder | None = None
        self.reused = False
        self.idle_since = 0.0
        self._pool = pool
        self._transport: asyncio.Transport | None = None
        self._state = _State.IDLE
        self._buffer = b""
        self._framing = Framing.NONE
        self._left = 0
        self._chunks: ChunkDecoder | None = None
        self._reusable = False
        self._interim = 0
        self._answered = False

    @property
    def usable(self) -> bool:
        """Whether a request can be sent on it."""
        return self._state is _State.IDLE and self._transport is not None and not self._transport.is_closing()

    @property
    def answered(self) -> bool:
        """Whether the backend has sent a byte for the current request."""
        return self._answered

    def hold(self, holder: Holder) -> None:
        """Give the connection to a request."""
        self.holder = holder
        self._state = _State.HEAD
        self._buffer = b""
        self._interim = 0
        self._answered = False
        holder.connected(self)

    def write(self, data: bytes) -> None:
        """Send; nothing happens on a connection that is gone (its loss is told separately)."""
        if self._transport is not None:
            self._transport.write(data)

    def pause(self) -> None:
        """Read no more until `resume`: the caller is slower than the backend."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()

    def resume(self) -> None:
        """Read on."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def end_tunnel(self) -> None:
        """The caller sends no more."""
        if self._transport is not None and self._transport.can_write_eof():
            self._transport.write_eof()

    def release(self, *, complete: bool) -> None:
        """The request is over. Back into the pool if both messages were complete, else closed."""
        self.holder = None
        if complete and self._reusable and self._state is _State.IDLE:
            self.reused = True
            self.resume()
            self._pool.put_back(self)
            return
        self.abort()

    def unused(self) -> None:
        """The request wants it no more, and nothing was sent."""
        self.holder = None
        self._state = _State.IDLE
        self._pool.put_back(self)

    def abort(self) -> None:
        """Close without telling anyone."""
        self.holder = None
        self._state = _State.CLOSED
        if self._transport is not None:
            self._transport.abort()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Called by the loop."""
        holder = self.holder
        if holder is None:
            # A backend that speaks unasked is out of step; what it says must not become the next request's reply.
            self.abort()
            return
        self._answered = True
        try:
            self._take(holder, data)
        except MalformedError as error:
            self.abort()
            holder.backend_failed(FailureCause.PROTOCOL, str(error))
        holder.flush()

    def eof_received(self) -> bool:
        """Called by the loop."""
        if self._state is _State.BODY and self._framing is Framing.CLOSE and self.holder is not None:
            holder = self.holder
            self._state = _State.CLOSED
            holder.reply_ended()
            holder.flush()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the loop."""
        self._state = _State.CLOSED
        self._transport = None
        self._pool.forget(self)
        holder, self.holder = self.holder, None
        if holder is not None:
            holder.backend_failed(FailureCause.RESET, type(exc).__name__ if exc else "closed before the reply's end")
            holder.flush()

    def pause_writing(self) -> None:
        """Called by the loop."""
        if self.holder is not None:
            self.holder.backend_paused(True)

    def resume_writing(self) -> None:
        """Called by the loop."""
        if self.holder is not None:
            self.holder.backend_paused(False)

    def _take(self, holder: Holder, data: bytes) -> None:
        if self._state is _State.HEAD:
            self._take_head(holder, data)
        elif self._state is _State.BODY:
            self._take_body(holder, data)
        elif self._state is _State.TUNNEL:
            holder.reply_data(data)
        elif data:
            # Bytes after the reply's end, while the request is still being sent.
            self._reusable = False

    def _take_head(self, holder: Holder, data: bytes) -> None:
        buffer = self._buffer + data if self._buffer else data
        end = buffer.find(HEAD_END)
        if end < 0:
            if len(buffer) > REPLY_HEAD_MAX_BYTES:
                raise MalformedError(502, "the reply's head is too large")
            self._buffer = buffer
            return
        self._buffer = b""
        head = parse_reply(buffer[: end + 4], method=holder.method)
        rest = buffer[end + 4 :]
        if head.status < 200 and not (head.status == 101 and holder.upgrade):
            self._take_interim(holder, head, rest)
            return
        self._begin_body(head)
        holder.reply_started(head)
        if head.status == 101:
            self._state = _State.TUNNEL
            if rest:
                holder.reply_data(rest)
            return
        if head.framing is Framing.NONE:
            self._end(holder, rest)
        elif rest:
            self._take_body(holder, rest)

    def _take_interim(self, holder: Holder, head: ReplyHead, rest: bytes) -> None:
        """1xx replies are the hop's own (the proxy answers Expect itself); a switch nobody asked for is an error."""
        self._interim += 1
        if head.status == 101 or self._interim > INTERIM_REPLIES_MAX:
            raise MalformedError(502, "an interim reply that was not asked for")
        if rest:
            self._take_head(holder, rest)

    def _begin_body(self, head: ReplyHead) -> None:
        self._state = _State.BODY
        self._framing = head.framing
        self._left = head.length
        self._reusable = head.keep_alive
        self._chunks = ChunkDecoder() if head.framing is Framing.CHUNKED else None

    def _take_body(self, holder: Holder, data: bytes) -> None:
        if self._chunks is not None:
            body, rest = self._chunks.feed(data)
            if body:
                holder.reply_data(body)
            if self._chunks.done:
                self._end(holder, rest)
        elif self._framing is Framing.LENGTH:
            body, rest = data[: self._left], data[self._left :]
            self._left -= len(body)
            holder.reply_data(body)
            if not self._left:
                self._end(holder, rest)
        else:
            holder.reply_data(data)

    def _end(self, holder: Holder, rest: bytes) -> None:
        self._state = _State.IDLE
        if rest:
            self._reusable = False
        holder.reply_ended()


class Pool:
    """The connections to one backend instance.

    Args:
        settings: where it is and how many connections it gets.
        group: runs the connecting; lives as long as the proxy.
    """

    def __init__(self, settings: Backend, group: asyncio.TaskGroup) -> None:
        url = urlsplit(settings.url)
        self.settings = settings
        self.prefix = url.path.rstrip("/")
        self.authority = url.netloc.rpartition("@")[2]
        self._address = (url.hostname or "", url.port or (443 if url.scheme == "https" else 80))
        self._tls = ssl.create_default_context() if url.scheme == "https" else None
        self._group = group
        # (asking for the running loop each time costs a system call in CPython 3.11)
        self._now = asyncio.get_running_loop().time
        self._idle: list[BackendConnection] = []
        self._all: set[BackendConnection] = set()
        self._connecting = 0
        self._waiting: deque[Holder] = deque()
        self._closed = False

    @property
    def connections(self) -> int:
        """Connections open or being opened."""
        return len(self._all) + self._connecting

    def acquire(self, holder: Holder, *, idle_max_s: float = float("inf")) -> None:
        """Give `holder` a connection: at once where one is kept that was used within `idle_max_s`, else when there is one.

        Where there can be none, the holder is told so.
        """
        oldest = self._now() - idle_max_s
        while self._idle and self._idle[-1].idle_since >= oldest:
            connection = self._idle.pop()
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

    def give_up(self, holder: Holder) -> None:
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

    async def _connect(self, holder: Holder) -> None:
        """Open a connection for `holder`. Outermost loop of its task."""
        loop = asyncio.get_running_loop()
        host, port = self._address
        failure: tuple[FailureCause, str] | None = None
        connection: BackendConnection | None = None
        try:
            async with asyncio.timeout(self.settings.connect_s):
                _, connection = await loop.create_connection(lambda: BackendConnection(self), host, port, ssl=self._tls)
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
