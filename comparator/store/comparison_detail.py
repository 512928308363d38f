"""Define a compared exchange, as it is added to the store, and the stored form of its differences. Pure."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import msgspec
import zstandard

from comparator.errors import CaseError
from comparator.exchanges.comparison import Comparison, Verdict
from comparator.exchanges.difference import Difference
from comparator.exchanges.json_values import shortened, value_text
from comparator.exchanges.model import Exchange, Failed, LeftOutReason, Observation, Side, StoredLeftOut, reasons_of
from comparator.exchanges.release import NO_RELEASE, ReleasePair
from comparator.findings.cases import Case
from comparator.findings.clustering import Occurrence
from comparator.store.timeline import Timeline

DIFFERENCES_MAX: Final = 200
"""Differences that are stored of one comparison; the number of all differences is stored too."""
VALUE_CHARS_MAX: Final = 2_000
"""Longest text of a stored value, in characters."""
EXAMPLE_CHARS_MAX: Final = 300
"""Longest text of each value in a finding's one-line example, in characters."""


@dataclass(frozen=True, slots=True)
class ComparedExchange:
    """One exchange with its comparison, as it is added to the store.

    Attributes:
        exchange: the exchange.
        served: observation of the serving side.
        mirrored: observation of the mirrored side.
        comparison: the comparison, redacted.
        compared_at: time of the comparison.
        key_digest: digest of the ordering key, None for none.
        target_digest: digest of the request's target, by which requests without an ordering key are grouped; None with a key.
        occurrences: findings that occur in the comparison, redacted.
        case: redacted case of a mismatch, which may become an example of its findings; None for none.
        release: the releases of both sides.
        timeline: when each step happened, None where that is not known.
    """

    exchange: Exchange
    served: Observation
    mirrored: Observation
    comparison: Comparison
    compared_at: dt.datetime
    key_digest: int | None = None
    occurrences: tuple[Occurrence, ...] = ()
    case: Case | None = None
    release: ReleasePair = NO_RELEASE
    target_digest: int | None = None
    timeline: Timeline | None = None

    @property
    def client_digest(self) -> int:
        """The digest of what counts as one client; 0 for all of which nothing is known."""
        return next((digest for digest in (self.key_digest, self.target_digest) if digest is not None), 0)


class DifferenceText(msgspec.Struct, frozen=True, omit_defaults=True):
    """The stored form of a difference: both values as JSON text, "" for an absent value."""

    kind: str
    place: str
    served: str = ""
    mirrored: str = ""
    key: str = ""
    rule: str = ""
    reason: str = ""
    ticket: str = ""


class RuleHitText(msgspec.Struct, frozen=True, omit_defaults=True):
    """The stored form of a rule hit."""

    rule: str
    place: str
    expired: bool = False


class ComparisonDetail(msgspec.Struct, frozen=True, omit_defaults=True):
    """The stored form of a comparison's differences and rule hits; `omitted` is the number of differences beyond DIFFERENCES_MAX."""

    differences: tuple[DifferenceText, ...] = ()
    known: tuple[DifferenceText, ...] = ()
    rule_hits: tuple[RuleHitText, ...] = ()
    undescribed: tuple[str, ...] = ()
    omitted: int = 0
    low_confidence: bool = False
    stored_left_out: StoredLeftOut = msgspec.field(default={}, name="left_out")

    @property
    def left_out(self) -> Mapping[str, LeftOutReason]:
        """The tables that were left out, each with the reason."""
        return reasons_of(self.stored_left_out)


def difference_text(difference: Difference, *, reason: str = "", ticket: str = "", rule: str = "") -> DifferenceText:
    """Convert a difference into its stored form; long values are shortened."""
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
    """Convert a comparison into its stored form."""
    return ComparisonDetail(
        differences=tuple(difference_text(d) for d in comparison.differences[:DIFFERENCES_MAX]),
        known=tuple(
            difference_text(k.difference, reason=k.reason, ticket=k.ticket, rule=k.declaration)
            for k in comparison.known[:DIFFERENCES_MAX]
        ),
        rule_hits=tuple(
            RuleHitText(hit.rule, hit.place, hit.expired) for hit in comparison.rule_hits[:DIFFERENCES_MAX]
        ),
        undescribed=comparison.undescribed,
        omitted=max(0, len(comparison.differences) - DIFFERENCES_MAX),
        low_confidence=comparison.low_confidence,
        stored_left_out=dict(comparison.left_out),
    )


_encoder: Final = msgspec.json.Encoder()
_decoder: Final = msgspec.json.Decoder(ComparisonDetail)


class _DetailTables(msgspec.Struct, frozen=True):
    """The part of a stored detail that lists of comparisons show."""

    left_out: StoredLeftOut = {}


_left_out_decoder: Final = msgspec.json.Decoder(_DetailTables)


def packed_detail(comparison: Comparison) -> bytes | None:
    """Encode the detail of a comparison for the store; None for a match of everything without rule hits, which has no detail."""
    if comparison.verdict is Verdict.MATCH and not (
        comparison.rule_hits or comparison.undescribed or comparison.left_out
    ):
        return None
    return pack(_encoder.encode(detail_of(comparison)))


def unpacked_detail(stored: bytes | None) -> ComparisonDetail:
    """Decode a stored detail.

    Raises:
        CaseError: the detail is damaged.
    """
    if stored is None:
        return ComparisonDetail()
    try:
        return _decoder.decode(unpack(stored))
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise CaseError(f"stored detail of a comparison is damaged: {error}") from error


def left_out_of(stored: bytes | None) -> Mapping[str, LeftOutReason]:
    """Decode the tables that were left out of a comparison, each with the reason, and nothing else of its detail.

    Raises:
        CaseError: the detail is damaged.
    """
    if stored is None:
        return {}
    try:
        return reasons_of(_left_out_decoder.decode(unpack(stored)).left_out)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise CaseError(f"stored detail of a comparison is damaged: {error}") from error


def pack(text: bytes) -> bytes:
    """Compress a small document."""
    return zstandard.compress(text, 3)


def unpack(stored: bytes) -> bytes:
    """Decompress a small document.

    Raises:
        CaseError: the document is damaged.
    """
    try:
        return zstandard.decompress(stored)
    except zstandard.ZstdError as error:
        raise CaseError(f"stored document is damaged: {error}") from error


_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def served_at(compared: ComparedExchange) -> dt.datetime:
    """Return the start of the exchange, to the microsecond: the key by which comparisons are partitioned."""
    return _EPOCH + dt.timedelta(microseconds=compared.exchange.started_ns // 1000)


def status_of(observation: Observation) -> int | None:
    """Return the status of an observation's response, None for a failure."""
    return None if isinstance(observation.outcome, Failed) else observation.outcome.status


def example_of(difference: Difference, served_by: Side) -> str:
    """Describe a difference in one line: the candidate's value and the legacy's, and the row."""
    row = f" of {value_text(difference.natural_key)}" if difference.natural_key else ""
    oriented = difference if served_by is Side.CANDIDATE else difference.swapped()
    candidate = shortened(value_text(oriented.served), EXAMPLE_CHARS_MAX) or "nothing"
    legacy = shortened(value_text(oriented.mirrored), EXAMPLE_CHARS_MAX) or "nothing"
    return f"{difference.place}{row}: candidate {candidate}, legacy {legacy}"
