"""The schedule: selection, order and due times."""

import pytest

from comparator.exchanges.model import Request, Response, Side
from proxy.recordings.model import RecordedExchange
from proxy.replay.errors import OptionError
from proxy.replay.schedule import (
    Pace,
    PerKeyQueue,
    ScheduledRequest,
    Selection,
    Watermark,
    in_order,
    parse_condition,
    parse_duration_s,
    parse_pace,
    parse_time,
    schedule,
)

S = 1_000_000_000


def at(seconds: float, *, key: str = "", method: str = "GET", status: int = 200) -> RecordedExchange:
    return RecordedExchange(
        Request(method, "/v2/x?y", (), b""),
        Response(status, (), b""),
        started_ns=round(seconds * S),
        key=key,
        route="score",
    )


def offsets(records: list[RecordedExchange], pace: Pace, *, loops: int = 1) -> list[float]:
    return [item.offset_s for item in schedule(lambda: records, pace, loops=loops)]


def test_speed_1x_keeps_recorded_gaps() -> None:
    assert offsets([at(100), at(101), at(105)], Pace()) == [0, 1, 5]


def test_speed_10x_divides_gaps_by_ten() -> None:
    assert offsets([at(100), at(101), at(105)], Pace(10)) == [0, 0.1, 0.5]


def test_rate_spaces_requests_evenly() -> None:
    assert offsets([at(100), at(101), at(105)], Pace(None, 2)) == [0, 0.5, 1]


def test_speed_max_has_no_due_times() -> None:
    assert offsets([at(100), at(105)], Pace(None)) == [0, 0]


def test_ramp_plays_half_of_the_requests_of_full_speed() -> None:
    times = offsets([at(0)] * 300, Pace(None, 10, ramp_s=10))
    assert sum(time < 10 for time in times) == 50
    assert times[-1] - times[-2] == pytest.approx(0.1)


def test_next_pass_begins_one_mean_gap_later() -> None:
    assert offsets([at(0), at(2)], Pace(), loops=2) == [0, 2, 3, 5]


def test_numbers_continue_over_passes() -> None:
    assert [(item.number, item.pass_number) for item in schedule(lambda: [at(0)], Pace(None), loops=3)] == [
        (0, 0),
        (1, 1),
        (2, 2),
    ]


def test_endless_loop_over_empty_recording_ends() -> None:
    assert offsets([], Pace(), loops=0) == []


def test_records_are_sorted_by_start() -> None:
    assert [item.started_ns // S for item in in_order([at(3), at(1), at(2)])] == [1, 2, 3]


def test_records_without_times_keep_their_place() -> None:
    records = [at(0, key=key) for key in "abc"]
    assert list(in_order(records)) == records


def test_requests_of_one_key_run_one_at_a_time_in_order() -> None:
    turns = PerKeyQueue()
    first, second, third = (ScheduledRequest(n, 0, 0, at(n, key="a")) for n in range(3))
    assert [turns.admit(item) for item in (first, second, third)] == [True, False, False]
    assert [turns.complete(first), turns.complete(second), turns.complete(third)] == [second, third, None]
    assert turns.admit(first)


def test_other_keys_and_no_key_are_not_delayed() -> None:
    turns = PerKeyQueue()
    assert all(turns.admit(ScheduledRequest(n, 0, 0, at(n, key=key))) for n, key in enumerate(["a", "b", "", ""]))


def test_watermark_stops_at_the_first_gap() -> None:
    mark = Watermark()
    for number in (0, 1, 3):
        mark.complete(number)
    assert (mark.low, mark.beyond) == (2, (3,))
    mark.complete(2)
    assert (mark.low, mark.beyond) == (4, ())


@pytest.mark.parametrize(
    ("condition", "taken"),
    [
        ("route=score", True),
        ("route=sc*|x", True),
        ("method!=GET", False),
        ("path=/v2/*", True),
        ("status=5??", False),
        ("key=", True),
        ("side=legacy", False),
    ],
)
def test_conditions_select_records(condition: str, taken: bool) -> None:
    assert Selection(conditions=[parse_condition(condition)]).includes(at(1)) is taken


def test_condition_selects_the_serving_side() -> None:
    assert parse_condition("side=legacy")(RecordedExchange(Request("GET", "/", (), b""), served_by=Side.LEGACY))


def test_time_span_includes_begin_and_excludes_end() -> None:
    chosen = Selection(from_ns=1 * S, to_ns=3 * S)
    assert [chosen.includes(at(second)) for second in range(4)] == [False, True, True, False]


def test_times_are_absolute_or_relative_to_the_first_record() -> None:
    assert parse_time("+2m", 5 * S) == 125 * S
    assert parse_time("1970-01-01T00:00:07Z", 5) == 7 * S


@pytest.mark.parametrize(
    ("arguments", "pace"),
    [
        ({"speed": "10x"}, Pace(10)),
        ({"speed": "max"}, Pace(None)),
        ({"rate": "200/s", "ramp": "30s"}, Pace(None, 200, 30)),
        ({}, Pace(1)),
    ],
)
def test_options_are_parsed_to_a_pace(arguments: dict[str, str], pace: Pace) -> None:
    assert parse_pace(**{"speed": "", "rate": "", "ramp": "", **arguments}) == pace


@pytest.mark.parametrize(
    "arguments",
    [{"speed": "fast"}, {"speed": "0x"}, {"rate": "-1"}, {"speed": "1x", "rate": "1"}, {"speed": "max", "ramp": "1s"}],
)
def test_malformed_pace_is_refused(arguments: dict[str, str]) -> None:
    with pytest.raises(OptionError):
        parse_pace(**{"speed": "", "rate": "", "ramp": "", **arguments})


@pytest.mark.parametrize("text", ["5 bananas", "", "s"])
def test_malformed_duration_is_refused(text: str) -> None:
    with pytest.raises(OptionError):
        parse_duration_s(text)


@pytest.mark.parametrize("text", ["colour=red", "route", "route~x"])
def test_malformed_condition_is_refused(text: str) -> None:
    with pytest.raises(OptionError):
        parse_condition(text)
