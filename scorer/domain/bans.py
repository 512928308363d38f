"""Which of the submitted credentials are banned, and by what.

Observed of the legacy: a ban counts while its end lies ahead or it has none; for each credential the first ban that matches
decides, in the order the bans were read; addresses are compared without regard to case, hashes and providers exactly.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Ban:
    """One row of the ban list; texts are empty, never null, where a kind does not use them."""

    kind: str
    provider: str
    hash: str
    address: str
    end_time: datetime | None
    reason: str | None


@dataclass(frozen=True, slots=True)
class BannedSubject:
    """What is asked about one credential: its hash, provider and subject id, each as submitted."""

    hash: str | None
    provider: str | None
    id: str | None


@dataclass(frozen=True, slots=True)
class BanFinding:
    """The answer for one credential; `ban` is None when nothing matched."""

    hash: str
    ban: Ban | None


def subject_address(subject_id: str) -> str:
    """The address in a subject id: what follows its last colon, spelled as submitted."""
    return subject_id.rpartition(":")[2]


def of_one_subject(subjects: Sequence[BannedSubject]) -> bool:
    """Whether all credentials name one subject; the ids are compared letter by letter, so case matters."""
    return len({subject.id for subject in subjects}) == 1


def find_bans(subjects: Iterable[BannedSubject], bans: Sequence[Ban], *, address: str) -> list[BanFinding]:
    """Answer for every credential in order; `bans` are the active ones that name the address or one of the hashes."""
    return [
        BanFinding(subject.hash or "", next((ban for ban in bans if _matches(ban, subject, address)), None))
        for subject in subjects
    ]


def _matches(ban: Ban, subject: BannedSubject, address: str) -> bool:
    same_address = ban.address.lower() == address.lower()
    match ban.kind:
        case "account":
            return same_address and not ban.provider
        case "hash":
            return ban.hash == subject.hash
        case "single_stamp":
            return same_address and ban.provider == subject.provider
        case _:
            return False
