"""Widening a step never moves a client back."""

from hypothesis import given
from hypothesis import strategies as st

from comparator.exchanges.model import Side
from proxy.config.rollout import RolloutSettings
from proxy.config.serve import ServeSettings
from proxy.rollout.buckets import bucket_of, salt_of
from proxy.rollout.group_state import GroupState
from proxy.rollout.state_machine import Phase
from proxy.rollout.traffic_split import splits_of

steps = st.lists(st.floats(0, 100), min_size=2, max_size=9, unique=True).map(lambda percents: tuple(sorted(percents)))


@given(steps, st.text(max_size=42), st.text(max_size=20))
def test_client_that_the_candidate_serves_stays_with_it(percents: tuple[float, ...], key: str, salt: str) -> None:
    rollout = RolloutSettings(enabled=True, steps=percents)
    bucket = bucket_of(key, salt_of(salt))
    sides = [
        splits_of(
            ServeSettings(), rollout, {"all": GroupState(phase=Phase.STEPPING, step=step)}, rolled_back=False
        ).overall.side_of(bucket)
        for step in range(len(percents))
    ]
    assert sides == sorted(sides, key=lambda side: side is Side.CANDIDATE)
