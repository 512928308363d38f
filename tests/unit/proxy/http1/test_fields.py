"""Look-ups in header fields."""

import pytest

from proxy.http1.fields import combined_value, first_value, forwarded_indexes

FIELDS = (("Accept", "a"), ("X-A", "1"), ("x-a", "2"))


@pytest.mark.parametrize(("name", "expected"), [("x-a", "1"), ("accept", "a"), ("x-b", None)])
def test_first_value_is_found_without_regard_to_case(name: str, expected: str | None) -> None:
    assert first_value(FIELDS, name) == expected


@pytest.mark.parametrize(("name", "expected"), [("x-a", "1, 2"), ("x-b", "")])
def test_combined_value_joins_all_values(name: str, expected: str) -> None:
    assert combined_value(FIELDS, name) == expected


def test_underscore_counts_as_a_hyphen() -> None:
    assert forwarded_indexes(["x_forwarded_for", "x-other", "via"], frozenset(("x-forwarded-for", "via"))) == [1]
