"""Scores as response bodies."""

from decimal import Decimal

import pytest

from scorer.api import bodies
from scorer.domain.scoring import Score, ScorerConfig, failed, weigh
from scorer.errors import ScoringError, UnanswerableError
from tests.support.stamps import ADDRESS, NOW, stamp

KEYS = [
    "address",
    "score",
    "passing_score",
    "last_score_timestamp",
    "expiration_timestamp",
    "threshold",
    "error",
    "stamps",
    "points_data",
    "possible_points_data",
    "linked_score",
]


def scored(weight: object, threshold: str) -> Score:
    return weigh([stamp("A")], [], ScorerConfig({"A": weight}, {}, Decimal(threshold)), now=NOW)


def test_keys_are_all_there_in_the_api_s_order():
    assert list(bodies.v2_score(ADDRESS, scored("1", "2"))) == KEYS


def test_passing_is_decided_by_unrounded_values():
    body = bodies.v2_score(ADDRESS, scored(3.531, "3.53100"))
    assert (body["score"], body["threshold"], body["passing_score"]) == ("3.53100", "3.53100", True)
    body = bodies.v2_score(ADDRESS, scored("3.530999", "3.53100"))
    assert (body["score"], body["passing_score"]) == ("3.53100", False)


def test_error_shows_a_threshold_of_twenty():
    body = bodies.v2_score(ADDRESS, failed(ScoringError("why")))
    assert (body["score"], body["threshold"], body["error"], body["stamps"]) == ("0.00000", "20.00000", "why", {})


def test_event_shows_times_and_stamps_as_they_are_stored():
    fields = {"evidence": {"rawScore": "4.5", "threshold": "2.50000"}, "last_score_timestamp": "t", "stamps": None}
    body = bodies.v2_score_of_event("0xA", {"fields": fields})
    assert (body["score"], body["passing_score"], body["last_score_timestamp"], body["stamps"]) == (
        "4.50000",
        True,
        "t",
        None,
    )


def test_old_event_without_evidence_shows_its_score():
    body = bodies.v2_score_of_event("0xA", {"score": "1.000000000"})
    assert (body["score"], body["threshold"], body["passing_score"]) == ("1.00000", "0.00000", True)


@pytest.mark.parametrize("data", [{"fields": {"score": None}}, [], "text"])
def test_event_without_score_has_no_answer(data):
    with pytest.raises(UnanswerableError):
        bodies.v2_score_of_event("0xA", data)
