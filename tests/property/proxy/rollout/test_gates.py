"""The division of alpha among the intervals of all gates."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.rollout.gates import GATES, Gate, GateInput, GateName, GateResult, interval_alpha


def not_judged(_: GateInput) -> GateResult | None:
    return None


gates = st.builds(
    Gate,
    name=st.sampled_from(GateName),
    judge=st.just(not_judged),
    intervals_overall=st.integers(0, 5),
    intervals_per_route=st.integers(0, 3),
)
alphas = st.floats(1e-6, 0.5)


@given(st.lists(gates, max_size=20), gates.filter(lambda gate: gate.intervals_overall), st.integers(0, 50), alphas)
def test_shares_sum_to_alpha_whatever_gates_exist(some: list[Gate], one: Gate, routes: int, alpha: float) -> None:
    every = [*some, one]
    share = interval_alpha(every, routes, alpha)
    assert sum(gate.intervals(routes) * share for gate in every) == pytest.approx(alpha)


@given(gates, st.integers(0, 50), alphas)
def test_new_gate_never_raises_the_share_of_an_interval(new: Gate, routes: int, alpha: float) -> None:
    assert interval_alpha([*GATES, new], routes, alpha) <= interval_alpha(GATES, routes, alpha)
