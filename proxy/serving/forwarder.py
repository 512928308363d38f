"""One request in flight: from the client's head to the served side's last byte, and then into the journal.

Bytes pass as they come, in both directions, with back-pressure; copies for the journal are cut at `body_max_bytes`. Every end of a
request passes through `_finish` exactly once.
"""

import time

from comparator.exchanges.model import Failed, FailureCause
from comparator.exchanges.skip import SAFE_METHODS, Skip
from proxy.http1 import forwarding_headers as headers
from proxy.http1.error_responses import failure_response
from proxy.http1.parser import Framing, RequestHead, ResponseHead
from proxy.http1.serializer import response_head, wants_websocket
from proxy.journal.served_exchange import ServedExchange
from proxy.serving.backend_connection import BackendConnection
from proxy.serving.client_interface import ClientInterface
from proxy.serving.completion import complete
from proxy.serving.retry_policy import LostResponse, RetryDecision, retry_decision
from proxy.serving.routing import KeySource, Route, key_in_body, match
from proxy.serving.side_selection import choose, fail_over
from proxy.serving.state import ServingState

IDLE_MAX_UNSAFE_S = 1.0
UNSENT_MAX_BYTES = 64 * 1024

# (looking a member up in its enumeration costs more than most of what is done with it here)
_NONE, _CHUNKED = Framing.NONE, Framing.CHUNKED
_UNBOUNDED = (Framing.CHUNKED, Framing.CLOSE)


class Forwarding:
    """One request in flight. Made by the client's connection, which then feeds it the request's body."""

    # (of most requests most of this stays as it is)
    upgrade = tunnel = False
    _client: ClientInterface | None
    _connection: BackendConnection | None = None
    _response: ResponseHead | None = None
    _route: Route | None = None
    _finished = _retried = _fell_back = _steered = False
    _chunked_out = _said_close = _collecting = _streamed = False
    _unsent_bytes = 0

    def __init__(self, front: ServingState, client: ClientInterface, head: RequestHead, *, now: float) -> None:
        has = head.template.present
        exchange_id = headers.valid_request_id(head) if "x-request-id" in has else None
        self._front = front
        self._client = client
        self._head = head
        self.id = exchange_id or front.new_id()
        self.method = head.method
        self._draft = ServedExchange(head, self.id, time.time_ns(), now, front.copy_max_bytes)
        self.deadline = self._total_deadline = now + front.limits.total_s
        if "upgrade" in has:
            self.upgrade = wants_websocket(head)
        self._complete = head.framing is _NONE
        self._out: list[bytes] = []
        self._unsent: list[bytes] = []

    @property
    def response_begun(self) -> bool:
        """Whether the client may have seen some of the response."""
        return self._response is not None

    def discard(self) -> None:
        """The client's connection answers itself and needs this no more: nothing is counted as served."""
        if self._finished:
            return
        self._finished = True
        self._client = None
        connection, self._connection = self._connection, None
        self._front.forwardings.discard(self)
        self._front.end(self._draft)
        if connection is not None:
            connection.abort()
        else:
            self._front.pool(self._draft.side).give_up(self)

    def start(self) -> None:
        """Find the route and the side, and get a connection."""
        head, front, draft = self._head, self._front, self._draft
        front.forwardings.add(self)
        route, draft.key = match(front.routes, head.method, head.target, head.value)
        if route is not None:
            self._route, draft.route_name = route, route.name
        if not self._complete and route is not None and route.key_source is KeySource.BODY:
            # The side depends on the body: nothing is sent before the body is here, or is too long to be looked at.
            self._collecting = True
            return
        self._choose()

    # The request's body, from the client's connection.

    def request_data(self, data: bytes) -> None:
        """Some of the request's body, decoded."""
        body = self._draft.request_body
        body.add(data)
        self._send(b"%x\r\n%b\r\n" % (len(data), data) if self._head.framing is _CHUNKED else data)
        if self._collecting and body.truncated:
            self._choose_by_body()

    def request_ended(self) -> None:
        """The request is complete."""
        self._complete = True
        if self._head.framing is _CHUNKED:
            self._send(b"0\r\n\r\n")
        if self._collecting:
            self._choose_by_body()
        if self._connection is not None and self._response is None:
            self.deadline = min(self._total_deadline, self._front.now() + self._front.limits.ttfb_s)

    def tunnel_data(self, data: bytes) -> None:
        """Bytes of the client after an upgrade."""
        self._touch_tunnel()
        if self._connection is not None:
            self._connection.write(data)

    def tunnel_ended(self) -> None:
        """The client sends no more after an upgrade."""
        if self._connection is not None:
            self._connection.end_tunnel()

    def client_paused(self, paused: bool) -> None:
        """The client takes no more bytes for now, or takes them again."""
        if self._connection is not None:
            if paused:
                self._connection.pause()
            else:
                self._connection.resume()

    def client_gone(self) -> None:
        """The client hung up. What the served side does for a whole request is still read to its end: it is served, and mirrored."""
        draft = self._draft
        self._client = None
        self._out.clear()
        if not self._complete or self.tunnel or draft.response_body.truncated:
            self._front.pool(self._draft.side).give_up(self)
            draft.skip = draft.skip if self.tunnel else Skip.ABORTED
            self._finish()
        elif self._connection is not None:
            self._connection.resume()

    def expire(self, now: float) -> None:
        """A deadline is over."""
        over = now >= self._total_deadline
        self.backend_failed(FailureCause.TIMEOUT, "total_s is over" if over else "ttfb_s is over")
        self.flush()

    # The response, from the backend's connection (backends.Holder).

    def connected(self, connection: BackendConnection) -> None:
        """Send the head and what came of the body."""
        if self._finished:
            connection.unused()
            return
        self._connection = connection
        front = self._front
        data = self._draft.encoded_head(front.pool(self._draft.side).place, upgrade=self.upgrade)
        if self._unsent:
            data += b"".join(self._unsent)
            if not self._replayable:
                self._unsent.clear()
            if self._client is not None and not self._complete:
                self._client.resume()
        connection.write(data)
        if self._complete:
            self.deadline = min(self._total_deadline, front.now() + front.limits.ttfb_s)

    def response_started(self, head: ResponseHead) -> None:
        """Give the client the head of the response."""
        draft = self._draft
        self._response = draft.response = head
        self.deadline = self._total_deadline
        if self._unsent:
            self._unsent.clear()
        status = head.status
        if 502 <= status <= 504:
            self._front.metrics.gateway_errors[draft.side] += 1
        if status == 101:
            self.tunnel = True
            draft.skip = Skip.UPGRADE
            self._touch_tunnel()
            if self._client is not None:
                self._client.upgraded()
        if self._client is not None:
            self._begin_response(head)

    def response_data(self, data: bytes) -> None:
        """Give the client some of the body."""
        if self.tunnel:
            self._touch_tunnel()
        else:
            self._draft.response_body.add(data)
        if self._client is not None:
            self._out.append(data if not self._chunked_out else b"%x\r\n%b\r\n" % (len(data), data))

    def response_ended(self) -> None:
        """The response is complete."""
        if self._chunked_out:
            self._out.append(b"0\r\n\r\n")
        self._finish()

    def flush(self) -> None:
        """Write what was collected in one piece."""
        out = self._out
        if out and self._client is not None:
            self._out = []
            self._client.write(out[0] if len(out) == 1 else b"".join(out))

    def backend_failed(self, cause: FailureCause, detail: str) -> None:
        """Try again where that is safe, else tell the client."""
        if self._finished:
            return
        connection, self._connection = self._connection, None
        if self.tunnel:
            self._finish()
            return
        stale = connection is not None and connection.reused and not connection.answered
        if connection is not None:
            connection.abort()
        else:
            self._front.pool(self._draft.side).give_up(self)
        where = self._where_to_resend(cause, stale=stale) if self._response is None else None
        if where is not None:
            self._resend(where, cause)
            return
        draft = self._draft
        self._front.metrics.backend_failures[draft.side, cause] += 1
        draft.failed = Failed(cause, detail)
        self._finish()

    def backend_paused(self, paused: bool) -> None:
        """The backend is slower than the client, or no longer."""
        if self._client is not None:
            if paused:
                self._client.pause()
            else:
                self._client.resume()

    # Inside.

    @property
    def _replayable(self) -> bool:
        """Whether everything sent is still here to be sent again."""
        return self._complete and not self._streamed and self._unsent_bytes <= UNSENT_MAX_BYTES

    def _choose_by_body(self) -> None:
        draft = self._draft
        self._collecting = False
        route = self._route
        assert route is not None
        if self._complete and not draft.request_body.truncated:
            draft.key = key_in_body(route, draft.request_body.body)
        self._choose()

    def _choose(self) -> None:
        """Decide side and mirroring, then ask for a connection."""
        front, draft = self._front, self._draft
        assert self._client is not None
        choose(front, draft, self._route, self._client.who)
        front.begin(draft)
        if front.steering.ailing:
            chosen = draft.side
            if not fail_over(front, draft, upgrade=self.upgrade):
                self.backend_failed(FailureCause.EJECTED, "ejected")
                self.flush()
                return
            self._steered = draft.side is not chosen
        pool = front.pool(draft.side)
        if self.method in SAFE_METHODS:
            pool.acquire(self)
        else:
            # A kept connection might just be being closed, and what is unsafe is sent only once.
            pool.acquire(self, idle_max_s=IDLE_MAX_UNSAFE_S)

    def _send(self, data: bytes) -> None:
        if self._connection is not None:
            self._streamed = True
            self._connection.write(data)
            return
        self._unsent.append(data)
        self._unsent_bytes += len(data)
        if self._unsent_bytes > UNSENT_MAX_BYTES and not self._collecting and self._client is not None:
            self._client.pause()

    def _touch_tunnel(self) -> None:
        self.deadline = self._total_deadline = self._front.now() + self._front.limits.tunnel_idle_s

    def _where_to_resend(self, cause: FailureCause, *, stale: bool) -> RetryDecision | None:
        front = self._front
        lost = LostResponse(
            whole=self._client is not None and not self.upgrade and self._replayable,
            safe=self.method in SAFE_METHODS,
            stale=stale and cause is not FailureCause.TIMEOUT,
            in_time=cause is not FailureCause.TIMEOUT or front.now() < self._total_deadline,
            retried=self._retried,
            fell_back=self._fell_back,
        )
        retries = front.pool(self._draft.side).settings.retries > 0
        return retry_decision(lost, retries=retries, fall_back=front.settings.serve.fall_back)

    def _resend(self, where: RetryDecision, cause: FailureCause) -> None:
        front, draft = self._front, self._draft
        self.deadline = self._total_deadline
        if where is RetryDecision.SAME_SIDE:
            self._retried = True
            front.metrics.retries += 1
            front.pool(draft.side).acquire(self, idle_max_s=-1)
            return
        front.metrics.backend_failures[draft.side, cause] += 1
        self._fell_back = True
        draft.side = draft.side.other
        draft.skip = draft.skip or Skip.FALLBACK
        # (back at the side it was steered away from: it may have been unfit in a check's eyes only)
        front.metrics.fallbacks[draft.side] += not self._steered
        front.pool(draft.side).acquire(self)

    def _begin_response(self, head: ResponseHead) -> None:
        """Begin the client's response: status, fields, this hop's framing."""
        asked, close = self._head, False
        has = head.template.present
        own = "" if "x-request-id" in has else f"X-Request-Id: {self.id}\r\n"
        if "date" not in has:
            own += f"Date: {self._front.date}\r\n"
        if self._fell_back is not self._steered:
            own += f"X-Shadow-Fallback: {self._draft.side}\r\n"
        if not self.tunnel:
            self._chunked_out = asked.minor == 1 and head.framing in _UNBOUNDED
            self._said_close = close = not self._keeps_alive
        self._out.append(response_head(head, asked, own, chunked=self._chunked_out, close=close))

    @property
    def _keeps_alive(self) -> bool:
        """Whether the client's connection can carry another request after this one."""
        if not self._head.keep_alive or not self._complete or self._said_close or self._front.draining:
            return False
        response = self._response
        return response is None or self._chunked_out or response.framing not in _UNBOUNDED

    def _finish(self) -> None:
        """The one end of a request: give back the connection, count, journal, tell the client's connection."""
        if self._finished:
            return
        self._finished = True
        front, draft, connection, client = self._front, self._draft, self._connection, self._client
        ended_s = front.now()
        draft.ended_ns = time.time_ns()
        self._connection = None
        front.forwardings.discard(self)
        front.end(draft)
        keep_alive = self._keeps_alive and not self.tunnel
        response, failed = self._response, draft.failed
        if failed is not None and response is None:
            self._out.append(self._failure_response(failed.cause, keep_alive=keep_alive))
        self.flush()
        if connection is not None:
            connection.release(complete=self._complete and response is not None and not self.tunnel)
        complete(front, draft, self._route, ended_s=ended_s)
        if client is None:
            return
        if failed is not None and response is not None:
            client.abort()
        else:
            client.done(keep_alive=keep_alive)

    def _failure_response(self, cause: FailureCause, *, keep_alive: bool) -> bytes:
        front = self._front
        ejected = cause is FailureCause.EJECTED
        retry_after_s = front.steering.retry_after_s(self._draft.side, front.now()) if ejected else 0
        return failure_response(cause, self.id, date=front.date, keep_alive=keep_alive, retry_after_s=retry_after_s)
