"""Ownership of nullifiers: the earlier unexpired claim wins (the API calls this LIFO).

A nullifier is linked to one address in a community until the link expires. A stamp with a nullifier that is linked, unexpired, to
another address clashes and does not count; its other nullifiers are then linked to that owner too (backfill), so that the same
person cannot use them elsewhere.

The legacy fails permanently if a clashing stamp also has an own or an expired link, and if one nullifier is in two stamps of an
address. Here an own link stays unchanged, an expired one passes to the owner of the clash, and a nullifier claimed by several kept
stamps is written once, with the latest expiry.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from scorer.domain.stamp import Stamp
from scorer.errors import ScoringError

# The width of the column; the legacy stores the database's error text, with the line feed.
HASH_MAX_CHARACTERS = 100
_TOO_LONG = "value too long for type character varying(100)\n"


@dataclass(frozen=True, slots=True)
class HashLink:
    """The owner of a nullifier in one community, and the expiry of the claim."""

    hash: str
    address: str
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class DedupPlan:
    """The stamps that count, and the links to write, sorted by hash so that concurrent writers do not deadlock.

    `clashing` has one stamp for each credential provider (the last one), in order of first appearance.
    """

    kept: tuple[Stamp, ...]
    clashing: tuple[Stamp, ...]
    inserts: tuple[HashLink, ...]
    updates: tuple[HashLink, ...]


def plan_dedup(stamps: Sequence[Stamp], links: Iterable[HashLink], *, address: str, now: datetime) -> DedupPlan:
    """Decide about every stamp of one address, given the existing links.

    Raises:
        ScoringError: a nullifier to be linked is longer than the column.
    """
    known = {link.hash: link for link in links}
    clashing_hashes = {link.hash for link in known.values() if link.address != address and link.expires_at > now}
    kept = tuple(stamp for stamp in stamps if clashing_hashes.isdisjoint(stamp.nullifiers))
    clashed = [stamp for stamp in stamps if not clashing_hashes.isdisjoint(stamp.nullifiers)]
    claims = _claims(kept, address)
    for link in _backfill(clashed, known, clashing_hashes, address):
        claims.setdefault(link.hash, link)
    ordered = sorted(claims.values(), key=lambda link: link.hash)
    inserts = tuple(link for link in ordered if link.hash not in known)
    if any(len(link.hash) > HASH_MAX_CHARACTERS for link in inserts):
        raise ScoringError(_TOO_LONG)
    updates = tuple(link for link in ordered if link.hash in known and link != known[link.hash])
    by_provider = {stamp.credential_provider: stamp for stamp in clashed}
    return DedupPlan(kept, tuple(by_provider.values()), inserts, updates)


def _claims(kept: Iterable[Stamp], address: str) -> dict[str, HashLink]:
    claims: dict[str, HashLink] = {}
    for stamp in kept:
        for nullifier in stamp.nullifiers:
            other = claims.get(nullifier)
            expires_at = stamp.expires_at if other is None else max(stamp.expires_at, other.expires_at)
            claims[nullifier] = HashLink(nullifier, address, expires_at)
    return claims


def _backfill(
    clashed: Iterable[Stamp], known: Mapping[str, HashLink], clashing_hashes: set[str], address: str
) -> Iterable[HashLink]:
    for stamp in clashed:
        owner = known[next(nullifier for nullifier in stamp.nullifiers if nullifier in clashing_hashes)]
        for nullifier in stamp.nullifiers:
            link = known.get(nullifier)
            own = link is not None and link.address == address
            if nullifier not in clashing_hashes and not own:
                yield replace(owner, hash=nullifier)
