"""PromQL expressions."""

from dashboards import promql


def test_sum_names_the_labels_it_keeps() -> None:
    assert promql.sum_by("up", "job", "role") == "sum by (installation, job, role) (up)"


def test_sum_without_labels_is_one_of_each_installation() -> None:
    assert promql.sum_by("up") == "sum by (installation) (up)"


def test_ratio_never_divides_by_zero() -> None:
    assert promql.ratio("a", "b") == "a / (b > 0)"


def test_shares_of_labelled_parts_in_the_whole_of_their_installation() -> None:
    assert promql.shares("a", "b") == "a / on (installation) group_left () (b > 0)"


def test_increased_includes_a_new_series() -> None:
    assert promql.increased("x", "5m") == "(increase(x[5m]) > 0 or (x > 0 unless x offset 5m))"


def test_spread_is_maximum_minus_minimum() -> None:
    assert promql.spread_by("x", "group") == "max by (installation, group) (x) - min by (installation, group) (x)"
