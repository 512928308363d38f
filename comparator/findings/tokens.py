"""Reduce a finding to the token by which causes are solved: the finding without its route, with its level in the exchange. Pure.

A fault that shows on three routes makes nine findings and three tokens, so it is one cause. Only a response of another status class
(`500 / 200`) keeps its route: it says too little of its own to tell two faults apart.

    finding v2_score, missing_row, registry_event, action=SCU    token ROW registry_event action=SCU missing_row
    finding embed_score, column, registry_score.score            token COLUMN registry_score.score null / text
"""

from collections.abc import Iterable
from enum import IntEnum
from typing import Final

import msgspec

from comparator.exchanges.difference import Kind
from comparator.findings.clustering import Signature, change_in_words


class Level(IntEnum):
    """The distance of a token from the fault: a missing row makes columns and fields differ, never the other way round.

    Attributes:
        STATUS: a response of another status class: nothing else of the exchange can be compared.
        ROW: a row that one side lacks, or commits after its response.
        COLUMN: a column, or a place inside of a JSON column.
        FIELD: a place in the response's body, the body as a whole, or a status of the same class.
        HEADER: a header of the response.
    """

    STATUS = 0
    ROW = 1
    COLUMN = 2
    FIELD = 3
    HEADER = 4


class Token(msgspec.Struct, frozen=True, omit_defaults=True):
    """One kind of finding, seen from the candidate relative to the legacy; `route` is set at Level.STATUS only."""

    level: Level
    table: str
    discriminator: str
    place: str
    kind: Kind
    shape: str
    route: str = ""

    @property
    def name(self) -> str:
        """The token in one line: equal in every process, and the last resort of every tie."""
        return " ".join((str(int(self.level)), self.place, self.discriminator, self.kind, self.shape, self.route))

    @property
    def where(self) -> str:
        """The place, with the discriminator of its row and the route it is limited to: `registry_event (action=SCU)`."""
        return f"{self.place}{f' ({self.discriminator})' if self.discriminator else ''}{f' of {self.route}' if self.route else ''}"

    @property
    def what(self) -> str:
        """The change in words."""
        return change_in_words(self.kind, self.shape)


_ROW_KINDS: Final = frozenset({Kind.MISSING_ROW, Kind.EXTRA_ROW, Kind.LATE, Kind.TRUNCATED_TABLE})
HIDING_ROWS: Final = _ROW_KINDS - {Kind.LATE}
"""Kinds of a row of which no column can be compared."""
WHOLE_BODY: Final = frozenset({Kind.BODY, Kind.INVALID_BODY, Kind.TRUNCATED, Kind.TOO_LARGE})
"""Kinds of a difference of whole documents: no place inside of them is compared."""


def token_of(signature: Signature) -> Token:
    """Return the token of a finding."""
    level = _level_of(signature)
    return Token(
        level,
        signature.table,
        signature.discriminator,
        signature.place,
        signature.kind,
        signature.shape,
        signature.route if level is Level.STATUS else "",
    )


def tokens_of(signatures: Iterable[Signature]) -> frozenset[Token]:
    """Return the tokens of the findings of one exchange."""
    return frozenset(map(token_of, signatures))


def _level_of(signature: Signature) -> Level:
    match signature.kind:
        case Kind.STATUS:
            candidate, _, legacy = signature.shape.partition(" / ")
            return Level.FIELD if legacy[:1] == candidate[:1] else Level.STATUS
        case Kind.HEADER:
            return Level.HEADER
        case kind if kind in _ROW_KINDS:
            return Level.ROW
        case _:
            return Level.COLUMN if signature.table else Level.FIELD
