"""The audit log: who changed what, why, on what evidence, each entry chained to the one before. Pure.

An entry's hash covers its own text and the hash before it, so an entry that was changed, removed or put in between breaks the
chain from there on. What the chain cannot show by itself is that its end was cut off: compare the head with one exported earlier.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import msgspec

from proxy.rollout.group_state import GroupState

GENESIS: Final = "0" * 64
"""What the first entry is chained to."""


class AuditEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One decision, before it has its place in the chain.

    Attributes:
        id: unique; an entry that arrives twice is kept once.
        at: when it took effect (a rollback may be stored much later).
        event: what happened: an event of the machine, or `gate_failed`, `refused`, `access_denied`.
        forced: a promotion through closed gates.
        evidence: what was known then: gates and figures, as JSON values.
        finding: the one that caused an automatic rollback.
    """

    id: str
    at: datetime
    group: str
    event: str
    actor: str
    reason: str = ""
    forced: bool = False
    before: GroupState | None = None
    after: GroupState | None = None
    finding: str = ""
    evidence: dict[str, object] = {}


class ChainLink(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An entry in its place. `body` is the entry's text, kept as it was hashed."""

    sequence: int
    body: str
    previous: str
    hash: str

    @property
    def entry(self) -> AuditEntry:
        """The entry again."""
        return msgspec.json.decode(self.body, type=AuditEntry)


_encoder: Final = msgspec.json.Encoder(order="deterministic")


def chain_entry(entry: AuditEntry, last: ChainLink | None) -> ChainLink:
    """Chain an entry to the last one."""
    sequence, previous = (last.sequence + 1, last.hash) if last else (1, GENESIS)
    body = _encoder.encode(entry).decode()
    return ChainLink(sequence, body, previous, link_hash(sequence, previous, body))


def link_hash(sequence: int, previous: str, body: str) -> str:
    """SHA-256 over the place, the hash before, and the text."""
    return hashlib.sha256(f"{sequence}\n{previous}\n{body}".encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class ChainVerification:
    """What a check of the chain found; `fault` is "" when all is well."""

    entries: int
    head: str
    fault: str = ""


def verify(links: Iterable[ChainLink]) -> ChainVerification:
    """Check a whole log from its first entry on."""
    count, head = 0, GENESIS
    for link in links:
        fault = _fault_of(link, count + 1, head)
        if fault:
            return ChainVerification(count, head, f"entry {count + 1}: {fault}")
        count, head = count + 1, link.hash
    return ChainVerification(count, head)


def _fault_of(link: ChainLink, sequence: int, head: str) -> str:
    if link.sequence != sequence:
        return f"it says it is number {link.sequence}: entries are missing or out of order"
    if link.previous != head:
        return "it is not chained to the entry before"
    if link.hash != link_hash(link.sequence, link.previous, link.body):
        return "its text is not what was hashed"
    return ""
