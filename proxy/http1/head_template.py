"""What heads have in common: the fields of a head without the values that differ from head to head. Pure.

A head is a shape and the values that belong into its blanks. What can be said of the shape alone (which fields pass this hop, what
they are as text) is worked out once for all heads that have it. A head that was just parsed has a shape of its own, without blanks.
"""

from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any

from proxy.http1.fields import OVERRIDE_HEADERS, SHADOW_MARK, Pair

Values = tuple[str, ...]
"""What belongs into the blanks of a shape, in order."""

UNUSUAL = OVERRIDE_HEADERS | {SHADOW_MARK}
"""Fields of requests that say how the request is to be treated here."""


class HeadTemplate:
    """The fields of a head. Fields with blanks occur once; `shared` shapes are those that other heads may have too.

    Args:
        pairs: names and values, in order, case and duplicates kept; a blank is "".
        names: the lower names of `pairs`.
        fixed: the first value of each lower name; a blank is "".
        passing: the places of the fields that pass this hop.
        blanks: the places of the values that differ, ascending.
    """

    __slots__ = (
        "_fixed", "_pick", "_text", "blanks", "has", "names", "packing", "pairs", "passing", "places", "shared", "unusual",
    )  # fmt: skip

    def __init__(
        self,
        pairs: Sequence[Pair],
        names: Sequence[str],
        fixed: dict[str, str],
        passing: Sequence[int],
        blanks: Sequence[int] = (),
        *,
        shared: bool = False,
    ) -> None:
        self.pairs = pairs
        self.names = names
        self.passing = passing
        self.blanks = blanks
        self.shared = shared
        self.has = fixed.keys()
        self.places = {names[place]: number for number, place in enumerate(blanks)}
        """Which of the values is that of a name."""
        self.unusual = not UNUSUAL.isdisjoint(fixed)
        self.packing: object = None
        """How the journal writes heads of this shape: the journal's to make and to use."""
        self._fixed = fixed
        self._text: str | None = None
        self._pick: Callable[[Values], Any] | None = None

    def remembered(self, blanks: Sequence[int]) -> "HeadTemplate":
        """The shape of all heads that have these fields and differ in the values at `blanks` only, which are not in it."""
        blank = frozenset(blanks)
        pairs = [(name, "" if place in blank else value) for place, (name, value) in enumerate(self.pairs)]
        fixed = {**self._fixed, **{self.names[place]: "" for place in blanks}}
        return HeadTemplate(pairs, self.names, fixed, self.passing, blanks, shared=True)

    def value(self, name: str, values: Values) -> str | None:
        """The first value of a field by its lower name, None when the head does not have it."""
        number = self.places.get(name)
        return self._fixed.get(name) if number is None else values[number]

    def named(self, values: Values) -> dict[str, str]:
        """The first value of each field by its lower name."""
        named = self._fixed.copy()
        named.update(zip(self.places, values, strict=True))
        return named

    def filled(self, values: Values) -> list[Pair]:
        """Names and values of all fields, in order."""
        pairs = list(self.pairs)
        for place, value in zip(self.blanks, values, strict=True):
            pairs[place] = pairs[place][0], value
        return pairs

    def passed(self, values: Values) -> list[Pair]:
        """Names and values of the fields that pass this hop."""
        pairs = self.filled(values)
        return [pairs[place] for place in self.passing]

    def text(self, values: Values) -> str:
        """The lines of the fields that pass this hop, each with its end."""
        text = self._text
        if text is None:
            text = self._write()
        pick = self._pick
        return text if pick is None else text % pick(values)

    def _write(self) -> str:
        lines: list[str] = []
        numbers: list[int] = []
        for place in self.passing:
            name, value = self.pairs[place]
            line = f"{name}: {value}"
            if place in self.blanks:
                numbers.append(self.places[self.names[place]])
                line = f"{name}: ".replace("%", "%%") + "%s"
            elif self.blanks:
                line = line.replace("%", "%%")
            lines.append(f"{line}\r\n")
        text = "".join(lines)
        # (in a shape with blanks, none of which passes, the text is no template either)
        if numbers:
            self._pick = _all_of if len(numbers) == len(self.blanks) else itemgetter(*numbers)
        elif self.blanks:
            text = text.replace("%%", "%")
        self._text = text
        return text


def _all_of(values: Values) -> Values:
    return values
