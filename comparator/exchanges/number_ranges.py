"""Sets of numbers as ranges: which of a writer's exchanges ended. Pure.

Exchanges end nearly in the order of their numbers, so the set of all of them is one range with few holes, however many they are.

    {1 to 4711, 4713} | {4712}  =  {1 to 4713}
    {1 to 4713} - {1 to 4710}   =  {4711 to 4713}
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final


class NumberRanges:
    """An immutable set of whole numbers, as ascending ranges `(first, last)` that neither overlap nor touch."""

    __slots__ = ("_ranges",)

    def __init__(self, ranges: Iterable[tuple[int, int]] = ()) -> None:
        merged: list[tuple[int, int]] = []
        for first, last in sorted(ranges):
            if first > last:
                continue
            if merged and first <= merged[-1][1] + 1:
                merged[-1] = merged[-1][0], max(merged[-1][1], last)
            else:
                merged.append((first, last))
        self._ranges: Final = tuple(merged)

    @classmethod
    def of(cls, first: int, last: int) -> "NumberRanges":
        """Return the numbers from `first` to `last`; none if `last` is smaller."""
        return cls([(first, last)])

    @classmethod
    def each(cls, numbers: Iterable[int]) -> "NumberRanges":
        """Return a set of single numbers."""
        return cls((number, number) for number in numbers)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return iter(self._ranges)

    def __len__(self) -> int:
        """Return how many numbers are in the set."""
        return sum(last - first + 1 for first, last in self._ranges)

    def __contains__(self, number: int) -> bool:
        return any(first <= number <= last for first, last in self._ranges)

    def __or__(self, other: "NumberRanges") -> "NumberRanges":
        return NumberRanges([*self._ranges, *other._ranges])

    def __sub__(self, other: "NumberRanges") -> "NumberRanges":
        left: list[tuple[int, int]] = []
        holes = list(other._ranges)
        for first, last in self._ranges:
            start = first
            for hole_first, hole_last in holes:
                if hole_last < start:
                    continue
                if hole_first > last:
                    break
                left.append((start, hole_first - 1))
                start = hole_last + 1
            left.append((start, last))
        return NumberRanges(left)

    def __and__(self, other: "NumberRanges") -> "NumberRanges":
        return self - (self - other)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, NumberRanges) and self._ranges == other._ranges

    def __hash__(self) -> int:
        return hash(self._ranges)

    def __repr__(self) -> str:
        return f"NumberRanges({list(self._ranges)})"

    def __str__(self) -> str:
        """Return the ranges as text, e.g. `4711, 4713 to 4720`."""
        return ", ".join(f"{first}" if first == last else f"{first} to {last}" for first, last in self._ranges)


NO_NUMBERS: Final = NumberRanges()


@dataclass(frozen=True, slots=True)
class EndedNumbers:
    """The exchanges of one writer that ended.

    Attributes:
        all: their numbers.
        unread: those of them that could not be read: lost in the journal, or not decodable.
    """

    all: NumberRanges = NO_NUMBERS
    unread: NumberRanges = NO_NUMBERS

    @classmethod
    def of_all(cls, each: Sequence["EndedNumbers"]) -> "EndedNumbers":
        """Combine the runners of all slices, at least one: every exchange ends in each of them, and is unread in the one that counts it."""
        ended, unread = each[0].all, each[0].unread
        for one in each[1:]:
            ended, unread = ended & one.all, unread | one.unread
        return cls(ended, unread & ended)
