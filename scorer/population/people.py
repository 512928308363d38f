"""The people of the population, the stamps each one holds, and the case that each one represents.

Pure and deterministic: equal seeds and sizes give equal people. Cases are dealt round robin in a fixed ratio, so that a small population
contains all of them. Contested nullifiers are already linked to an outsider, so that no result depends on the order of scoring. The
exception is the case `shared`, which only a profile deals: groups of three hold one nullifier, and the first one scored owns it.
"""

import base64
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, TypeVar

from scorer.population.issuer import Issuer, tampered

T = TypeVar("T")

FAR = "2099-12-31T23:59:59Z"
_PAST = "2024-06-01T00:00:00Z"


class PersonCase(StrEnum):
    """The situation that a person represents."""

    PASS = "pass"  # noqa: S105 (no password: the score passes)
    EXACT = "exact"
    FAIL = "fail"
    NONE = "none"
    CLASH = "clash"
    PARTIAL_CLASH = "partial_clash"
    LAPSED_CLASH = "lapsed_clash"
    EXPIRED = "expired"
    REVOKED = "revoked"
    UNTRUSTED = "untrusted"
    TAMPERED = "tampered"
    CUSTOM = "custom"
    POINTS = "points"
    MANY = "many"
    HASH_FORM = "hash_form"
    SECOND_VERSION = "second_version"
    SHARED = "shared"
    BORROWED = "borrowed"


_SHARED_BY = 3

_DEAL = (
    *(
        PersonCase.PASS,
        PersonCase.EXACT,
        PersonCase.FAIL,
        PersonCase.POINTS,
        PersonCase.CLASH,
        PersonCase.PASS,
        PersonCase.CUSTOM,
        PersonCase.MANY,
        PersonCase.EXPIRED,
        PersonCase.PASS,
    ),
    *(
        PersonCase.REVOKED,
        PersonCase.EXACT,
        PersonCase.PARTIAL_CLASH,
        PersonCase.NONE,
        PersonCase.POINTS,
        PersonCase.UNTRUSTED,
        PersonCase.LAPSED_CLASH,
        PersonCase.FAIL,
    ),
    *(PersonCase.TAMPERED, PersonCase.PASS),
)
_KNOWN_DIFFERENCES = (PersonCase.HASH_FORM, PersonCase.SECOND_VERSION)

_PROVIDERS: dict[PersonCase, tuple[str, ...]] = {
    PersonCase.PASS: ("Github", "Ens"),
    PersonCase.EXACT: ("Google", "Twitter"),
    PersonCase.FAIL: ("Google", "Discord"),
    PersonCase.NONE: (),
    PersonCase.CLASH: ("Google", "Github", "Twitter"),
    PersonCase.PARTIAL_CLASH: ("Linkedin", "Ens"),
    PersonCase.LAPSED_CLASH: ("Github", "Discord"),
    PersonCase.EXPIRED: ("Ens", "Google", "Github"),
    PersonCase.REVOKED: ("Twitter", "Github", "Ens"),
    PersonCase.UNTRUSTED: ("Google", "Discord", "Ens"),
    PersonCase.TAMPERED: ("Github", "Twitter", "Google"),
    PersonCase.CUSTOM: ("AllowList#Insiders", "Custom#Badge", "Google"),
    PersonCase.POINTS: ("BeginnerCommunityStaker", "Ens", "SelfStakingGold"),
    PersonCase.MANY: (
        "Google",
        "Github",
        "Twitter",
        "Discord",
        "Linkedin",
        "Ens",
        "ETHScore#50",
        "NFTScore#75",
        "Steam",
        "Civic",
    ),
    PersonCase.HASH_FORM: ("Google", "Github"),
    PersonCase.SECOND_VERSION: ("Twitter", "Ens"),
    PersonCase.SHARED: ("Github", "Google", "Twitter"),
    PersonCase.BORROWED: ("Ens", "Google", "Github"),
}
"""The stamps of each case; for the cases about one bad stamp the first is the bad one."""


@dataclass(frozen=True, slots=True)
class HeldStamp:
    """One stamp as it lies in the database."""

    provider: str
    credential: dict[str, Any]
    revoked: bool = False


@dataclass(frozen=True, slots=True)
class ForeignLink:
    """A nullifier that an outsider holds until `expires_at`."""

    nullifier: str
    address: str
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Person:
    """One address with its stamps, and the links of others to its nullifiers."""

    address: str
    case: PersonCase
    stamps: tuple[HeldStamp, ...] = ()
    links: tuple[ForeignLink, ...] = ()


@dataclass(frozen=True, slots=True)
class Issuers:
    """The issuer that the scorer trusts, and one that it does not."""

    trusted: Issuer
    untrusted: Issuer

    @classmethod
    def of(cls, seed: int) -> "Issuers":
        """Derive the issuers from a seed."""
        return cls(Issuer(f"trusted issuer {seed}"), Issuer(f"untrusted issuer {seed}"))


def people(
    seed: int, size: int, *, known_differences: bool = False, deal: Sequence[PersonCase] = (), signed: bool = True
) -> Iterator[Person]:
    """Generate `size` people, dealt round robin over the cases.

    Args:
        seed: equal seeds give equal people.
        size: the number of people.
        known_differences: also deal the cases that the new scorer deliberately decides otherwise than the legacy.
        deal: the cases in dealing order; default: the built-in ones.
        signed: False leaves the stamps out, which is much faster if only addresses and cases are needed.
    """
    issuers = Issuers.of(seed)
    cases = (*(deal or _DEAL), *(_KNOWN_DIFFERENCES if known_differences else ()))
    sharing = 0
    for index in range(size):
        name, case = f"{seed}.{index}", cases[index % len(cases)]
        shared = f"{seed}.shared.{sharing // _SHARED_BY}"
        sharing += case is PersonCase.SHARED
        yield _person(issuers, name, case, shared) if signed else Person(address_of(name), case)


def deal_of(shares: Mapping[PersonCase, int]) -> tuple[PersonCase, ...]:
    """Return each case as often as its share says, spread evenly, for `people` to deal repeatedly."""
    return tuple(spread(shares))


def spread(shares: Mapping[T, int]) -> Iterator[T]:
    """Yield each name as often as its share says, always close to its proportion so far."""
    total = sum(shares.values())
    credit = dict.fromkeys(shares, 0)
    for _ in range(total):
        for name, share in shares.items():
            credit[name] += share
        chosen = max(credit, key=lambda name: credit[name])
        credit[chosen] -= total
        yield chosen


def address_of(name: str) -> str:
    """Derive an address, lower case, from a name."""
    return "0x" + hashlib.sha256(f"address {name}".encode()).hexdigest()[:40]


def nullifier_of(name: str, *, version: str = "v0") -> str:
    """Derive a nullifier from a name."""
    return f"{version}:{base64.b64encode(hashlib.sha256(f'nullifier {name}'.encode()).digest()).decode()}"


def _person(issuers: Issuers, name: str, case: PersonCase, shared: str) -> Person:
    address = address_of(name)
    stamps = tuple(
        _stamp(issuers, address, f"{name}.{provider}", provider, case=case, shared="" if index else shared)
        for index, provider in enumerate(_PROVIDERS[case])
    )
    return Person(address, case, stamps, _links(name, case))


def _stamp(issuers: Issuers, address: str, name: str, provider: str, *, case: PersonCase, shared: str) -> HeldStamp:
    """Make one stamp; only the first stamp of a person, which represents the case, has a `shared` name."""
    first = bool(shared)
    issuer = issuers.untrusted if first and case is PersonCase.UNTRUSTED else issuers.trusted
    expires = _PAST if first and case is PersonCase.EXPIRED else FAR
    owner = address_of(f"{name} lender") if first and case is PersonCase.BORROWED else address
    nullifiers = [nullifier_of(shared if first and case is PersonCase.SHARED else name)]
    if first and case is PersonCase.PARTIAL_CLASH:
        nullifiers.append(nullifier_of(f"{name}.second"))
    if case is PersonCase.SECOND_VERSION:
        nullifiers.append(nullifier_of(name, version="v1"))
    credential = issuer.issue(owner, provider, nullifiers, expires=expires, old_form=case is PersonCase.HASH_FORM)
    if first and case is PersonCase.TAMPERED:
        credential = tampered(credential)
    return HeldStamp(provider, credential, revoked=first and case is PersonCase.REVOKED)


def _links(name: str, case: PersonCase) -> tuple[ForeignLink, ...]:
    if case not in (PersonCase.CLASH, PersonCase.PARTIAL_CLASH, PersonCase.LAPSED_CLASH):
        return ()
    nullifier = nullifier_of(f"{name}.{_PROVIDERS[case][0]}" + (".second" if case is PersonCase.PARTIAL_CLASH else ""))
    expires = datetime.fromisoformat(_PAST if case is PersonCase.LAPSED_CLASH else FAR).astimezone(UTC)
    return (ForeignLink(nullifier, address_of(f"{name} outsider"), expires),)
