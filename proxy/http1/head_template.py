r"""Head templates: the fields of a head with slots for the values that differ from head to head. Pure.

A head is a template and the values of its slots:

    Host: api.example               fields   (("Host", "api.example"), ("Cookie", ""), ("Accept", "*/*"), ("TE", "trailers"))
    Cookie: a=b                     slots    (1,)          the value of field 1 differs, so the template has "" there
    Accept: */*                     values   ("a=b",)      of this head; the next one has its own
    TE: trailers                    forwarded  (1, 2)      Host is rewritten and TE is hop-by-hop

Everything that depends on the template alone is computed once for all heads that share it: the indexes of the forwarded fields, and
their lines as one format string, here "Cookie: %s\r\nAccept: */*\r\n". To forward a head is then one `%`. A head that was just
parsed has a template of its own, without slots.
"""

from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any

from proxy.http1.fields import OVERRIDE_HEADERS, SHADOW_MARK, Field

Values = tuple[str, ...]
"""The values of a template's slots, in order."""

CONTROL_FIELDS = OVERRIDE_HEADERS | {SHADOW_MARK}
"""Request fields that tell the proxy how to treat the request."""


class HeadTemplate:
    """The fields of a head, with slots. A field with a slot occurs once.

    Args:
        fields: names and values in order, case and duplicates kept; the value of a slot is "".
        names: the lower-case names of `fields`.
        constants: the first value of each lower-case name; "" for a slot.
        forwarded: the indexes of the fields that are forwarded.
        slots: the indexes of the fields whose values differ, ascending.
        shared: whether other heads may have this template too.

    Attributes:
        present: the lower-case names, as a set.
        slot_indexes: the number of the slot of each lower-case name that has one.
        has_control_fields: whether one of CONTROL_FIELDS is present.
        journal_encoding: where the journal keeps how it encodes heads of this template.
    """

    __slots__ = (
        "_constants", "_format", "_select", "fields", "forwarded", "has_control_fields", "journal_encoding", "names", "present",
        "shared", "slot_indexes", "slots",
    )  # fmt: skip

    def __init__(
        self,
        fields: Sequence[Field],
        names: Sequence[str],
        constants: dict[str, str],
        forwarded: Sequence[int],
        slots: Sequence[int] = (),
        *,
        shared: bool = False,
    ) -> None:
        self.fields = fields
        self.names = names
        self.forwarded = forwarded
        self.slots = slots
        self.shared = shared
        self.present = constants.keys()
        self.slot_indexes = {names[index]: number for number, index in enumerate(slots)}
        self.has_control_fields = not CONTROL_FIELDS.isdisjoint(constants)
        self.journal_encoding: object = None
        self._constants = constants
        self._format: str | None = None
        self._select: Callable[[Values], Any] | None = None

    def with_slots(self, slots: Sequence[int]) -> "HeadTemplate":
        """Return the template of all heads that differ from this one in the values at these indexes only. It holds none of them."""
        empty = frozenset(slots)
        fields = [(name, "" if index in empty else value) for index, (name, value) in enumerate(self.fields)]
        constants = {**self._constants, **{self.names[index]: "" for index in slots}}
        return HeadTemplate(fields, self.names, constants, self.forwarded, slots, shared=True)

    def value(self, name: str, values: Values) -> str | None:
        """Return the first value of a field by its lower-case name, None when it is absent."""
        number = self.slot_indexes.get(name)
        return self._constants.get(name) if number is None else values[number]

    def first_values(self, values: Values) -> dict[str, str]:
        """Return the first value of each field by its lower-case name."""
        result = self._constants.copy()
        result.update(zip(self.slot_indexes, values, strict=True))
        return result

    def filled_fields(self, values: Values) -> list[Field]:
        """Return names and values of all fields, in order."""
        fields = list(self.fields)
        for index, value in zip(self.slots, values, strict=True):
            fields[index] = fields[index][0], value
        return fields

    def forwarded_fields(self, values: Values) -> list[Field]:
        """Return names and values of the fields that are forwarded, in order."""
        fields = self.filled_fields(values)
        return [fields[index] for index in self.forwarded]

    def forwarded_text(self, values: Values) -> str:
        """Return the lines of the fields that are forwarded, each with its CRLF."""
        text = self._format
        if text is None:
            text = self._compile()
        select = self._select
        return text if select is None else text % select(values)

    def _compile(self) -> str:
        """Make the format string of the forwarded lines and the function that selects the values that go into it."""
        lines: list[str] = []
        numbers: list[int] = []
        for index in self.forwarded:
            name, value = self.fields[index]
            line = f"{name}: {value}"
            if index in self.slots:
                numbers.append(self.slot_indexes[self.names[index]])
                line = f"{name}: ".replace("%", "%%") + "%s"
            elif self.slots:
                line = line.replace("%", "%%")
            lines.append(f"{line}\r\n")
        text = "".join(lines)
        if numbers:
            # Slots of fields that are not forwarded have no %s: with slots (Content-Length, Cookie) only value 1 is selected.
            self._select = _all_of if len(numbers) == len(self.slots) else itemgetter(*numbers)
        elif self.slots:
            # No slot is forwarded, so the text is used as it is, without `%`.
            text = text.replace("%%", "%")
        self._format = text
        return text


def _all_of(values: Values) -> Values:
    return values
