"""LIFO deduplication: an unexpired link of another address wins; links are saved with retries, without a lock."""

from datetime import datetime

from django.conf import settings
from django.db import IntegrityError
from django.utils import timezone

from tests.legacy.divergences import Divergence, Divergences
from tests.legacy.models import Event, HashScorerLink

TRIES = 5
DIVERGENCES = Divergences.parse(settings.SHADOW_DIVERGENCES)


class LinksNotSavedError(Exception):
    """The links could not be saved in TRIES attempts."""

    def __init__(self) -> None:
        super().__init__("Failed to save HashScorerLinks")


def nullifiers(credential: dict) -> list[str]:
    """Return the nullifiers that count: the old `hash`, or the list; only v0 ones unless FF_MULTI_NULLIFIER is on."""
    subject = credential["credentialSubject"]
    found = [subject["hash"]] if "hash" in subject else list(subject.get("nullifiers") or [])
    return found if settings.FF_MULTI_NULLIFIER else [one for one in found if one.startswith("v0")]


def deduplicate(
    stamps: list[tuple[str, dict]], address: str, community
) -> tuple[list[tuple[str, dict]], dict[str, dict]]:
    """Keep the stamps that no other address holds; return (kept, clashing credentials by provider)."""
    for _ in range(TRIES):
        attempt = _Attempt(address, community)
        for row_provider, credential in stamps:
            attempt.take(row_provider, credential, attempt.links_of([c for _, c in stamps]))
        if attempt.saved():
            _announce(attempt.clashing, address, community)
            return attempt.kept, attempt.clashing
    raise LinksNotSavedError


class _Attempt:
    """One attempt: the links read at its start, the stamps kept or clashing by them, the rows to write."""

    def __init__(self, address: str, community) -> None:
        self.address, self.community = address, community
        self.now = timezone.now()
        self.kept: list[tuple[str, dict]] = []
        self.clashing: dict[str, dict] = {}
        self.created: list[HashScorerLink] = []
        self.updated: list[HashScorerLink] = []
        self._links: dict[str, HashScorerLink] | None = None

    def links_of(self, credentials: list[dict]) -> dict[str, HashScorerLink]:
        """Return the existing links of all nullifiers, read once per attempt."""
        if self._links is None:
            hashes = [one for credential in credentials for one in nullifiers(credential)]
            rows = HashScorerLink.objects.filter(hash__in=hashes, community=self.community) if hashes else []
            self._links = {row.hash: row for row in rows}
        return self._links

    def take(self, row_provider: str, credential: dict, links: dict[str, HashScorerLink]) -> None:
        hashes = nullifiers(credential)
        clashes = [links[one] for one in hashes if one in links and self._held(links[one])]
        if DIVERGENCES.diverges(Divergence.DEDUP_OFF, self.address):
            clashes = []
        if clashes:
            self.clashing[credential["credentialSubject"]["provider"]] = credential
            fill = [one for one in hashes if one not in links or not self._held(links[one])]
            self.created += [self._link(one, clashes[0].address, clashes[0].expires_at) for one in fill]
            return
        expires_at = datetime.fromisoformat(credential["expirationDate"])
        self.kept.append((row_provider, credential))
        for one in hashes:
            if one not in links:
                self.created.append(self._link(one, self.address, expires_at))
                continue
            links[one].address, links[one].expires_at = self.address, expires_at
            self.updated.append(links[one])

    def saved(self) -> bool:
        """Write in two statements and count the own links afterwards; False requests another attempt."""
        if DIVERGENCES.diverges(Divergence.LINKS_LOST, self.address):
            return True
        try:
            if self.created:
                HashScorerLink.objects.bulk_create(self.created)
            if self.updated:
                HashScorerLink.objects.bulk_update(self.updated, fields=["expires_at", "address"])
        except IntegrityError:
            return False
        written = [link.hash for link in self.created + self.updated]
        if not written:
            return True
        ours = HashScorerLink.objects.filter(address=self.address, community=self.community, hash__in=written)
        return ours.count() == len(written)

    def _held(self, link: HashScorerLink) -> bool:
        return link.address != self.address and link.expires_at > self.now

    def _link(self, one: str, address: str, expires_at: datetime) -> HashScorerLink:
        return HashScorerLink(hash=one, address=address, community=self.community, expires_at=expires_at)


def _announce(clashing: dict[str, dict], address: str, community) -> None:
    """Write one LDP event per clashing provider, all in one transaction."""
    if not clashing or DIVERGENCES.diverges(Divergence.MISSING_DEDUP_EVENT, address):
        return
    Event.objects.bulk_create(
        Event(
            action="LDP",
            address=address,
            community=community,
            data={"nullifiers": nullifiers(credential), "provider": provider, "community_id": community.pk},
        )
        for provider, credential in clashing.items()
    )
