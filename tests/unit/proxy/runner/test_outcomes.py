"""Each exchange is counted once by its verdict, and apart by what the verdict does not rest on."""

from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from comparator.exchanges.comparison import Comparison, Verdict, VerdictCause
from comparator.exchanges.model import EffectsOutcome, LeftOutReason, Side
from proxy.journal.delivery import MergedPosition
from proxy.journal.driver import JournalEntry
from proxy.runner.metrics import RunnerMetrics
from proxy.runner.mirror import MirrorResult
from proxy.runner.outcomes import Outcomes
from proxy.runner.skip_causes import SkipCause
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
    sums = {
        counter: sum(
            sample.value for metric in counter.collect() for sample in metric.samples if "_total" in sample.name
        )
        for counter in (metrics.compared, metrics.in_part, metrics.response_only, metrics.failed)
    }
    assert list(sums.values()) == ([0, 0, 0, 1] if failed else [1, part, alone, 0])
