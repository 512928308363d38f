"""Each exchange is counted once by its verdict, and apart by what the verdict does not rest on."""

from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Counter

from comparator.exchanges.comparison import Comparison, Verdict, VerdictCause
from comparator.exchanges.model import EffectsOutcome, LeftOutReason, Side
from proxy.journal.delivery import MergedPosition
from proxy.journal.driver import JournalEntry, UnreadCause, UnreadRange
from proxy.runner.key_slice import KeySlice
from proxy.runner.metrics import RunnerMetrics
from proxy.runner.mirror import MirrorResult
from proxy.runner.outcomes import Outcomes
from proxy.runner.skip_causes import RunnerSkip, SkipCause
from tests.support.comparisons import exchange, mirrored, response, served

PART = {"audit": LeftOutReason.SHARED, "job": LeftOutReason.EMPTIED}
LOST = {"effects_outcomes": (EffectsOutcome.ATTRIBUTED, EffectsOutcome.LOST)}
WHOLE = {"effects_compared": True}


class Saved:
    """A buffer that keeps nothing."""

    def begin(self, entry: JournalEntry) -> None:
        """Keep nothing."""

    async def add(self, entry: JournalEntry, mirrored: MirrorResult | None, cause: SkipCause | None) -> None:
        """Keep nothing."""

    def add_unread(self, unread: object) -> None:
        """Keep nothing."""


async def test_other_slices_exchanges_and_losses_are_counted_apart() -> None:
    names = ("a", "b")
    sums: list[tuple[float, float, float]] = []
    for name in names:
        metrics = RunnerMetrics(CollectorRegistry())
        outcomes = Outcomes(Saved(), metrics, KeySlice(name, names))
        outcomes.end_unread(UnreadRange("w0", 1, 5, UnreadCause.LOST))
        entry = JournalEntry(MergedPosition((("w0", 6),)), 6, exchange("a"))
        outcomes.begin(entry, by_id=True)
        await outcomes.end(entry, None, RunnerSkip.OTHER_SLICE)
        sums.append((total_of(metrics.dropped), total_of(metrics.skipped), metrics.ended))
    assert sorted(sums) == [(0, 0, 6), (5, 0, 6)]


def total_of(counter: Counter) -> float:
    return sum(sample.value for metric in counter.collect() for sample in metric.samples if "_total" in sample.name)


@pytest.mark.parametrize("verdict", Verdict)
@pytest.mark.parametrize(
    ("rests_on", "part", "alone"),
    [(WHOLE, 0, 0), (WHOLE | {"left_out": PART}, 1, 0), (LOST, 0, 1), (LOST | {"left_out": PART}, 0, 1)],
)
async def test_comparison_is_counted_by_verdict_and_apart_by_what_it_rests_on(
    verdict: Verdict, rests_on: dict[str, Any], part: int, alone: int
) -> None:
    metrics = RunnerMetrics(CollectorRegistry())
    outcomes = Outcomes(Saved(), metrics)
    entry = JournalEntry(MergedPosition((("w0", 1),)), 1, exchange("a"))
    cause = VerdictCause.MIRRORED_TIMEOUT if verdict is Verdict.FAILED else None
    outcomes.begin(entry, by_id=True)
    result = MirrorResult(
        served(response({})), mirrored(response({})), Comparison(verdict, cause, Side.CANDIDATE, **rests_on)
    )
    await outcomes.end(entry, result, None)
    failed = verdict is Verdict.FAILED
    counters = (metrics.compared, metrics.in_part, metrics.response_only, metrics.failed)
    assert [total_of(counter) for counter in counters] == ([0, 0, 0, 1] if failed else [1, part, alone, 0])
