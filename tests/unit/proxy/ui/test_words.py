"""Numbers and times as the screens write them."""

import datetime as dt

import pytest

from proxy.ui import words

NOW = dt.datetime(2026, 11, 30, 4, 2, 24, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (words.number(2182), "2,182"),
        (words.number(None), words.NO_VALUE),
        (words.number(-12), f"{words.MINUS}12"),
        (words.percent(0.1235), "12.35 %"),
        (words.percent(None), words.NO_VALUE),
        (words.percent(float("nan")), words.NO_VALUE),
        (words.plain_percent(0.5), "0.5 %"),
        (words.milliseconds(124.83), "124.8"),
        (words.milliseconds(2085.4), "2,085"),
        (words.duration(43), "43 s"),
        (words.duration(84), "1 min 24 s"),
        (words.duration(3600), "1 h"),
        (words.duration(100_000), "1 d 3 h"),
        (words.duration(-3), "0 s"),
        (words.clock(NOW, NOW), "04:02:24"),
        (words.clock(NOW - dt.timedelta(days=1), NOW), "2026-11-29 04:02:24"),
        (words.clock(None), words.NO_VALUE),
        (words.ago(NOW - dt.timedelta(seconds=6), NOW), "6 s ago"),
        (words.ago(NOW - dt.timedelta(seconds=130), NOW), "2 min ago"),
        (words.ago(NOW + dt.timedelta(seconds=2), NOW), "0 s ago"),
        (words.shortened_id("c38cdd933f1d5c99000000000000027f"), "c38cdd93…027f"),
        (words.shortened_id("short"), "short"),
        (words.shortened("abc", 2), "ab… (1 more characters)"),
        (words.plural(1, "cause"), "1 cause"),
        (words.plural(4, "cause"), "4 causes"),
    ],
)
def test_value_is_written(written: str, expected: str) -> None:
    assert written == expected


@pytest.mark.parametrize("text", [None, "", "yesterday"])
def test_time_of_another_form_is_none(text: str | None) -> None:
    assert words.parsed_time(text) is None


def test_time_without_zone_is_utc() -> None:
    assert words.parsed_time("2026-11-30T04:02:24") == NOW
