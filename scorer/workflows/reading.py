"""Read a stored score (scoring first if it is missing or expired), the history, and the listing of stamps."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from scorer.db import communities, scores, stamps
from scorer.db.communities import Community
from scorer.db.pool import Connection, Database
from scorer.db.stamps import ListedStamp, LiveStamp
from scorer.domain.address import is_lower_address
from scorer.domain.cursor import Cursor
from scorer.domain.scoring import Score
from scorer.domain.texts import is_storable
from scorer.errors import AddressInvalidError, NotFoundError
from scorer.workflows.points import PointsBlocks, points_blocks
from scorer.workflows.scoring import Scorer

_MISCONFIGURED = "Community matching the configured scorer id does not exist! This is probably a misconfiguration!"


@dataclass(frozen=True, slots=True)
class ScoreWithPoints:
    """A score and, if requested and available, the points beside it."""

    score: Score
    points: PointsBlocks | None = None


async def scored(
    scorer: Scorer, community: Community, address: str, *, with_points: bool, request_id: str
) -> ScoreWithPoints:
    """Score an address now; with points if requested, configured to be shown, and the community is in the program.

    Raises:
        ScorerUnavailableError: the community's scorer rows are broken.
    """
    with_points = with_points and scorer.human_points.show and community.human_points_program

    async def work(conn: Connection, contested: bool) -> ScoreWithPoints:
        score = await scorer.score_in(conn, community, address, contested=contested)
        return ScoreWithPoints(score, await points_blocks(conn, address) if with_points else None)

    return await scorer.transact(work, address=address, request_id=request_id)


async def stored_or_scored(scorer: Scorer, *, address: str, community_id: int, request_id: str) -> ScoreWithPoints:
    """Return the stored score, scoring now if it is missing or expired. A score in the state ERROR is returned as it is.

    Raises:
        NotFoundError: the community does not exist.
        AddressInvalidError: the address is malformed.
    """
    database = scorer.database
    community = await database.read(lambda conn: communities.find(conn, community_id))
    if community is None:
        raise NotFoundError(_MISCONFIGURED)
    if not is_lower_address(address):
        raise AddressInvalidError
    shown = await database.read(lambda conn: _stored(conn, scorer, community, address))
    if shown is not None:
        return shown
    return ScoreWithPoints(await scorer.score(community, address, request_id=request_id))


async def _stored(conn: Connection, scorer: Scorer, community: Community, address: str) -> ScoreWithPoints | None:
    score = await scores.find(conn, address, community.id)
    if score is None or (score.expires_at is not None and score.expires_at < scorer.clock()):
        return None
    if not (scorer.human_points.show and community.human_points_program):
        return ScoreWithPoints(score)
    return ScoreWithPoints(score, await points_blocks(conn, address))


async def held_stamps(scorer: Scorer, *, address: str, community_id: int | None, request_id: str) -> list[LiveStamp]:
    """List the stamps of an address, scoring it first if it has no score in the community yet.

    Raises:
        NotFoundError: the community does not exist.
        AddressInvalidError: there is no score yet, and the address is malformed.
    """
    database = scorer.database
    findable = is_storable(address)
    if community_id is not None:
        known = await database.read(lambda conn: scores.find(conn, address, community_id)) if findable else None
        if known is None:
            await _score_first(scorer, address, community_id, request_id)
    return await database.read(lambda conn: stamps.live(conn, address)) if findable else []


async def _score_first(scorer: Scorer, address: str, community_id: int, request_id: str) -> None:
    community = await scorer.database.read(lambda conn: communities.find(conn, community_id))
    if community is None:
        raise NotFoundError
    if not is_lower_address(address):
        raise AddressInvalidError
    await scorer.score(community, address, request_id=request_id)


async def history_event(
    database: Database, *, community_id: int, account_id: int, address: str, moment: datetime | None
) -> Any:
    """Return the data of the newest score update up to `moment` (without it: of all), or None.

    Raises:
        NotFoundError: the account does not own the community.
    """

    async def work(conn: Connection) -> Any:
        if not await communities.is_of_account(conn, community_id, account_id):
            raise NotFoundError("No Community matches the given query.")
        return await scores.event_before(conn, community_id, address, moment) if is_storable(address) else None

    return await database.read(work)


@dataclass(frozen=True, slots=True)
class Page:
    """One page of stamps, newest first, and the cursors to its neighbours if there are any."""

    items: list[ListedStamp]
    newer: Cursor | None
    older: Cursor | None


async def stamp_page(database: Database, address: str, *, limit: int, cursor: Cursor | None) -> Page:
    """Read a page of the live stamps of an address, revoked ones included."""

    async def work(conn: Connection) -> Page:
        direction, anchor = (cursor.direction, cursor.id) if cursor else ("", 0)
        items = await stamps.page(conn, address, limit, direction=direction, anchor=anchor)
        if not items:
            return Page([], None, None)
        newest, oldest = items[0].id, items[-1].id
        has_newer, has_older = await stamps.neighbours(conn, address, newest=newest, oldest=oldest)
        return Page(items, Cursor("prev", newest) if has_newer else None, Cursor("next", oldest) if has_older else None)

    return await database.read(work)
