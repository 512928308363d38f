"""One connection of a client: the protocol that reads requests, strictly and within limits, and forwards one at a time.

    HEAD --head--> BODY --body--> RESPONSE --finish--> HEAD     pipelined requests wait in a bounded buffer
    HEAD or BODY --refused--> LINGER --deadline--> CLOSED       after the response that refuses it

LINGER reads and discards the rest of a request for a moment. If the connection were closed at once, the client's system could answer
the unread bytes with a reset, and the client would lose the response (RFC 9112 section 9.6).
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
RETRY_AFTER_S = 1
LINGER_MAX_BYTES = 16 * 1024 * 1024
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class _ClientState(Enum):
    HEAD = auto()
    BODY = auto()
    RESPONSE = auto()
    LINGER = auto()
    CLOSED = auto()


# (a look-up in the enumeration costs more than the comparison)
_HEAD, _BODY, _RESPONSE, _LINGER, _CLOSED = _ClientState
_NONE, _CHUNKED = Framing.NONE, Framing.CHUNKED
_NEVER = float("inf")
_CR = 0x0D


class ClientConnection(asyncio.Protocol):
    """One connection of a client.

    Attributes:
        address: of the client.
        deadline: time of the event loop at which `expire` is called.
    """

    def __init__(self, serving: ServingState) -> None:
        self.address = ClientAddress("", "http", False)
        self.deadline = serving.now() + serving.limits.idle_s
        self._serving = serving
        self._transport: asyncio.Transport | None = None
        self._state = _HEAD
        self._buffer = b""
        self._forwarding: Forwarding | None = None
        self._remaining = 0
        """Bytes of the body that have not come yet; in LINGER, bytes of the response that were unsent at the last deadline."""
        self._received = 0
        """Bytes of a chunked body so far; in LINGER, bytes that were discarded."""
        self._chunks: ChunkDecoder | None = None
        self._processing = False
        self._half_closed = False
        self._backend_full = False
        """Reading is paused because the backend is slower than the client."""
        self._pipeline_full = False
        """Reading is paused because PIPELINE_MAX_BYTES wait in the buffer."""
        self._write_paused = False
        """The client is slower than its responses: no further request is started."""

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Implement asyncio.Protocol."""
        serving = self._serving
        self._transport = cast("asyncio.Transport", transport)
        peer: tuple[str, int] | str | None = transport.get_extra_info("peername")
        address = peer[0] if isinstance(peer, tuple) else ""
        scheme = "https" if transport.get_extra_info("sslcontext") else "http"
        self.address = ClientAddress(address, scheme, serving.trust.trusts(address))
        # (a load balancer, like a unix socket, brings the connections of many clients)
        counted = "" if self.address.trusted else address
        if not serving.connections.opened(self, counted, now=serving.now()):
            self._refuse(503, "the proxy is at its connection limit", retry_after_s=RETRY_AFTER_S)
            serving.connections.refused(self)

    def data_received(self, data: bytes) -> None:
        """Implement asyncio.Protocol."""
        state = self._state
        if state is _HEAD:
            begun = not self._buffer
            if begun and data[-4:] == HEAD_END and data.find(HEAD_END) == len(data) - 4 and data[0] != _CR:
                # Most requests are like this one: a head and nothing else.
                self._read_head(data, b"")
                return
            self._buffer = data if begun else self._buffer + data
            self._process_buffer()
            if begun and self._buffer and self._state is _HEAD:
                self.deadline = self._serving.now() + self._serving.limits.header_s
        elif state is _RESPONSE:
            self._buffer_pipelined(data)
        elif state is _BODY:
            self._read_body(data)
            self._process_buffer()
        elif state is _LINGER:
            self._received += len(data)
            if self._received > LINGER_MAX_BYTES:
                self.abort()

    def eof_received(self) -> bool:
        """Implement asyncio.Protocol. A client that has only closed its sending side still gets its response."""
        self._half_closed = True
        if self._state is _RESPONSE and self._forwarding is not None:
            if self._forwarding.tunnel:
                self._forwarding.tunnel_ended()
            return True
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Implement asyncio.Protocol."""
        del exc
        self._state = _CLOSED
        self._transport = None
        forwarding, self._forwarding = self._forwarding, None
        if forwarding is not None:
            forwarding.client_gone()
        self._serving.connections.client_closed(self)

    def pause_writing(self) -> None:
        """Implement asyncio.Protocol."""
        self._write_paused = True
        if self._forwarding is not None:
            self._forwarding.client_paused(True)
        elif self._state is _HEAD:
            self._update_reading()

    def resume_writing(self) -> None:
        """Implement asyncio.Protocol."""
        self._write_paused = False
        if self._forwarding is not None:
            self._forwarding.client_paused(False)
        elif self._state is _HEAD:
            self._update_reading()
            self._next_request()

    # The interface for the forwarding (a ClientInterface).

    def write(self, data: bytes) -> None:
        """Send some bytes to the client."""
        if self._transport is not None:
            self._transport.write(data)
            if self._write_paused and self._forwarding is not None:
                # (the forwarding may have got its connection after `pause_writing`)
                self._forwarding.client_paused(True)

    def pause(self) -> None:
        """Stop reading the request."""
        self._backend_full = True
        self._update_reading()

    def resume(self) -> None:
        """Continue reading the request."""
        self._backend_full = False
        self._update_reading()

    def upgraded(self) -> None:
        """Turn the connection into a tunnel; pipelined bytes belong to it."""
        data, self._buffer = self._buffer, b""
        self._pipeline_full = False
        self._update_reading()
        if data and self._forwarding is not None:
            self._forwarding.tunnel_data(data)

    def finish(self, *, keep_alive: bool) -> None:
        """End the request, whose response is complete: take the next one, or close the connection."""
        self._forwarding = None
        if self._transport is None or self._state is _CLOSED:
            return
        if not keep_alive or (self._half_closed and not self._buffer):
            self._close(lingering=True)
            return
        self._state = _HEAD
        self._next_request()

    def abort(self) -> None:
        """Close the connection at once, with an incomplete response or none."""
        self._forwarding = None
        self._state = _CLOSED
        if self._transport is not None:
            self._transport.abort()

    def close(self) -> None:
        """Close the connection after what was written is sent."""
        self._close(lingering=False)

    # Deadlines and the drain (an OpenConnection).

    def expire(self, now: float) -> None:
        """Close an unused connection, refuse a slow request: the deadline is over."""
        if self._state is _BODY and self._backend_full:
            # The backend is slow, not the client.
            self.deadline = now + self._serving.limits.body_idle_s
            return
        self.deadline = _NEVER
        if self._state is _HEAD and (self._write_paused or not self._buffer):
            self._close(lingering=False)
        elif self._state is _HEAD:
            self._refuse(408, "the request header was not received in time")
        elif self._state is _BODY:
            self._refuse(408, "the request body was not received in time")
        elif self._state is _LINGER:
            self._end_lingering(now)

    @property
    def unused(self) -> bool:
        """True while it waits for a request, of which no byte has come."""
        return self._state is _HEAD and not self._buffer and not self._write_paused

    def drain(self) -> None:
        """Close the connection if it is unused."""
        if self._state is _HEAD and not self._buffer:
            self._close(lingering=False)

    # Internal.

    def _next_request(self) -> None:
        """Start the next pipelined request, or wait for one."""
        serving = self._serving
        waits = self._write_paused or not self._buffer
        self.deadline = serving.now() + (serving.limits.idle_s if waits else serving.limits.header_s)
        if self._backend_full or self._pipeline_full or self._write_paused:
            self._backend_full = self._pipeline_full = False
            self._update_reading()
        if not waits and not self._processing:
            self._process_buffer()

    def _process_buffer(self) -> None:
        """Start requests from the buffer, one after the other: each when the response before it is complete."""
        if self._processing:
            return
        self._processing = True
        try:
            while self._state is _HEAD and self._buffer and not self._write_paused and self._find_head():
                pass
        finally:
            self._processing = False
        if self._half_closed and self._state in (_HEAD, _BODY) and not self._write_paused:
            # Every complete request is answered, and the rest of an incomplete one will not come.
            self._close(lingering=False)

    def _find_head(self) -> bool:
        """Find a head in the buffer and start to forward it. Return False if it is incomplete or was refused."""
        buffer = self._buffer
        limits = self._serving.limits
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
        return self._read_head(buffer[: end + 4], buffer[end + 4 :])

    def _read_head(self, data: bytes, rest: bytes) -> bool:
        """Parse a head and start to forward it.

        Args:
            data: the head, with its final empty line.
            rest: the bytes behind it.

        Returns:
            False if it was refused.
        """
        serving = self._serving
        limits = serving.limits
        try:
            if len(data) > limits.header_max_bytes:
                check_partial(data, target_max=limits.target_max_bytes, header_max=limits.header_max_bytes)
            head = serving.request_parser.parse(data, fields_max=limits.headers_max)
        except MalformedError as error:
            self._refuse(error.status, str(error))
            return False
        self._buffer = rest
        if len(head.target) > limits.target_max_bytes:
            self._refuse(414, "the request target is too long")
            return False
        if head.length > limits.body_max_bytes:
            self._refuse(413, f"the request body is larger than {limits.body_max_bytes} bytes")
            return False
        if "max-forwards" in head.template.present:
            decremented = decrement_max_forwards(head)
            if decremented is None:
                self._answer_max_forwards(head)
                return False
            head = decremented
        now = serving.now()
        forwarding = self._forwarding = Forwarding(serving, self, head, now=now)
        if head.framing is _NONE:
            self._state = _RESPONSE
            self.deadline = _NEVER
            forwarding.start()
        else:
            self._begin_body(head, forwarding, now)
        return True

    def _begin_body(self, head: RequestHead, forwarding: Forwarding, now: float) -> None:
        self._received = 0
        self._state = _BODY
        self._remaining = head.length
        self._chunks = ChunkDecoder() if head.framing is _CHUNKED else None
        self.deadline = now + self._serving.limits.body_idle_s
        if head.minor == 1 and "expect" in head.template.present and not self._buffer:
            self.write(CONTINUE)
        forwarding.start()
        # (the forwarding may have failed at once and closed the connection)
        if self._buffer and self._state is _BODY:
            data, self._buffer = self._buffer, b""
            self._read_body(data)

    def _read_body(self, data: bytes) -> None:
        self.deadline = self._serving.now() + self._serving.limits.body_idle_s
        forwarding = self._forwarding
        assert forwarding is not None
        if self._chunks is None:
            body, rest = data[: self._remaining], data[self._remaining :]
            self._remaining -= len(body)
            complete = not self._remaining
        else:
            try:
                body, rest = self._chunks.feed(data)
            except MalformedError as error:
                self._refuse(error.status, str(error))
                return
            complete = self._chunks.complete
            self._received += len(body)
            if self._received > self._serving.limits.body_max_bytes:
                self._refuse(413, f"the request body is larger than {self._serving.limits.body_max_bytes} bytes")
                return
        if complete:
            self._state = _RESPONSE
            self.deadline = _NEVER
            self._buffer = rest
        if body:
            forwarding.request_data(body)
        if complete and self._forwarding is forwarding:
            forwarding.request_ended()

    def _buffer_pipelined(self, data: bytes) -> None:
        if self._forwarding is not None and self._forwarding.tunnel:
            self._forwarding.tunnel_data(data)
            return
        self._buffer += data
        if len(self._buffer) > PIPELINE_MAX_BYTES:
            self._pipeline_full = True
            self._update_reading()

    def _refuse(self, status: int, detail: str, *, retry_after_s: int = 0) -> None:
        """Respond with an error, unless a response has begun, and close the connection."""
        serving = self._serving
        forwarding, self._forwarding = self._forwarding, None
        serving.metrics.refused[status] += 1
        logger.info("request_refused", extra={"status": status, "detail": detail, "client": self.address.address})
        begun = forwarding is not None and forwarding.response_begun
        if forwarding is not None:
            forwarding.discard()
        if begun:
            self.abort()
            return
        request_id = forwarding.id if forwarding is not None else serving.identifiers.new_request_id()
        self.write(refusal(status, detail, request_id, date=serving.identifiers.date, retry_after_s=retry_after_s))
        self._close(lingering=True)

    def _answer_max_forwards(self, head: RequestHead) -> None:
        """Answer a request with Max-Forwards: 0."""
        if head.method == "TRACE":
            self._refuse(405, "TRACE is not supported")
            return
        serving = self._serving
        serving.metrics.refused[200] += 1
        self.write(
            options_response(
                valid_request_id(head) or serving.identifiers.new_request_id(), date=serving.identifiers.date
            )
        )
        self._close(lingering=True)

    def _close(self, *, lingering: bool) -> None:
        """Close the connection after all that was written is sent.

        Args:
            lingering: whether to go through LINGER.
        """
        self._buffer = b""
        if self._transport is None:
            return
        if not lingering or self._half_closed or not self._transport.can_write_eof():
            self._state = _CLOSED
            self._transport.close()
            return
        self._state = _LINGER
        self._received = self._remaining = 0
        self._backend_full = self._pipeline_full = False
        self._update_reading()
        self.deadline = self._serving.now() + LINGER_S
        self._transport.write_eof()

    def _end_lingering(self, now: float) -> None:
        """Close the connection, unless the client has read some of the response since the last deadline."""
        unsent = self._transport.get_write_buffer_size() if self._transport is not None else 0
        if unsent in (0, self._remaining):
            self.abort()
            return
        self._remaining = unsent
        self.deadline = now + self._serving.limits.total_s

    def _update_reading(self) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        if self._backend_full or self._pipeline_full or (self._write_paused and self._state is _HEAD):
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()
