"""The split of traffic by group, by step, and after a rollback."""

from comparator.exchanges.model import Side
from proxy.config.rollout import GroupSettings, RolloutSettings
from proxy.config.serve import ServeSettings
from proxy.rollout.group_state import GroupState, initial_states
from proxy.rollout.state_machine import Phase
from proxy.rollout.traffic_split import LEGACY_SERVES, candidate_share, splits_of

GROUPED = RolloutSettings(enabled=True, groups=(GroupSettings("reads", ("score", "history"), (0.0, 50.0, 100.0)),))


def test_enabled_rollout_starts_with_the_legacy() -> None:
    splits = splits_of(ServeSettings(), RolloutSettings(enabled=True), initial_states(["all"]), rolled_back=False)
    assert candidate_share(splits.overall) == 0.0
    assert splits.overall.side_of(0) is Side.LEGACY


def test_disabled_rollout_follows_section_serve() -> None:
    splits = splits_of(ServeSettings(percent=30.0), RolloutSettings(), initial_states(["all"]), rolled_back=False)
    assert candidate_share(splits.overall) == 0.3


def test_groups_step_apart() -> None:
    states = {"all": GroupState(step=1, phase=Phase.STEPPING), "reads": GroupState("reads", Phase.STEPPING, 1)}
    splits = splits_of(ServeSettings(), GROUPED, states, rolled_back=False)
    assert (candidate_share(splits.of("score")), candidate_share(splits.of("other"))) == (0.5, 0.01)
    assert splits.of("score").stage == "reads_candidate_50"


def test_rolled_back_group_leaves_the_others() -> None:
    states = {"all": GroupState(step=7, phase=Phase.PROMOTED), "reads": GroupState("reads", Phase.ROLLED_BACK, 1)}
    splits = splits_of(ServeSettings(), GROUPED, states, rolled_back=False)
    assert splits.of("history") == LEGACY_SERVES
    assert candidate_share(splits.of("other")) == 1.0


def test_switch_overrides_every_group() -> None:
    states = {"all": GroupState(step=7, phase=Phase.PROMOTED), "reads": GroupState("reads", Phase.STEPPING, 1)}
    splits = splits_of(ServeSettings(), GROUPED, states, rolled_back=True)
    assert {splits.of("score"), splits.of("other")} == {LEGACY_SERVES}


def test_rollback_holds_for_a_disabled_rollout() -> None:
    splits = splits_of(
        ServeSettings(), RolloutSettings(), {"all": GroupState(phase=Phase.ROLLED_BACK)}, rolled_back=False
    )
    assert splits.overall == LEGACY_SERVES
