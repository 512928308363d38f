r"""The audit log: who changed what, why and on what evidence, each entry chained to the one before. Pure.

The hash of an entry covers its text and the hash before it:

    hash 0                                          "000...0" (GENESIS)
    hash 1 = SHA-256("1\n" + hash 0 + "\n" + body 1)
    hash 2 = SHA-256("2\n" + hash 1 + "\n" + body 2)

so an entry that was changed, removed or inserted breaks the chain from there on. The chain alone cannot show that its end was cut off:
compare the head with one that was exported earlier.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

import msgspec

from proxy.rollout.group_state import GroupState

GENESIS: Final = "0" * 64
"""The hash that the first entry is chained to."""


class AuditEvent(StrEnum):
    """The events of the audit log: changes of the rollout, and gates that failed."""

    BEGIN = "begin"
    PROMOTE = "promote"
    PAUSE = "pause"
    RESUME = "resume"
    ROLL_BACK = "roll_back"
    GATE_FAILED = "gate_failed"


class AuditEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One decision, not yet in the chain.

    Attributes:
        id: unique; an entry that arrives twice is kept once.
        at: when it took effect; a rollback may be stored much later.
        group: a route group; "" for all groups.
        forced: a promotion through gates that were not open.
        evidence: gates and figures at that time, as JSON values.
        finding: id of the finding that caused an automatic rollback.
    """

    id: str
    at: datetime
    group: str
    event: AuditEvent
    actor: str
    reason: str = ""
    forced: bool = False
    before: GroupState | None = None
    after: GroupState | None = None
    finding: str | None = None
    evidence: dict[str, object] = {}


class ChainLink(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An entry in the chain. `body` is the text of the entry, kept as it was hashed."""

    sequence: int
    body: str
    previous: str
    hash: str

    @property
    def entry(self) -> AuditEntry:
        """The entry, decoded."""
        return msgspec.json.decode(self.body, type=AuditEntry)


_encoder: Final = msgspec.json.Encoder(order="deterministic")


def chain_entry(entry: AuditEntry, last: ChainLink | None) -> ChainLink:
    """Chain an entry to the last one; None starts a chain."""
    sequence, previous = (last.sequence + 1, last.hash) if last else (1, GENESIS)
    body = _encoder.encode(entry).decode()
    return ChainLink(sequence, body, previous, link_hash(sequence, previous, body))


def link_hash(sequence: int, previous: str, body: str) -> str:
    """Hash a link: SHA-256 over its number, the hash before it and its text, in hexadecimal."""
    return hashlib.sha256(f"{sequence}\n{previous}\n{body}".encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class ChainVerification:
    """The result of checking a chain.

    Attributes:
        entries: number of entries up to the first fault.
        head: hash of the last of them.
        fault: the first fault, in words; None for an intact chain.
    """

    entries: int
    head: str
    fault: str | None = None


def verify(links: Iterable[ChainLink]) -> ChainVerification:
    """Check a whole log, from its first entry on."""
    count, head = 0, GENESIS
    for link in links:
        fault = _fault_of(link, count + 1, head)
        if fault:
            return ChainVerification(count, head, f"entry {count + 1}: {fault}")
        count, head = count + 1, link.hash
    return ChainVerification(count, head)


def _fault_of(link: ChainLink, sequence: int, head: str) -> str | None:
    if link.sequence != sequence:
        return f"its number is {link.sequence}: entries are missing or out of order"
    if link.previous != head:
        return "it is not chained to the entry before"
    if link.hash != link_hash(link.sequence, link.previous, link.body):
        return "its text is not what was hashed"
    return None
