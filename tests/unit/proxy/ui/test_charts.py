"""The geometry of charts and bars."""

import datetime as dt

import pytest

from proxy.ui.charts import TimeAxis, ceiling, interval_bar, line_of, rate_floor, rate_ticks, spark

BEGINS = dt.datetime(2026, 11, 30, 3, 57, 50, tzinfo=dt.UTC)
AXIS = TimeAxis(BEGINS, BEGINS + dt.timedelta(minutes=5), 10)


def at(seconds: float) -> dt.datetime:
    return BEGINS + dt.timedelta(seconds=seconds)


def test_bar_lies_where_its_bin_does() -> None:
    bar = AXIS.bar(at(90), 0.5, 0.25)
    assert (bar.x, bar.height, bar.marked) == (30.0, 50.0, 25.0)
    assert 0 < bar.width < 10 / 300 * 100


def test_ticks_are_whole_times_inside_the_chart() -> None:
    assert [tick.text for tick in AXIS.ticks()] == ["03:58", "03:59", "04:00", "04:01", "04:02"]


def test_line_has_a_gap_where_bins_are_missing() -> None:
    line = line_of(AXIS, [(at(0), 0.9, 0.8, 1.0), (at(10), 0.9, 0.8, 1.0), (at(60), 0.5, 0.4, 0.6)], 0.0, 1.0)
    assert len(line.pieces) == len(line.band) == 2
    assert line.pieces[0] == "16.67,10.0 50.00,10.0"


def test_value_beyond_the_axis_stays_on_its_edge() -> None:
    (piece,) = line_of(AXIS, [(at(0), 5.0, 5.0, 5.0), (at(10), -5.0, -5.0, -5.0)], 0.0, 1.0).pieces
    assert piece == "16.67,0.0 50.00,100.0"


@pytest.mark.parametrize(
    ("lows", "floor"), [([], 0.999), ([0.9995], 0.999), ([0.72, 0.9], 0.6), ([0.61], 0.0), ([0.1], 0.0)]
)
def test_axis_of_rates_begins_below_all_values(lows: list[float], floor: float) -> None:
    assert rate_floor(lows) == rate_floor(iter(lows)) == floor


def test_labels_of_rates_have_decimals_only_where_they_need_them() -> None:
    assert [tick.text for tick in rate_ticks(0.6)] == ["100 %", "90 %", "80 %", "70 %", "60 %"]
    assert rate_ticks(0.99)[1].text == "99.75 %"


@pytest.mark.parametrize(("values", "top"), [([], 1.0), ([0.0], 1.0), ([430.0], 500.0), ([12.0, float("nan")], 20.0)])
def test_axis_of_amounts_ends_at_a_round_number(values: list[float], top: float) -> None:
    assert ceiling(values) == top


def test_spark_adds_neighbours_up_and_leaves_zeros_out() -> None:
    assert [bar.height for bar in spark([1, 1, 0, 0, 4, 0], bars_max=3)] == [50.0, 100.0]
    assert spark([]) == ()


def test_interval_lies_on_a_scale_that_ends_beyond_its_limit() -> None:
    bar = interval_bar(0.0, 0.05, estimate=0.02, limit=0.1)
    assert bar.threshold is not None
    assert bar.dot is not None
    assert bar.x + bar.width < bar.threshold < 100
    assert bar.allowed_width == bar.threshold


def test_interval_around_zero_has_zero_on_its_scale() -> None:
    bar = interval_bar(-0.02, 0.03, estimate=0.0, limit=0.001, least=-0.02)
    assert (bar.x, bar.dot) == (0.0, pytest.approx(36.364))
