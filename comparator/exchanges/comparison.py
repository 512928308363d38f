"""Define the result of comparing two observations of one request: the verdict, its cause, and the differences. Pure.

`comparator.verdict` makes it. What only reads results, such as the store's queries, does not need the comparison itself.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from comparator.exchanges.difference import Difference, RuleHit
from comparator.exchanges.model import EffectsOutcome, LeftOutReason, Role, Side


class Verdict(StrEnum):
    """The result of a comparison.

    Attributes:
        MATCH: nothing differs beyond what rules allow.
        KNOWN: only known differences, declared in `compare.known_differences`.
        MISMATCH: an unexplained difference.
        TRANSIENT: a mismatch that did not reproduce when the request was mirrored once more.
        FAILED: there is nothing to compare.
    """

    MATCH = "match"
    KNOWN = "known"
    MISMATCH = "mismatch"
    TRANSIENT = "transient"
    FAILED = "failed"


class VerdictCause(StrEnum):
    """The cause of a mismatch or a failure: a closed set, suitable as a metric's label."""

    RESPONSE = "response"
    EFFECTS = "effects"
    RESPONSE_AND_EFFECTS = "response_and_effects"
    TRUNCATED = "truncated"
    SERVED_REFUSED = "served_refused"
    SERVED_TIMEOUT = "served_timeout"
    SERVED_RESET = "served_reset"
    SERVED_PROTOCOL = "served_protocol"
    SERVED_OVERLOAD = "served_overload"
    SERVED_EJECTED = "served_ejected"
    MIRRORED_REFUSED = "mirrored_refused"
    MIRRORED_TIMEOUT = "mirrored_timeout"
    MIRRORED_RESET = "mirrored_reset"
    MIRRORED_PROTOCOL = "mirrored_protocol"
    MIRRORED_OVERLOAD = "mirrored_overload"
    MIRRORED_EJECTED = "mirrored_ejected"


NO_CAUSE: Final = "none"
"""Text of a verdict without a cause in the store and in labels of metrics."""


@dataclass(frozen=True, slots=True)
class ExplainedDifference:
    """A known difference; `declaration` is the configuration path of its declaration."""

    difference: Difference
    declaration: str
    reason: str
    ticket: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """The result of comparing one pair of observations.

    Attributes:
        verdict: the verdict.
        cause: cause of a mismatch or failure; None for the other verdicts.
        served_by: the side that served, whose values are the `served` ones.
        differences: unexplained differences.
        known: differences that a declaration explains.
        rule_hits: places where a rule allowed a difference, or has expired and no longer does.
        effects_compared: the effects of both sides were attributed, and compared.
        effects_outcomes: confidence of the served and the mirrored side's effects if they were not compared; None if they were, and
            for a failure.
        rows: numbers of rows with a net change: served, mirrored.
        undescribed: changed tables without a description in `compare.tables`.
        low_confidence: every difference is in a table that is marked `low_confidence`.
        differing_tables: the other tables with differing rows, in alphabetical order.
        confirmed: the mismatch reproduced; None before a second run.
        left_out: tables that were not compared, because rows of them may be this request's or another's: the reason by table, in
            alphabetical order.
    """

    verdict: Verdict
    cause: VerdictCause | None
    served_by: Side
    differences: tuple[Difference, ...] = ()
    known: tuple[ExplainedDifference, ...] = ()
    rule_hits: tuple[RuleHit, ...] = ()
    effects_compared: bool = False
    effects_outcomes: tuple[EffectsOutcome, EffectsOutcome] | None = None
    rows: tuple[int, int] = (0, 0)
    undescribed: tuple[str, ...] = ()
    low_confidence: bool = False
    differing_tables: tuple[str, ...] = ()
    confirmed: bool | None = None
    left_out: Mapping[str, LeftOutReason] = field(default_factory=dict[str, LeftOutReason])

    @property
    def cause_label(self) -> str:
        """The cause as text for the store and for labels of metrics: NO_CAUSE for none."""
        return NO_CAUSE if self.cause is None else self.cause.value

    @property
    def response_only(self) -> bool:
        """The verdict rests on the responses alone; `effects_note` has the reason."""
        return self.verdict is not Verdict.FAILED and not self.effects_compared

    @property
    def effects_note(self) -> str:
        """The reason for which effects were not compared, e.g. `legacy (mirrored): lost`; "" if they were, and for a failure.

        The candidate comes first, whichever side served.
        """
        outcomes = self.effects_outcomes or ()
        sides = ((self.served_by, Role.SERVED), (self.served_by.other, Role.MIRRORED))
        notes = [
            f"{side} ({role}): {outcome}"
            for (side, role), outcome in sorted(zip(sides, outcomes, strict=False))
            if outcome is not EffectsOutcome.ATTRIBUTED
        ]
        return "; ".join(notes)

    @property
    def is_complete(self) -> bool:
        """True if rows were compared, and those of no table were left out: only then is a match one of rows too."""
        return self.effects_compared and not self.left_out

    @property
    def rows_whole(self) -> bool:
        """The verdict rests on the rows of all tables."""
        return self.verdict is not Verdict.FAILED and self.is_complete

    @property
    def partial(self) -> bool:
        """The verdict rests on rows, but not on those of the tables that were left out."""
        return self.verdict is not Verdict.FAILED and self.effects_compared and bool(self.left_out)

    @property
    def expired(self) -> tuple[RuleHit, ...]:
        """The expired rules that would have allowed a difference."""
        return tuple(hit for hit in self.rule_hits if hit.expired)


def not_compared_text(*, rows_compared: bool, left_out: Collection[str] = ()) -> str:
    """Say what a verdict does not rest on: `rows not compared`, `table audit left out`; "" if it rests on the rows of all tables.

    Args:
        rows_compared: rows were compared, beside the responses.
        left_out: tables whose rows were not compared although those of others were.
    """
    if not rows_compared:
        return "rows not compared"
    if not left_out:
        return ""
    return f"table{'' if len(left_out) == 1 else 's'} {', '.join(sorted(left_out))} left out"


def places_by_rule(comparison: Comparison) -> Mapping[str, tuple[str, ...]]:
    """Return the places that each rule matched, by the rule's configuration path."""
    places: dict[str, list[str]] = {}
    for hit in comparison.rule_hits:
        places.setdefault(hit.rule, []).append(hit.place + (" (expired)" if hit.expired else ""))
    return {rule: tuple(matched) for rule, matched in places.items()}
