"""Weights, their sum, and the texts of the score row."""

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import pytest

from scorer.domain.scoring import Score, ScorerConfig, dedup_event, encoded_time, failed, score_event, weigh
from scorer.errors import ScoringError
from tests.support.stamps import LATER, NOW, stamp

BASE = {"Github": "2.0", "Google": "1.0"}


def raw_score(score: Score) -> str:
    return (score.evidence or {})["rawScore"]


def config(weights=BASE, threshold="2.50000", custom=()):
    return ScorerConfig(weights, dict(custom), Decimal(threshold))


def weighed(kept, weights=BASE, clashing=(), **changes):
    return weigh(kept, clashing, config(weights, **changes), now=NOW)


def test_no_stamps_weigh_nothing():
    score = weighed([])
    assert score.evidence == {"type": "ThresholdScoreCheck", "success": False, "rawScore": "0", "threshold": "2.50000"}
    assert (score.expires_at, score.stamps, score.stamp_scores) == (None, {}, {})


def test_sum_keeps_the_scale_of_its_addends():
    score = weighed([stamp("Github"), stamp("Google")])
    assert (raw_score(score), score.score, score.passed) == ("3.0", Decimal(1), True)


def test_number_weighs_its_exact_binary_expansion_in_28_digits():
    assert raw_score(weighed([stamp("A")], {"A": 0.1})) == "0.1000000000000000055511151231"


def test_sum_of_exactly_the_threshold_passes():
    assert weighed([stamp("A")], {"A": "2.5"}).passed


def test_sums_of_floats_are_compared_exactly():
    score = weighed([stamp("A"), stamp("B")], {"A": 0.1, "B": 0.2}, threshold="0.3")
    assert (score.passed, weighed([stamp("A")], {"A": 0.3}, threshold="0.3").passed) == (True, False)


def test_unknown_provider_weighs_nothing_and_counts_for_the_expiration():
    early = NOW + timedelta(days=1)
    score = weighed([stamp("Github"), stamp("Nobody", expires_at=early)])
    assert (score.stamp_scores, score.expires_at) == ({"Github": 2.0, "Nobody": 0.0}, early)


def test_custom_weights_go_over_the_base_weights():
    score = weighed(
        [stamp("Github"), stamp("AllowList#x")], custom={"AllowList#x": "7.0000", "Github": "1.0000"}.items()
    )
    assert raw_score(score) == "8.0000"


def test_clash_is_shown_with_its_raw_expiration():
    clash = stamp("Google", expires_text="2031-01-01T00:00:00.5Z")
    assert weighed([], clashing=[clash]).stamps == {
        "Google": {"score": "0.00000", "dedup": True, "expiration_date": "2031-01-01T00:00:00.5Z"}
    }


def test_clash_of_a_counted_provider_marks_it_and_keeps_its_score():
    clash = stamp("Other", credential_provider="Github", expires_text="raw")
    shown = weighed([stamp("Github")], clashing=[clash]).stamps
    assert shown == {"Github": {"score": "2.00000", "dedup": True, "expiration_date": "raw"}}


@pytest.mark.parametrize(
    ("weights", "text"),
    [
        (None, "'NoneType' object has no attribute 'get'"),
        ({"Github": "x"}, "[<class 'decimal.ConversionSyntax'>]"),
        ({"Github": None}, "conversion from NoneType to Decimal is not supported"),
        ({"Github": "NaN"}, "[<class 'decimal.InvalidOperation'>]"),
        ({"Github": "Infinity"}, "a weight is not finite"),
    ],
)
def test_weights_that_are_not_numbers_fail_the_scoring(weights, text):
    with pytest.raises(ScoringError) as caught:
        weighed([stamp("Github")], weights)
    assert str(caught.value) == text


def test_failed_score_has_nothing_but_its_error():
    score = failed(ScoringError("why"))
    assert (score.status, score.error, score.evidence, score.passed) == ("ERROR", "why", None, False)


def test_event_has_the_score_without_scale_and_times_in_milliseconds():
    now = datetime(2030, 1, 1, 0, 0, 0, 123999, tzinfo=UTC)
    score = weigh([stamp("Github")], [], config(), now=now)
    fields = score_event(score, passport_id=7)["fields"]
    assert (fields["score"], fields["passport"], fields["status"]) == ("0", 7, "DONE")
    assert (fields["last_score_timestamp"], fields["expiration_date"]) == (
        "2030-01-01T00:00:00.123Z",
        "2031-01-01T00:00:00Z",
    )


@pytest.mark.parametrize(
    ("time", "text"),
    [
        (LATER, "2031-01-01T00:00:00Z"),
        (LATER.replace(microsecond=5), "2031-01-01T00:00:00.000Z"),
        (LATER.astimezone(timezone(timedelta(hours=2))), "2031-01-01T02:00:00+02:00"),
        (None, None),
    ],
)
def test_times_in_events_are_django_s(time, text):
    assert encoded_time(time) == text


def test_dedup_event_names_all_nullifiers():
    assert dedup_event(stamp("Github", "v0:1", "v1:2"), community_id=3) == {
        "nullifiers": ["v0:1", "v1:2"],
        "provider": "Github",
        "community_id": 3,
    }
