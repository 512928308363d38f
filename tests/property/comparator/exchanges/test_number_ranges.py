"""comparator.exchanges.number_ranges: sets of numbers behave as sets do."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from comparator.exchanges.number_ranges import NumberRanges

NUMBERS = st.sets(st.integers(1, 40))


def members(ranges: NumberRanges) -> set[int]:
    return {number for first, last in ranges for number in range(first, last + 1)}


@given(NUMBERS, NUMBERS)
def test_operations_are_those_of_sets(left: set[int], right: set[int]) -> None:
    a, b = NumberRanges.each(left), NumberRanges.each(right)
    assert members(a | b) == left | right
    assert members(a - b) == left - right
    assert len(a) == len(left)
    assert {number for number in range(1, 41) if number in a} == left


@given(NUMBERS)
def test_ranges_are_as_few_as_possible(numbers: set[int]) -> None:
    ranges = list(NumberRanges.each(numbers))
    assert all(last + 1 < following for (_, last), (following, _) in itertools.pairwise(ranges))
    assert NumberRanges(ranges) == NumberRanges.each(numbers)


def test_text_names_single_numbers_and_ranges() -> None:
    assert str(NumberRanges.each([3]) | NumberRanges.of(5, 9)) == "3, 5 to 9"
    assert str(NumberRanges()) == ""
