"""The text of a row has the values that PostgreSQL wrote into it, and what is not such a text is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comparator.capture.errors import DecodeError
from comparator.capture.row_text import parse


def row_text(values: list[str | None]) -> str:
    """Write a row as PostgreSQL does, with every value in quotes."""
    doubled = (None if value is None else value.replace('"', '""').replace("\\", "\\\\") for value in values)
    return "(" + ",".join("" if value is None else f'"{value}"' for value in doubled) + ")"


@given(st.lists(st.none() | st.text('",\\() a'), min_size=1, max_size=5))
def test_values_survive_quoting(values: list[str | None]) -> None:
    assert parse(row_text(values)) == values


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("()", [None]),
        ("(1,)", ["1", None]),
        ('(7,"a, b",,"","a ""b"" c")', ["7", "a, b", None, "", 'a "b" c']),
        (r'("\\",x)', ["\\", "x"]),
    ],
)
def test_quoted_and_plain_values(text: str, values: list[str | None]) -> None:
    assert parse(text) == values


@pytest.mark.parametrize(
    "text", ["", "(", "1,2", "(1", '("a)', '("a"b)', '(a"b")', r'("\")', r"(\,1)", '("a""', "(1(2)"]
)
def test_what_is_no_row_is_refused(text: str) -> None:
    with pytest.raises(DecodeError):
        parse(text)
