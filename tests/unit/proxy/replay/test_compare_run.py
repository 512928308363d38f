"""The sums of the comparisons of a replay."""

import random

from comparator.exchanges.comparison import Comparison, Verdict, VerdictCause
from comparator.exchanges.difference import Difference, Kind
from comparator.exchanges.model import EffectsOutcome, Side
from comparator.findings.clustering import Clusterer
from comparator.findings.redaction import Redactor, keyed_digest
from proxy.replay.compare_run import ReplayVerdicts
from proxy.replay.report import Verdicts
from proxy.replay.tally import LeftOut

MATCH = Comparison(Verdict.MATCH, None, Side.LEGACY, effects_compared=True)
FAILED = Comparison(Verdict.FAILED, VerdictCause.MIRRORED_TIMEOUT, Side.LEGACY)


def mismatch(served: str, mirrored: str) -> Comparison:
    result = Difference(Kind.CHANGED, ("score",), served, mirrored)
    return Comparison(
        Verdict.MISMATCH, VerdictCause.RESPONSE, Side.LEGACY, differences=(result,), effects_compared=True
    )


def judged(*comparisons: tuple[str, Comparison]) -> ReplayVerdicts:
    made = ReplayVerdicts(Clusterer(), Redactor(("password",), keyed_digest(b"salt")))
    for run_id, comparison in comparisons:
        made.add("score", run_id, comparison)
    return made


def test_failed_request_is_not_compared() -> None:
    result = judged(("a", MATCH), ("b", FAILED), ("c", mismatch("1", "2"))).verdicts()
    assert result == {"score": Verdicts(compared=2, match=1, mismatch=1, failed=1)}


def test_agreement_of_responses_without_rows_is_no_match() -> None:
    outcomes = (EffectsOutcome.LOST, EffectsOutcome.ATTRIBUTED)
    lost = Comparison(Verdict.MATCH, None, Side.LEGACY, effects_outcomes=outcomes)
    results = judged(("a", MATCH), ("b", lost))
    assert results.verdicts() == {"score": Verdicts(compared=1, match=1)}
    assert results.uncertain == {LeftOut.EFFECTS_NOT_COMPARED: 1}


def test_like_mismatches_form_one_finding_with_the_first_example() -> None:
    (result,) = judged(("a", mismatch("1", "2")), ("b", mismatch("3", "4"))).findings()
    assert (result.count, result.exchange, result.place) == (2, "a", "score")
    assert ("1" in result.legacy, "2" in result.candidate) == (True, True)


def test_example_of_a_finding_is_redacted() -> None:
    secret = Difference(Kind.CHANGED, ("password",), "first", "second")
    comparison = Comparison(Verdict.MISMATCH, VerdictCause.RESPONSE, Side.LEGACY, differences=(secret,))
    (result,) = judged(("a", comparison)).findings()
    assert (result.legacy[:10], result.candidate[:10]) == ('"redacted:', '"redacted:')


def test_verdicts_digest_ignores_order_and_values() -> None:
    runs = [("a", MATCH), ("b", mismatch("1", "2")), ("c", FAILED)]
    shuffled = random.Random(1).sample(runs, 3)
    others = [("a", MATCH), ("b", mismatch("1", "9")), ("c", FAILED)]
    assert judged(*runs).digest() == judged(*shuffled).digest() == judged(*others).digest()


def test_verdicts_digest_changes_with_a_verdict() -> None:
    assert judged(("a", MATCH)).digest() != judged(("a", mismatch("1", "2"))).digest()


def test_report_names_the_exchanges_of_each_cause_and_those_that_were_not_compared() -> None:
    results = judged(("a", mismatch("1", "2")), ("b", FAILED), ("c", mismatch("3", "4")), ("d", MATCH))
    exchanges = results.exchange_report()
    assert list(exchanges.by_cause.values()) == [("a", "c")]
    assert list(exchanges.by_cause) == [cause.id for cause in results.causes()]
    assert (exchanges.total, exchanges.unjudged, exchanges.without_cause) == (4, ("b",), ())


def test_digest_of_the_exchanges_ignores_order_and_results() -> None:
    one = judged(("a", MATCH), ("b", FAILED)).exchange_report().digest
    assert one == judged(("b", MATCH), ("a", mismatch("1", "2"))).exchange_report().digest
    assert one != judged(("a", MATCH), ("c", MATCH)).exchange_report().digest
    assert judged().exchange_report().digest == ""


def test_mismatch_without_findings_is_named() -> None:
    bare = Comparison(Verdict.MISMATCH, VerdictCause.RESPONSE, Side.LEGACY, effects_compared=True)
    assert judged(("a", bare)).exchange_report().without_cause == ("a",)
