"""Who is in the population, which stamps each one holds, and what that case shows.

Pure and deterministic: the same seed and size give the same people. Cases are dealt in a fixed ratio, so that a small population has
all of them. Whatever two people share is settled beforehand by a link of an outsider: no outcome depends on who is scored first.
The exception are people of the case `shared`, whom only a profile deals: they hold one nullifier in groups, and the first one scored
has it.
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


class Case(StrEnum):
    """What is interesting about a person."""

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
        Case.PASS,
        Case.EXACT,
        Case.FAIL,
        Case.POINTS,
        Case.CLASH,
        Case.PASS,
        Case.CUSTOM,
        Case.MANY,
        Case.EXPIRED,
        Case.PASS,
    ),
    *(
        Case.REVOKED,
        Case.EXACT,
        Case.PARTIAL_CLASH,
        Case.NONE,
        Case.POINTS,
        Case.UNTRUSTED,
        Case.LAPSED_CLASH,
        Case.FAIL,
    ),
    *(Case.TAMPERED, Case.PASS),
)
_KNOWN_DIFFERENCES = (Case.HASH_FORM, Case.SECOND_VERSION)

_PROVIDERS: dict[Case, tuple[str, ...]] = {
    Case.PASS: ("Github", "Ens"),
    Case.EXACT: ("Google", "Twitter"),
    Case.FAIL: ("Google", "Discord"),
    Case.NONE: (),
    Case.CLASH: ("Google", "Github", "Twitter"),
    Case.PARTIAL_CLASH: ("Linkedin", "Ens"),
    Case.LAPSED_CLASH: ("Github", "Discord"),
    Case.EXPIRED: ("Ens", "Google", "Github"),
    Case.REVOKED: ("Twitter", "Github", "Ens"),
    Case.UNTRUSTED: ("Google", "Discord", "Ens"),
    Case.TAMPERED: ("Github", "Twitter", "Google"),
    Case.CUSTOM: ("AllowList#Insiders", "Custom#Badge", "Google"),
    Case.POINTS: ("BeginnerCommunityStaker", "Ens", "SelfStakingGold"),
    Case.MANY: (
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
    Case.HASH_FORM: ("Google", "Github"),
    Case.SECOND_VERSION: ("Twitter", "Ens"),
    Case.SHARED: ("Github", "Google", "Twitter"),
    Case.BORROWED: ("Ens", "Google", "Github"),
}
"""The stamps of each case; for the cases about one bad stamp the first is the bad one."""


@dataclass(frozen=True, slots=True)
class HeldStamp:
    """One stamp as it lies in the database."""

    provider: str
    credential: dict[str, Any]
    revoked: bool = False


@dataclass(frozen=True, slots=True)
class Link:
    """A nullifier that an outsider holds until `expires_at`."""

    nullifier: str
    address: str
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Person:
    """One address with its stamps, and the links of others that stand against it."""

    address: str
    case: Case
    stamps: tuple[HeldStamp, ...] = ()
    links: tuple[Link, ...] = ()


@dataclass(frozen=True, slots=True)
class Issuers:
    """Whom the population's services trust, and one they do not."""

    trusted: Issuer
    untrusted: Issuer

    @classmethod
    def of(cls, seed: int) -> "Issuers":
        """The issuers of a seed."""
        return cls(Issuer(f"trusted issuer {seed}"), Issuer(f"untrusted issuer {seed}"))


def people(
    seed: int, size: int, *, known_differences: bool = False, deal: Sequence[Case] = (), signed: bool = True
) -> Iterator[Person]:
    """`size` people, dealt round robin over the cases.

    Args:
        seed: same seed, same people.
        size: how many.
        known_differences: deal also the cases that the new scorer decides otherwise than the legacy, on purpose.
        deal: the cases in the order they are dealt in; none for the usual ones.
        signed: False leaves their stamps out, which is much faster where only addresses and cases are wanted.
    """
    issuers = Issuers.of(seed)
    cases = (*(deal or _DEAL), *(_KNOWN_DIFFERENCES if known_differences else ()))
    sharing = 0
    for index in range(size):
        name, case = f"{seed}.{index}", cases[index % len(cases)]
        shared = f"{seed}.shared.{sharing // _SHARED_BY}"
        sharing += case is Case.SHARED
        yield _person(issuers, name, case, shared) if signed else Person(address_of(name), case)


def dealt(shares: Mapping[Case, int]) -> tuple[Case, ...]:
    """Each case as often as its share says, spread evenly: what `people` deals over and over."""
    return tuple(spread(shares))


def spread(shares: Mapping[T, int]) -> Iterator[T]:
    """Each name as often as its share says, never far from its proportion so far."""
    total = sum(shares.values())
    credit = dict.fromkeys(shares, 0)
    for _ in range(total):
        for name, share in shares.items():
            credit[name] += share
        chosen = max(credit, key=lambda name: credit[name])
        credit[chosen] -= total
        yield chosen


def address_of(name: str) -> str:
    """An address, lower case, that follows from a name."""
    return "0x" + hashlib.sha256(f"address {name}".encode()).hexdigest()[:40]


def nullifier_of(name: str, *, version: str = "v0") -> str:
    """A nullifier that follows from a name."""
    return f"{version}:{base64.b64encode(hashlib.sha256(f'nullifier {name}'.encode()).digest()).decode()}"


def _person(issuers: Issuers, name: str, case: Case, shared: str) -> Person:
    address = address_of(name)
    stamps = tuple(
        _stamp(issuers, address, f"{name}.{provider}", provider, case=case, shared="" if index else shared)
        for index, provider in enumerate(_PROVIDERS[case])
    )
    return Person(address, case, stamps, _links(name, case))


def _stamp(issuers: Issuers, address: str, name: str, provider: str, *, case: Case, shared: str) -> HeldStamp:
    """One stamp; the first one, which is what its case is about, is told by having `shared`."""
    first = bool(shared)
    issuer = issuers.untrusted if first and case is Case.UNTRUSTED else issuers.trusted
    expires = _PAST if first and case is Case.EXPIRED else FAR
    owner = address_of(f"{name} lender") if first and case is Case.BORROWED else address
    nullifiers = [nullifier_of(shared if first and case is Case.SHARED else name)]
    if first and case is Case.PARTIAL_CLASH:
        nullifiers.append(nullifier_of(f"{name}.second"))
    if case is Case.SECOND_VERSION:
        nullifiers.append(nullifier_of(name, version="v1"))
    credential = issuer.issue(owner, provider, nullifiers, expires=expires, old_form=case is Case.HASH_FORM)
    if first and case is Case.TAMPERED:
        credential = tampered(credential)
    return HeldStamp(provider, credential, revoked=first and case is Case.REVOKED)


def _links(name: str, case: Case) -> tuple[Link, ...]:
    if case not in (Case.CLASH, Case.PARTIAL_CLASH, Case.LAPSED_CLASH):
        return ()
    nullifier = nullifier_of(f"{name}.{_PROVIDERS[case][0]}" + (".second" if case is Case.PARTIAL_CLASH else ""))
    expires = datetime.fromisoformat(_PAST if case is Case.LAPSED_CLASH else FAR).astimezone(UTC)
    return (Link(nullifier, address_of(f"{name} outsider"), expires),)
