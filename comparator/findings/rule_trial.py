"""Compare the same cases under two sets of rules, to see the effect of a change of rules in advance. Pure."""

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass

from comparator.exchanges.comparison import Comparison
from comparator.exchanges.difference import BY_GRAMMAR, Difference
from comparator.findings.cases import OpenedCase
from comparator.verdict import Comparator


@dataclass(frozen=True, slots=True)
class VerdictChange:
    """A difference that one set of rules reports and the other does not."""

    exchange: str
    route: str
    kind: str
    place: str


@dataclass(frozen=True, slots=True)
class RuleTrial:
    """The result of a trial.

    Attributes:
        compared: number of comparisons under both sets of rules.
        verdicts_changed: number of comparisons whose verdict changes.
        hidden: differences that only the old rules report.
        revealed: differences that only the new rules report.
        by_grammar: comparisons in which values of headers are spelled differently and equal by their grammar, under any rules.
    """

    compared: int
    verdicts_changed: int
    hidden: tuple[VerdictChange, ...]
    revealed: tuple[VerdictChange, ...]
    by_grammar: int = 0


def try_rules(old: Comparator, new: Comparator, cases: Iterable[OpenedCase], *, now: dt.datetime) -> RuleTrial:
    """Compare every case under both sets of rules; `now` is an aware time, by which rules expire."""
    compared = changed = by_grammar = 0
    hidden: list[VerdictChange] = []
    revealed: list[VerdictChange] = []
    for case in cases:
        before = compare_case(old, case, now=now)
        after = compare_case(new, case, now=now)
        compared += 1
        changed += before.verdict is not after.verdict
        by_grammar += any(hit.rule.startswith(BY_GRAMMAR) for hit in after.rule_hits)
        hidden += _only_in(before, after, case)
        revealed += _only_in(after, before, case)
    return RuleTrial(compared, changed, tuple(hidden), tuple(revealed), by_grammar)


def compare_case(comparator: Comparator, case: OpenedCase, *, now: dt.datetime) -> Comparison:
    """Compare the observations of a case; `now` is an aware time, by which rules expire."""
    request, key = case.exchange.request, case.exchange.key
    return comparator.compare(case.route, case.served, case.mirrored, now=now, request=request, key=key)


def _only_in(comparison: Comparison, other: Comparison, case: OpenedCase) -> list[VerdictChange]:
    in_other = {_identity(difference) for difference in other.differences}
    return [
        VerdictChange(case.exchange.id, case.route, difference.kind, difference.place)
        for difference in comparison.differences
        if _identity(difference) not in in_other
    ]


def _identity(difference: Difference) -> tuple[str, str, str]:
    return difference.kind, difference.place, str(difference.natural_key)


@dataclass(frozen=True, slots=True)
class ChangedPlace:
    """The exchanges in which one set of rules reports a kind of difference at a place of a route, and the other does not."""

    route: str
    place: str
    kind: str
    exchanges: tuple[str, ...]


def changed_places(changes: Iterable[VerdictChange]) -> tuple[ChangedPlace, ...]:
    """Group changes by route, place and kind: those with the most exchanges first."""
    places: dict[tuple[str, str, str], list[str]] = {}
    for change in changes:
        places.setdefault((change.route, change.place, change.kind), []).append(change.exchange)
    grouped = [ChangedPlace(*key, tuple(exchanges)) for key, exchanges in places.items()]
    return tuple(sorted(grouped, key=lambda one: -len(one.exchanges)))


def render_trial(trial: RuleTrial) -> str:
    """Write the result of a trial as text."""
    lines = [f"{trial.compared} compared under both rule sets, {trial.verdicts_changed} verdicts change"]
    for name, changes in (("would be hidden", trial.hidden), ("would be revealed", trial.revealed)):
        lines.append(f"{name}: {len(changes)}")
        lines += [
            f"  {len(one.exchanges):>6}  {one.route}  {one.place}  {one.kind}  e.g. {one.exchanges[0]}"
            for one in changed_places(changes)
        ]
    if trial.by_grammar:
        lines.append(
            f"equal by the grammar of a header, whatever the rules: {trial.by_grammar} (shadow rules explain names them)"
        )
    return "\n".join(lines)
