"""Define differences between two observations, and rule hits: the places where a rule allowed one. Pure.

`served` and `mirrored` are the two roles' values. Which of them is the candidate's is known to the comparison (`served_by`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple

from comparator.exchanges.json_place import Path, path_text
from comparator.exchanges.json_values import ABSENT


class Kind(StrEnum):
    """The kind of a difference, from the mirrored side's point of view.

    Attributes:
        STATUS: another HTTP status code.
        HEADER: another value of a compared header, or the header is absent on one side.
        MISSING: the mirrored document lacks a value.
        EXTRA: the mirrored document has an additional value.
        CHANGED: two values of one JSON type.
        TYPE: values of two JSON types; 1 and 1.0 are two types.
        ORDER: an array with equal elements in another order.
        TOO_LARGE: more differences in one document than are kept; the values are digests of both documents.
        DUPLICATE_KEY: a member name that occurs more than once in an object of one side.
        BODY: bodies of two kinds, or bodies that were compared as a whole.
        INVALID_BODY: a body that cannot be decoded or parsed.
        TRUNCATED: a body of which only the beginning was recorded.
        MISSING_ROW: a row that the mirrored side did not leave behind.
        EXTRA_ROW: a row that only the mirrored side left behind.
        COLUMN: another value of a column.
        LATE: a row that one side committed after its response and the other before.
        TRUNCATED_TABLE: a TRUNCATE that only one side ran.
    """

    STATUS = "status"
    HEADER = "header"
    MISSING = "missing"
    EXTRA = "extra"
    CHANGED = "changed"
    TYPE = "type"
    ORDER = "order"
    TOO_LARGE = "too_large"
    DUPLICATE_KEY = "duplicate_key"
    BODY = "body"
    INVALID_BODY = "invalid_body"
    TRUNCATED = "truncated"
    MISSING_ROW = "missing_row"
    EXTRA_ROW = "extra_row"
    COLUMN = "column"
    LATE = "late"
    TRUNCATED_TABLE = "truncated_table"


MIRRORED_KINDS: Final[Mapping[Kind, Kind]] = {
    Kind.MISSING: Kind.EXTRA,
    Kind.EXTRA: Kind.MISSING,
    Kind.MISSING_ROW: Kind.EXTRA_ROW,
    Kind.EXTRA_ROW: Kind.MISSING_ROW,
}
"""The kind of a difference after the sides have changed roles; kinds that are not listed stay the same."""

NaturalKey = tuple[object, ...]
"""Values of a table's natural key. A column's value is text or None; a foreign key is the natural key of the referenced row, a tuple."""


def place_of(path: Path, table: str, column: str) -> str:
    """Write the place of a difference in one line: `score`, `event.data`, `event.data.rawScore`; "" is a whole body."""
    inside = path_text(path)
    if not table:
        return inside
    outside = f"{table}.{column}" if column else table
    return f"{outside}.{inside}" if inside and inside[0] != "[" else outside + inside


@dataclass(frozen=True, slots=True)
class Difference:
    """One difference that no rule allows.

    Attributes:
        kind: its kind, as seen from the mirrored side.
        path: a place in the body, or in a JSON column; of a header its name alone.
        served: the serving side's value, ABSENT for none.
        mirrored: the mirrored side's value, ABSENT for none.
        table: the table of a row difference; "" for a difference of the responses.
        natural_key: the row, in the order of `compare.tables.<table>.natural_key`.
        column: the column, "" for a whole row.
        rule: configuration path of the rule whose tolerance was exceeded or which has expired; "" for none.
    """

    kind: Kind
    path: Path = ()
    served: object = ABSENT
    mirrored: object = ABSENT
    table: str = ""
    natural_key: NaturalKey = ()
    column: str = ""
    rule: str = ""

    @property
    def place(self) -> str:
        """The place in one line: `stamps.Google.score`, `registry_score.evidence.rawScore`, `content-type`."""
        return place_of(self.path, self.table, self.column) or f"({self.kind})"

    def swapped(self) -> "Difference":
        """Return the difference with the roles exchanged."""
        return Difference(
            kind=MIRRORED_KINDS.get(self.kind, self.kind),
            path=self.path,
            served=self.mirrored,
            mirrored=self.served,
            table=self.table,
            natural_key=self.natural_key,
            column=self.column,
            rule=self.rule,
        )


BY_GRAMMAR: Final = "grammar: "
"""Begins the `rule` of a hit that no configured rule made: values of a header that are equal by its grammar, whose name follows."""


class RuleHit(NamedTuple):
    """A rule that matched a place where the sides differ: it allowed the difference, or it has expired and did not.

    `rule` is the rule's configuration path, or BY_GRAMMAR with the name of a grammar; `path`, `table` and `column` name the place, as in a
    `Difference`.
    """

    # A tuple, because a walk creates one for each allowed place and a frozen dataclass takes three times as long to create.

    rule: str
    path: Path = ()
    expired: bool = False
    table: str = ""
    column: str = ""

    @property
    def place(self) -> str:
        """The place in one line."""
        return place_of(self.path, self.table, self.column)
