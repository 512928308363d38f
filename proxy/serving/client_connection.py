"""Connections of clients: requests are read off them, strictly and within limits, and handed to a forwarding, one at a time.

Pipelined requests wait in a bounded buffer. Whatever is refused is answered and the connection closed, with a moment in which the
rest of the request is read and thrown away, so that the answer is not lost to a reset.
"""

import asyncio
import logging
from enum import Enum, auto
from typing import cast

from proxy.errors import MalformedError
from proxy.http1.error_responses import options_response, refusal
from proxy.http1.forwarding_headers import ClientAddress, valid_request_id
from proxy.http1.parser import HEAD_END, ChunkDecoder, Framing, RequestHead, check_partial, skip_empty_lines
from proxy.http1.serializer import decrement_max_forwards
from proxy.serving.forwarder import Forwarding
from proxy.serving.state import ServingState

logger = logging.getLogger(__name__)

PIPELINE_MAX_BYTES = 64 * 1024
LINGER_S = 2.0
LINGER_MAX_BYTES = 16 * 1024 * 1024
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class _ClientState(Enum):
    HEAD = auto()
    BODY = auto()
    RESPONSE = auto()
    LINGER = auto()
    CLOSED = auto()


# (looking a member up in its enumeration costs more than the comparison it is for)
_HEAD, _BODY, _RESPONSE, _LINGER, _CLOSED = _ClientState
_NONE, _CHUNKED = Framing.NONE, Framing.CHUNKED
_NEVER = float("inf")
_CR = 0x0D


class ClientConnection(asyncio.Protocol):
    """One connection of a client. `deadline` is when the sweep next has to look at it (loop time)."""

    def __init__(self, front: ServingState) -> None:
        self.who = ClientAddress("", "http", False)
        self.deadline = front.now() + front.limits.idle_s
        self._front = front
        self._transport: asyncio.Transport | None = None
        self._state = _HEAD
        self._buffer = b""
        self._forwarding: Forwarding | None = None
        self._left = 0
        """Bytes of the body that are to come; while lingering, bytes of the response that were unsent when last looked at."""
        self._taken = 0
        self._chunks: ChunkDecoder | None = None
        self._processing = False
        self._half_closed = False
        self._held = False
        """Reading is paused for the backend's sake."""
        self._full = False
        """Reading is paused because enough is pipelined."""
        self._choked = False
        """The client takes no more of its responses for now: no further request is begun."""

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop."""
        front = self._front
        self._transport = cast("asyncio.Transport", transport)
        peer: tuple[str, int] | str | None = transport.get_extra_info("peername")
        address = peer[0] if isinstance(peer, tuple) else ""
        scheme = "https" if transport.get_extra_info("sslcontext") else "http"
        self.who = ClientAddress(address, scheme, front.trusts(address))
        front.clients.add(self)
        if len(front.clients) > front.limits.connections_max:
            self._refuse(503, "the proxy is at its limit of connections")

    def data_received(self, data: bytes) -> None:
        """Called by the loop."""
        state = self._state
        if state is _HEAD:
            begun = not self._buffer
            if begun and data[-4:] == HEAD_END and data.find(HEAD_END) == len(data) - 4 and data[0] != _CR:
                # A head and nothing else, as of most requests.
                self._read(data, b"")
                return
            self._buffer = data if begun else self._buffer + data
            self._process()
            if begun and self._buffer and self._state is _HEAD:
                self.deadline = self._front.now() + self._front.limits.header_s
        elif state is _RESPONSE:
            self._wait_with(data)
        elif state is _BODY:
            self._take_body(data)
            self._process()
        elif state is _LINGER:
            self._taken += len(data)
            if self._taken > LINGER_MAX_BYTES:
                self.abort()

    def eof_received(self) -> bool:
        """Called by the loop. A client that only shut down its sending side still gets its response."""
        self._half_closed = True
        if self._state is _RESPONSE and self._forwarding is not None:
            if self._forwarding.tunnel:
                self._forwarding.tunnel_ended()
            return True
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the loop."""
        del exc
        self._state = _CLOSED
        self._transport = None
        front = self._front
        front.clients.discard(self)
        forwarding, self._forwarding = self._forwarding, None
        if forwarding is not None:
            forwarding.client_gone()
        if front.draining and front.on_idle is not None:
            front.on_idle()

    def pause_writing(self) -> None:
        """Called by the loop."""
        self._choked = True
        if self._forwarding is not None:
            self._forwarding.client_paused(True)
        elif self._state is _HEAD:
            self._read_on_or_not()

    def resume_writing(self) -> None:
        """Called by the loop."""
        self._choked = False
        if self._forwarding is not None:
            self._forwarding.client_paused(False)
        elif self._state is _HEAD:
            self._read_on_or_not()
            self._go_on()

    # client_side.ClientSide

    def write(self, data: bytes) -> None:
        """Send to the client."""
        if self._transport is not None:
            self._transport.write(data)
            if self._choked and self._forwarding is not None:
                # (it may have begun, or got its connection, after the client was told to be slow)
                self._forwarding.client_paused(True)

    def pause(self) -> None:
        """Read no more for now."""
        self._held = True
        self._read_on_or_not()

    def resume(self) -> None:
        """Read on."""
        self._held = False
        self._read_on_or_not()

    def upgraded(self) -> None:
        """The forwarding is a tunnel now: what was pipelined belongs to it."""
        data, self._buffer = self._buffer, b""
        self._full = False
        self._read_on_or_not()
        if data and self._forwarding is not None:
            self._forwarding.tunnel_data(data)

    def done(self, *, keep_alive: bool) -> None:
        """The response is complete."""
        self._forwarding = None
        if self._transport is None or self._state is _CLOSED:
            return
        if not keep_alive or (self._half_closed and not self._buffer):
            # (lingering: what the client may still send must not cost it the response, RFC 9112 section 9.6)
            self._close(lingering=True)
            return
        self._state = _HEAD
        self._go_on()

    def abort(self) -> None:
        """Close at once; the client sees a response that is cut, or none."""
        self._forwarding = None
        self._state = _CLOSED
        if self._transport is not None:
            self._transport.abort()

    # Sweep and drain

    def expire(self, now: float) -> None:
        """The deadline is over: an unused connection is closed, a slow request refused."""
        if self._state is _BODY and self._held:
            # It is the backend that keeps the client from sending.
            self.deadline = now + self._front.limits.body_idle_s
            return
        self.deadline = _NEVER
        if self._state is _HEAD and (self._choked or not self._buffer):
            self._close(lingering=False)
        elif self._state is _HEAD:
            self._refuse(408, "the request's header took too long")
        elif self._state is _BODY:
            self._refuse(408, "the request's body took too long")
        elif self._state is _LINGER:
            self._end_lingering(now)

    def drain(self) -> None:
        """Close if nothing is being served; else the response in progress is the last."""
        if self._state is _HEAD and not self._buffer:
            self._close(lingering=False)

    # Inside

    def _go_on(self) -> None:
        """Begin with what is pipelined, or wait for the next request."""
        front = self._front
        waits = self._choked or not self._buffer
        self.deadline = front.now() + (front.limits.idle_s if waits else front.limits.header_s)
        if self._held or self._full or self._choked:
            self._held = self._full = False
            self._read_on_or_not()
        if not waits and not self._processing:
            self._process()

    def _process(self) -> None:
        """Take as many requests off the buffer as can be: the next begins when the response before it is complete."""
        if self._processing:
            return
        self._processing = True
        try:
            while self._state is _HEAD and self._buffer and not self._choked and self._take_head():
                pass
        finally:
            self._processing = False
        if self._half_closed and self._state in (_HEAD, _BODY) and not self._choked:
            # All that was pipelined before the end is answered; the rest of a request will not come.
            self._close(lingering=False)

    def _take_head(self) -> bool:
        """Parse one head and begin to forward. False when more bytes are needed."""
        buffer = self._buffer
        limits = self._front.limits
        try:
            if buffer.startswith(b"\r\n"):
                self._buffer = skip_empty_lines(buffer)
                return True
            end = buffer.find(HEAD_END)
            if end < 0:
                check_partial(buffer, target_max=limits.target_max_bytes, header_max=limits.header_max_bytes)
                return False
        except MalformedError as error:
            self._refuse(error.status, str(error))
            return False
        return self._read(buffer[: end + 4], buffer[end + 4 :])

    def _read(self, data: bytes, rest: bytes) -> bool:
        """Read a whole head and begin to forward; `rest` came behind it. False when it was refused."""
        front = self._front
        limits = front.limits
        try:
            if len(data) > limits.header_max_bytes:
                check_partial(data, target_max=limits.target_max_bytes, header_max=limits.header_max_bytes)
            head = front.heads.parse(data, fields_max=limits.headers_max)
        except MalformedError as error:
            self._refuse(error.status, str(error))
            return False
        self._buffer = rest
        if len(head.target) > limits.target_max_bytes:
            self._refuse(414, "the target is too long")
            return False
        if head.length > limits.body_max_bytes:
            self._refuse(413, f"the body is larger than {limits.body_max_bytes} bytes")
            return False
        if "max-forwards" in head.template.present:
            onward = decrement_max_forwards(head)
            if onward is None:
                self._answer_here(head)
                return False
            head = onward
        now = front.now()
        forwarding = self._forwarding = Forwarding(front, self, head, now=now)
        if head.framing is _NONE:
            self._state = _RESPONSE
            self.deadline = _NEVER
            forwarding.start()
        else:
            self._begin_body(head, forwarding, now)
        return True

    def _begin_body(self, head: RequestHead, forwarding: Forwarding, now: float) -> None:
        self._taken = 0
        self._state = _BODY
        self._left = head.length
        self._chunks = ChunkDecoder() if head.framing is _CHUNKED else None
        self.deadline = now + self._front.limits.body_idle_s
        if head.minor == 1 and "expect" in head.template.present and not self._buffer:
            self.write(CONTINUE)
        forwarding.start()
        # (the forwarding may have failed at once and asked for the connection's end)
        if self._buffer and self._state is _BODY:
            data, self._buffer = self._buffer, b""
            self._take_body(data)

    def _take_body(self, data: bytes) -> None:
        self.deadline = self._front.now() + self._front.limits.body_idle_s
        forwarding = self._forwarding
        assert forwarding is not None
        if self._chunks is None:
            body, rest = data[: self._left], data[self._left :]
            self._left -= len(body)
            complete = not self._left
        else:
            try:
                body, rest = self._chunks.feed(data)
            except MalformedError as error:
                self._refuse(error.status, str(error))
                return
            complete = self._chunks.complete
            self._taken += len(body)
            if self._taken > self._front.limits.body_max_bytes:
                self._refuse(413, f"the body is larger than {self._front.limits.body_max_bytes} bytes")
                return
        if complete:
            self._state = _RESPONSE
            self.deadline = _NEVER
            self._buffer = rest
        if body:
            forwarding.request_data(body)
        if complete and self._forwarding is forwarding:
            forwarding.request_ended()

    def _wait_with(self, data: bytes) -> None:
        if self._forwarding is not None and self._forwarding.tunnel:
            self._forwarding.tunnel_data(data)
            return
        self._buffer += data
        if len(self._buffer) > PIPELINE_MAX_BYTES:
            self._full = True
            self._read_on_or_not()

    def _refuse(self, status: int, detail: str) -> None:
        """Answer, unless a response has begun, and close."""
        front = self._front
        forwarding, self._forwarding = self._forwarding, None
        front.metrics.refused[status] += 1
        logger.info("request_refused", extra={"status": status, "detail": detail, "client": self.who.address})
        begun = forwarding is not None and forwarding.response_begun
        if forwarding is not None:
            forwarding.discard()
        if begun:
            self.abort()
            return
        name = forwarding.id if forwarding is not None else front.new_id()
        self.write(refusal(status, detail, name, date=front.date))
        self._close(lingering=True)

    def _answer_here(self, head: RequestHead) -> None:
        """The request may go no further."""
        if head.method == "TRACE":
            self._refuse(405, "nothing is traced here")
            return
        front = self._front
        front.metrics.refused[200] += 1
        self.write(options_response(valid_request_id(head) or front.new_id(), date=front.date))
        self._close(lingering=True)

    def _close(self, *, lingering: bool) -> None:
        """Close after what is written is sent; lingering, read and discard what still comes."""
        self._buffer = b""
        if self._transport is None:
            return
        if not lingering or self._half_closed or not self._transport.can_write_eof():
            self._state = _CLOSED
            self._transport.close()
            return
        self._state = _LINGER
        self._taken = self._left = 0
        self._held = self._full = False
        self._read_on_or_not()
        self.deadline = self._front.now() + LINGER_S
        self._transport.write_eof()

    def _end_lingering(self, now: float) -> None:
        """A client that still takes its response, however slowly, gets all of it."""
        unsent = self._transport.get_write_buffer_size() if self._transport is not None else 0
        if unsent in (0, self._left):
            self.abort()
            return
        self._left = unsent
        self.deadline = now + self._front.limits.total_s

    def _read_on_or_not(self) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        if self._held or self._full or (self._choked and self._state is _HEAD):
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()
