"""proxy.runner.calibrate: only pairs whose rows were all compared count as equal."""

import pytest

from comparator.exchanges.difference import Difference, Kind
from comparator.exchanges.model import EffectsOutcome, Side
from comparator.findings.clustering import Clusterer
from comparator.verdict import Comparison, Verdict, VerdictCause
from proxy.runner.calibrate import calibration_of

SURE = EffectsOutcome.ATTRIBUTED
DIFFERENCE = Difference(Kind.CHANGED, ("score",), "1", "2")
MISMATCH = Comparison(Verdict.MISMATCH, VerdictCause.RESPONSE, Side.LEGACY, (DIFFERENCE,), effects_compared=True)


def uncompared(outcome: EffectsOutcome, verdict: Verdict = Verdict.MATCH) -> Comparison:
    differences = (DIFFERENCE,) if verdict is Verdict.MISMATCH else ()
    return Comparison(verdict, None, Side.LEGACY, differences, effects_outcomes=(SURE, outcome))


PAIRS = {
    "a match": (Comparison(Verdict.MATCH, None, Side.LEGACY, effects_compared=True), (1, 0, 0, 0)),
    "a match without a table": (
        Comparison(Verdict.MATCH, None, Side.LEGACY, effects_compared=True, left_out=("log",)),
        (0, 0, 0, 1),
    ),
    "a mismatch without a table": (MISMATCH, (0, 1, 0, 0)),
    "a side that does not name its requests": (uncompared(EffectsOutcome.UNTAGGED), (0, 0, 0, 1)),
    "rows that were lost": (uncompared(EffectsOutcome.LOST), (0, 0, 0, 1)),
    "rows of several requests": (uncompared(EffectsOutcome.AMBIGUOUS), (0, 0, 0, 1)),
    "responses that another writer changed": (uncompared(EffectsOutcome.INTERFERED, Verdict.MISMATCH), (0, 0, 0, 1)),
    "no response": (Comparison(Verdict.FAILED, VerdictCause.MIRRORED_TIMEOUT, Side.LEGACY), (0, 0, 1, 0)),
}


@pytest.mark.parametrize("case", PAIRS)
def test_pairs_are_counted_by_what_they_show(case: str) -> None:
    comparison, counts = PAIRS[case]
    result = calibration_of([("r", comparison)], Clusterer(), seen_min=1)
    assert (result.equal, result.different, result.failed, result.uncertain) == counts
    assert bool(result.proposals) == bool(result.different)
