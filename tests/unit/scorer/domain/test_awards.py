"""Human points of an address that passes."""

import pytest

from scorer.domain.awards import Award, AwardConditions, awards_due
from scorer.errors import ScoringError
from tests.support.stamps import stamp

NEW = AwardConditions(1, frozenset(), frozenset(), 0)


def due(kept, standing=NEW, *, metamask=True):
    return awards_due(kept, standing, metamask=metamask)


def test_human_key_has_the_last_filled_nullifier():
    assert due([stamp("Github", "v0:1", "v1:2", "")]) == [Award("HKY", "Github", "v1:2")]


def test_human_key_is_given_once_a_provider():
    standing = AwardConditions(1, frozenset({"Github"}), frozenset(), 0)
    assert due([stamp("Github")], standing) == []


def test_two_stamps_of_one_credential_provider_give_one_key():
    kept = [stamp("Github", "v0:1"), stamp("Row", "v0:2", credential_provider="Github")]
    assert due(kept) == [Award("HKY", "Github", "v0:1")]


def test_other_actions_go_by_the_row_s_provider():
    kept = [stamp("SelfStakingGold", credential_provider="Github")]
    assert due(kept) == [Award("HKY", "Github", "v0:1"), Award("ISG")]


@pytest.mark.parametrize(("communities", "awards"), [(3, []), (4, [Award("SCB")])])
def test_fourth_community_gives_a_bonus(communities, awards):
    assert due([], AwardConditions(communities, frozenset(), frozenset(), 0)) == awards


@pytest.mark.parametrize(
    ("given", "metamask", "awards"), [(4999, True, [Award("MM2")]), (5000, True, []), (0, False, [])]
)
def test_metamask_bonus_ends_with_the_five_thousandth(given, metamask, awards):
    assert due([], AwardConditions(1, frozenset(), frozenset({"MetaMaskOG2"}), given), metamask=metamask) == awards


def test_lists_give_their_bonuses_without_limit():
    standing = AwardConditions(1, frozenset(), frozenset({"TheChosenOnes", "SeasonedPassportOGs"}), 9999)
    assert due([], standing) == [Award("SOG"), Award("TCO")]


def test_provider_wider_than_its_column_is_the_database_s_error():
    with pytest.raises(ScoringError):
        due([stamp("x" * 101)])
