"""Everything that may roll a good candidate back spends `gates.alpha` at most."""

from hypothesis import given
from hypothesis import strategies as st

from proxy.rollout.alpha_spending import HORIZON_S, RECENT_S, WINDOWS_AT_ONCE, StepAlpha, window_begins


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


@given(st.floats(1, 4e9))
def test_windows_of_each_length_begin_on_its_multiples_and_last_four_times_that(now_s: float) -> None:
    begins = window_begins(now_s)
    for length_s in RECENT_S:
        ages = [now_s - begin_s for length, begin_s in begins if length == length_s]
        assert all(begin_s % length_s == 0 for length, begin_s in begins if length == length_s)
        assert all(0 < age < WINDOWS_AT_ONCE * length_s for age in ages)
        assert len(ages) >= WINDOWS_AT_ONCE - 1
        assert min(ages) <= length_s
