"""PromQL expressions."""

from dashboards import promql


def test_sum_names_the_labels_it_keeps() -> None:
    assert promql.sum_by("up", "job", "role") == "sum by (job, role) (up)"


def test_sum_without_labels_is_of_all_series() -> None:
    assert promql.sum_by("up") == "sum(up)"


def test_ratio_never_divides_by_zero() -> None:
    assert promql.ratio("a", "b") == "a / (b > 0)"


def test_shares_of_labelled_parts_in_an_unlabelled_whole() -> None:
    assert promql.shares("a", "b") == "a / on () group_left () (b > 0)"


def test_increased_includes_a_new_series() -> None:
    assert promql.increased("x", "5m") == "(increase(x[5m]) > 0 or (x > 0 unless x offset 5m))"
