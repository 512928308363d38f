"""An exchange in the making: what is known of a request while it is served, and the journal's record of it when it has ended. Pure."""

from comparator.exchanges.model import Failed, FailureCause, Side
from comparator.exchanges.skip import UNROUTED, Skip
from proxy.http1.forwarding_headers import NOTHING_ADDED
from proxy.http1.parser import Framing, RequestHead, ResponseHead
from proxy.http1.serializer import UPGRADE, BackendAddress, request_head
from proxy.journal.body_capture import EMPTY, BodyCopy
from proxy.journal.format import Record
from proxy.serving.routing import Route

STATUS_OF = {
    FailureCause.REFUSED: 502,
    FailureCause.RESET: 502,
    FailureCause.PROTOCOL: 502,
    FailureCause.TIMEOUT: 504,
    FailureCause.OVERLOAD: 503,
    FailureCause.EJECTED: 503,
}
CLIENT_GONE = 499
_NONE = Framing.NONE


class ServedExchange:
    """One exchange in the making. `started_s` is the loop's time, `started_ns` Unix time.

    `side`, `stage` and `skip` are what was chosen; `added`, `trace` and `shadow_mark` are what the proxy adds to the request.
    `overlapped`: another request with the same key was in flight meanwhile.
    """

    response: ResponseHead | None = None
    failed: Failed | None = None
    overlapped = False
    route: Route | None = None
    route_name = UNROUTED
    key = ""
    side = Side.LEGACY
    stage = ""
    skip: Skip | None = None
    added = NOTHING_ADDED
    trace = ""
    shadow_mark = ""
    ended_ns = 0

    def __init__(self, head: RequestHead, exchange_id: str, started_ns: int, started_s: float, body_max: int) -> None:
        self.head = head
        self.id = exchange_id
        self.started_ns = started_ns
        self.started_s = started_s
        self.request_body = EMPTY if head.framing is _NONE else BodyCopy(body_max)
        self.response_body = BodyCopy(body_max)

    @property
    def status(self) -> int:
        """The status that the client got, 499 when it did not wait."""
        if self.response is not None:
            return self.response.status
        return STATUS_OF[self.failed.cause] if self.failed is not None else CLIENT_GONE

    def encoded_head(self, place: BackendAddress, *, upgrade: bool) -> bytes:
        """The request's head for a backend."""
        own = f"X-Request-Id: {self.id}\r\ntraceparent: {self.trace}\r\n"
        if self.shadow_mark:
            own += f"X-Shadow-Request: {self.shadow_mark}\r\n"
        if upgrade:
            own += UPGRADE
        return request_head(self.head, self.added, own, place)

    def record(self) -> Record:
        """The exchange as the journal takes it."""
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
            (("Host", head.host), *head.shape.passed(head.values), *self.added.fields, *own),
            self.request_body.body,
            self.request_body.truncated,
            response.status if response else 0,
            tuple(response.pairs) if response else (),
            self.response_body.body if response else b"",
            self.response_body.truncated if response else False,
            failed.cause.value if failed else "",
            failed.detail if failed else "",
            self.overlapped,
            self.skip.value if self.skip else "",
        )
