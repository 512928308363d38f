"""What happens to an exchange that was served: it is counted, and journaled where policy wants it."""

from comparator.exchanges.skip import Skip, journaled
from proxy.journal.served_exchange import ServedExchange
from proxy.serving.record_filter import RecordCandidate, RecordFilter, selects
from proxy.serving.routing import Route
from proxy.serving.state import ServingState


def complete(front: ServingState, draft: ServedExchange, route: Route | None, *, ended_s: float) -> None:
    """Count what was served and journal it, or count why not."""
    metrics = front.metrics
    metrics.observe(draft.route_name, draft.side, draft.status, ended_s - draft.started_s)
    if draft.overlapped:
        metrics.overlapped += 1
    skip = draft.skip = _skip_of(front, draft, route, ended_s=ended_s)
    if skip is not None and not journaled(skip):
        metrics.skipped[skip] += 1
    elif front.journal is None:
        metrics.skipped[Skip.DISABLED] += 1
    else:
        front.journal.append_served(draft)


def _skip_of(front: ServingState, draft: ServedExchange, route: Route | None, *, ended_s: float) -> Skip | None:
    """Why it is not mirrored, now that it has ended."""
    skip = draft.skip
    if skip is None and draft.request_body.truncated:
        skip = Skip.TRUNCATED
    if route is not None and route.record_if is not None and journaled(skip):
        skip = skip if _captured(front, draft, route.record_if) else Skip.RECORD_IF
    if skip is None and front.rates is not None and front.rates.over(draft.route_name, ended_s):
        skip = Skip.RATE_LIMITED
    return skip


def _captured(front: ServingState, draft: ServedExchange, wanted: RecordFilter) -> bool:
    """Let the route's rule decide whether this exchange is journaled."""
    captured, name = front.captured, draft.route_name
    served = RecordCandidate(
        method=draft.head.method,
        status=draft.status,
        duration_ms=(draft.ended_ns - draft.started_ns) / 1e6,
        response_bytes=len(draft.response_body.body),
        ended_ns=draft.ended_ns,
        taken=captured[name],
    )
    taken = selects(wanted, served)
    captured[name] += taken
    return taken
