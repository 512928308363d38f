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
    """One request: `path` as sent, `case` why it is in the list, `status` what both sides ought to answer."""

    method: str
    path: str
    headers: dict[str, str]
    case: str
    status: int = 200


@dataclass(frozen=True, slots=True)
class _Mistake:
    case: str
    status: int
    community: Community | None
    key: Key
    address: str = ""


_MISTAKES = (
    _Mistake("bad_address", 400, PLAIN, KEY, "0x1234"),
    _Mistake("unknown_scorer", 404, None, KEY),
    _Mistake("wrong_key", 401, PLAIN, Key("popKey01.wrong")),
    _Mistake("revoked_key", 401, PLAIN, REVOKED_KEY),
    _Mistake("foreign_scorer", 404, FOREIGN, KEY),
)


def targets(population: Iterable[Person]) -> Iterator[Target]:
    """One target a person, first with the key that is still stored the old way; a mistaken one after every _ERRORS_EVERY."""
    for index, person in enumerate(population):
        yield _target(person.address, _community(person, index), OLD_KEY if index == 0 else KEY, case=person.case)
        if index % _ERRORS_EVERY == _ERRORS_EVERY - 1:
            yield _mistaken(index // _ERRORS_EVERY)


def lines(listed: Iterable[Target]) -> bytes:
    """The targets as NDJSON."""
    return b"".join(msgspec.json.encode(target) + b"\n" for target in listed)


def _community(person: Person, index: int) -> Community:
    match person.case:
        case Case.CUSTOM:
            return CUSTOMIZED
        case Case.POINTS:
            return POINTS
        case Case.PASS if index % 4 == 1:
            return EXTERNAL
        case _:
            return PLAIN


def _mistaken(number: int) -> Target:
    mistake = _MISTAKES[number % len(_MISTAKES)]
    address = mistake.address or address_of(f"mistaken {number}")
    target = _target(address, mistake.community, mistake.key, case=mistake.case)
    return msgspec.structs.replace(target, status=mistake.status)


def _target(address: str, community: Community | None, key: Key, *, case: str) -> Target:
    scorer_id = community.scorer_id if community else "999999"
    return Target("GET", f"/v2/stamps/{scorer_id}/score/{address}", {"X-API-Key": key.text}, str(case))
