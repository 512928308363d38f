"""The requests that a population is asked with.

Pure. One target a line: method, path, headers, what it is about and the status it ought to get. A target list is meant to be walked
round and round in its order: targets of one address are far apart, so that they rarely overlap.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import msgspec

from scorer.population.people import Case, Person, address_of
from scorer.population.rows import (
    CUSTOMIZED,
    EXTERNAL,
    FOREIGN,
    KEY,
    OLD_KEY,
    PLAIN,
    POINTS,
    REVOKED_KEY,
    Community,
    Key,
)

_ERRORS_EVERY = 25


class Target(msgspec.Struct, frozen=True):
    """One request: `path` as sent, `case` why it is in the list, `status` what both sides ought to answer.

    `key` is the address that it is about, lower case, "" for none.
    """

    method: str
    path: str
    headers: dict[str, str]
    case: str
    status: int = 200
    body: str = ""
    key: str = ""


@dataclass(frozen=True, slots=True)
class Mistake:
    """A request that is refused: with which status, and what is wrong with it."""

    case: str
    status: int
    community: Community | None
    key: Key
    address: str = ""


MISTAKES = (
    Mistake("bad_address", 400, PLAIN, KEY, "0x1234"),
    Mistake("unknown_scorer", 404, None, KEY),
    Mistake("wrong_key", 401, PLAIN, Key("popKey01.wrong")),
    Mistake("revoked_key", 401, PLAIN, REVOKED_KEY),
    Mistake("foreign_scorer", 404, FOREIGN, KEY),
)


def targets(population: Iterable[Person]) -> Iterator[Target]:
    """One target a person, first with the key that is still stored the old way; a mistaken one after every _ERRORS_EVERY."""
    for index, person in enumerate(population):
        yield target_of(person.address, community_of(person, index), OLD_KEY if index == 0 else KEY, case=person.case)
        if index % _ERRORS_EVERY == _ERRORS_EVERY - 1:
            number = index // _ERRORS_EVERY
            yield mistaken(MISTAKES[number % len(MISTAKES)], number)


def lines(listed: Iterable[Target]) -> bytes:
    """The targets as NDJSON."""
    return b"".join(msgspec.json.encode(target) + b"\n" for target in listed)


def community_of(person: Person, index: int) -> Community:
    """The community whose score of this person is interesting; `index` spreads them."""
    match person.case:
        case Case.CUSTOM:
            return CUSTOMIZED
        case Case.POINTS:
            return POINTS
        case Case.PASS if index % 4 == 1:
            return EXTERNAL
        case _:
            return PLAIN


def mistaken(mistake: Mistake, number: int) -> Target:
    """The request with this mistake; `number` varies the address."""
    address = mistake.address or address_of(f"mistaken {number}")
    target = target_of(address, mistake.community, mistake.key, case=mistake.case)
    return msgspec.structs.replace(target, status=mistake.status)


def target_of(address: str, community: Community | None, key: Key, *, case: str) -> Target:
    """A request for a score; without a community, for one that is not there."""
    scorer_id = community.scorer_id if community else "999999"
    path = f"/v2/stamps/{scorer_id}/score/{address}"
    return Target("GET", path, {"X-API-Key": key.text}, str(case), key=address)
