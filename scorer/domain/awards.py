"""Human points an address earns with a passing score: which rows to write.

Observed of the legacy: points go to passing scores of communities in the program, from a start time on; a human key needs a
non-empty nullifier and is given once a provider; the other stamp actions go by the row's provider; lists give bonuses.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from scorer.domain.stamp import Stamp
from scorer.errors import ScoringError

ACTION_OF_PROVIDER = {
    "SelfStakingBronze": "ISB",
    "SelfStakingSilver": "ISS",
    "SelfStakingGold": "ISG",
    "BeginnerCommunityStaker": "CSB",
    "ExperiencedCommunityStaker": "CSE",
    "TrustedCitizen": "CST",
    "HolonymGovIdProvider": "HGO",
    "HolonymPhone": "HPH",
    "CleanHands": "HCH",
    "Biometrics": "HBI",
}
HUMAN_KEY = "HKY"
SCORING_BONUS = "SCB"
METAMASK_BONUS = "MM2"
METAMASK_LIST = "MetaMaskOG2"
ACTION_OF_LIST = {"SeasonedPassportOGs": "SOG", "TheChosenOnes": "TCO"}

COMMUNITIES_FOR_BONUS = 4
METAMASK_BONUS_MAX = 5000
# The width of the columns provider and tx_hash; the legacy stores the database's own words, with the line feed.
_TEXT_MAX_CHARACTERS = 100
_TOO_LONG = "value too long for type character varying(100)\n"


@dataclass(frozen=True, slots=True)
class AwardConditions:
    """What an address has already, read when its score has just passed.

    `communities` counts the qualified communities, the present one included. `lists` are the bonus lists it is on.
    """

    communities: int
    human_key_providers: frozenset[str]
    lists: frozenset[str]
    metamask_bonuses: int


@dataclass(frozen=True, slots=True)
class Award:
    """One row to be there; writing it again does nothing."""

    action: str
    provider: str = ""
    tx_hash: str = ""


def awards_due(kept: Iterable[Stamp], standing: AwardConditions, *, metamask: bool) -> list[Award]:
    """The rows this address is due, in the order they are written.

    Raises:
        ScoringError: a provider is longer than the column.
    """
    awards = list(_stamp_awards(kept, standing))
    if any(max(len(award.provider), len(award.tx_hash)) > _TEXT_MAX_CHARACTERS for award in awards):
        raise ScoringError(_TOO_LONG)
    return [*awards, *_bonuses(standing, metamask=metamask)]


def _stamp_awards(kept: Iterable[Stamp], standing: AwardConditions) -> Iterable[Award]:
    given = set(standing.human_key_providers)
    for stamp in kept:
        last = _last_filled(stamp.nullifiers)
        if last and stamp.credential_provider not in given:
            given.add(stamp.credential_provider)
            yield Award(HUMAN_KEY, stamp.credential_provider, last)
        action = ACTION_OF_PROVIDER.get(stamp.provider)
        if action:
            yield Award(action)


def _bonuses(standing: AwardConditions, *, metamask: bool) -> Iterable[Award]:
    if standing.communities >= COMMUNITIES_FOR_BONUS:
        yield Award(SCORING_BONUS)
    if metamask and METAMASK_LIST in standing.lists and standing.metamask_bonuses < METAMASK_BONUS_MAX:
        yield Award(METAMASK_BONUS)
    for name, action in ACTION_OF_LIST.items():
        if name in standing.lists:
            yield Award(action)


def _last_filled(nullifiers: Sequence[str]) -> str:
    return next((nullifier for nullifier in reversed(nullifiers) if nullifier), "")
