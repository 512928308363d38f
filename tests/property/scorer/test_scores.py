"""Properties of every score."""

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from scorer.domain.cursor import Cursor, parse_cursor
from scorer.domain.scoring import Score, ScorerConfig, weigh
from tests.support.stamps import NOW, stamp

providers = st.lists(st.sampled_from([f"P{n}" for n in range(8)]), unique=True)
decimals = st.decimals(0, 1000, places=4)
weights_of = st.dictionaries(st.sampled_from([f"P{n}" for n in range(8)]), decimals.map(str))


def raw_score(score: Score) -> str:
    return (score.evidence or {})["rawScore"]


def weighed(names, weights, threshold=Decimal(20)):
    return weigh([stamp(name) for name in names], [], ScorerConfig(weights, {}, threshold), now=NOW)


@given(providers, weights_of, st.randoms(use_true_random=False))
def test_order_of_the_stamps_does_not_change_a_decimal_score(names, weights, random):
    shuffled = list(names)
    random.shuffle(shuffled)
    assert weighed(names, weights).evidence == weighed(shuffled, weights).evidence


@given(providers, weights_of)
def test_raw_score_is_the_sum_of_the_known_weights(names, weights):
    raw = raw_score(weighed(names, weights))
    assert Decimal(raw) == sum((Decimal(weights.get(name, 0)) for name in names), Decimal(0))


@given(providers, weights_of, decimals)
def test_it_passes_exactly_when_the_sum_reaches_the_threshold(names, weights, threshold):
    score = weighed(names, weights, threshold)
    assert score.passed == (Decimal(raw_score(score)) >= threshold) == (score.evidence or {})["success"]


@given(st.sampled_from(["next", "prev"]), st.integers(0, 2**63 - 1))
def test_cursor_survives_its_token(direction, number):
    cursor = Cursor(direction, number)
    assert parse_cursor(cursor.token()) == cursor
