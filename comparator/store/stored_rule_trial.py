"""Predict the effect of changed rules on stored comparisons. Pure.

Of most comparisons the responses are not stored, only their differences and rule hits. A difference is judged again by its two values, and
a rule hit by whether the new rules have the same action at its place. Places that cannot be judged so (shortened values, changed rules of
rows, headers) are counted, never guessed.
"""

import datetime as dt
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from comparator.exchanges.difference import BY_GRAMMAR, Kind
from comparator.exchanges.json_place import Step
from comparator.exchanges.json_values import ABSENT
from comparator.findings.cases import OpenedCase
from comparator.findings.rule_trial import RuleTrial, VerdictChange, render_trial, try_rules
from comparator.responses.exact_json import InvalidJsonError, parse
from comparator.rules.actions import Ignore, KeyedBy, Unordered
from comparator.rules.compile import CompiledRule, RouteRules
from comparator.rules.json_paths import Index, Name, parse_pattern
from comparator.settings import KnownDifference
from comparator.store.comparison_detail import ComparisonDetail, DifferenceText, RuleHitText
from comparator.verdict import Comparator

_CUT: Final = re.compile(r"… \(\d+ more characters\)\Z")
_OF_THE_RESPONSE: Final = frozenset({Kind.MISSING, Kind.EXTRA, Kind.CHANGED, Kind.TYPE})


@dataclass(frozen=True, slots=True)
class StoredRow:
    """The stored part of one comparison."""

    exchange_id: str
    route: str
    detail: ComparisonDetail


@dataclass(frozen=True, slots=True)
class StoredTrial:
    """The result of a trial on the exchanges of a journal.

    Attributes:
        exchanges: number of exchanges in the journal.
        missing: exchanges without a stored comparison.
        plain: matches without a rule hit, which no rule can change.
        in_full: exchanges with a stored example, which were compared again.
        by_places: exchanges that were judged by their stored differences and rule hits.
        not_judged: number of places that cannot be judged.
        trial: hidden and revealed differences.
    """

    exchanges: int
    missing: int
    plain: int
    in_full: int
    by_places: int
    not_judged: int
    trial: RuleTrial


def try_on_stored(
    old: Comparator,
    new: Comparator,
    ids: Sequence[str],
    rows: Iterable[StoredRow],
    cases: Iterable[OpenedCase],
    *,
    now: dt.datetime,
) -> StoredTrial:
    """Compare stored exchanges under two sets of rules.

    Args:
        old: the rules in force.
        new: the rules to try.
        ids: ids of the exchanges of the journal.
        rows: their stored comparisons.
        cases: stored examples of them.
        now: aware time, by which rules expire.
    """
    by_case = {case.exchange.id: case for case in cases}
    by_row = {row.exchange_id: row for row in rows}
    rest = [row for row in by_row.values() if row.exchange_id not in by_case]
    plain = [row for row in rest if not (row.detail.differences or row.detail.known or row.detail.rule_hits)]
    judge = _StoredRowJudge(old, new, now.astimezone(dt.UTC).date())
    judged = [row for row in rest if row not in plain]
    for row in judged:
        judge.row(row)
    full = try_rules(old, new, by_case.values(), now=now)
    return StoredTrial(
        exchanges=len(ids),
        missing=len(set(ids) - by_row.keys() - by_case.keys()),
        plain=len(plain),
        in_full=len(by_case),
        by_places=len(judged),
        not_judged=judge.not_judged,
        trial=RuleTrial(
            full.compared + len(rest),
            full.verdicts_changed + judge.verdicts_changed,
            (*full.hidden, *judge.hidden),
            (*full.revealed, *judge.revealed),
            full.by_grammar + sum(any(hit.rule.startswith(BY_GRAMMAR) for hit in row.detail.rule_hits) for row in rest),
        ),
    )


class _StoredRowJudge:
    """Judge stored comparisons one after another, and collect the changes."""

    def __init__(self, old: Comparator, new: Comparator, today: dt.date) -> None:
        self._old, self._new, self._today = old, new, today
        self._same_tables = old.settings.tables == new.settings.tables
        self._declared = _declarations(old), _declarations(new)
        self._declares_more = any(self._declared[0].get(name) != known for name, known in self._declared[1].items())
        self.hidden: list[VerdictChange] = []
        self.revealed: list[VerdictChange] = []
        self.not_judged = 0
        self.verdicts_changed = 0

    def row(self, row: StoredRow) -> None:
        before = after = 0
        for difference in row.detail.differences:
            shown = self._difference(row, difference)
            before += shown[0]
            after += shown[1]
        for hit in row.detail.rule_hits:
            after += self._rule_hit(row, hit)
        for known in row.detail.known:
            after += self._known(row, known)
        self.verdicts_changed += (before > 0) != (after > 0)

    def _difference(self, row: StoredRow, difference: DifferenceText) -> tuple[bool, bool]:
        """Return whether the old and the new rules report a difference."""
        if difference.key or difference.kind not in _OF_THE_RESPONSE:
            self.not_judged += (bool(difference.key) and not self._same_tables) or self._declares_more
            return True, True
        path = _path_of(difference.place)
        values = _value_of(difference.served), _value_of(difference.mirrored)
        verdicts = [
            self._allows(comparator.rules_of(row.route), path, *values) for comparator in (self._old, self._new)
        ]
        if None in verdicts:
            self.not_judged += 1
            return True, True
        shown = not verdicts[0], not verdicts[1]
        # (a declaration may depend on the request and on the row, which are not stored)
        self.not_judged += shown[1] and self._declares_more
        if shown[0] != shown[1]:
            changes = self.hidden if shown[0] else self.revealed
            changes.append(VerdictChange(row.exchange_id, row.route, difference.kind, difference.place))
        return shown

    def _known(self, row: StoredRow, known: DifferenceText) -> bool:
        """Return whether the new rules report a difference that the old ones declare as known."""
        before, after = (declared.get(known.rule) for declared in self._declared)
        if after is not None:
            self.not_judged += before != after
            return False
        self.revealed.append(VerdictChange(row.exchange_id, row.route, known.kind, known.place))
        return True

    def _rule_hit(self, row: StoredRow, hit: RuleHitText) -> bool:
        """Return whether the new rules report a difference that an old rule allowed."""
        if hit.expired or hit.rule.startswith(BY_GRAMMAR):
            return False
        if hit.rule.startswith("compare.tables."):
            self.not_judged += not self._same_tables
            return False
        path = _path_of(hit.place)
        old = [rule.action for rule in _rules_in_force(self._old.rules_of(row.route), path, self._today)]
        new = [rule.action for rule in _rules_in_force(self._new.rules_of(row.route), path, self._today)]
        if any(action in old or type(action) is Ignore for action in new):
            return False
        if new:
            self.not_judged += 1
            return False
        self.revealed.append(VerdictChange(row.exchange_id, row.route, "hidden", hit.place))
        return True

    def _allows(self, rules: RouteRules, path: Sequence[Step], a: object, b: object) -> bool | None:
        """Return whether a rule allows two values to differ at a place; None if the stored values do not suffice to decide."""
        actions = [rule.action for rule in _rules_in_force(rules, path, self._today)]
        if any(type(action) is Ignore for action in actions):
            return True
        if any(isinstance(action, Unordered | KeyedBy) for action in actions) or (actions and _UNKNOWN in (a, b)):
            return None
        return any(action.allows(a, b) for action in actions)


def _declarations(comparator: Comparator) -> Mapping[str, KnownDifference]:
    """Return the declared differences by their configuration path."""
    return {f"compare.known_differences[{known.name}]": known for known in comparator.settings.known_differences}


def _rules_in_force(rules: RouteRules, path: Sequence[Step], today: dt.date) -> list[CompiledRule]:
    """Return the rules in force at a place, including those that ignore a place above it. Predicates in paths never match."""
    node, ignoring = rules.body.root, list[CompiledRule]()
    for step in path:
        ignoring += [rule for rule in node.payloads if type(rule.action) is Ignore]
        node = node.step(step)
    return [rule for rule in (*ignoring, *node.payloads) if rule.applies(today)]


def _path_of(place: str) -> tuple[Step, ...]:
    """Return the path from which the place of a difference was written; a whole body is written `(kind)`."""
    if place.startswith("("):
        return ()
    segments = parse_pattern(place)
    return tuple(s.name if isinstance(s, Name) else s.index for s in segments if isinstance(s, Name | Index))


_UNKNOWN: Final = object()


def _value_of(text: str) -> object:
    """Parse a stored value; return _UNKNOWN if its text was shortened."""
    if not text:
        return ABSENT
    try:
        return _UNKNOWN if _CUT.search(text) else parse(text.encode())
    except InvalidJsonError:
        return _UNKNOWN


def render_stored_trial(result: StoredTrial) -> str:
    """Write the result of a trial as text."""
    head = (
        f"{result.exchanges} exchanges in the journal: {result.missing} without a stored comparison, {result.plain} matched without a "
        f"rule, {result.in_full} compared again from stored examples, {result.by_places} judged by their stored differences"
    )
    lines = [head] + ([f"{result.not_judged} places cannot be judged from what is stored"] if result.not_judged else [])
    return "\n".join([*lines, render_trial(result.trial)])
