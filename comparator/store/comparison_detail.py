"""What the store is given about one compared exchange, and how its detail is kept.

Pure. `Compared` is made by whoever ran the comparison; `Detail` is the wire form of what differed.
"""

import datetime as dt
from dataclasses import dataclass
from typing import Final

import msgspec
import zstandard

from comparator.errors import CaseError
from comparator.exchanges.difference import Difference, RuleHit
from comparator.exchanges.json_values import shortened, value_text
from comparator.exchanges.model import Exchange, Failed, Observation
from comparator.findings.cases import Case
from comparator.findings.clustering import Occurrence
from comparator.verdict import Comparison, Verdict

DIFFERENCES_MAX: Final = 200
"""Differences kept in full for one comparison; their number is always kept."""
VALUE_CHARS_MAX: Final = 2_000
EXAMPLE_CHARS_MAX: Final = 300


@dataclass(frozen=True, slots=True)
class ComparedExchange:
    """One exchange with its verdict, ready for the store.

    `case` is given for mismatches that may become examples (already redacted). `key_digest` stands for the ordering key.
    """

    exchange: Exchange
    served: Observation
    mirrored: Observation
    comparison: Comparison
    compared_at: dt.datetime
    key_digest: int | None = None
    occurrences: tuple[Occurrence, ...] = ()
    case: Case | None = None


class DifferenceText(msgspec.Struct, frozen=True, omit_defaults=True):
    """A difference in words: both values as JSON text, "" where there is none."""

    kind: str
    place: str
    served: str = ""
    mirrored: str = ""
    key: str = ""
    rule: str = ""
    reason: str = ""
    ticket: str = ""


class RuleHitText(msgspec.Struct, frozen=True, omit_defaults=True):
    """A rule that was touched."""

    rule: str
    place: str
    expired: bool = False


class ComparisonDetail(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is kept of a comparison beside its columns. `omitted` counts differences beyond DIFFERENCES_MAX."""

    differences: tuple[DifferenceText, ...] = ()
    known: tuple[DifferenceText, ...] = ()
    rule_hits: tuple[RuleHitText, ...] = ()
    undescribed: tuple[str, ...] = ()
    omitted: int = 0
    low_confidence: bool = False


def difference_text(difference: Difference, *, reason: str = "", ticket: str = "", rule: str = "") -> DifferenceText:
    """Write a difference down, long values cut."""
    return DifferenceText(
        kind=difference.kind,
        place=difference.place,
        served=shortened(value_text(difference.served), VALUE_CHARS_MAX),
        mirrored=shortened(value_text(difference.mirrored), VALUE_CHARS_MAX),
        key=value_text(difference.natural_key) if difference.natural_key else "",
        rule=rule or difference.rule,
        reason=reason,
        ticket=ticket,
    )


def detail_of(comparison: Comparison) -> ComparisonDetail:
    """What to keep of a comparison."""
    return ComparisonDetail(
        differences=tuple(difference_text(d) for d in comparison.differences[:DIFFERENCES_MAX]),
        known=tuple(
            difference_text(k.difference, reason=k.reason, ticket=k.ticket, rule=k.declaration)
            for k in comparison.known[:DIFFERENCES_MAX]
        ),
        rule_hits=tuple(_touch_text(touch) for touch in comparison.rule_hits[:DIFFERENCES_MAX]),
        undescribed=comparison.undescribed,
        omitted=max(0, len(comparison.differences) - DIFFERENCES_MAX),
        low_confidence=comparison.low_confidence,
    )


def _touch_text(touch: RuleHit) -> RuleHitText:
    return RuleHitText(touch.rule, touch.place, touch.expired)


_encoder: Final = msgspec.json.Encoder()
_decoder: Final = msgspec.json.Decoder(ComparisonDetail)


def packed_detail(comparison: Comparison) -> bytes | None:
    """The detail as the store keeps it; None when a match touched no rule: there is nothing to tell."""
    if comparison.verdict is Verdict.MATCH and not comparison.rule_hits and not comparison.undescribed:
        return None
    return pack(_encoder.encode(detail_of(comparison)))


def unpacked_detail(kept: bytes | None) -> ComparisonDetail:
    """Read a kept detail back.

    Raises:
        CaseError: it is damaged.
    """
    if kept is None:
        return ComparisonDetail()
    try:
        return _decoder.decode(unpack(kept))
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise CaseError(f"a stored detail is damaged: {error}") from error


def pack(text: bytes) -> bytes:
    """Compress a small document."""
    return zstandard.compress(text, 3)


def unpack(kept: bytes) -> bytes:
    """Undo `pack`.

    Raises:
        CaseError: it is damaged.
    """
    try:
        return zstandard.decompress(kept)
    except zstandard.ZstdError as error:
        raise CaseError(f"a stored document is damaged: {error}") from error


def status_of(observation: Observation) -> int | None:
    """The status a side answered with, None when it gave no response."""
    return None if isinstance(observation.outcome, Failed) else observation.outcome.status


def example_of(difference: Difference) -> str:
    """One line that shows a difference: both values, and the row it is in."""
    row = f" of {value_text(difference.natural_key)}" if difference.natural_key else ""
    served = shortened(value_text(difference.served), EXAMPLE_CHARS_MAX) or "nothing"
    mirrored = shortened(value_text(difference.mirrored), EXAMPLE_CHARS_MAX) or "nothing"
    return f"{difference.place}{row}: served {served}, mirrored {mirrored}"
