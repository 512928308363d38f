"""Compare a replay with an earlier one of the same recording: causes introduced and resolved, and each exchange. Pure.

    baseline         this run
    a  cause 1       a  cause 1        still differs
    b  cause 1       b  -              (fewer exchanges of cause 1)
    c  -             c  cause 2        cause 2 is introduced, c is new
    d  cause 1       d  cause 1, 2     d is new, too: it differs for another cause

Two runs name a cause independently of each other. A cause of this run is one of the baseline when it has its id, or when they share at least
half of their findings and of their exchanges; else it is introduced, whatever places the two have in common.
"""

from collections.abc import Mapping
from enum import StrEnum, unique
from typing import Final

from msgspec import Struct

from proxy.replay.errors import OptionError
from proxy.replay.report import CauseReport, ExchangeReport, ReplayReport

SHARED_AT_LEAST: Final = 0.5


@unique
class Change(StrEnum):
    """The change of a cause from the baseline to this run."""

    INTRODUCED = "introduced"
    RESOLVED = "resolved"
    STILL_DIFFERS = "still differs"


class ComparedCause(Struct, frozen=True):
    """A cause of either run.

    Attributes:
        change: what became of it.
        cause: it, as this run has it, or the baseline where it is resolved.
        before: exchanges of the baseline that have it.
        after: exchanges of this run that have it.
        shared_places: how many of the places of an introduced cause differ in the baseline, too, under another cause.
    """

    change: Change
    cause: CauseReport
    before: int
    after: int
    shared_places: int = 0


class RunComparison(Struct, frozen=True):
    """A replay beside an earlier one.

    Attributes:
        causes: of both runs: the introduced ones first, each group by its number of exchanges.
        differed: exchanges of the baseline that differ.
        differ: exchanges of this run that differ.
        total: exchanges that both runs sent.
        new: ids of the exchanges that differ now, and matched in the baseline or differ for a cause that they did not have.
        resolved: ids of the exchanges that differed, and match now.
        unjudged: ids of the other exchanges of which nothing can be said: one of the runs did not compare them in full, or they differ in
            both runs and one has no cause for it.
    """

    causes: tuple[ComparedCause, ...]
    differed: int
    differ: int
    total: int
    new: tuple[str, ...]
    resolved: tuple[str, ...]
    unjudged: tuple[str, ...]

    def count(self, change: Change) -> int:
        """Return the number of causes of which this became."""
        return sum(one.change is change for one in self.causes)


def compare_with_baseline(baseline: ReplayReport, report: ReplayReport) -> RunComparison:
    """Compare a run with an earlier one.

    Raises:
        OptionError: they cannot be compared exchange by exchange; the message says why.
    """
    for name, one in (("the baseline", baseline), ("this run", report)):
        check_comparable(name, one)
    if baseline.exchanges.digest != report.exchanges.digest:
        raise OptionError(
            f"the runs did not send the same exchanges ({baseline.exchanges.total} against {report.exchanges.total}): "
            "replay the same recording with the same selection, and let it end"
        )
    before, after = _causes_of(baseline.exchanges), _causes_of(report.exchanges)
    same = _same_causes(baseline, report)
    new = set(after.keys() - before.keys())
    unjudged = {*baseline.exchanges.unjudged, *report.exchanges.unjudged} - after.keys()
    for identity in after.keys() & before.keys():
        if not after[identity] or not before[identity]:
            unjudged.add(identity)
        elif not {same.get(cause, "") for cause in after[identity]} <= before[identity]:
            new.add(identity)
    return RunComparison(
        causes=_changes(baseline, report, same),
        differed=len(before),
        differ=len(after),
        total=report.exchanges.total,
        new=tuple(sorted(new)),
        resolved=tuple(sorted(before.keys() - after.keys() - unjudged)),
        unjudged=tuple(sorted(unjudged)),
    )


def check_comparable(name: str, report: ReplayReport) -> None:
    """Raise an error, with this name of the run, unless its exchanges can be compared with those of another run.

    Raises:
        OptionError: they cannot.
    """
    exchanges = report.exchanges
    if not exchanges.digest:
        raise OptionError(f"{name} compared nothing: a run with --to both has exchanges to compare with")
    if not report.finished:
        raise OptionError(f"{name} was interrupted: what it did not send would count as a match")
    if not exchanges.complete:
        raise OptionError(
            f"{name} has more differing exchanges than its report holds: compare runs of a part of the recording"
        )


def _causes_of(exchanges: ExchangeReport) -> Mapping[str, frozenset[str]]:
    """Return the ids of the causes of each exchange that differs; none for one without."""
    found: dict[str, set[str]] = {identity: set() for identity in exchanges.without_cause}
    for cause, ids in exchanges.by_cause.items():
        for identity in ids:
            found.setdefault(identity, set()).add(cause)
    return {identity: frozenset(causes) for identity, causes in found.items()}


def _same_causes(baseline: ReplayReport, report: ReplayReport) -> Mapping[str, str]:
    """Return which cause of the baseline a cause of this run is, by id; each of the baseline's at most once."""
    before = {cause.id: cause for cause in baseline.causes}
    same = {cause.id: cause.id for cause in report.causes if cause.id in before}
    left = {identity: cause for identity, cause in before.items() if identity not in same}
    for cause in report.causes:
        if cause.id in same:
            continue
        ids = report.exchanges.by_cause.get(cause.id, ())
        shares = {
            identity: min(
                _shared(cause.findings, earlier.findings),
                _shared(ids, baseline.exchanges.by_cause.get(identity, ())),
            )
            for identity, earlier in left.items()
        }
        best = max(shares, key=lambda identity: (shares[identity], identity), default=None)
        if best is not None and shares[best] >= SHARED_AT_LEAST:
            same[cause.id] = best
            del left[best]
    return same


def _shared(one: tuple[str, ...], other: tuple[str, ...]) -> float:
    """Return the size of what two collections have in common, as a share of what they have together."""
    together = {*one, *other}
    return len({*one} & {*other}) / len(together) if together else 0.0


def _changes(baseline: ReplayReport, report: ReplayReport, same: Mapping[str, str]) -> tuple[ComparedCause, ...]:
    before = {cause.id: cause for cause in baseline.causes}
    places = {finding for cause in baseline.causes for finding in cause.findings}
    changes: list[ComparedCause] = []
    for cause in report.causes:
        earlier = before.get(same.get(cause.id, ""))
        if earlier is None:
            shared = len({*cause.findings} & places)
            changes.append(ComparedCause(Change.INTRODUCED, cause, 0, cause.exchanges, shared))
        else:
            changes.append(ComparedCause(Change.STILL_DIFFERS, cause, earlier.exchanges, cause.exchanges))
    kept = set(same.values())
    changes += [
        ComparedCause(Change.RESOLVED, cause, cause.exchanges, 0) for cause in baseline.causes if cause.id not in kept
    ]
    order = tuple(Change)
    return tuple(sorted(changes, key=lambda one: (order.index(one.change), -max(one.before, one.after), one.cause.id)))


def comparison_lines(comparison: RunComparison, name: str) -> list[str]:
    """Return the comparison as text."""
    counts = ", ".join(f"{comparison.count(change)} {change}" for change in Change)
    lines = [
        f"against {name}: {counts}",
        f"  {comparison.differed} of {comparison.total} exchanges differed, {comparison.differ} differ",
        f"  {len(comparison.new)} differ that matched or for another cause, {len(comparison.resolved)} match that differed",
    ]
    if comparison.unjudged:
        lines.append(f"  {unjudged_text(comparison)}")
    for one in comparison.causes:
        note = f", {one.shared_places} of its places differed before, under another cause" if one.shared_places else ""
        lines.append(f"  {one.change:<13} {one.before:>6} -> {one.after:<6} {one.cause.id} {one.cause.title}{note}")
    return lines


def new_text(comparison: RunComparison) -> str:
    """Return why a run fails by its new exchanges."""
    return (
        f"{len(comparison.new)} exchanges differ that matched in the baseline, or for another cause, "
        f"e.g. {', '.join(comparison.new[:3])}"
    )


def unjudged_text(comparison: RunComparison) -> str:
    """Return which exchanges nothing is said of."""
    return (
        f"{len(comparison.unjudged)} exchanges were not compared in full by both runs, or have no cause: "
        f"they may differ newly, e.g. {', '.join(comparison.unjudged[:3])}"
    )
