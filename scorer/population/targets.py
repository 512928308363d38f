"""The requests (targets) for a population.

Pure. One target a line: method, path, headers, case and expected status. A list of targets is meant to be sent repeatedly, in order:
targets of one address are far apart, so that they rarely overlap.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import msgspec

from scorer.population.people import Person, PersonCase, address_of
from scorer.population.rows import (
    CUSTOMIZED,
    EXTERNAL,
    FOREIGN,
    KEY,
    OLD_KEY,
    PLAIN,
    POINTS,
    REVOKED_KEY,
    SyntheticCommunity,
    SyntheticKey,
)

_ERRORS_EVERY = 25


class Target(msgspec.Struct, frozen=True):
    """One request: `path` as sent, `case` the situation it represents, `status` the expected status of both sides.

    `key` is the address that it concerns, lower case, or "".
    """

    method: str
    path: str
    headers: dict[str, str]
    case: str
    status: int = 200
    body: str = ""
    key: str = ""


@dataclass(frozen=True, slots=True)
class RefusedRequest:
    """A request that is refused with `status`; `case` names its flaw."""

    case: str
    status: int
    community: SyntheticCommunity | None
    key: SyntheticKey
    address: str = ""


REFUSED_REQUESTS = (
    RefusedRequest("bad_address", 400, PLAIN, KEY, "0x1234"),
    RefusedRequest("unknown_scorer", 404, None, KEY),
    RefusedRequest("wrong_key", 401, PLAIN, SyntheticKey("popKey01.wrong")),
    RefusedRequest("revoked_key", 401, PLAIN, REVOKED_KEY),
    RefusedRequest("foreign_scorer", 404, FOREIGN, KEY),
)


def targets(population: Iterable[Person]) -> Iterator[Target]:
    """Generate one target for each person, the first with the key that has the slow hash; every _ERRORS_EVERY a refused one."""
    for index, person in enumerate(population):
        yield target_of(person.address, community_of(person, index), OLD_KEY if index == 0 else KEY, case=person.case)
        if index % _ERRORS_EVERY == _ERRORS_EVERY - 1:
            number = index // _ERRORS_EVERY
            yield refused_target(REFUSED_REQUESTS[number % len(REFUSED_REQUESTS)], number)


def lines(listed: Iterable[Target]) -> bytes:
    """Encode the targets as NDJSON."""
    return b"".join(msgspec.json.encode(target) + b"\n" for target in listed)


def community_of(person: Person, index: int) -> SyntheticCommunity:
    """Choose the community that suits the person's case; `index` spreads the people."""
    match person.case:
        case PersonCase.CUSTOM:
            return CUSTOMIZED
        case PersonCase.POINTS:
            return POINTS
        case PersonCase.PASS if index % 4 == 1:
            return EXTERNAL
        case _:
            return PLAIN


def refused_target(refused: RefusedRequest, number: int) -> Target:
    """Build a request that is refused; `number` varies the address."""
    address = refused.address or address_of(f"mistaken {number}")
    target = target_of(address, refused.community, refused.key, case=refused.case)
    return msgspec.structs.replace(target, status=refused.status)


def target_of(address: str, community: SyntheticCommunity | None, key: SyntheticKey, *, case: str) -> Target:
    """Build a request for a score; without a community, in one that does not exist."""
    scorer_id = community.scorer_id if community else "999999"
    path = f"/v2/stamps/{scorer_id}/score/{address}"
    return Target("GET", path, {"X-API-Key": key.text}, str(case), key=address)
