"""What other rules would have said about stored comparisons: of most, the responses were not kept, only what differed and where.

Pure. A difference is judged again by its two values, a place that a rule decided about by whether the new rules have the same rule
there. What cannot be said from that (values that were cut, changed rules of rows, headers) is counted as not judged, never guessed.
"""

import datetime as dt
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from comparator.exchanges.difference import Kind
from comparator.exchanges.json_place import Step
from comparator.exchanges.json_values import ABSENT
from comparator.findings.cases import OpenedCase
from comparator.findings.rule_trial import RuleTrial, VerdictChange, render_trial, try_rules
from comparator.responses.exact_json import InvalidJsonError, parse
from comparator.rules.actions import Ignore, KeyedBy, Unordered
from comparator.rules.compile import CompiledRule, RouteRules
from comparator.rules.json_paths import Index, Name, parse_pattern
from comparator.store.comparison_detail import ComparisonDetail, DifferenceText, RuleHitText
from comparator.verdict import Comparator

_CUT: Final = re.compile(r"… \(\d+ more characters\)\Z")
_OF_THE_RESPONSE: Final = frozenset({Kind.MISSING, Kind.EXTRA, Kind.CHANGED, Kind.TYPE})


@dataclass(frozen=True, slots=True)
class StoredRow:
    """What the store holds of one comparison."""

    exchange_id: str
    route: str
    detail: ComparisonDetail


@dataclass(frozen=True, slots=True)
class StoredTrial:
    """A trial on the exchanges of a journal.

    `missing` have no stored comparison, `plain` matched without any rule, `in_full` were compared again from kept examples,
    `by_places` were judged by what was kept of them; `not_judged` counts places that cannot be judged so.
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
    """Try rules on what the store holds of these exchanges: their comparisons, and the examples among them."""
    kept = {case.exchange.id: case for case in cases}
    found = {row.exchange_id: row for row in rows}
    rest = [row for row in found.values() if row.exchange_id not in kept]
    plain = [row for row in rest if not (row.detail.differences or row.detail.known or row.detail.rule_hits)]
    judge = _Judge(old, new, now.astimezone(dt.UTC).date())
    judged = [row for row in rest if row not in plain]
    for row in judged:
        judge.row(row)
    full = try_rules(old, new, kept.values(), now=now)
    return StoredTrial(
        exchanges=len(ids),
        missing=len(set(ids) - found.keys() - kept.keys()),
        plain=len(plain),
        in_full=len(kept),
        by_places=len(judged),
        not_judged=judge.not_judged,
        trial=RuleTrial(
            full.compared + len(rest),
            full.verdicts_changed + judge.verdicts_changed,
            (*full.hidden, *judge.hidden),
            (*full.revealed, *judge.revealed),
        ),
    )


class _Judge:
    """Collects what changes, row by row."""

    def __init__(self, old: Comparator, new: Comparator, today: dt.date) -> None:
        self._old, self._new, self._today = old, new, today
        self._same_tables = old.settings.tables == new.settings.tables
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
        for touch in row.detail.rule_hits:
            after += self._touch(row, touch)
        self.verdicts_changed += (before > 0) != (after > 0)

    def _difference(self, row: StoredRow, difference: DifferenceText) -> tuple[bool, bool]:
        """Whether the old and the new rules show it."""
        if difference.key or difference.kind not in _OF_THE_RESPONSE:
            self.not_judged += bool(difference.key) and not self._same_tables
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
        if shown[0] != shown[1]:
            changes = self.hidden if shown[0] else self.revealed
            changes.append(VerdictChange(row.exchange_id, row.route, difference.kind, difference.place))
        return shown

    def _touch(self, row: StoredRow, touch: RuleHitText) -> bool:
        """Whether what a rule has hidden would show."""
        if touch.expired:
            return False
        if touch.rule.startswith("compare.tables."):
            self.not_judged += not self._same_tables
            return False
        path = _path_of(touch.place)
        old = [rule.action for rule in _holding(self._old.rules_of(row.route), path, self._today)]
        new = [rule.action for rule in _holding(self._new.rules_of(row.route), path, self._today)]
        if any(action in old or type(action) is Ignore for action in new):
            return False
        if new:
            self.not_judged += 1
            return False
        self.revealed.append(VerdictChange(row.exchange_id, row.route, "hidden", touch.place))
        return True

    def _allows(self, rules: RouteRules, path: Sequence[Step], a: object, b: object) -> bool | None:
        """Whether a rule lets two values of a place count as the same; None when that takes more than is known."""
        actions = [rule.action for rule in _holding(rules, path, self._today)]
        if any(type(action) is Ignore for action in actions):
            return True
        if any(isinstance(action, Unordered | KeyedBy) for action in actions) or (actions and _UNKNOWN in (a, b)):
            return None
        return any(action.allows(a, b) for action in actions)


def _holding(rules: RouteRules, path: Sequence[Step], today: dt.date) -> list[CompiledRule]:
    """The rules in force at a place, those that ignore a place above it included. Predicates in paths never hold here."""
    node, found = rules.body.root, list[CompiledRule]()
    for step in path:
        found += [rule for rule in node.payloads if type(rule.action) is Ignore]
        node = node.step(step)
    return [rule for rule in (*found, *node.payloads) if rule.applies(today)]


def _path_of(place: str) -> tuple[Step, ...]:
    """The path that a difference's place was written from; a whole body's is `(kind)`."""
    if place.startswith("("):
        return ()
    segments = parse_pattern(place)
    return tuple(s.name if isinstance(s, Name) else s.index for s in segments if isinstance(s, Name | Index))


_UNKNOWN: Final = object()


def _value_of(text: str) -> object:
    """The value that a stored text stands for; _UNKNOWN when it was cut."""
    if not text:
        return ABSENT
    try:
        return _UNKNOWN if _CUT.search(text) else parse(text.encode())
    except InvalidJsonError:
        return _UNKNOWN


def render_stored_trial(found: StoredTrial) -> str:
    """The result in words."""
    head = (
        f"{found.exchanges} exchanges in the journal: {found.missing} without a stored comparison, {found.plain} matched without a "
        f"rule, {found.in_full} compared again from kept examples, {found.by_places} judged by what was kept of them"
    )
    lines = [head] + ([f"{found.not_judged} places cannot be judged by that"] if found.not_judged else [])
    return "\n".join([*lines, render_trial(found.trial)])
