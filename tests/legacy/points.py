"""Human points: written during scoring, each step committed on its own."""

from django.conf import settings
from django.utils import timezone

from tests.legacy.models import AddressListMember, HumanPoints, QualifiedUser

ACTIONS = {
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
BONUS_COMMUNITIES = 4
METAMASK_MAX = 5000


def award(address: str, community, kept: list[tuple[str, dict]], *, passing: bool) -> None:
    """Write the points of one scoring, if the community's program, the switch and the score allow it."""
    started = timezone.now().timestamp() >= settings.HUMAN_POINTS_START_TIMESTAMP
    if not (settings.HUMAN_POINTS_WRITE_ENABLED and community.human_points_program and passing and started):
        return
    QualifiedUser.objects.get_or_create(address=address, community=community)
    rows = [row for stamp in kept for row in _of_stamp(address, *stamp)]
    if rows:
        HumanPoints.objects.bulk_create(rows, ignore_conflicts=True)
    if QualifiedUser.objects.filter(address=address).count() >= BONUS_COMMUNITIES:
        _give(address, "SCB")
    og = settings.HUMAN_POINTS_MTA_ENABLED and _listed(address, "MetaMaskOG2")
    if og and HumanPoints.objects.filter(action="MM2").count() < METAMASK_MAX:
        _give(address, "MM2")
    if _listed(address, "SeasonedPassportOGs"):
        _give(address, "SOG")
    if _listed(address, "TheChosenOnes"):
        _give(address, "TCO")


def _of_stamp(address: str, row_provider: str, credential: dict) -> list[HumanPoints]:
    rows = []
    subject = credential.get("credentialSubject", {})
    listed = subject.get("nullifiers")
    keys = [one for one in listed if one] if isinstance(listed, list) else []
    provider = subject.get("provider")
    if keys and provider and not HumanPoints.objects.filter(address=address, action="HKY", provider=provider).exists():
        rows.append(HumanPoints(address=address, action="HKY", provider=provider, tx_hash=keys[-1]))
    if row_provider in ACTIONS:
        rows.append(HumanPoints(address=address, action=ACTIONS[row_provider]))
    return rows


def _listed(address: str, name: str) -> bool:
    return AddressListMember.objects.filter(list__name=name, address=address).exists()


def _give(address: str, action: str) -> None:
    HumanPoints.objects.get_or_create(address=address, action=action, chain_id=0, provider="", tx_hash="")
