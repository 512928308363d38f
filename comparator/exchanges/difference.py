"""The values a comparison is made of: differences, the rules that were touched, and how values are written down.

Pure. A difference is seen from the roles: `served` and `mirrored` are the two values; which of them is the candidate's is
known to the comparison.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple

from comparator.exchanges.json_place import Path, path_text
from comparator.exchanges.json_values import ABSENT


class Kind(StrEnum):
    """What sort of difference it is. `missing` and `extra` say what the mirrored side lacks or has more; `too_large` that there are
    more differences in a document than are kept.
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
    UNDESCRIBED = "undescribed"
    TRUNCATED_TABLE = "truncated_table"


MIRRORED_KINDS: Final[Mapping[Kind, Kind]] = {
    Kind.MISSING: Kind.EXTRA,
    Kind.EXTRA: Kind.MISSING,
    Kind.MISSING_ROW: Kind.EXTRA_ROW,
    Kind.EXTRA_ROW: Kind.MISSING_ROW,
}
"""The kind of the same difference when the sides change roles; kinds not named here keep theirs."""

NaturalKey = tuple[object, ...]
"""Values of a table's natural key; a referenced row stands as its own natural key (a tuple), a value as text or None."""


def place_of(path: Path, table: str, column: str) -> str:
    """A place of a response's body, or of a table, a column, or inside a JSON column, in one line; "" for a whole body."""
    inside = path_text(path)
    if not table:
        return inside
    outside = f"{table}.{column}" if column else table
    return f"{outside}.{inside}" if inside and inside[0] != "[" else outside + inside


@dataclass(frozen=True, slots=True)
class Difference:
    """One difference, outside of what rules allow.

    Of the response: `table` is "" and `path` a place in the body (or the header's name). Of the effects: `table`,
    `natural_key` (in the order of the table's description), `column`, and `path` inside a JSON column.
    `rule` names the rule whose tolerance was exceeded or whose term is over, if any.
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
        """Where it is, in one line: `stamps.Google.score`, `registry_score.evidence.rawScore`, `content-type`."""
        return place_of(self.path, self.table, self.column) or f"({self.kind})"

    def swapped(self) -> "Difference":
        """The same difference with the roles exchanged."""
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


class RuleHit(NamedTuple):
    """A rule that decided about one place: it allowed what differs, or its term is over (`expired`) and it did not.

    `path`, `table` and `column` say where, as in a `Difference`. A tuple, because a walk makes one for every place a rule
    touches and a frozen dataclass takes three times as long.
    """

    rule: str
    path: Path = ()
    expired: bool = False
    table: str = ""
    column: str = ""

    @property
    def place(self) -> str:
        """Where it is, in one line."""
        return place_of(self.path, self.table, self.column)
