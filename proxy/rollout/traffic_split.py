"""Split clients between the sides: the side that serves a bucket, and the name of the stage. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from comparator.exchanges.model import Side
from proxy.config.rollout import RolloutSettings, StepSettings, steps_of
from proxy.config.serve import ServeSettings
from proxy.rollout.buckets import BUCKETS, threshold_of
from proxy.rollout.group_state import ALL, GroupState, States

ROLLED_BACK = "rolled_back"


@dataclass(frozen=True, slots=True)
class Split:
    """The buckets below `threshold` are served by `side`, the others by the other side."""

    stage: str
    side: Side
    threshold: int
    sole_side: Side | None = field(init=False)
    """The side that serves all buckets; None while both serve."""

    def __post_init__(self) -> None:
        sole_side = self.side if self.threshold >= BUCKETS else self.side.other if self.threshold <= 0 else None
        object.__setattr__(self, "sole_side", sole_side)

    def side_of(self, bucket: int) -> Side:
        """Return the side that serves a bucket."""
        return self.side if bucket < self.threshold else self.side.other


LEGACY_SERVES = Split(ROLLED_BACK, Side.LEGACY, BUCKETS)


@dataclass(frozen=True, slots=True)
class Splits:
    """The split of every route: its group's, or `overall`."""

    overall: Split
    by_route: Mapping[str, Split] = field(default_factory=dict[str, Split])

    def of(self, route: str) -> Split:
        """Return the split of a route."""
        return self.by_route.get(route, self.overall)


def split_of(serve: ServeSettings, *, rolled_back: bool) -> Split:
    """Return the split by section `serve:`; a rollback puts every bucket on the legacy, whatever the settings say."""
    if rolled_back:
        return LEGACY_SERVES
    return Split(f"{serve.side}_{serve.percent:g}", serve.side, threshold_of(serve.percent))


def splits_of(serve: ServeSettings, rollout: RolloutSettings, states: States, *, rolled_back: bool) -> Splits:
    """Return the split of every group: by its step where the rollout is enabled, else by section `serve:`.

    Every group uses the same salt and the same order of buckets. So a wider step only adds clients, and a client is served by one side
    on all routes whose groups are at the same step.
    """
    if rolled_back:
        return Splits(LEGACY_SERVES)
    by_group = {
        name: _split_of_group(serve, rollout, states.get(name, GroupState(group=name)))
        for name in (ALL, *(group.name for group in rollout.groups))
    }
    by_route = {route: by_group[group.name] for group in rollout.groups for route in group.routes}
    return Splits(by_group[ALL], by_route)


def _split_of_group(serve: ServeSettings, rollout: RolloutSettings, state: GroupState) -> Split:
    if state.phase.latched:
        return LEGACY_SERVES
    if not rollout.enabled:
        return split_of(serve, rolled_back=False)
    return Split(stage_of(rollout, state), Side.CANDIDATE, threshold_of(step_of(rollout, state).percent))


def step_of(rollout: RolloutSettings, state: GroupState) -> StepSettings:
    """Return the step that a group is at; the configured steps may have become fewer since."""
    steps = steps_of(rollout, state.group)
    return steps[min(state.step, len(steps) - 1)]


def stage_of(rollout: RolloutSettings, state: GroupState) -> str:
    """Return the stage that exchanges of a group carry while an enabled rollout is at this step."""
    prefix = "" if state.group == ALL else f"{state.group}_"
    return f"{prefix}candidate_{step_of(rollout, state).percent:g}"


def candidate_share(split: Split) -> float:
    """Return the share of the buckets that the candidate serves, 0 to 1."""
    share = split.threshold / BUCKETS
    return share if split.side is Side.CANDIDATE else 1 - share
