"""Judges two observations of one request: the one entry to the comparison.

Pure: a compiled `Comparator` and the day are all it needs. A verdict is about this one pair; whether a mismatch reproduces
(`confirm`) is decided by a second run, which the client makes.
"""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from comparator.effects.compare import EffectsResult, SideEffects, compare_effects
from comparator.effects.net_changes import KeyLookup, no_lookup
from comparator.effects.row_diff import compile_tables
from comparator.exchanges.difference import Difference, Kind, RuleHit
from comparator.exchanges.model import Effects, EffectsOutcome, Failed, Observation, Side
from comparator.responses.compare import EQUAL, ResponseResult, compare_responses, surely_equal
from comparator.rules.actions import ComparisonTime
from comparator.rules.compile import RouteRules, compile_routes
from comparator.rules.known_differences import CompiledKnown, compile_known, explained_by
from comparator.settings import CompareSettings


class Verdict(StrEnum):
    """What a comparison says.

    `match`: nothing differs beyond the rules. `known`: only declared known differences. `mismatch`: something else
    differs. `transient`: it differed, and did not when the mirrored side ran again. `failed`: there is nothing to compare.
    """

    MATCH = "match"
    KNOWN = "known"
    MISMATCH = "mismatch"
    TRANSIENT = "transient"
    FAILED = "failed"


class VerdictCause(StrEnum):
    """Why a verdict is what it is: a closed set, fit for a metric's label."""

    NONE = "none"
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


@dataclass(frozen=True, slots=True)
class ExplainedDifference:
    """A difference that a declaration explains; `declaration` is its path in the configuration."""

    difference: Difference
    declaration: str
    reason: str
    ticket: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """What was found about one pair of observations.

    `served_by` tells which side's values the `served` ones are. `differences` are those nothing explains, `known` those
    that are declared, `touches` the rules that allowed something (or no longer do: `expired`). `effects_compared` is
    False when a side's effects were not attributed, with the reason in `effects_note`. `undescribed` names changed tables
    without a description. `low_confidence`: every difference is in tables marked so. `confirmed` is None until a second
    run has been made.
    """

    verdict: Verdict
    cause: VerdictCause
    served_by: Side
    differences: tuple[Difference, ...] = ()
    known: tuple[ExplainedDifference, ...] = ()
    rule_hits: tuple[RuleHit, ...] = ()
    effects_compared: bool = False
    effects_note: str = ""
    rows: tuple[int, int] = (0, 0)
    undescribed: tuple[str, ...] = ()
    low_confidence: bool = False
    confirmed: bool | None = None

    @property
    def expired(self) -> tuple[RuleHit, ...]:
        """Rules that would have hidden something, had their term not been over."""
        return tuple(touch for touch in self.rule_hits if touch.expired)


@dataclass(frozen=True, slots=True)
class Lookups:
    """What `compare` may be told about rows and times outside the two observations, for each role.

    `delay`: how much later the mirrored side ran; give it when that may exceed the time tolerances (a replay).
    """

    served: KeyLookup = no_lookup
    mirrored: KeyLookup = no_lookup
    served_responded_lsn: int | None = None
    mirrored_responded_lsn: int | None = None
    delay: dt.timedelta = dt.timedelta(0)


NO_LOOKUPS: Final = Lookups()


class Comparator:
    """The section `compare:` of the configuration, compiled once; safe to share, it keeps no state between calls.

    Raises:
        RuleError: from the constructor, with the configuration path of what is wrong.
    """

    __slots__ = ("_known", "_routes", "_tables", "settings")

    def __init__(self, settings: CompareSettings) -> None:
        self.settings = settings
        self._routes = compile_routes(settings)
        self._tables = compile_tables(settings.tables)
        self._known: tuple[CompiledKnown, ...] = compile_known(settings)

    def compare(
        self,
        route: str,
        served: Observation,
        mirrored: Observation,
        *,
        now: dt.datetime,
        lookups: Lookups = NO_LOOKUPS,
    ) -> Comparison:
        """Compare what both sides did with one request.

        Args:
            route: the route's name in the configuration; an undeclared one has the global rules.
            served: what the serving side did, against the live database.
            mirrored: what the other side did, against the shadow database.
            now: aware time; decides which rules' terms are over.
            lookups: natural keys of rows outside the effects, and log positions at the responses.
        """
        a, b = served.outcome, mirrored.outcome
        if isinstance(a, Failed):
            return Comparison(Verdict.FAILED, VerdictCause(f"served_{a.cause}"), served.side)
        if isinstance(b, Failed):
            return Comparison(Verdict.FAILED, VerdictCause(f"mirrored_{b.cause}"), served.side)
        rules = self.rules_of(route)
        equal = surely_equal(a, b, rules)
        if equal and _nothing_written(served.effects, mirrored.effects):
            return _PLAIN_MATCH[served.side]
        today = (now if now.tzinfo is dt.UTC else now.astimezone(dt.UTC)).date()
        when = ComparisonTime(today, lookups.delay)
        response = EQUAL if equal else compare_responses(a, b, rules, when, max_bytes=self.settings.body_max_bytes)
        note = _why_not_compared(served, mirrored)
        effects = _NOTHING_WRITTEN if note else self._effects(served, mirrored, lookups, when)
        if response is EQUAL and effects is _NOTHING_WRITTEN and not note:
            return _PLAIN_MATCH[served.side]
        return self._judge(route, served.side, response, effects, note, today)

    def rules_of(self, route: str) -> RouteRules:
        """The rules for the responses of a route; an undeclared one has the global rules."""
        return self._routes.get(route) or self._routes[""]

    def _effects(
        self, served: Observation, mirrored: Observation, lookups: Lookups, when: ComparisonTime
    ) -> EffectsResult:
        left, right = served.effects.transactions, mirrored.effects.transactions
        if not left and not right:
            return _NOTHING_WRITTEN
        return compare_effects(
            SideEffects(left, lookups.served, lookups.served_responded_lsn),
            SideEffects(right, lookups.mirrored, lookups.mirrored_responded_lsn),
            self._tables,
            when,
        )

    def _judge(
        self, route: str, side: Side, response: ResponseResult, effects: EffectsResult, note: str, today: dt.date
    ) -> Comparison:
        found = (*response.differences, *effects.differences)
        touches = (*response.rule_hits, *effects.rule_hits)
        known: tuple[ExplainedDifference, ...] = ()
        if found:
            found, known, more = self._explain(route, side, found, today)
            touches += more
        verdict, cause = _verdict(found, known)
        return Comparison(
            verdict=verdict,
            cause=cause,
            served_by=side,
            differences=found,
            known=known,
            rule_hits=touches,
            effects_compared=not note,
            effects_note=note,
            rows=effects.rows,
            undescribed=effects.undescribed,
            low_confidence=bool(found) and all(d.table in effects.low_confidence for d in found),
        )

    def _explain(
        self, route: str, side: Side, found: Sequence[Difference], today: dt.date
    ) -> tuple[tuple[Difference, ...], tuple[ExplainedDifference, ...], tuple[RuleHit, ...]]:
        left: list[Difference] = []
        known: list[ExplainedDifference] = []
        expired: list[RuleHit] = []
        for difference in found:
            declared = explained_by(self._known, route, side, difference)
            holding = next((d for d in declared if d.holds(today)), None)
            if holding is not None:
                known.append(ExplainedDifference(difference, holding.id, holding.reason, holding.ticket))
                continue
            expired += [
                RuleHit(d.id, difference.path, expired=True, table=difference.table, column=difference.column)
                for d in declared
            ]
            left.append(difference)
        return tuple(left), tuple(known), tuple(expired)


_NOTHING_WRITTEN: Final = EffectsResult()

_CUT_ALIKE: Final = "the same up to the cut"


_PLAIN_MATCH: Final = {side: Comparison(Verdict.MATCH, VerdictCause.NONE, side, effects_compared=True) for side in Side}
"""The verdict of most pairs, made once."""


def _nothing_written(served: Effects, mirrored: Effects) -> bool:
    """Whether it is known that neither side committed anything."""
    if served.transactions or mirrored.transactions:
        return False
    return served.outcome is mirrored.outcome is EffectsOutcome.ATTRIBUTED


def _why_not_compared(served: Observation, mirrored: Observation) -> str:
    if served.effects.outcome is mirrored.effects.outcome is EffectsOutcome.ATTRIBUTED:
        return ""
    notes = [
        f"{name}: {side.effects.outcome}"
        for name, side in (("served", served), ("mirrored", mirrored))
        if side.effects.outcome is not EffectsOutcome.ATTRIBUTED
    ]
    return "; ".join(notes)


def _verdict(found: Sequence[Difference], known: Sequence[ExplainedDifference]) -> tuple[Verdict, VerdictCause]:
    if not found:
        return (Verdict.KNOWN if known else Verdict.MATCH), VerdictCause.NONE
    if all(d.kind is Kind.TRUNCATED and _CUT_ALIKE in str(d.served) for d in found):
        return Verdict.FAILED, VerdictCause.TRUNCATED
    response, effects = any(not d.table for d in found), any(d.table for d in found)
    if response and effects:
        return Verdict.MISMATCH, VerdictCause.RESPONSE_AND_EFFECTS
    return Verdict.MISMATCH, VerdictCause.RESPONSE if response else VerdictCause.EFFECTS


def confirm(first: Comparison, second: Comparison) -> Comparison:
    """Judge a mismatch by a second run of the mirrored side: confirmed if any of its differences came again.

    The second run may fail (it says nothing then, and the mismatch stands unconfirmed) or differ elsewhere, which is a
    mismatch of its own kind: the differences of both runs are kept, those of the first run first.
    """
    if first.verdict is not Verdict.MISMATCH or second.verdict is Verdict.FAILED:
        return first
    if second.verdict is not Verdict.MISMATCH:
        return replace(first, verdict=Verdict.TRANSIENT, confirmed=False)
    again = {_shape(d) for d in second.differences}
    if any(_shape(d) in again for d in first.differences):
        return replace(first, confirmed=True)
    return replace(first, verdict=Verdict.TRANSIENT, confirmed=False)


def _shape(difference: Difference) -> tuple[str, str, str]:
    return difference.kind, difference.place, str(difference.natural_key)


def places_by_rule(comparison: Comparison) -> Mapping[str, tuple[str, ...]]:
    """Which rule touched which places: the explanation of a comparison."""
    places: dict[str, list[str]] = {}
    for touch in comparison.rule_hits:
        places.setdefault(touch.rule, []).append(touch.place + (" (expired)" if touch.expired else ""))
    return {rule: tuple(found) for rule, found in places.items()}
