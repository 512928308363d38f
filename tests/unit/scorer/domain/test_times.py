"""Dates and times as Django reads them."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from django.utils.dateparse import parse_date, parse_datetime
from hypothesis import given
from hypothesis import strategies as st

from scorer.domain.times import parse_moment

PLUS_ONE = timezone(timedelta(hours=1))


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2024-01-02", datetime(2024, 1, 2, tzinfo=UTC)),
        ("2024-01-02T03:04:05Z", datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("2024-01-02T03:04:05", datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("2024-1-2 3:4", datetime(2024, 1, 2, 3, 4, tzinfo=UTC)),
        ("2024-01-02T03:04:05,5", datetime(2024, 1, 2, 3, 4, 5, 500_000, tzinfo=UTC)),
        ("2024-01-02 03:04:05 +0100", datetime(2024, 1, 2, 3, 4, 5, tzinfo=PLUS_ONE)),
        ("2024-01-02 03:04:05-01", datetime(2024, 1, 2, 4, 4, 5, tzinfo=UTC)),
        ("2024-W01-2", datetime(2024, 1, 2, tzinfo=UTC)),
    ],
)
def test_moment_is_read(text: str, moment: datetime):
    assert parse_moment(text) == moment


@pytest.mark.parametrize(
    "text", ["", " ", "soon", "2024-13-01", "2024-01-02T03:04:05 00:00", "2024-01-02T25:00", "2024-1-2"]
)
def test_other_texts_are_not_moments(text: str):
    assert parse_moment(text) is None


def test_single_digits_of_a_date_are_read_for_columns_only():
    assert parse_moment("2024-1-2", date_pattern=True) == datetime(2024, 1, 2, tzinfo=UTC)


digits = st.text("0123456789", min_size=1, max_size=4)
texts = st.one_of(
    st.datetimes().map(datetime.isoformat),
    st.tuples(
        digits,
        digits,
        digits,
        st.sampled_from(["", "T", " "]),
        digits,
        digits,
        st.sampled_from(["", "Z", "+01:30", " -0200"]),
    ).map(lambda p: f"{p[0]}-{p[1]}-{p[2]}" + (f"{p[3]}{p[4]}:{p[5]}{p[6]}" if p[3] else "")),
    st.text("0123456789-:TZ+., W", max_size=30),
)


@given(texts)
def test_moments_are_those_that_django_reads(text: str):
    assert parse_moment(text, date_pattern=True) == django_moment(text)


def django_moment(text: str) -> datetime | None:
    try:
        found = parse_datetime(text)
        date = parse_date(text) if found is None else None
    except ValueError:
        return None
    if found is None and date is not None:
        found = datetime(date.year, date.month, date.day)  # noqa: DTZ001
    return found if found is None or found.tzinfo else found.replace(tzinfo=UTC)
