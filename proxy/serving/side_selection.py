"""Choose the side that serves a request, and whether the exchange is mirrored."""

from comparator.exchanges.skip import SAFE_METHODS
from proxy.config.rollout import RolloutSettings
from proxy.config.serve import ServeSettings
from proxy.http1.fields import OVERRIDE_HEADERS, SHADOW_MARK
from proxy.http1.forwarding_headers import ClientAddress, requested_side
from proxy.journal.served_exchange import ServedExchange
from proxy.rollout.buckets import BUCKETS, bucket_of, salt_of
from proxy.rollout.group_state import States
from proxy.rollout.traffic_split import Split, Splits, splits_of
from proxy.serving.routing import Route, policy_skip, sample_bucket
from proxy.serving.trust import TrustPolicy


class SideSelector:
    """The traffic split in force, and the choice by it.

    Args:
        states: of the rollout's groups.
        rolled_back: whether the on-call switch is on.

    Attributes:
        splits: the split of every route. Like everything that depends on settings it is set by `apply`, which comes first.
    """

    splits: Splits

    def __init__(self, states: States, *, rolled_back: bool) -> None:
        self._states = states
        self._rolled_back = rolled_back

    def apply(self, serve: ServeSettings, rollout: RolloutSettings, trust: TrustPolicy) -> None:
        """Put settings in force, from the next request on.

        Args:
            serve: section `serve:`.
            rollout: section `rollout:`.
            trust: decides who may override the choice.
        """
        self._serve = serve
        self._rollout = rollout
        self._trust = trust
        self._salt = salt_of(serve.salt)
        self.set_rollout(self._states, self._rolled_back)

    def set_rollout(self, states: States, rolled_back: bool) -> None:
        """Replace the state of the rollout and of the on-call switch, from the next request on."""
        self._states, self._rolled_back = states, rolled_back
        self.splits = splits_of(self._serve, self._rollout, states, rolled_back=rolled_back)

    @property
    def split(self) -> Split:
        """The split of the routes that are in no group of their own."""
        return self.splits.overall

    def choose(self, exchange: ServedExchange, route: Route | None, client: ClientAddress) -> None:
        """Set side, stage and skip of an exchange: by the split, the route's policy, and the client's override if it may have one."""
        head = exchange.head
        template = head.template
        split = self.splits.of(exchange.route_name)
        exchange.stage = split.stage
        exchange.side = split.sole_side or split.side_of(bucket_of(exchange.key or client.address, self._salt))
        if (
            not template.has_control_fields
            and route is not None
            and route.mirrors_all_safe
            and head.method in SAFE_METHODS
        ):
            # Most requests are like this one: mirrored, and without a field that could change that.
            exchange.skip = None
        else:
            self._apply_policy(exchange, route, client)

    def _apply_policy(self, exchange: ServedExchange, route: Route | None, client: ClientAddress) -> None:
        head = exchange.head
        present = head.template.present
        sampled = route is not None and route.sampled_buckets < BUCKETS
        bucket = sample_bucket(exchange.key or client.address, self._salt) if sampled else 0
        exchange.skip = policy_skip(route, head.method, head.value, shadow=SHADOW_MARK in present, bucket=bucket)
        exchange.shadow_mark = head.value(SHADOW_MARK) or ""
        if not OVERRIDE_HEADERS.isdisjoint(present):
            first_values = head.first_values
            if self._trust.may_override(client, first_values):
                exchange.side = requested_side(first_values) or exchange.side
