"""Which side serves a bucket, and the name of the stage that says so. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from comparator.exchanges.model import Side
from proxy.config.rollout import RolloutSettings, steps_of
from proxy.config.settings import ServeSettings
from proxy.rollout.buckets import BUCKETS, threshold_of
from proxy.rollout.group_state import ALL, GroupState, States

ROLLED_BACK = "rolled_back"


@dataclass(frozen=True, slots=True)
class Split:
    """Buckets below `threshold` are served by `side`, the others by the other side."""

    stage: str
    side: Side
    threshold: int
    sole_side: Side | None = field(init=False)
    """The side that serves all buckets, if one does."""

    def __post_init__(self) -> None:
        everyone = self.side if self.threshold >= BUCKETS else self.side.other if self.threshold <= 0 else None
        object.__setattr__(self, "everyone", everyone)

    def side_of(self, bucket: int) -> Side:
        """Who serves this bucket."""
        return self.side if bucket < self.threshold else self.side.other


LEGACY_SERVES = Split(ROLLED_BACK, Side.LEGACY, BUCKETS)


@dataclass(frozen=True, slots=True)
class Splits:
    """The plan of every route: its group's, or `overall`."""

    overall: Split
    by_route: Mapping[str, Split] = field(default_factory=dict[str, Split])

    def of(self, route: str) -> Split:
        """The plan in force for a route."""
        return self.by_route.get(route, self.overall)


def split_of(serve: ServeSettings, *, rolled_back: bool) -> Split:
    """The plan in force: a rollback puts every bucket on the legacy, whatever the settings say."""
    if rolled_back:
        return LEGACY_SERVES
    return Split(f"{serve.side}_{serve.percent:g}", serve.side, threshold_of(serve.percent))


def splits_of(serve: ServeSettings, rollout: RolloutSettings, states: States, *, rolled_back: bool) -> Splits:
    """The plans of all groups. Steps say who serves where the rollout is enabled, else `serve` does.

    Every group uses the same salt and the same order of buckets, so a wider step only adds clients, and a client is served by one
    side on all routes whose groups stand at the same step.
    """
    if rolled_back:
        return Splits(LEGACY_SERVES)
    by_group = {
        name: _plan_of_group(serve, rollout, states.get(name, GroupState(group=name)))
        for name in (ALL, *(group.name for group in rollout.groups))
    }
    by_route = {route: by_group[group.name] for group in rollout.groups for route in group.routes}
    return Splits(by_group[ALL], by_route)


def _plan_of_group(serve: ServeSettings, rollout: RolloutSettings, state: GroupState) -> Split:
    if state.phase.latched:
        return LEGACY_SERVES
    if not rollout.enabled:
        return split_of(serve, rolled_back=False)
    steps = steps_of(rollout, state.group)
    percent = steps[min(state.step, len(steps) - 1)].percent
    prefix = "" if state.group == ALL else f"{state.group}_"
    return Split(f"{prefix}candidate_{percent:g}", Side.CANDIDATE, threshold_of(percent))


def candidate_share(plan: Split) -> float:
    """Share of the buckets that the candidate serves, 0 to 1."""
    share = plan.threshold / BUCKETS
    return share if plan.side is Side.CANDIDATE else 1 - share
