"""Human points awarded for a passing score: the rows to write.

Observed of the legacy: points are awarded for passing scores in communities of the program, from a start time on; a human key needs a
non-empty nullifier and is awarded once for each provider; the other stamp actions depend on the row's provider; address lists give
bonuses.
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
# The width of the columns provider and tx_hash; the legacy stores the database's error text, with the line feed.
_TEXT_MAX_CHARACTERS = 100
_TOO_LONG = "value too long for type character varying(100)\n"


@dataclass(frozen=True, slots=True)
class AwardConditions:
    """The state of an address that decides about its awards, read after its score has passed.

    `communities` counts the qualified communities, including the current one. `lists` are the bonus lists that it is on.
    """

    communities: int
    human_key_providers: frozenset[str]
    lists: frozenset[str]
    metamask_bonuses: int


@dataclass(frozen=True, slots=True)
class Award:
    """One row of human points; inserting it again changes nothing."""

    action: str
    provider: str = ""
    tx_hash: str = ""


def awards_due(kept: Iterable[Stamp], conditions: AwardConditions, *, metamask: bool) -> list[Award]:
    """Return the awards that the address is due, in the order of writing.

    Raises:
        ScoringError: a provider is longer than the column.
    """
    awards = list(_stamp_awards(kept, conditions))
    if any(max(len(award.provider), len(award.tx_hash)) > _TEXT_MAX_CHARACTERS for award in awards):
        raise ScoringError(_TOO_LONG)
    return [*awards, *_bonuses(conditions, metamask=metamask)]


def _stamp_awards(kept: Iterable[Stamp], conditions: AwardConditions) -> Iterable[Award]:
    awarded = set(conditions.human_key_providers)
    for stamp in kept:
        nullifier = _last_non_empty(stamp.nullifiers)
        if nullifier and stamp.credential_provider not in awarded:
            awarded.add(stamp.credential_provider)
            yield Award(HUMAN_KEY, stamp.credential_provider, nullifier)
        action = ACTION_OF_PROVIDER.get(stamp.provider)
        if action:
            yield Award(action)


def _bonuses(conditions: AwardConditions, *, metamask: bool) -> Iterable[Award]:
    if conditions.communities >= COMMUNITIES_FOR_BONUS:
        yield Award(SCORING_BONUS)
    if metamask and METAMASK_LIST in conditions.lists and conditions.metamask_bonuses < METAMASK_BONUS_MAX:
        yield Award(METAMASK_BONUS)
    for name, action in ACTION_OF_LIST.items():
        if name in conditions.lists:
            yield Award(action)


def _last_non_empty(nullifiers: Sequence[str]) -> str:
    return next((nullifier for nullifier in reversed(nullifiers) if nullifier), "")
