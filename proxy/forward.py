"""One request in flight: from the caller's head to the served side's last byte, and then into the journal.

Bytes pass as they come, in both directions, with back-pressure; copies for the journal are cut at `body_max_bytes`. Every end of a
request passes through `_finish` exactly once.
"""

import time
from typing import Protocol

from comparator.exchange import Failed, FailureCause, Side
from proxy import headers
from proxy.backends import BackendConnection
from proxy.buckets import BUCKETS
from proxy.capturing import Served, Wanted, takes
from proxy.copies import EMPTY, Copy
from proxy.fields import OVERRIDE_HEADERS, SHADOW_MARK
from proxy.front import Front
from proxy.heads import UPGRADE, host_for, reply_framing, request_head, wants_websocket
from proxy.http1 import Framing, ReplyHead, RequestHead
from proxy.journal.model import Record
from proxy.replies import failure_reply
from proxy.routes import SAFE_METHODS, UNROUTED, KeySource, Skip, journaled, key_in_body, match, skip_of

IDLE_MAX_SAFE_S = float("inf")
IDLE_MAX_UNSAFE_S = 1.0
UNSENT_MAX_BYTES = 64 * 1024
STATUS_OF = {
    FailureCause.REFUSED: 502,
    FailureCause.RESET: 502,
    FailureCause.PROTOCOL: 502,
    FailureCause.TIMEOUT: 504,
    FailureCause.OVERLOAD: 503,
    FailureCause.EJECTED: 503,
}


class CallerSide(Protocol):
    """What a forwarding needs of the caller's connection."""

    who: headers.Caller

    def write(self, data: bytes) -> None:
        """Send to the caller."""
        ...

    def pause(self) -> None:
        """Read no more of the request for now."""
        ...

    def resume(self) -> None:
        """Read on."""
        ...

    def done(self, *, keep_alive: bool) -> None:
        """The reply is complete; the next request may come, or the connection is closed."""
        ...

    def upgraded(self) -> None:
        """The connection is a tunnel from now on."""
        ...

    def abort(self) -> None:
        """The reply cannot be completed: the caller must see that it is cut."""
        ...


class Forwarding:
    """One request in flight. Made by the caller's connection, which then feeds it the request's body."""

    def __init__(self, front: Front, caller: CallerSide, head: RequestHead, *, now: float) -> None:
        limit = front.settings.journal.body_max_bytes
        named = head.named
        self._front = front
        self._caller: CallerSide | None = caller
        self._head = head
        self._started_ns = time.time_ns()
        self._started_s = now
        self._total_deadline = now + front.limits.total_s
        self.deadline = self._total_deadline
        self.id = headers.sane_request_id(named) or front.new_id()
        self.method = head.method
        self.upgrade = "upgrade" in named and wants_websocket(head)
        self.tunnel = False
        self.overlapped = False
        self._connection: BackendConnection | None = None
        self._request_body = EMPTY if head.framing is Framing.NONE else Copy(limit)
        self._reply_body = Copy(limit)
        self._reply: ReplyHead | None = None
        self._failed: Failed | None = None
        self._complete = head.framing is Framing.NONE
        self._finished = False
        self._retried = False
        self._fell_back = False
        self._steered = False
        self._chunked_out = False
        self._said_close = False
        self._out: list[bytes] = []
        self._unsent: list[bytes] = []
        self._unsent_bytes = 0
        self._collecting = False
        self._streamed = False
        self._key = ""
        self._route = None
        self._route_name = ""
        self._side = Side.LEGACY
        self._skip: Skip | None = None
        self._stage = ""
        self._added = headers.NOTHING_ADDED
        self._trace = ""
        self._shadow_mark = ""

    @property
    def request_complete(self) -> bool:
        """Whether the caller has sent all of the request."""
        return self._complete

    @property
    def reply_begun(self) -> bool:
        """Whether the caller may have seen some of the reply."""
        return self._reply is not None

    def discard(self) -> None:
        """The caller's connection answers itself and needs this no more: nothing is counted as served."""
        if self._finished:
            return
        self._finished = True
        self._caller = None
        connection, self._connection = self._connection, None
        self._front.forwardings.discard(self)
        self._front.end(self, self._key)
        if connection is not None:
            connection.abort()
        else:
            self._front.pool(self._side).give_up(self)

    def start(self) -> None:
        """Find the route and the side, and get a connection."""
        head, front = self._head, self._front
        front.forwardings.add(self)
        route, self._key = match(front.routes, head.method, head.target, head.named)
        self._route = route
        self._route_name = UNROUTED if route is None else route.name
        if route is not None and route.key_source is KeySource.BODY and not self._complete:
            # The side depends on the body: nothing is sent before the body is here, or is too long to be looked at.
            self._collecting = True
            return
        self._choose()

    # The request's body, from the caller's connection.

    def request_data(self, data: bytes) -> None:
        """Some of the request's body, decoded."""
        self._request_body.add(data)
        self._send(b"%x\r\n%b\r\n" % (len(data), data) if self._head.framing is Framing.CHUNKED else data)
        if self._collecting and self._request_body.truncated:
            self._choose_by_body()

    def request_ended(self) -> None:
        """The request is complete."""
        self._complete = True
        if self._head.framing is Framing.CHUNKED:
            self._send(b"0\r\n\r\n")
        if self._collecting:
            self._choose_by_body()
        if self._connection is not None and self._reply is None:
            self._await_reply()

    def tunnel_data(self, data: bytes) -> None:
        """Bytes of the caller after an upgrade."""
        self._touch_tunnel()
        if self._connection is not None:
            self._connection.write(data)

    def tunnel_ended(self) -> None:
        """The caller sends no more after an upgrade."""
        if self._connection is not None:
            self._connection.end_tunnel()

    def caller_paused(self, paused: bool) -> None:
        """The caller takes no more bytes for now, or takes them again."""
        if self._connection is not None:
            if paused:
                self._connection.pause()
            else:
                self._connection.resume()

    def caller_gone(self) -> None:
        """The caller hung up. What the served side does for a whole request is still read to its end: it is served, and mirrored."""
        self._caller = None
        self._out.clear()
        if not self._complete or self.tunnel or self._reply_body.truncated:
            self._front.pool(self._side).give_up(self)
            self._skip = self._skip if self.tunnel else Skip.ABORTED
            self._finish()
        elif self._connection is not None:
            self._connection.resume()

    def expire(self, now: float) -> None:
        """A deadline is over."""
        over = now >= self._total_deadline
        self.backend_failed(FailureCause.TIMEOUT, "total_s is over" if over else "ttfb_s is over")
        self.flush()

    # The reply, from the backend's connection (backends.Holder).

    def connected(self, connection: BackendConnection) -> None:
        """Send the head and what came of the body."""
        if self._finished:
            connection.unused()
            return
        self._connection = connection
        data = self._encoded_head()
        if self._unsent:
            data += b"".join(self._unsent)
            if not self._replayable:
                self._unsent.clear()
            if self._caller is not None and not self._complete:
                self._caller.resume()
        connection.write(data)
        if self._complete:
            self._await_reply()

    def reply_started(self, head: ReplyHead) -> None:
        """Give the caller the head of the reply."""
        self._reply = head
        self.deadline = self._total_deadline
        self._unsent.clear()
        if 502 <= head.status <= 504:
            self._front.metrics.gateway_errors[self._side] += 1
        if head.status == 101:
            self.tunnel = True
            self._skip = Skip.UPGRADE
            self._touch_tunnel()
            if self._caller is not None:
                self._caller.upgraded()
        self._begin_reply(head)

    def reply_data(self, data: bytes) -> None:
        """Give the caller some of the body."""
        if self.tunnel:
            self._touch_tunnel()
        else:
            self._reply_body.add(data)
        if self._caller is not None:
            self._out.append(b"%x\r\n%b\r\n" % (len(data), data) if self._chunked_out else data)

    def reply_ended(self) -> None:
        """The reply is complete."""
        if self._chunked_out:
            self._out.append(b"0\r\n\r\n")
        self._finish()

    def flush(self) -> None:
        """Write what was collected in one piece."""
        if self._out and self._caller is not None:
            out, self._out = self._out, []
            self._caller.write(out[0] if len(out) == 1 else b"".join(out))

    def backend_failed(self, cause: FailureCause, detail: str) -> None:
        """Try again where that is safe, else tell the caller."""
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
            self._front.pool(self._side).give_up(self)
        if self._reply is None and self._may_resend(cause, stale=stale):
            self._resend(cause, stale=stale)
            return
        self._front.metrics.backend_failures[self._side, cause] += 1
        self._failed = Failed(cause, detail)
        self._finish()

    def backend_paused(self, paused: bool) -> None:
        """The backend is slower than the caller, or no longer."""
        if self._caller is not None:
            if paused:
                self._caller.pause()
            else:
                self._caller.resume()

    # Inside.

    @property
    def _replayable(self) -> bool:
        """Whether everything sent is still here to be sent again."""
        return self._complete and not self._streamed and self._unsent_bytes <= UNSENT_MAX_BYTES

    @property
    def _idle_max_s(self) -> float:
        """How long a kept connection may have been unused: it might just be being closed, and what is unsafe is sent only once."""
        return IDLE_MAX_SAFE_S if self.method in SAFE_METHODS else IDLE_MAX_UNSAFE_S

    def _choose_by_body(self) -> None:
        self._collecting = False
        assert self._route is not None
        if self._complete and not self._request_body.truncated:
            self._key = key_in_body(self._route, self._request_body.body)
        self._choose()

    def _choose(self) -> None:
        """Decide side and mirroring, then ask for a connection."""
        head, front, who = self._head, self._front, self._who
        named = head.named
        sticky = self._key or who.address
        shadow = SHADOW_MARK in named
        route = self._route
        everything = route is None or route.sampled_buckets >= BUCKETS
        self._skip = skip_of(
            route, head.method, named, shadow=shadow, bucket=0 if everything else front.sample_bucket(sticky)
        )
        plan = front.plans.of(self._route_name)
        self._side, self._stage = plan.side_of(front.bucket(sticky)), plan.stage
        if not OVERRIDE_HEADERS.isdisjoint(named) and front.may_override(who, named):
            self._side = headers.override(named) or self._side
        self._added = headers.added_block(head.pairs, named, who, head.host)
        self._trace = headers.traceparent(named.get("traceparent"), front.new_id(), front.new_span())
        self._shadow_mark = named.get(SHADOW_MARK, "")
        front.begin(self, self._key)
        if front.steering.ailing and not self._steer():
            return
        front.pool(self._side).acquire(self, idle_max_s=self._idle_max_s)

    def _steer(self) -> bool:
        """Ask the other side where the chosen one is unfit and the other may answer; False: refused at once."""
        front = self._front
        safe = self.method in SAFE_METHODS and not self.upgrade
        side = front.steering.side_for(self._side, front.now(), safe=safe)
        if side is None:
            self.backend_failed(FailureCause.EJECTED, "ejected")
            self.flush()
        elif side is not self._side:
            self._steered = True
            self._side = side
            self._skip = self._skip or Skip.FALLBACK
            front.metrics.fallbacks[side] += 1
        return side is not None

    @property
    def _who(self) -> headers.Caller:
        assert self._caller is not None
        return self._caller.who

    def _encoded_head(self) -> bytes:
        head, pool = self._head, self._front.pool(self._side)
        host = host_for(pool.settings.host, asked=head.host, authority=pool.authority)
        own = f"X-Request-Id: {self.id}\r\ntraceparent: {self._trace}\r\n"
        if self._shadow_mark:
            own += f"X-Shadow-Request: {self._shadow_mark}\r\n"
        if self.upgrade:
            own += UPGRADE
        return request_head(head, self._added, own, host=host, prefix=pool.prefix)

    def _send(self, data: bytes) -> None:
        if self._connection is not None:
            self._streamed = True
            self._connection.write(data)
            return
        self._unsent.append(data)
        self._unsent_bytes += len(data)
        if self._unsent_bytes > UNSENT_MAX_BYTES and not self._collecting and self._caller is not None:
            self._caller.pause()

    def _await_reply(self) -> None:
        ttfb = self._front.now() + self._front.limits.ttfb_s
        self.deadline = min(self._total_deadline, ttfb)

    def _touch_tunnel(self) -> None:
        self.deadline = self._total_deadline = self._front.now() + self._front.limits.tunnel_idle_s

    def _may_resend(self, cause: FailureCause, *, stale: bool) -> bool:
        """Whether the request can be sent once more: on a new connection, or to the other side."""
        if self._caller is None or self.upgrade or not self._complete or not self._replayable:
            return False
        safe = self.method in SAFE_METHODS
        if stale and safe and not self._retried and self._front.pool(self._side).settings.retries:
            return True
        in_time = cause is not FailureCause.TIMEOUT or self._front.now() < self._total_deadline
        return self._front.settings.serve.fall_back and safe and not self._fell_back and in_time

    def _resend(self, cause: FailureCause, *, stale: bool) -> None:
        front = self._front
        if stale and not self._retried:
            self._retried = True
            front.metrics.retries += 1
            self.deadline = self._total_deadline
            front.pool(self._side).acquire(self, idle_max_s=-1)
            return
        front.metrics.backend_failures[self._side, cause] += 1
        self._fell_back = True
        self._side = self._side.other
        self._skip = self._skip or Skip.FALLBACK
        # (back at the side it was steered away from: it may have been unfit in a check's eyes only)
        front.metrics.fallbacks[self._side] += not self._steered
        self.deadline = self._total_deadline
        front.pool(self._side).acquire(self)

    def _begin_reply(self, head: ReplyHead) -> None:
        """Begin the caller's reply: status, fields, this hop's framing."""
        if self._caller is None:
            return
        own = "" if "x-request-id" in head.named else f"X-Request-Id: {self.id}\r\n"
        if self._fell_back is not self._steered:
            own += f"X-Shadow-Fallback: {self._side}\r\n"
        lines = "\r\n".join((f"HTTP/1.1 {head.status} {head.reason}", *head.returned(head.lines)))
        text = f"{lines}\r\n{own}{self._reply_framing(head)}"
        self._out.append(text.encode("latin-1"))

    def _reply_framing(self, head: ReplyHead) -> str:
        """The caller's Content-Length or chunks, and what becomes of its connection."""
        if head.status == 101:
            return f"{UPGRADE}\r\n"
        self._chunked_out = self._head.minor == 1 and head.framing in (Framing.CHUNKED, Framing.CLOSE)
        lines = reply_framing(head, method=self.method, chunked=self._chunked_out)
        self._said_close = not self._keeps_alive
        if self._said_close:
            lines += "Connection: close\r\n"
        elif self._head.minor == 0:
            lines += "Connection: keep-alive\r\n"
        return lines + "\r\n"

    @property
    def _keeps_alive(self) -> bool:
        """Whether the caller's connection can carry another request after this one."""
        bounded = self._reply is None or self._chunked_out or self._reply.framing in (Framing.NONE, Framing.LENGTH)
        refused = self._said_close or self._front.draining
        return self._head.keep_alive and self._complete and bounded and not refused

    def _finish(self) -> None:
        """The one end of a request: give back the connection, count, journal, tell the caller's connection."""
        if self._finished:
            return
        self._finished = True
        front, connection, caller = self._front, self._connection, self._caller
        ended_ns = time.time_ns()
        self._connection = None
        front.forwardings.discard(self)
        front.end(self, self._key)
        keep_alive = self._keeps_alive
        if self._failed is not None and self._reply is None:
            self._out.append(self._failure_reply(self._failed.cause, keep_alive=keep_alive))
        self.flush()
        if connection is not None:
            connection.release(complete=self._complete and self._reply is not None and not self.tunnel)
        self._record(ended_ns)
        if caller is None:
            return
        if self._failed is not None and self._reply is not None:
            caller.abort()
        else:
            caller.done(keep_alive=keep_alive and not self.tunnel)

    def _failure_reply(self, cause: FailureCause, *, keep_alive: bool) -> bytes:
        front = self._front
        ejected = cause is FailureCause.EJECTED
        retry_after_s = front.steering.retry_after_s(self._side, front.now()) if ejected else 0
        return failure_reply(STATUS_OF[cause], cause, self.id, keep_alive=keep_alive, retry_after_s=retry_after_s)

    def _record(self, ended_ns: int) -> None:
        """Count what was served and journal it."""
        front = self._front
        status = (
            self._reply.status if self._reply is not None else STATUS_OF[self._failed.cause] if self._failed else 499
        )
        front.metrics.observe(self._route_name, self._side, status, front.now() - self._started_s)
        if self.overlapped:
            front.metrics.overlapped += 1
        if self._skip is None and self._request_body.truncated:
            self._skip = Skip.TRUNCATED
        if self._route is not None and self._route.capture is not None and journaled(self._skip):
            self._capture(self._route.capture, status, ended_ns)
        if self._skip is None and front.rates is not None and front.rates.over(self._route_name, front.now()):
            self._skip = Skip.RATE_LIMITED
        front.record(self._skip, lambda: self._journal_record(ended_ns))

    def _capture(self, wanted: Wanted, status: int, ended_ns: int) -> None:
        """Let the route's rule decide whether this exchange is journaled."""
        captured = self._front.captured
        served = Served(
            method=self._head.method,
            status=status,
            duration_ms=(ended_ns - self._started_ns) / 1e6,
            reply_bytes=len(self._reply_body.body),
            ended_ns=ended_ns,
            taken=captured[self._route_name],
        )
        if takes(wanted, served):
            captured[self._route_name] += 1
        else:
            self._skip = Skip.CAPTURE

    def _journal_record(self, ended_ns: int) -> Record:
        """The exchange as the journal takes it."""
        head, failed = self._head, self._failed
        reply = self._reply if failed is None else None
        if failed is None and reply is None:
            failed = Failed(FailureCause.RESET, "no reply")
        own = (("X-Request-Id", self.id), ("traceparent", self._trace))
        if self._shadow_mark:
            own = (*own, ("X-Shadow-Request", self._shadow_mark))
        return Record(
            self.id,
            self._route_name,
            self._key,
            self._side,
            self._stage,
            self._started_ns,
            ended_ns,
            head.method,
            head.target,
            (("Host", head.host), *head.passed(head.pairs), *self._added.fields, *own),
            self._request_body.body,
            self._request_body.truncated,
            reply.status if reply else 0,
            tuple(reply.pairs) if reply else (),
            self._reply_body.body if reply else b"",
            self._reply_body.truncated if reply else False,
            failed.cause.value if failed else "",
            failed.detail if failed else "",
            self.overlapped,
            self._skip.value if self._skip else "",
        )
