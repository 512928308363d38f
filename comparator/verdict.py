"""Compare two observations of one request and decide the verdict: the entry to the comparison. Pure.

A verdict is about one pair of observations. The caller may mirror the request once more to see whether a mismatch reproduces (`confirm`).
"""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from comparator.effects.compare import EffectsResult, SideEffects, compare_effects
from comparator.effects.natural_keys import KeyLookup, no_lookup
from comparator.effects.row_diff import compile_tables
from comparator.effects.rows_by_key import RowsByKey, rows_by_key
from comparator.exchanges.comparison import Comparison, ExplainedDifference, Verdict, VerdictCause
from comparator.exchanges.difference import Difference, Kind, RuleHit
from comparator.exchanges.json_values import TruncatedBody
from comparator.exchanges.model import Effects, EffectsOutcome, Failed, Observation, Request, Side
from comparator.responses.compare import EQUAL, ResponseResult, compare_responses, surely_equal
from comparator.responses.exchange_evidence import evidence_of
from comparator.rules.actions import ComparisonTime
from comparator.rules.compile import RouteRules, compile_routes
from comparator.rules.known_differences import CompiledKnown, KnownInExchange, compile_known
from comparator.rules.run_times import response_times, row_times
from comparator.settings import CompareSettings


@dataclass(frozen=True, slots=True)
class Lookups:
    """Optional knowledge about rows outside of the two observations.

    Attributes:
        served: natural keys of live rows that the served side's transactions do not contain.
        mirrored: natural keys of shadow rows that the mirrored side's transactions do not contain.
        served_responded_lsn: log position of live at the response, None if it is unknown.
        mirrored_responded_lsn: log position of the shadow at the response, None if it is unknown.
    """

    served: KeyLookup = no_lookup
    mirrored: KeyLookup = no_lookup
    served_responded_lsn: int | None = None
    mirrored_responded_lsn: int | None = None


NO_LOOKUPS: Final = Lookups()


class Comparator:
    """The compiled section `compare:` of the configuration. It has no state between calls and may be shared.

    Raises:
        RuleError: the section is invalid.
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
        request: Request | None = None,
        key: str = "",
    ) -> Comparison:
        """Compare the observations of one request.

        Args:
            route: name of the route in the configuration; other routes have the global rules.
            served: observation of the serving side, on the live database.
            mirrored: observation of the mirrored side, on the shadow database.
            now: aware time, by which rules expire.
            lookups: natural keys of rows outside of the effects, and log positions at the responses.
            request: the request, for conditions of known differences; of an unknown one no condition on the request holds.
            key: its ordering key, "" for none.
        """
        a, b = served.outcome, mirrored.outcome
        if isinstance(a, Failed):
            return Comparison(Verdict.FAILED, VerdictCause(f"served_{a.cause}"), served.side)
        if isinstance(b, Failed):
            return Comparison(Verdict.FAILED, VerdictCause(f"mirrored_{b.cause}"), served.side)
        left_out = {**served.effects.left_out, **mirrored.effects.left_out}
        if left_out:
            both = (replace(side, effects=side.effects.without(left_out)) for side in (served, mirrored))
            compared = self.compare(route, *both, now=now, lookups=lookups, request=request, key=key)
            return replace(compared, left_out=dict(sorted(left_out.items())))
        rules = self.rules_of(route)
        equal = surely_equal(a, b, rules)
        if equal and _nothing_written(served.effects, mirrored.effects):
            return _PLAIN_MATCH[served.side]
        today = (now if now.tzinfo is dt.UTC else now.astimezone(dt.UTC)).date()
        response = EQUAL
        if not equal:
            when = ComparisonTime(today, response_times(served, mirrored))
            response = compare_responses(a, b, rules, when, max_bytes=self.settings.body_max_bytes)
        outcomes = _uncertain_outcomes(served.effects, mirrored.effects)
        effects = _NOTHING_WRITTEN if outcomes else self._effects(served, mirrored, lookups, today)
        if response is EQUAL and effects is _NOTHING_WRITTEN and not outcomes:
            return _PLAIN_MATCH[served.side]
        differences = (*response.differences, *effects.differences)
        explained: _Explained = (), (), ()
        if differences:
            observed = (served, mirrored)
            evidence = evidence_of(observed, request=request, key=key, body_max_bytes=self.settings.body_max_bytes)
            known = KnownInExchange(self._known, route, served.side, evidence)
            explained = _explain(known, differences, today)
        return _judge(served.side, response, effects, outcomes, explained)

    def rules_of(self, route: str) -> RouteRules:
        """Return the rules for the responses of a route; an undeclared route has the global rules."""
        return self._routes.get(route) or self._routes[""]

    def rows_by_key(self, served: Observation, mirrored: Observation) -> RowsByKey:
        """Return the rows that both sides changed, by table and natural key, without those of tables that are not compared."""
        left_out = {**served.effects.left_out, **mirrored.effects.left_out}
        left, right = (one.effects.without(left_out) for one in (served, mirrored))
        return rows_by_key(
            SideEffects(left.transactions, left.schemas), SideEffects(right.transactions, right.schemas), self._tables
        )

    def _effects(self, served: Observation, mirrored: Observation, lookups: Lookups, today: dt.date) -> EffectsResult:
        left, right = served.effects.transactions, mirrored.effects.transactions
        if not left and not right:
            return _NOTHING_WRITTEN
        return compare_effects(
            SideEffects(left, served.effects.schemas, lookups.served, lookups.served_responded_lsn),
            SideEffects(right, mirrored.effects.schemas, lookups.mirrored, lookups.mirrored_responded_lsn),
            self._tables,
            ComparisonTime(today, row_times(served, mirrored)),
        )


_Explained = tuple[tuple[Difference, ...], tuple[ExplainedDifference, ...], tuple[RuleHit, ...]]
"""Unexplained differences, known ones, and hits of expired declarations."""


def _judge(
    side: Side,
    response: ResponseResult,
    effects: EffectsResult,
    outcomes: tuple[EffectsOutcome, EffectsOutcome] | None,
    explained: _Explained,
) -> Comparison:
    differences, known, expired = explained
    verdict, cause = _verdict(differences, known)
    return Comparison(
        verdict=verdict,
        cause=cause,
        served_by=side,
        differences=differences,
        known=known,
        rule_hits=(*response.rule_hits, *effects.rule_hits, *expired),
        effects_compared=outcomes is None,
        effects_outcomes=outcomes,
        rows=effects.rows,
        undescribed=effects.undescribed,
        low_confidence=bool(differences) and all(d.table in effects.low_confidence for d in differences),
        differing_tables=tuple(sorted({d.table for d in differences if d.table} - set(effects.low_confidence))),
    )


def _explain(known: KnownInExchange, differences: Sequence[Difference], today: dt.date) -> _Explained:
    """Split differences into unexplained and known ones; return them with the hits of expired declarations."""
    unexplained: list[Difference] = []
    explained: list[ExplainedDifference] = []
    expired: list[RuleHit] = []
    for difference in differences:
        declared = known.explaining(difference)
        holding = next((d for d in declared if d.applies(today)), None)
        if holding is not None:
            explained.append(ExplainedDifference(difference, holding.id, holding.reason, holding.ticket))
            continue
        expired += [
            RuleHit(d.id, difference.path, expired=True, table=difference.table, column=difference.column)
            for d in declared
        ]
        unexplained.append(difference)
    return tuple(unexplained), tuple(explained), tuple(expired)


_NOTHING_WRITTEN: Final = EffectsResult()


_PLAIN_MATCH: Final = {side: Comparison(Verdict.MATCH, None, side, effects_compared=True) for side in Side}
"""The result of most pairs, created once."""


def _nothing_written(served: Effects, mirrored: Effects) -> bool:
    """Return whether it is certain that neither side committed anything."""
    if served.transactions or mirrored.transactions:
        return False
    return served.outcome is mirrored.outcome is EffectsOutcome.ATTRIBUTED


def _uncertain_outcomes(served: Effects, mirrored: Effects) -> tuple[EffectsOutcome, EffectsOutcome] | None:
    """Return both outcomes unless both sides' effects are attributed, i.e. can be compared."""
    if served.outcome is mirrored.outcome is EffectsOutcome.ATTRIBUTED:
        return None
    return served.outcome, mirrored.outcome


def _only_truncated(difference: Difference) -> bool:
    """Return whether a difference is that of two bodies that are equal as far as both were recorded."""
    return isinstance(difference.served, TruncatedBody) and difference.served.prefix_equal


def _verdict(
    differences: Sequence[Difference], known: Sequence[ExplainedDifference]
) -> tuple[Verdict, VerdictCause | None]:
    if not differences:
        return (Verdict.KNOWN if known else Verdict.MATCH), None
    if all(map(_only_truncated, differences)):
        return Verdict.FAILED, VerdictCause.TRUNCATED
    response, effects = any(not d.table for d in differences), any(d.table for d in differences)
    if response and effects:
        return Verdict.MISMATCH, VerdictCause.RESPONSE_AND_EFFECTS
    return Verdict.MISMATCH, VerdictCause.RESPONSE if response else VerdictCause.EFFECTS


def confirm(first: Comparison, second: Comparison) -> Comparison:
    """Decide by a second run of the mirrored side whether a mismatch reproduces.

    A second run refutes only what it could see: one whose rows were not compared says nothing of a row that differed.

    Returns:
        The first comparison: confirmed if at least one of its differences occurred again; as `transient` if the second run could see
        all of them and none occurred, also if it differed elsewhere; unchanged otherwise, and if the first was not a mismatch.
    """
    if first.verdict is not Verdict.MISMATCH or second.verdict is Verdict.FAILED:
        return first
    again = {_identity(d) for d in second.differences}
    if any(_identity(d) in again for d in first.differences):
        return replace(first, confirmed=True)
    if not all(_could_see(second, difference) for difference in first.differences):
        return first
    return replace(first, verdict=Verdict.TRANSIENT, confirmed=False)


def _could_see(comparison: Comparison, difference: Difference) -> bool:
    """Return whether a comparison would have this difference, if it were there.

    A run that answered with another status did other work, e.g. none: an INSERT into a table that is not captured is not undone before the
    second run, which then fails on it.
    """
    if not difference.table:
        return True
    other_status = any(d.kind is Kind.STATUS for d in comparison.differences)
    return comparison.effects_compared and difference.table not in comparison.left_out and not other_status


def _identity(difference: Difference) -> tuple[str, str, str]:
    return difference.kind, difference.place, str(difference.natural_key)
