"""A rate of loss is measured on tokens that come nearly always, and tells losses from faults."""

import pytest

from comparator.findings.lost_findings import is_nearly_always, loss_rate, may_be_loss


def test_nothing_is_lost_where_most_tokens_come_always() -> None:
    assert loss_rate([(0.0, 500), (0.0, 300), (0.08, 400)]) == 0.0
    assert loss_rate([]) == 0.0


def test_rate_is_the_median_by_exchanges() -> None:
    assert loss_rate([(0.02, 900), (0.0, 20), (0.0, 20), (0.09, 100)]) == 0.02


@pytest.mark.parametrize(
    ("count", "lost", "may"), [(20, 1, True), (34, 1, True), (35, 1, False), (3, 2, True), (4, 2, False), (1, 6, True)]
)
def test_loss_makes_no_more_than_its_rate(count: int, lost: int, *, may: bool) -> None:
    assert may_be_loss(count, 1000, lost, 0.02) is may


@pytest.mark.parametrize(
    ("seen", "visible", "always"), [(98, 100, True), (94, 100, True), (93, 100, False), (0, 0, False)]
)
def test_token_that_is_lost_now_and_then_is_shown_always(seen: int, visible: int, *, always: bool) -> None:
    assert is_nearly_always(seen, visible, 0.02) is always
