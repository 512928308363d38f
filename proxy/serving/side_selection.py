"""What is decided about a request before it is sent: the side that serves it, whether it is mirrored, what is added to it."""

from comparator.exchanges.skip import SAFE_METHODS, Skip
from proxy.http1 import forwarding_headers as headers
from proxy.http1.fields import OVERRIDE_HEADERS, SHADOW_MARK
from proxy.journal.served_exchange import ServedExchange
from proxy.rollout.buckets import BUCKETS
from proxy.serving.routing import Route, skip_of
from proxy.serving.state import ServingState


def choose(front: ServingState, exchange: ServedExchange, route: Route | None, who: headers.ClientAddress) -> None:
    """Choose side and mirroring by the plan, the route's policy and what the client may ask for."""
    head = exchange.head
    shape = head.template
    plan = front.plans.of(exchange.route_name)
    exchange.stage = plan.stage
    exchange.side = plan.sole_side or plan.side_of(front.bucket(exchange.key or who.address))
    if not shape.has_control_fields and route is not None and route.plain and head.method in SAFE_METHODS:
        # (as most are: mirrored, and nothing that the client says changes it)
        exchange.skip = None
    else:
        _by_policy(front, exchange, route, who)
    exchange.added = headers.forwarding_block(head, who)
    # The trace goes on, or begins here: then it is named like the request, whose name is unique too.
    has = shape.present
    if "traceparent" not in has and "x-request-id" not in has:
        exchange.trace = f"00-{exchange.id}-{front.new_span()}-01"
    else:
        own = front.new_id() if "x-request-id" in has else exchange.id
        exchange.trace = headers.traceparent(head.value("traceparent"), own, front.new_span())


def _by_policy(front: ServingState, draft: ServedExchange, route: Route | None, who: headers.ClientAddress) -> None:
    """Whether it is mirrored by the route's policy, and the side that the client asks for."""
    head = draft.head
    has = head.template.present
    sampled = route is not None and route.sampled_buckets < BUCKETS
    bucket = front.sample_bucket(draft.key or who.address) if sampled else 0
    draft.skip = skip_of(route, head.method, head.value, shadow=SHADOW_MARK in has, bucket=bucket)
    draft.shadow_mark = head.value(SHADOW_MARK) or ""
    if not OVERRIDE_HEADERS.isdisjoint(has):
        named = head.first_values
        if front.may_override(who, named):
            draft.side = headers.requested_side(named) or draft.side


def fail_over(front: ServingState, draft: ServedExchange, *, upgrade: bool) -> bool:
    """Ask the other side where the chosen one is unfit and the other may answer. False: nobody can be asked."""
    safe = draft.head.method in SAFE_METHODS and not upgrade
    side = front.steering.side_for(draft.side, front.now(), safe=safe)
    if side is not None and side is not draft.side:
        draft.side = side
        draft.skip = draft.skip or Skip.FALLBACK
        front.metrics.fallbacks[side] += 1
    return side is not None
