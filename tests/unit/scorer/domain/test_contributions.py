from decimal import Decimal

import pytest

from scorer.domain.contributions import PROTOCOL_AMOUNT_MIN, Contributions, ContributorStatistics, combine

NONE = Contributions(0, Decimal(0))


@pytest.mark.parametrize(
    ("amount", "total"), [("0.005", 0.0), ("0.015", 0.02), ("0.025", 0.02), ("11.755000000000000001", 11.76)]
)
def test_half_a_cent_goes_to_the_even_cent(amount: str, total: float):
    assert combine(Contributions(1, Decimal(amount)), NONE) == ContributorStatistics(1.0, total)


def test_protocol_sum_is_rounded_to_three_decimals_first():
    assert combine(NONE, Contributions(1, Decimal("1.0149"))).total_contribution_amount == 1.02


def test_both_parts_are_added():
    statistics = combine(Contributions(1, Decimal("0.015")), Contributions(1, Decimal("1.0105")))
    assert statistics == ContributorStatistics(2.0, 1.02)


def test_nothing_is_zero():
    assert combine(NONE, NONE) == ContributorStatistics(0.0, 0.0)


@pytest.mark.parametrize(
    ("amount", "counts"),
    [("0.95", True), ("0.949999999999999956", True), ("0.949999999999999955", False), ("0.949999", False)],
)
def test_limit_is_the_float_that_the_legacy_compares_with(amount: str, counts: bool):
    assert (Decimal(amount) >= PROTOCOL_AMOUNT_MIN) is counts
