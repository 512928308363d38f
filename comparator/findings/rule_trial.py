"""What other rules would have said about the same observations.

Pure. Used before a change of rules goes into force.
"""

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass

from comparator.exchanges.difference import Difference
from comparator.findings.cases import OpenedCase
from comparator.verdict import Comparator, Comparison


@dataclass(frozen=True, slots=True)
class VerdictChange:
    """A difference that one rule set shows and the other does not."""

    exchange: str
    route: str
    kind: str
    place: str


@dataclass(frozen=True, slots=True)
class RuleTrial:
    """Comparisons under both rule sets: what the new one hides, what it reveals, and how many verdicts change."""

    compared: int
    verdicts_changed: int
    hidden: tuple[VerdictChange, ...]
    revealed: tuple[VerdictChange, ...]


def try_rules(old: Comparator, new: Comparator, cases: Iterable[OpenedCase], *, now: dt.datetime) -> RuleTrial:
    """Compare every case under both rule sets."""
    compared = changed = 0
    hidden: list[VerdictChange] = []
    revealed: list[VerdictChange] = []
    for case in cases:
        before = old.compare(case.route, case.served, case.mirrored, now=now)
        after = new.compare(case.route, case.served, case.mirrored, now=now)
        compared += 1
        changed += before.verdict is not after.verdict
        hidden += _only_in(before, after, case)
        revealed += _only_in(after, before, case)
    return RuleTrial(compared, changed, tuple(hidden), tuple(revealed))


def _only_in(one: Comparison, other: Comparison, case: OpenedCase) -> list[VerdictChange]:
    there = {_identity(difference) for difference in other.differences}
    return [
        VerdictChange(case.exchange.id, case.route, difference.kind, difference.place)
        for difference in one.differences
        if _identity(difference) not in there
    ]


def _identity(difference: Difference) -> tuple[str, str, str]:
    return difference.kind, difference.place, str(difference.natural_key)


def render_trial(trial: RuleTrial) -> str:
    """The result in words."""
    lines = [f"{trial.compared} compared under both rule sets, {trial.verdicts_changed} verdicts change"]
    for name, changes in (("would be hidden", trial.hidden), ("would be revealed", trial.revealed)):
        places: dict[tuple[str, str, str], list[str]] = {}
        for change in changes:
            places.setdefault((change.route, change.place, change.kind), []).append(change.exchange)
        lines.append(f"{name}: {len(changes)}")
        lines += [
            f"  {len(exchanges):>6}  {route}  {place}  {kind}  e.g. {exchanges[0]}"
            for (route, place, kind), exchanges in sorted(places.items(), key=lambda item: -len(item[1]))
        ]
    return "\n".join(lines)
