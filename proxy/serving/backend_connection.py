"""One connection to a backend: the protocol that reads responses off it. proxy.serving.backend_pool keeps them.

A connection carries one request at a time. It reads the response's head and body and tells the forwarding that holds it; it never
decides what the client gets.
"""

import asyncio
from enum import Enum, auto
from typing import Protocol, cast

from comparator.exchanges.model import FailureCause
from proxy.errors import MalformedError
from proxy.http1.head_cache import CachedResponseParser
from proxy.http1.parser import HEAD_END, ChunkDecoder, Framing, ResponseHead

RESPONSE_HEAD_MAX_BYTES = 64 * 1024
INTERIM_RESPONSES_MAX = 8


class ExchangeHandler(Protocol):
    """Who is answered by a connection: one request in flight."""

    method: str
    upgrade: bool

    def connected(self, connection: "BackendConnection") -> None:
        """A connection is this holder's."""
        ...

    def response_started(self, head: ResponseHead) -> None:
        """The final response's head is here."""
        ...

    def response_data(self, data: bytes) -> None:
        """Some of the response's body, decoded."""
        ...

    def response_ended(self) -> None:
        """The response is complete."""
        ...

    def flush(self) -> None:
        """All that arrived at once was told: write it on."""
        ...

    def backend_failed(self, cause: FailureCause, detail: str) -> None:
        """There is no response, or no more of it."""
        ...

    def backend_paused(self, paused: bool) -> None:
        """The backend takes no more bytes for now, or takes them again."""
        ...


class ConnectionOwner(Protocol):
    """Where a connection comes from: it takes back what can be used again, and hears of what is gone."""

    heads: CachedResponseParser
    """Reads the heads of this backend's responses."""

    def put_back(self, connection: "BackendConnection") -> None:
        """A connection is free."""
        ...

    def forget(self, connection: "BackendConnection") -> None:
        """A connection is gone."""
        ...


class _BackendState(Enum):
    IDLE = auto()
    HEAD = auto()
    BODY = auto()
    TUNNEL = auto()
    CLOSED = auto()


# (looking a member up in its enumeration costs more than the comparison it is for)
_IDLE, _HEAD, _BODY, _TUNNEL, _CLOSED = _BackendState
_NONE, _LENGTH = Framing.NONE, Framing.LENGTH


class BackendConnection(asyncio.Protocol):
    """One connection; `holder` is the request it carries, None while it waits in the pool."""

    def __init__(self, pool: ConnectionOwner) -> None:
        self.holder: ExchangeHandler | None = None
        self.reused = False
        self.idle_since = 0.0
        self._pool = pool
        self._transport: asyncio.Transport | None = None
        self._state = _IDLE
        self._buffer = b""
        self._framing = _NONE
        self._left = 0
        self._chunks: ChunkDecoder | None = None
        self._reusable = False
        self._interim = 0
        self._answered = False
        self._paused = False
        self._choked = False
        """The backend has yet to take what was sent; behind that no other request may wait."""

    @property
    def usable(self) -> bool:
        """Whether a request can be sent on it."""
        return self._state is _IDLE and self._transport is not None and not self._transport.is_closing()

    @property
    def answered(self) -> bool:
        """Whether the backend has sent a byte for the current request."""
        return self._answered

    def hold(self, holder: ExchangeHandler) -> None:
        """Give the connection to a request."""
        self.holder = holder
        self._state = _HEAD
        self._buffer = b""
        self._interim = 0
        self._answered = False
        holder.connected(self)

    def write(self, data: bytes) -> None:
        """Send; nothing happens on a connection that is gone (its loss is told separately)."""
        if self._transport is not None:
            self._transport.write(data)

    def pause(self) -> None:
        """Read no more until `resume`: the client is slower than the backend."""
        if self._transport is not None and not self._transport.is_closing():
            self._paused = True
            self._transport.pause_reading()

    def resume(self) -> None:
        """Read on."""
        if self._paused and self._transport is not None and not self._transport.is_closing():
            self._paused = False
            self._transport.resume_reading()

    def end_tunnel(self) -> None:
        """The client sends no more."""
        if self._transport is not None and self._transport.can_write_eof():
            self._transport.write_eof()

    def release(self, *, complete: bool) -> None:
        """The request is over. Back into the pool if both messages were complete, else closed."""
        self.holder = None
        if complete and self._reusable and self._state is _IDLE and not self._choked:
            self.reused = True
            self.resume()
            self._pool.put_back(self)
            return
        self.abort()

    def unused(self) -> None:
        """The request wants it no more, and nothing was sent."""
        self.holder = None
        self._state = _IDLE
        self._pool.put_back(self)

    def abort(self) -> None:
        """Close without telling anyone."""
        self.holder = None
        self._state = _CLOSED
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
            # A backend that speaks unasked is out of step; what it says must not become the next request's response.
            self.abort()
            return
        self._answered = True
        try:
            if self._state is _HEAD:
                self._take_head(holder, data)
            else:
                self._take(holder, data)
        except MalformedError as error:
            self.abort()
            holder.backend_failed(FailureCause.PROTOCOL, str(error))
        holder.flush()

    def eof_received(self) -> bool:
        """Called by the loop."""
        if self._state is _BODY and self._framing is Framing.CLOSE and self.holder is not None:
            holder = self.holder
            self._state = _CLOSED
            holder.response_ended()
            holder.flush()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the loop."""
        self._state = _CLOSED
        self._transport = None
        self._pool.forget(self)
        holder, self.holder = self.holder, None
        if holder is not None:
            holder.backend_failed(FailureCause.RESET, type(exc).__name__ if exc else "closed before the response's end")
            holder.flush()

    def pause_writing(self) -> None:
        """Called by the loop."""
        self._choked = True
        if self.holder is not None:
            self.holder.backend_paused(True)

    def resume_writing(self) -> None:
        """Called by the loop."""
        self._choked = False
        if self.holder is not None:
            self.holder.backend_paused(False)

    def _take(self, holder: ExchangeHandler, data: bytes) -> None:
        if self._state is _BODY:
            self._take_body(holder, data)
        elif self._state is _TUNNEL:
            holder.response_data(data)
        elif data:
            # Bytes after the response's end, while the request is still being sent.
            self._reusable = False

    def _take_head(self, holder: ExchangeHandler, data: bytes) -> None:
        buffer = self._buffer + data if self._buffer else data
        end = buffer.find(HEAD_END) + 4
        if end < 4:
            if len(buffer) > RESPONSE_HEAD_MAX_BYTES:
                raise MalformedError(502, "the response's head is too large")
            self._buffer = buffer
            return
        self._buffer = b""
        head = self._pool.heads.parse(buffer[:end], method=holder.method)
        rest = buffer[end:]
        if head.status < 200 and not (head.status == 101 and holder.upgrade):
            self._take_interim(holder, head, rest)
            return
        self._state = _BODY
        self._reusable = head.keep_alive
        framing = self._framing = head.framing
        holder.response_started(head)
        if framing is _LENGTH:
            self._left = head.length
            if rest:
                self._take_counted(holder, rest)
        elif head.status == 101:
            self._state = _TUNNEL
            if rest:
                holder.response_data(rest)
        elif framing is _NONE:
            self._end(holder, rest)
        else:
            self._chunks = ChunkDecoder() if framing is Framing.CHUNKED else None
            if rest:
                self._take_body(holder, rest)

    def _take_interim(self, holder: ExchangeHandler, head: ResponseHead, rest: bytes) -> None:
        """1xx responses are the hop's own (the proxy answers Expect itself); a switch nobody asked for is an error."""
        self._interim += 1
        if head.status == 101 or self._interim > INTERIM_RESPONSES_MAX:
            raise MalformedError(502, "an interim response that was not asked for")
        if rest:
            self._take_head(holder, rest)

    def _take_body(self, holder: ExchangeHandler, data: bytes) -> None:
        if self._framing is _LENGTH:
            self._take_counted(holder, data)
        elif self._chunks is not None:
            body, rest = self._chunks.feed(data)
            if body:
                holder.response_data(body)
            if self._chunks.complete:
                self._end(holder, rest)
        else:
            holder.response_data(data)

    def _take_counted(self, holder: ExchangeHandler, data: bytes) -> None:
        left = self._left - len(data)
        if left > 0:
            self._left = left
            holder.response_data(data)
            return
        # (a slice of everything is no copy)
        size = self._left
        self._left = 0
        holder.response_data(data[:size])
        self._end(holder, data[size:])

    def _end(self, holder: ExchangeHandler, rest: bytes) -> None:
        self._state = _IDLE
        if rest:
            self._reusable = False
        holder.response_ended()
