"""One request in flight: from the client's head to the last byte of the served side, and then into the journal.

Bytes are passed on as they arrive, in both directions, with back-pressure; the copies for the journal are cut at `body_max_bytes`.
Every request ends in `_finish`, exactly once.
"""

import time
from typing import Protocol

from comparator.exchanges.model import Failed, FailureCause, Side
from comparator.exchanges.skip import SAFE_METHODS, Skip
from proxy.http1.error_responses import failure_response
from proxy.http1.forwarding_headers import (
    ClientAddress,
    forwarding_block,
    parse_traceparent,
    traceparent,
    valid_request_id,
)
from proxy.http1.parser import Framing, RequestHead, ResponseHead
from proxy.http1.serializer import response_head, wants_websocket
from proxy.journal.served_exchange import ServedExchange
from proxy.serving.backend_connection import BackendConnection
from proxy.serving.retry_policy import LostResponse, RetryDecision, retry_decision
from proxy.serving.routing import KeySource, Route, key_from_body, match_route
from proxy.serving.state import ServingState

IDLE_MAX_UNSAFE_S = 1.0
UNSENT_MAX_BYTES = 64 * 1024

# (a look-up in an enumeration costs more than most of the comparisons here)
_NONE, _CHUNKED = Framing.NONE, Framing.CHUNKED
_UNBOUNDED = (Framing.CHUNKED, Framing.CLOSE)


class ClientInterface(Protocol):
    """The client's connection, as a forwarding uses it."""

    address: ClientAddress

    def write(self, data: bytes) -> None:
        """Send some bytes to the client."""
        ...

    def pause(self) -> None:
        """Stop reading the request."""
        ...

    def resume(self) -> None:
        """Continue reading the request."""
        ...

    def finish(self, *, keep_alive: bool) -> None:
        """End the request, whose response is complete: take the next one, or close the connection."""
        ...

    def upgraded(self) -> None:
        """Turn the connection into a tunnel."""
        ...

    def abort(self) -> None:
        """Close the connection at once, so that the client notices that its response is incomplete."""
        ...


class Forwarding:
    """One request in flight. The client's connection makes it and feeds it the body of the request.

    Attributes:
        id: X-Request-Id.
        deadline: time of the event loop at which `expire` is called.
        upgrade: whether the request asks for a WebSocket.
        tunnel: whether the connections have become a tunnel.
    """

    # (class attributes: of most requests most of these never change)
    upgrade = tunnel = False
    _client: ClientInterface | None
    _connection: BackendConnection | None = None
    _response: ResponseHead | None = None
    _route: Route | None = None
    _finished = _retried = _fell_back = _failed_over = False
    _chunked_out = _announced_close = _collecting = _streamed = False
    _unsent_bytes = 0

    def __init__(self, state: ServingState, client: ClientInterface, head: RequestHead, *, now: float) -> None:
        present = head.template.present
        request_id = valid_request_id(head) if "x-request-id" in present else None
        self._state = state
        self._client = client
        self._head = head
        self.id = request_id or state.identifiers.new_request_id()
        self.method = head.method
        self._exchange = ServedExchange(head, self.id, time.time_ns(), now, state.body_copy_max_bytes)
        self.deadline = self._total_deadline = now + state.limits.total_s
        if "upgrade" in present:
            self.upgrade = wants_websocket(head)
        self._request_complete = head.framing is _NONE
        self._out: list[bytes] = []
        self._unsent: list[bytes] = []

    @property
    def started_ns(self) -> int:
        """Unix time at which the head was read."""
        return self._exchange.started_ns

    @property
    def response_begun(self) -> bool:
        """True if the client may have received some of the response."""
        return self._response is not None

    def discard(self) -> None:
        """End the request without a response and without counting it: the client's connection responds itself."""
        if self._finished:
            return
        self._finished = True
        self._client = None
        connection, self._connection = self._connection, None
        self._state.connections.requests.discard(self)
        self._state.keys.remove(self._exchange)
        if connection is not None:
            connection.abort()
        else:
            self._state.backends.of(self._exchange.side).cancel(self)

    def start(self) -> None:
        """Find route and side, and acquire a connection."""
        head, state, exchange = self._head, self._state, self._exchange
        state.connections.requests.add(self)
        route, exchange.key = match_route(state.routes, head.method, head.target, head.value)
        if route is not None:
            self._route, exchange.route_name = route, route.name
        if not self._request_complete and route is not None and route.key_source is KeySource.BODY:
            # The side depends on the body, so nothing is sent before the body is complete or has proved too long to be searched.
            self._collecting = True
            return
        self._choose()

    # The body of the request, called by the client's connection.

    def request_data(self, data: bytes) -> None:
        """Take some of the body, without chunked coding."""
        body = self._exchange.request_body
        body.add(data)
        self._send(b"%x\r\n%b\r\n" % (len(data), data) if self._head.framing is _CHUNKED else data)
        if self._collecting and body.truncated:
            self._choose_by_body()

    def request_ended(self) -> None:
        """Note that the request is complete."""
        self._request_complete = True
        if self._head.framing is _CHUNKED:
            self._send(b"0\r\n\r\n")
        if self._collecting:
            self._choose_by_body()
        if self._connection is not None and self._response is None:
            self.deadline = min(self._total_deadline, self._state.now() + self._state.limits.ttfb_s)

    def tunnel_data(self, data: bytes) -> None:
        """Take some bytes of the client after an upgrade."""
        self._extend_tunnel()
        if self._connection is not None:
            self._connection.write(data)

    def tunnel_ended(self) -> None:
        """Note that the client sends no more after an upgrade."""
        if self._connection is not None:
            self._connection.end_tunnel()

    def client_paused(self, paused: bool) -> None:
        """Stop or continue to read the response: the client's write buffer is full, or has room again."""
        if self._connection is not None:
            if paused:
                self._connection.pause()
            else:
                self._connection.resume()

    def client_gone(self) -> None:
        """Note that the client has closed its connection. The response to a complete request is still read, so that it is mirrored."""
        exchange = self._exchange
        self._client = None
        self._out.clear()
        if not self._request_complete or self.tunnel or exchange.response_body.truncated:
            self._state.backends.of(exchange.side).cancel(self)
            exchange.skip = exchange.skip if self.tunnel else Skip.ABORTED
            self._finish()
        elif self._connection is not None:
            self._connection.resume()

    def expire(self, now: float) -> None:
        """Fail the request, because its deadline is over."""
        over = now >= self._total_deadline
        self.backend_failed(FailureCause.TIMEOUT, "limits.total_s is over" if over else "limits.ttfb_s is over")
        self.flush()

    # The response, called by the backend's connection (an ExchangeHandler).

    def connected(self, connection: BackendConnection) -> None:
        """Send the head, and what has come of the body."""
        if self._finished:
            connection.return_unused()
            return
        self._connection = connection
        state, exchange = self._state, self._exchange
        data = exchange.encoded_head(state.backends.of(exchange.side).address, upgrade=self.upgrade)
        if self._unsent:
            data += b"".join(self._unsent)
            if not self._replayable:
                self._unsent.clear()
            if self._client is not None and not self._request_complete:
                self._client.resume()
        connection.write(data)
        if self._request_complete:
            self.deadline = min(self._total_deadline, state.now() + state.limits.ttfb_s)

    def response_started(self, head: ResponseHead) -> None:
        """Pass the head of the response on."""
        exchange = self._exchange
        self._response = exchange.response = head
        exchange.first_byte_ns = time.time_ns()
        self.deadline = self._total_deadline
        if self._unsent:
            self._unsent.clear()
        status = head.status
        if 502 <= status <= 504:
            self._state.metrics.gateway_errors[exchange.side] += 1
        if status == 101:
            self.tunnel = True
            exchange.skip = Skip.UPGRADE
            self._extend_tunnel()
            if self._client is not None:
                self._client.upgraded()
        if self._client is not None:
            self._begin_response(head)

    def response_data(self, data: bytes) -> None:
        """Pass some of the body on."""
        if self.tunnel:
            self._extend_tunnel()
        else:
            self._exchange.response_body.add(data)
        if self._client is not None:
            self._out.append(data if not self._chunked_out else b"%x\r\n%b\r\n" % (len(data), data))

    def response_ended(self) -> None:
        """Note that the response is complete."""
        if self._chunked_out:
            self._out.append(b"0\r\n\r\n")
        self._finish()

    def flush(self) -> None:
        """Write what was collected as one piece."""
        out = self._out
        if out and self._client is not None:
            self._out = []
            self._client.write(out[0] if len(out) == 1 else b"".join(out))

    def backend_failed(self, cause: FailureCause, detail: str) -> None:
        """Send the request once more where that is safe, else respond with an error."""
        if self._finished:
            return
        connection, self._connection = self._connection, None
        if self.tunnel:
            self._finish()
            return
        stale = connection is not None and connection.reused and not connection.response_begun
        if connection is not None:
            connection.abort()
        else:
            self._state.backends.of(self._exchange.side).cancel(self)
        decision = self._retry_decision(cause, stale=stale) if self._response is None else None
        if decision is not None:
            self._resend(decision, cause)
            return
        exchange = self._exchange
        self._state.metrics.backend_failures[exchange.side, cause] += 1
        exchange.failed = Failed(cause, detail)
        self._finish()

    def backend_paused(self, paused: bool) -> None:
        """Stop or continue to read the request: the backend's write buffer is full, or has room again."""
        if self._client is not None:
            if paused:
                self._client.pause()
            else:
                self._client.resume()

    # Internal.

    @property
    def _replayable(self) -> bool:
        """True if all that was sent is still here to be sent again."""
        return self._request_complete and not self._streamed and self._unsent_bytes <= UNSENT_MAX_BYTES

    def _choose_by_body(self) -> None:
        exchange, route = self._exchange, self._route
        self._collecting = False
        assert route is not None
        if self._request_complete and not exchange.request_body.truncated:
            exchange.key = key_from_body(route, exchange.request_body.body)
        self._choose()

    def _choose(self) -> None:
        """Choose the side, add the proxy's own fields, and acquire a connection."""
        state, exchange = self._state, self._exchange
        assert self._client is not None
        address = self._client.address
        state.sides.choose(exchange, self._route, address)
        exchange.added = forwarding_block(self._head, address)
        exchange.trace = self._trace()
        state.keys.add(exchange)
        if state.failover.degraded and not self._fail_over():
            self.backend_failed(FailureCause.EJECTED, "ejected")
            self.flush()
            return
        pool = state.backends.of(exchange.side)
        if self.method in SAFE_METHODS:
            pool.acquire(self)
        else:
            # The backend may be closing a kept connection just now, and an unsafe request is sent only once.
            pool.acquire(self, idle_max_s=IDLE_MAX_UNSAFE_S)

    def _trace(self) -> str:
        """Return the traceparent to send. A trace that starts here has the request id for its trace id, if the proxy made that."""
        head, identifiers = self._head, self._state.identifiers
        present = head.template.present
        if "traceparent" not in present and "x-request-id" not in present:
            return f"00-{self.id}-{identifiers.new_span_id()}-01"
        trace_id = identifiers.new_request_id() if "x-request-id" in present else self.id
        received = head.value("traceparent")
        context = parse_traceparent(received) if received is not None else None
        if context is not None and context.sampled:
            self._exchange.sampled_trace = context.trace_id
        return traceparent(context, trace_id, identifiers.new_span_id())

    def _fail_over(self) -> bool:
        """Switch to the other side if the chosen one is unavailable and the other may answer. Return False to refuse the request."""
        state, chosen = self._state, self._exchange.side
        safe = self.method in SAFE_METHODS and not self.upgrade
        side = state.failover.side_for(chosen, state.now(), safe=safe)
        if side is None:
            return False
        if side is not chosen:
            self._failed_over = True
            self._switch_side(side)
            state.metrics.fallbacks[side] += 1
        return True

    def _switch_side(self, side: Side) -> None:
        exchange = self._exchange
        exchange.side = side
        exchange.skip = exchange.skip or Skip.FALLBACK

    def _send(self, data: bytes) -> None:
        if self._connection is not None:
            self._streamed = True
            self._connection.write(data)
            return
        self._unsent.append(data)
        self._unsent_bytes += len(data)
        if self._unsent_bytes > UNSENT_MAX_BYTES and not self._collecting and self._client is not None:
            self._client.pause()

    def _extend_tunnel(self) -> None:
        self.deadline = self._total_deadline = self._state.now() + self._state.limits.tunnel_idle_s

    def _retry_decision(self, cause: FailureCause, *, stale: bool) -> RetryDecision | None:
        state = self._state
        timed_out = cause is FailureCause.TIMEOUT
        lost = LostResponse(
            replayable=self._client is not None and not self.upgrade and self._replayable,
            safe=self.method in SAFE_METHODS,
            stale=stale and not timed_out,
            in_time=not timed_out or state.now() < self._total_deadline,
            retried=self._retried,
            fell_back=self._fell_back,
        )
        retries = state.backends.of(self._exchange.side).settings.retries > 0
        return retry_decision(lost, retries=retries, fall_back=state.failover.enabled)

    def _resend(self, decision: RetryDecision, cause: FailureCause) -> None:
        state, exchange = self._state, self._exchange
        self.deadline = self._total_deadline
        if decision is RetryDecision.SAME_SIDE:
            self._retried = True
            exchange.skip = exchange.skip or Skip.RETRIED
            state.metrics.retries += 1
            state.backends.of(exchange.side).acquire(self, idle_max_s=-1)
            return
        state.metrics.backend_failures[exchange.side, cause] += 1
        self._fell_back = True
        self._switch_side(exchange.side.other)
        # (a request that was failed over returns to the side it was chosen for: that may be unhealthy by its checks only)
        state.metrics.fallbacks[exchange.side] += not self._failed_over
        state.backends.of(exchange.side).acquire(self)

    def _begin_response(self, head: ResponseHead) -> None:
        """Begin the response to the client: status line, fields, and the framing of this hop."""
        request, close = self._head, False
        present = head.template.present
        own = "" if "x-request-id" in present else f"X-Request-Id: {self.id}\r\n"
        if "date" not in present:
            own += f"Date: {self._state.identifiers.date}\r\n"
        if self._fell_back is not self._failed_over:
            own += f"X-Shadow-Fallback: {self._exchange.side}\r\n"
        if not self.tunnel:
            self._chunked_out = request.minor == 1 and head.framing in _UNBOUNDED
            self._announced_close = close = not self._keeps_alive
        self._out.append(response_head(head, request, own, chunked=self._chunked_out, close=close))

    @property
    def _keeps_alive(self) -> bool:
        """True if the client's connection can carry another request after this one."""
        if not self._head.keep_alive or not self._request_complete or self._announced_close:
            return False
        if self._state.connections.draining:
            return False
        response = self._response
        return response is None or self._chunked_out or response.framing not in _UNBOUNDED

    def _finish(self) -> None:
        """End the request: release the connection, record the exchange, and let the client's connection go on."""
        if self._finished:
            return
        self._finished = True
        state, exchange, connection, client = self._state, self._exchange, self._connection, self._client
        ended_s = state.now()
        exchange.ended_ns = time.time_ns()
        self._connection = None
        state.connections.requests.discard(self)
        state.keys.remove(exchange)
        keep_alive = self._keeps_alive and not self.tunnel
        response, failed = self._response, exchange.failed
        if failed is not None and response is None:
            self._out.append(self._failure_response(failed.cause, keep_alive=keep_alive))
        self.flush()
        if connection is not None:
            connection.release(complete=self._request_complete and response is not None and not self.tunnel)
        state.recorder.record(exchange, self._route, ended_s=ended_s)
        if client is None:
            return
        if failed is not None and response is not None:
            client.abort()
        else:
            client.finish(keep_alive=keep_alive)

    def _failure_response(self, cause: FailureCause, *, keep_alive: bool) -> bytes:
        state = self._state
        ejected = cause is FailureCause.EJECTED
        retry_after_s = state.failover.retry_after_s(self._exchange.side, state.now()) if ejected else 0
        date = state.identifiers.date
        return failure_response(cause, self.id, date=date, keep_alive=keep_alive, retry_after_s=retry_after_s)
