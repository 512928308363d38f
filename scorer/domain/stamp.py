"""Decide which stored credentials count for an address, except for their proofs.

Observed of the legacy: a stamp that fails a check is dropped silently, but a malformed expiration date fails the whole scoring with
the text of Python's exception, and the date is parsed before the issuer is checked. Two deliberate deviations: only the `nullifiers`
list counts, a `hash` alone does not (migration plan); and a part of another JSON type than it should have (an issuer that is an
object, a date that is a number) only drops its stamp, where some of them block the address in the legacy.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, cast

from scorer.errors import ScoringError


@dataclass(frozen=True, slots=True)
class StoredStamp:
    """The newest row of a provider in the ceramic cache. `text` is the credential as the database prints it."""

    id: int
    provider: str
    credential: Any
    text: str


@dataclass(frozen=True, slots=True)
class Stamp:
    """A stamp that counts if its proof is valid.

    `provider` is the row's, the key of the weights; `credential_provider` is the credential's, the key of clashes. `expires_at` keeps
    the credential's UTC offset, `expires_text` its spelling.
    """

    id: int
    provider: str
    credential_provider: str
    nullifiers: tuple[str, ...]
    expires_at: datetime
    expires_text: str
    text: str


class DropCause(StrEnum):
    """The causes for which a stamp does not count."""

    ISSUER = "issuer"
    EXPIRED = "expired"
    SUBJECT = "subject"
    PROOF = "proof"
    CLASH = "clash"
    TYPE = "type"


def examine(row: StoredStamp, *, address: str, trusted_issuers: frozenset[str], now: datetime) -> Stamp | DropCause:
    """Return the stamp, or the cause for which it does not count.

    Raises:
        ScoringError: the expiration date is missing, malformed, or has no offset; the text is stored in the score row.
    """
    stored: object = row.credential
    if not isinstance(stored, dict):
        return DropCause.TYPE
    credential = cast("dict[str, Any]", stored)
    try:
        expires_text = credential["expirationDate"]
        if not isinstance(expires_text, str):
            return DropCause.TYPE
        expires_at = _in_range(datetime.fromisoformat(expires_text))
        expired = expires_at < now
    except (KeyError, TypeError, ValueError) as error:
        raise ScoringError(str(error)) from error
    issuer = credential.get("issuer")
    if not isinstance(issuer, str) or issuer not in trusted_issuers:
        return DropCause.ISSUER
    if expired:
        return DropCause.EXPIRED
    subject = _subject(credential)
    nullifiers = nullifiers_of(subject)
    provider = subject.get("provider")
    owner = subject.get("id")
    owned = isinstance(owner, str) and owner.lower() == f"did:pkh:eip155:1:{address}"
    if not nullifiers or not isinstance(provider, str) or not provider or not owned:
        return DropCause.SUBJECT
    return Stamp(row.id, row.provider, provider, nullifiers, expires_at, expires_text, row.text)


def _in_range(moment: datetime) -> datetime:
    """Return the moment; one that lies before year 1 or after year 9999 in UTC, which Python cannot compute, loses its offset."""
    try:
        moment.astimezone(UTC)
    except OverflowError:
        return moment.replace(tzinfo=UTC) if moment.tzinfo else moment
    return moment


def examine_all(
    rows: Sequence[StoredStamp], *, address: str, trusted_issuers: frozenset[str], now: datetime
) -> tuple[list[Stamp], list[DropCause]]:
    """Return the stamps to verify, in the order of the rows, and the causes for which the others are dropped.

    Raises:
        ScoringError: see `examine`; one broken row blocks the address, even if its issuer is not trusted.
    """
    kept: list[Stamp] = []
    dropped: list[DropCause] = []
    for row in rows:
        match examine(row, address=address, trusted_issuers=trusted_issuers, now=now):
            case Stamp() as stamp:
                kept.append(stamp)
            case cause:
                dropped.append(cause)
    return kept, dropped


def nullifiers_of(subject: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the `nullifiers` list, of any version prefix; () if it is missing, or has an entry that is not a text."""
    listed = subject.get("nullifiers")
    if not isinstance(listed, list):
        return ()
    entries = cast("list[object]", listed)
    nullifiers = tuple(entry for entry in entries if isinstance(entry, str))
    # An entry that cannot be linked would leave the stamp countable for several addresses.
    return nullifiers if len(nullifiers) == len(entries) else ()


def _subject(credential: Mapping[str, Any]) -> Mapping[str, Any]:
    subject = credential.get("credentialSubject")
    return cast("Mapping[str, Any]", subject) if isinstance(subject, dict) else {}
