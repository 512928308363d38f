"""What is decided about a request before it is sent: the side that serves it, whether it is mirrored, what is added to it."""

from proxy import headers
from proxy.buckets import BUCKETS
from proxy.drafts import Draft
from proxy.fields import OVERRIDE_HEADERS, SHADOW_MARK
from proxy.front import Front
from proxy.routes import SAFE_METHODS, Skip, skip_of


def choose(front: Front, draft: Draft, who: headers.Caller) -> None:
    """Choose side and mirroring by the plan, the route's policy and what the caller may ask for."""
    head, route = draft.head, draft.route
    shape = head.shape
    sticky = draft.key or who.address
    sampled = route is not None and route.sampled_buckets < BUCKETS
    shadow = shape.unusual and SHADOW_MARK in shape.has
    bucket = front.sample_bucket(sticky) if sampled else 0
    draft.skip = skip_of(route, head.method, head.value, shadow=shadow, bucket=bucket)
    plan = front.plans.of(draft.route_name)
    # (where one side serves everybody, the bucket decides nothing)
    draft.side = plan.side_of(front.bucket(sticky) if 0 < plan.threshold < BUCKETS else 0)
    draft.stage = plan.stage
    if shape.unusual:
        named = head.named
        draft.shadow_mark = named.get(SHADOW_MARK, "")
        if not OVERRIDE_HEADERS.isdisjoint(named) and front.may_override(who, named):
            draft.side = headers.override(named) or draft.side
    draft.added = headers.added_block(head, who)
    draft.trace = _trace(front, draft)


def _trace(front: Front, draft: Draft) -> str:
    """The trace goes on, or begins here: then it is named like the request, whose name is unique too."""
    has = draft.head.shape.has
    span = front.new_span()
    if "traceparent" not in has and "x-request-id" not in has:
        return f"00-{draft.id}-{span}-01"
    own = front.new_id() if "x-request-id" in has else draft.id
    return headers.traceparent(draft.head.value("traceparent"), own, span)


def steer(front: Front, draft: Draft, *, upgrade: bool) -> bool:
    """Ask the other side where the chosen one is unfit and the other may answer. False: nobody can be asked."""
    safe = draft.head.method in SAFE_METHODS and not upgrade
    side = front.steering.side_for(draft.side, front.now(), safe=safe)
    if side is not None and side is not draft.side:
        draft.side = side
        draft.skip = draft.skip or Skip.FALLBACK
        front.metrics.fallbacks[side] += 1
    return side is not None
