"""One connection to a backend: the protocol that reads responses. proxy.serving.backend_pool owns the connections.

A connection carries one request at a time. It reads head and body of the response and passes them to the handler of the request:

    IDLE --assign--> HEAD --head--> BODY --end--> IDLE          (CLOSED from every state)
                     HEAD --101---> TUNNEL
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
    """One request in flight: the receiver of a response."""

    method: str
    upgrade: bool

    def connected(self, connection: "BackendConnection") -> None:
        """Send the request on this connection, which is now assigned to it."""
        ...

    def response_started(self, head: ResponseHead) -> None:
        """Take the head of the final response."""
        ...

    def response_data(self, data: bytes) -> None:
        """Take some of the body, without chunked coding."""
        ...

    def response_ended(self) -> None:
        """Note that the response is complete."""
        ...

    def flush(self) -> None:
        """Write on what the calls before have collected: nothing more has arrived."""
        ...

    def backend_failed(self, cause: FailureCause, detail: str) -> None:
        """Note that there is no response, or no more of it."""
        ...

    def backend_paused(self, paused: bool) -> None:
        """Stop or continue to send: the write buffer of the connection is full, or has room again."""
        ...


class ConnectionOwner(Protocol):
    """The pool that a connection belongs to."""

    response_parser: CachedResponseParser
    """Parses the heads of this backend's responses."""

    def release(self, connection: "BackendConnection") -> None:
        """Take back a connection that can carry another request."""
        ...

    def discard(self, connection: "BackendConnection") -> None:
        """Forget a connection that is closed."""
        ...


class _BackendState(Enum):
    IDLE = auto()
    HEAD = auto()
    BODY = auto()
    TUNNEL = auto()
    CLOSED = auto()


# (a look-up in the enumeration costs more than the comparison)
_IDLE, _HEAD, _BODY, _TUNNEL, _CLOSED = _BackendState
_NONE, _LENGTH = Framing.NONE, Framing.LENGTH


class BackendConnection(asyncio.Protocol):
    """One connection.

    Attributes:
        handler: of the request that it carries, None while it is in the pool.
        reused: whether it has carried a request before.
        idle_since: time of the event loop at which it went into the pool.
    """

    def __init__(self, pool: ConnectionOwner) -> None:
        self.handler: ExchangeHandler | None = None
        self.reused = False
        self.idle_since = 0.0
        self._pool = pool
        self._transport: asyncio.Transport | None = None
        self._state = _IDLE
        self._buffer = b""
        self._framing = _NONE
        self._remaining = 0
        self._chunks: ChunkDecoder | None = None
        self._reusable = False
        self._interim_responses = 0
        self._response_begun = False
        self._read_paused = False
        self._write_paused = False
        """The write buffer is full: another request must not queue behind it."""

    @property
    def usable(self) -> bool:
        """True if a request can be assigned to it."""
        return self._state is _IDLE and self._transport is not None and not self._transport.is_closing()

    @property
    def response_begun(self) -> bool:
        """True if the backend has sent a byte since the request was assigned."""
        return self._response_begun

    def assign(self, handler: ExchangeHandler) -> None:
        """Assign the connection to a request."""
        self.handler = handler
        self._state = _HEAD
        self._buffer = b""
        self._interim_responses = 0
        self._response_begun = False
        handler.connected(self)

    def write(self, data: bytes) -> None:
        """Send some bytes; a closed connection ignores them, and `backend_failed` reports the loss."""
        if self._transport is not None:
            self._transport.write(data)

    def pause(self) -> None:
        """Stop reading until `resume`, because the client is slower than the backend."""
        if self._transport is not None and not self._transport.is_closing():
            self._read_paused = True
            self._transport.pause_reading()

    def resume(self) -> None:
        """Continue reading."""
        if self._read_paused and self._transport is not None and not self._transport.is_closing():
            self._read_paused = False
            self._transport.resume_reading()

    def end_tunnel(self) -> None:
        """Close the sending side: the client sends no more through the tunnel."""
        if self._transport is not None and self._transport.can_write_eof():
            self._transport.write_eof()

    def release(self, *, complete: bool) -> None:
        """End the request: return to the pool if both messages were complete, else close."""
        self.handler = None
        if complete and self._reusable and self._state is _IDLE and not self._write_paused:
            self.reused = True
            self.resume()
            self._pool.release(self)
            return
        self.abort()

    def return_unused(self) -> None:
        """Return to the pool without having sent anything, because the request is over."""
        self.handler = None
        self._state = _IDLE
        self._pool.release(self)

    def abort(self) -> None:
        """Close at once, without a call of the handler."""
        self.handler = None
        self._state = _CLOSED
        if self._transport is not None:
            self._transport.abort()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Implement asyncio.Protocol."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Implement asyncio.Protocol."""
        handler = self.handler
        if handler is None:
            # Bytes without a request: they must not become the response of the next request.
            self.abort()
            return
        self._response_begun = True
        try:
            if self._state is _HEAD:
                self._take_head(handler, data)
            else:
                self._take(handler, data)
        except MalformedError as error:
            self.abort()
            handler.backend_failed(FailureCause.PROTOCOL, str(error))
        handler.flush()

    def eof_received(self) -> bool:
        """Implement asyncio.Protocol."""
        if self._state is _BODY and self._framing is Framing.CLOSE and self.handler is not None:
            handler = self.handler
            self._state = _CLOSED
            handler.response_ended()
            handler.flush()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Implement asyncio.Protocol."""
        self._state = _CLOSED
        self._transport = None
        self._pool.discard(self)
        handler, self.handler = self.handler, None
        if handler is not None:
            handler.backend_failed(
                FailureCause.RESET, type(exc).__name__ if exc else "closed before the end of the response"
            )
            handler.flush()

    def pause_writing(self) -> None:
        """Implement asyncio.Protocol."""
        self._write_paused = True
        if self.handler is not None:
            self.handler.backend_paused(True)

    def resume_writing(self) -> None:
        """Implement asyncio.Protocol."""
        self._write_paused = False
        if self.handler is not None:
            self.handler.backend_paused(False)

    def _take(self, handler: ExchangeHandler, data: bytes) -> None:
        if self._state is _BODY:
            self._take_body(handler, data)
        elif self._state is _TUNNEL:
            handler.response_data(data)
        elif data:
            # Bytes after the end of the response, while the request is still being sent.
            self._reusable = False

    def _take_head(self, handler: ExchangeHandler, data: bytes) -> None:
        buffer = self._buffer + data if self._buffer else data
        end = buffer.find(HEAD_END) + 4
        if end < 4:
            if len(buffer) > RESPONSE_HEAD_MAX_BYTES:
                raise MalformedError(502, "the response head is too large")
            self._buffer = buffer
            return
        self._buffer = b""
        head = self._pool.response_parser.parse(buffer[:end], method=handler.method)
        rest = buffer[end:]
        if head.status < 200 and not (head.status == 101 and handler.upgrade):
            self._take_interim(handler, head, rest)
            return
        self._state = _BODY
        self._reusable = head.keep_alive
        framing = self._framing = head.framing
        handler.response_started(head)
        if framing is _LENGTH:
            self._remaining = head.length
            if rest:
                self._take_counted(handler, rest)
        elif head.status == 101:
            self._state = _TUNNEL
            if rest:
                handler.response_data(rest)
        elif framing is _NONE:
            self._end(handler, rest)
        else:
            self._chunks = ChunkDecoder() if framing is Framing.CHUNKED else None
            if rest:
                self._take_body(handler, rest)

    def _take_interim(self, handler: ExchangeHandler, head: ResponseHead, rest: bytes) -> None:
        """Drop a 1xx response: it is for this hop only, which answers Expect itself. A 101 without an upgrade is an error."""
        self._interim_responses += 1
        if head.status == 101 or self._interim_responses > INTERIM_RESPONSES_MAX:
            raise MalformedError(502, "unexpected interim response")
        if rest:
            self._take_head(handler, rest)

    def _take_body(self, handler: ExchangeHandler, data: bytes) -> None:
        if self._framing is _LENGTH:
            self._take_counted(handler, data)
        elif self._chunks is not None:
            body, rest = self._chunks.feed(data)
            if body:
                handler.response_data(body)
            if self._chunks.complete:
                self._end(handler, rest)
        else:
            handler.response_data(data)

    def _take_counted(self, handler: ExchangeHandler, data: bytes) -> None:
        left = self._remaining - len(data)
        if left > 0:
            self._remaining = left
            handler.response_data(data)
            return
        # (slicing all of a bytes object does not copy it)
        size = self._remaining
        self._remaining = 0
        handler.response_data(data[:size])
        self._end(handler, data[size:])

    def _end(self, handler: ExchangeHandler, rest: bytes) -> None:
        self._state = _IDLE
        if rest:
            self._reusable = False
        handler.response_ended()
