"""Keep the sequences of the shadow apart from live's, so that an id made on the shadow never equals one that comes from live.

A clone moves all sequences (`comparator.capture.clone`). A migration that runs on both databases later adds sequences that begin at 1 on
both. They are told from swapped databases by the others:

    live    score_id_seq 81,204   note_id_seq 17      shadow   score_id_seq 1,099,511,627,903   note_id_seq 12
            moved apart                                        note_id_seq is new: it is moved, to 1,099,511,627,776
"""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import asyncpg

from comparator.capture.clone import ShadowSequence, shadow_start
from comparator.postgres import Connection

logger = logging.getLogger(__name__)

TIMEOUT_S: Final = 10.0

ALL_SEQUENCES: Final = """
SELECT s.seqrelid::regclass::text AS name,
       least(s.seqmax, min(CASE a.atttypid WHEN 'int2'::regtype THEN 32767 WHEN 'int4'::regtype THEN 2147483647 END)) AS maximum,
       array_agg(DISTINCT d.refobjid::bigint) FILTER (WHERE d.refobjid IS NOT NULL) AS owners
FROM pg_sequence s JOIN pg_class c ON c.oid = s.seqrelid JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = s.seqrelid AND d.refclassid = 'pg_class'::regclass
    AND d.deptype IN ('a', 'i') AND d.refobjsubid > 0
LEFT JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
WHERE s.seqincrement > 0 AND n.nspname <> ALL($1::text[])
GROUP BY s.seqrelid, s.seqmax ORDER BY 1
"""


@dataclass(frozen=True, slots=True)
class SequencePair:
    """A sequence in both databases.

    Attributes:
        name: quoted name.
        maximum: largest value of the sequence, and of the type of the column that it fills.
        live: last value in live; None when it does not exist there or cannot be read.
        shadow: last value in the shadow; None when it cannot be read.
        owners: oids of the shadow's tables whose columns it fills.
    """

    name: str
    maximum: int
    live: int | None
    shadow: int | None
    owners: frozenset[int]

    @property
    def start(self) -> int:
        """Value from which the shadow's sequence is far above live's."""
        return shadow_start(ShadowSequence(self.name, self.maximum, self.live))

    @property
    def is_apart(self) -> bool:
        """True if the shadow's sequence was moved."""
        return self.shadow is not None and self.shadow >= shadow_start(ShadowSequence(self.name, self.maximum, None))

    @property
    def is_behind(self) -> bool:
        """True if the shadow's sequence makes ids that live has, or will have."""
        return self.shadow is not None and self.live is not None and self.shadow <= self.live

    @property
    def looks_swapped(self) -> bool:
        """True if it was moved in the database that is said to be live."""
        return (
            self.is_behind
            and self.live is not None
            and self.live >= shadow_start(ShadowSequence(self.name, self.maximum, None))
        )


async def read_sequences(live: Connection, shadow: Connection, *, without_schemas: Sequence[str]) -> list[SequencePair]:
    """Read the sequences of the shadow, with their values in both databases."""
    rows = await shadow.fetch(ALL_SEQUENCES, list(without_schemas), timeout=TIMEOUT_S)
    pairs: list[SequencePair] = []
    for row in rows:
        on_live, on_shadow = [await _last_value(conn, row["name"]) for conn in (live, shadow)]
        owners = frozenset[int](row["owners"] or ())
        pairs.append(SequencePair(row["name"], row["maximum"], on_live, on_shadow, owners))
    return pairs


async def advance(shadow: Connection, sequences: Iterable[SequencePair]) -> list[str]:
    """Move sequences of the shadow that are not apart from live's; return their names."""
    advanced: list[str] = []
    for sequence in sequences:
        if sequence.is_apart:
            continue
        try:
            await shadow.execute(
                "SELECT setval($1::text::regclass, $2, false)", sequence.name, sequence.start, timeout=TIMEOUT_S
            )
        except asyncpg.InsufficientPrivilegeError:
            logger.warning(
                "shadow_sequence_not_advanced",
                extra={"sequence": sequence.name, "do": "grant UPDATE on it to the runner's role on the shadow"},
            )
        else:
            advanced.append(sequence.name)
    if advanced:
        logger.info("shadow_sequences_advanced", extra={"sequences": advanced})
    return advanced


async def _last_value(conn: Connection, sequence: str) -> int | None:
    """Return the last value of a sequence; None when it does not exist or cannot be read."""
    try:
        last: int = await conn.fetchval(f"SELECT last_value FROM {sequence}", timeout=TIMEOUT_S)  # noqa: S608 (a regclass)
    except (asyncpg.UndefinedTableError, asyncpg.InsufficientPrivilegeError):
        return None
    return last
