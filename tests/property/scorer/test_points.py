"""Points add up: the total is what the actions come to, and chains are parts of their action."""

from hypothesis import given
from hypothesis import strategies as st

from scorer.domain.points import EarnedPoints, points_data

actions = st.sampled_from(["HKY", "PMT", "SCB", "HIM"])
rows = st.lists(
    st.builds(EarnedPoints, actions, st.integers(0, 3), st.integers(0, 1000)),
    unique_by=lambda row: (row.action, row.chain_id),
)


@given(rows, st.none() | st.integers(1, 5))
def test_total_is_the_sum_of_the_actions(earned: list[EarnedPoints], multiplier: int | None):
    data = points_data(earned, multiplier=multiplier, eligible=False)
    assert data.total_points == sum(points for name, points in data.breakdown.items() if "_" not in name)


@given(rows)
def test_order_of_the_rows_does_not_matter(earned: list[EarnedPoints]):
    assert points_data(earned, multiplier=1, eligible=True) == points_data(earned[::-1], multiplier=1, eligible=True)


@given(rows)
def test_chain_has_no_more_than_its_action(earned: list[EarnedPoints]):
    breakdown = points_data(earned, multiplier=1, eligible=True).breakdown
    assert all(points <= breakdown[name.partition("_")[0]] for name, points in breakdown.items())
