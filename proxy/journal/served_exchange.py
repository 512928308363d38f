"""An exchange while it is served: the request and what is known of its response so far; at its end, its journal record. Pure."""

from comparator.exchanges.model import Failed, FailureCause, Side
from comparator.exchanges.skip import UNROUTED, Skip
from proxy.http1.error_responses import FAILURE_STATUS
from proxy.http1.forwarding_headers import EMPTY_BLOCK
from proxy.http1.parser import Framing, RequestHead, ResponseHead
from proxy.http1.serializer import UPGRADE, BackendAddress, request_head
from proxy.journal.format import Record

CLIENT_GONE = 499
_NONE = Framing.NONE


class BodyCopy:
    """A copy of a body for the journal, cut at a limit.

    Attributes:
        size: bytes that are in the copy.
        truncated: whether the body was longer than the limit.
    """

    __slots__ = ("_parts", "_remaining", "size", "truncated")

    def __init__(self, max_bytes: int) -> None:
        self._parts: list[bytes] = []
        self._remaining = max_bytes
        self.truncated = False
        self.size = 0

    def add(self, data: bytes) -> None:
        """Append as much of some data as still fits."""
        self._remaining -= len(data)
        if self._remaining < 0:
            # (the copy is full from now on)
            data = data[: self._remaining]
            self._remaining = 0
            self.truncated = True
        if data:
            self.size += len(data)
            self._parts.append(data)

    @property
    def body(self) -> bytes:
        """The bytes of the copy."""
        parts = self._parts
        if len(parts) > 1:
            self._parts = parts = [b"".join(parts)]
        return parts[0] if parts else b""


EMPTY_COPY = BodyCopy(0)
"""The copy of a request without a body."""


class ServedExchange:
    """One exchange while it is served.

    Args:
        head: of the request.
        exchange_id: X-Request-Id.
        started_ns: Unix time at which the head was read.
        started_s: the same moment on the clock of the event loop.
        body_max_bytes: the limit of each body copy.

    Attributes:
        route_name: `unrouted` when no route matches.
        key: ordering key, "" for none.
        side: which serves it.
        stage: of the rollout when the side was chosen.
        skip: why it is not mirrored, None when it is.
        added: the forwarding fields that the proxy adds to the request.
        trace: the traceparent that is sent.
        sampled_trace: trace id of the client's traceparent if that is sampled, else "".
        shadow_mark: the value of X-Shadow-Request, "" if the request has none.
        overlapped: whether another request with the same key was in flight at some time meanwhile.
        failed: why the side gave no response, or no complete one.
        first_byte_ns: Unix time at which the head of the response arrived; 0 if none came.
        ended_ns: Unix time at which the response was complete.
    """

    # (class attributes: of most exchanges some of these never change, and an exchange is made for every request)
    response: ResponseHead | None = None
    failed: Failed | None = None
    overlapped = False
    route_name = UNROUTED
    key = ""
    side = Side.LEGACY
    stage = ""
    skip: Skip | None = None
    added = EMPTY_BLOCK
    trace = ""
    sampled_trace = ""
    shadow_mark = ""
    first_byte_ns = ended_ns = 0

    def __init__(
        self, head: RequestHead, exchange_id: str, started_ns: int, started_s: float, body_max_bytes: int
    ) -> None:
        self.head = head
        self.id = exchange_id
        self.started_ns = started_ns
        self.started_s = started_s
        self.request_body = EMPTY_COPY if head.framing is _NONE else BodyCopy(body_max_bytes)
        self.response_body = BodyCopy(body_max_bytes)

    @property
    def status(self) -> int:
        """The status that the client got; 499 when it closed the connection before."""
        if self.response is not None:
            return self.response.status
        return FAILURE_STATUS[self.failed.cause] if self.failed is not None else CLIENT_GONE

    @property
    def first_byte_us(self) -> int:
        """Microseconds until the head of the response arrived; 0 if none came."""
        return max(0, self.first_byte_ns - self.started_ns) // 1_000

    def encoded_head(self, backend: BackendAddress, *, upgrade: bool) -> bytes:
        """Return the head of the request as it is sent to a backend."""
        own = f"X-Request-Id: {self.id}\r\ntraceparent: {self.trace}\r\n"
        if self.shadow_mark:
            own += f"X-Shadow-Request: {self.shadow_mark}\r\n"
        if upgrade:
            own += UPGRADE
        return request_head(self.head, self.added, own, backend)

    def record(self) -> Record:
        """Return the exchange as a record of the journal."""
        head, failed = self.head, self.failed
        response = self.response if failed is None else None
        if failed is None and response is None:
            failed = Failed(FailureCause.RESET, "no response")
        own = (("X-Request-Id", self.id), ("traceparent", self.trace))
        if self.shadow_mark:
            own = (*own, ("X-Shadow-Request", self.shadow_mark))
        return Record(
            self.id,
            self.route_name,
            self.key,
            self.side,
            self.stage,
            self.started_ns,
            self.ended_ns,
            head.method,
            head.target,
            (("Host", head.host), *head.template.forwarded_fields(head.values), *self.added.fields, *own),
            self.request_body.body,
            self.request_body.truncated,
            response.status if response else 0,
            tuple(response.fields) if response else (),
            self.response_body.body if response else b"",
            self.response_body.truncated if response else False,
            failed.cause.value if failed else "",
            failed.detail if failed else "",
            self.overlapped,
            self.skip.value if self.skip else "",
            first_byte_us=self.first_byte_us,
        )
