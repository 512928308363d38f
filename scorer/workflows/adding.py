"""Store, replace and delete an address's stamps, then score it, all in one transaction.

If an insert fails, the legacy has already deleted the stamps to be replaced; here nothing is stored unless everything is. The one
deliberate exception: stamps stay stored if only the scoring after them is impossible (an unknown community, a token whose address is
malformed), because they are valid on their own.
"""

import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NoReturn

import asyncpg

from scorer.db import communities, stamps
from scorer.db.pool import Connection, Database, RacedError
from scorer.db.stamps import LiveStamp, NewStamp
from scorer.domain.address import is_lower_address
from scorer.domain.scoring import Score
from scorer.domain.submission import SubmittedStamp
from scorer.errors import (
    AddressInvalidError,
    NotFoundError,
    ScorerError,
    ScorerUnavailableError,
    ServiceFailedError,
    StampsTooManyError,
    UnanswerableError,
)
from scorer.workflows.scoring import Scorer

APP_PASSPORT = 1
APP_EMBED = 2
_NOTHING_TO_REMOVE = "Unable to find stamp to delete."


@dataclass(frozen=True, slots=True)
class StampChange:
    """A change to the stamps of an address before it is scored.

    Args:
        remove: providers whose live stamps are soft-deleted first.
        any_type: stamps of type 2 are deleted too.
        add: stamps to store then.
        source_app: the app that submitted them; None stores neither source_app nor source_scorer_id.
        needs_removal: deleting nothing is an error.
    """

    remove: Sequence[str]
    add: Sequence[SubmittedStamp]
    source_app: int | None
    any_type: bool = False
    needs_removal: bool = False


@dataclass(frozen=True, slots=True)
class StampsAndScore:
    """The live stamps of an address, and its score."""

    stamps: list[LiveStamp]
    score: Score


async def change_and_score(
    scorer: Scorer, change: StampChange, *, address: str, community_id: int, stamps_max: int, request_id: str
) -> StampsAndScore:
    """Change the stamps of `address` and score it in a community.

    Raises:
        StampsTooManyError: more than `stamps_max`.
        NotFoundError: the community does not exist (the stamps are stored), or there was nothing to delete.
        AddressInvalidError: the address is malformed (the stamps are stored).
        UnanswerableError: the database refuses a value.
    """
    if max(len(change.remove), len(change.add)) > stamps_max:
        raise StampsTooManyError

    async def work(conn: Connection, contested: bool) -> StampsAndScore | ScorerError:
        await _apply(conn, change, address=address, community_id=community_id, clock=scorer.clock)
        # Observed of the legacy: a deletion lists what is left of every type, the other answers list type 1.
        listed_any_type = change.needs_removal
        return await _scored(conn, scorer, address, community_id, contested=contested, any_type=listed_any_type)

    return _unless_error(await scorer.transact(work, address=address, request_id=request_id))


async def score_and_list(scorer: Scorer, *, address: str, community_id: int, request_id: str) -> StampsAndScore:
    """Score `address` and list its stamps.

    Raises:
        NotFoundError: the community does not exist.
        AddressInvalidError: the address is malformed.
    """

    async def work(conn: Connection, contested: bool) -> StampsAndScore | ScorerError:
        return await _scored(conn, scorer, address, community_id, contested=contested)

    return _unless_error(await scorer.transact(work, address=address, request_id=request_id))


async def refuse_removal(database: Database, address: str, providers: Sequence[str]) -> NoReturn:
    """Answer a removal that cannot be carried out, because no community is configured to score the address in.

    Observed of the legacy, which tells of stamps that are not there first, and removes those that are before it fails.

    Raises:
        NotFoundError: there is nothing to remove.
        ServiceFailedError: there is.
    """
    if not await database.read(lambda conn: stamps.any_live(conn, address, providers)):
        raise NotFoundError(_NOTHING_TO_REMOVE)
    raise ServiceFailedError("Scorer ID not set")


def _unless_error(held: StampsAndScore | ScorerError) -> StampsAndScore:
    if isinstance(held, ScorerError):
        raise held
    return held


async def _scored(
    conn: Connection, scorer: Scorer, address: str, community_id: int, *, contested: bool, any_type: bool = False
) -> StampsAndScore | ScorerError:
    """Score and list; an error after which the stored stamps are to stay is returned, not raised, so that the transaction commits."""
    community = await communities.find(conn, community_id)
    if community is None:
        return NotFoundError()
    if not is_lower_address(address):
        return AddressInvalidError()
    try:
        score = await scorer.score_in(conn, community, address, contested=contested)
    except ScorerUnavailableError as error:
        return error
    return StampsAndScore(await stamps.live(conn, address, any_type=any_type), score)


async def _apply(
    conn: Connection, change: StampChange, *, address: str, community_id: int, clock: Callable[[], datetime]
) -> None:
    # Serialize the changes of one address: each replaces the rows that the one before has stored.
    await stamps.claim(conn, address)
    await _refusing_bad_values(_remove(conn, change, address=address, now=clock()))
    new = [_new_stamp(stamp, change.source_app, community_id) for stamp in change.add]
    if new:
        await _refusing_bad_values(stamps.insert(conn, address, new, now=clock()))


async def _remove(conn: Connection, change: StampChange, *, address: str, now: datetime) -> None:
    only_type = None if change.any_type else stamps.TYPE_V1
    removed = await stamps.soft_delete(conn, address, change.remove, now=now, only_type=only_type)
    if change.needs_removal and not removed:
        raise NotFoundError(_NOTHING_TO_REMOVE)


async def _refusing_bad_values(statement: Awaitable[None]) -> None:
    try:
        await statement
    except asyncpg.UniqueViolationError as error:
        # Another request has stored a stamp of this provider meanwhile; the retry replaces it.
        raise RacedError from error
    except asyncpg.DataError as error:
        raise UnanswerableError("the database refuses a value") from error


def _new_stamp(stamp: SubmittedStamp, source_app: int | None, community_id: int) -> NewStamp:
    return NewStamp(
        stamp.provider,
        json.dumps(stamp.credential),
        stamp.proof_value,
        stamp.issued_at,
        stamp.expires_at,
        source_app,
        None if source_app is None else community_id,
    )
