"""Everything that may roll a good candidate back spends `gates.alpha` at most."""

from hypothesis import given
from hypothesis import strategies as st

from proxy.rollout.alpha_spending import HORIZON_S, RECENT_S, StepAlpha, window_begins


def spent_at_a_step(share: StepAlpha, routes: int, gates: int) -> float:
    """Add up the shares of all tests of HORIZON_S at one step."""
    spent = 0.0
    for length_s in (None, *RECENT_S):
        tests = 1 if length_s is None else HORIZON_S // length_s
        by_route = routes * share.of_test(length_s, routes, is_route=True) if routes > 1 else 0.0
        spent += tests * (share.of_test(length_s, routes, is_route=False) + by_route)
    return spent * gates


@given(
    alpha=st.floats(1e-6, 0.5),
    steps=st.integers(1, 12),
    groups=st.integers(1, 6),
    gates=st.integers(1, 12),
    routes=st.integers(0, 60),
    epochs=st.integers(1, 200),
)
def test_all_steps_groups_and_resumes_spend_alpha_at_most(
    alpha: float, steps: int, groups: int, gates: int, routes: int, epochs: int
) -> None:
    spent = sum(
        steps
        * groups
        * spent_at_a_step(StepAlpha.of(alpha, epoch=epoch, steps=steps, groups=groups, gates=gates), routes, gates)
        for epoch in range(epochs)
    )
    assert spent <= alpha * (1 + 1e-9)


@given(st.floats(0, 4e9))
def test_window_covers_at_least_its_length_and_less_than_twice_that(now_s: float) -> None:
    for length_s, begin_s in window_begins(now_s):
        assert length_s <= now_s - begin_s < 2 * length_s
        assert begin_s % length_s == 0
