"""What is decided about a request before it is sent: the side that serves it, whether it is mirrored, what is added to it."""

from proxy import headers
from proxy.buckets import BUCKETS
from proxy.drafts import Draft
from proxy.fields import OVERRIDE_HEADERS, SHADOW_MARK
from proxy.front import Front
from proxy.routes import SAFE_METHODS, Skip, skip_of


def choose(front: Front, draft: Draft, who: headers.Caller) -> None:
    """Choose side and mirroring by the plan, the route's policy and what the caller may ask for."""
    head = draft.head
    named = head.named
    sticky = draft.key or who.address
    route = draft.route
    everything = route is None or route.sampled_buckets >= BUCKETS
    draft.skip = skip_of(
        route,
        head.method,
        named,
        shadow=SHADOW_MARK in named,
        bucket=0 if everything else front.sample_bucket(sticky),
    )
    plan = front.plans.of(draft.route_name)
    # (where one side serves everybody, the bucket decides nothing)
    draft.side = plan.side_of(front.bucket(sticky) if 0 < plan.threshold < BUCKETS else 0)
    draft.stage = plan.stage
    if not OVERRIDE_HEADERS.isdisjoint(named) and front.may_override(who, named):
        draft.side = headers.override(named) or draft.side
    draft.added = headers.added_block(head.pairs, named, who, head.host)
    # A trace that begins here is named like the request, whose name is unique too.
    made = "x-request-id" not in named
    draft.trace = headers.traceparent(named.get("traceparent"), draft.id if made else front.new_id(), front.new_span())
    draft.shadow_mark = named.get(SHADOW_MARK, "")


def steer(front: Front, draft: Draft, *, upgrade: bool) -> bool:
    """Ask the other side where the chosen one is unfit and the other may answer. False: nobody can be asked."""
    safe = draft.head.method in SAFE_METHODS and not upgrade
    side = front.steering.side_for(draft.side, front.now(), safe=safe)
    if side is not None and side is not draft.side:
        draft.side = side
        draft.skip = draft.skip or Skip.FALLBACK
        front.metrics.fallbacks[side] += 1
    return side is not None
