"""Words of PromQL."""

from dashboards import promql


def test_a_sum_names_the_labels_it_keeps() -> None:
    assert promql.total("up", "job", "role") == "sum by (job, role) (up)"


def test_a_sum_without_labels_is_of_everything() -> None:
    assert promql.total("up") == "sum(up)"


def test_a_ratio_never_divides_by_zero() -> None:
    assert promql.ratio("a", "b") == "a / (b > 0)"


def test_parts_are_divided_by_one_whole_whatever_their_labels() -> None:
    assert promql.shares("a", "b") == "a / on () group_left () (b > 0)"


def test_what_happened_includes_a_series_that_has_just_begun() -> None:
    assert promql.happened("x", "5m") == "(increase(x[5m]) > 0 or (x > 0 unless x offset 5m))"
