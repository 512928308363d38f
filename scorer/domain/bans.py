"""Match submitted credentials against bans.

Observed of the legacy: a ban is in force until its end, or forever without one; for each credential the first matching ban decides, in
the order in which the bans were read; addresses are compared case-insensitively, hashes and providers exactly.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Ban:
    """One row of the ban list; texts that its kind does not use are empty, never null."""

    kind: str
    provider: str
    hash: str
    address: str
    end_time: datetime | None
    reason: str | None


@dataclass(frozen=True, slots=True)
class BannedSubject:
    """The hash, provider and subject id of one submitted credential."""

    hash: str | None
    provider: str | None
    id: str | None


@dataclass(frozen=True, slots=True)
class BanFinding:
    """The result for one credential; `ban` is None if no ban matches."""

    hash: str
    ban: Ban | None


def subject_address(subject_id: str) -> str:
    """Return the part of a subject id after its last colon, spelled as submitted."""
    return subject_id.rpartition(":")[2]


def of_one_subject(subjects: Sequence[BannedSubject]) -> bool:
    """Return True if all credentials have the same subject id, compared case-sensitively."""
    return len({subject.id for subject in subjects}) == 1


def find_bans(subjects: Iterable[BannedSubject], bans: Sequence[Ban], *, address: str) -> list[BanFinding]:
    """Match every credential, in order; `bans` are those in force that name the address or one of the hashes."""
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
