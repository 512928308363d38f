"""What the comparisons of a replay add up to."""

import random

from comparator.exchanges.difference import Difference, Kind
from comparator.exchanges.model import Side
from comparator.findings.clustering import Clusterer
from comparator.findings.redaction import Redactor
from comparator.verdict import Comparison, Verdict, VerdictCause
from proxy.replay.compare_run import ReplayVerdicts
from proxy.replay.report import Verdicts

MATCH = Comparison(Verdict.MATCH, VerdictCause.NONE, Side.LEGACY, effects_compared=True)
FAILED = Comparison(Verdict.FAILED, VerdictCause.MIRRORED_TIMEOUT, Side.LEGACY)


def mismatch(served: str, mirrored: str) -> Comparison:
    found = Difference(Kind.CHANGED, ("score",), served, mirrored)
    return Comparison(Verdict.MISMATCH, VerdictCause.RESPONSE, Side.LEGACY, differences=(found,), effects_compared=True)


def judged(*comparisons: tuple[str, Comparison]) -> ReplayVerdicts:
    made = ReplayVerdicts(Clusterer(), Redactor(("password",), b"salt"))
    for run_id, comparison in comparisons:
        made.add("score", run_id, comparison)
    return made


def test_what_failed_is_not_compared() -> None:
    found = judged(("a", MATCH), ("b", FAILED), ("c", mismatch("1", "2"))).verdicts()
    assert found == {"score": Verdicts(compared=2, match=1, mismatch=1, failed=1)}


def test_like_mismatches_are_one_finding_with_its_first_example() -> None:
    (found,) = judged(("a", mismatch("1", "2")), ("b", mismatch("3", "4"))).findings()
    assert (found.count, found.exchange, found.place) == (2, "a", "score")
    assert ("1" in found.legacy, "2" in found.candidate) == (True, True)


def test_an_example_holds_no_secret() -> None:
    secret = Difference(Kind.CHANGED, ("password",), "first", "second")
    comparison = Comparison(Verdict.MISMATCH, VerdictCause.RESPONSE, Side.LEGACY, differences=(secret,))
    (found,) = judged(("a", comparison)).findings()
    assert (found.legacy[:10], found.candidate[:10]) == ('"redacted:', '"redacted:')


def test_the_digest_does_not_depend_on_the_order_nor_on_the_values() -> None:
    runs = [("a", MATCH), ("b", mismatch("1", "2")), ("c", FAILED)]
    shuffled = random.Random(1).sample(runs, 3)
    others = [("a", MATCH), ("b", mismatch("1", "9")), ("c", FAILED)]
    assert judged(*runs).digest() == judged(*shuffled).digest() == judged(*others).digest()


def test_the_digest_tells_another_verdict() -> None:
    assert judged(("a", MATCH)).digest() != judged(("a", mismatch("1", "2"))).digest()
