"""/v2/stamps: score, history and listing of stamps."""

from collections.abc import Mapping
from typing import Any

from aiohttp import web

from scorer.api import bodies, responses, validation
from scorer.api.context import API_KEY, DATABASE, LIMITER, METRICS, REQUEST_ID, SCORER, SERVICES, SETTINGS
from scorer.db import communities
from scorer.db.communities import Community
from scorer.domain.address import is_lower_address
from scorer.domain.cursor import Cursor, parse_cursor
from scorer.domain.rate_limit import RateGroup
from scorer.domain.times import parse_moment
from scorer.errors import (
    AddressInvalidError,
    BadInputError,
    NotFoundError,
    PermissionRefusedError,
    ScorerUnavailableError,
    ServiceFailedError,
    UnanswerableError,
)
from scorer.workflows import metadata, reading

_LIMIT_MAX = 1000
_STAMP_VERSION = "1.0.0"


async def score(request: web.Request) -> web.Response:
    """Score an address in a community of the key's account, and store the result."""
    scorer_id = _scorer_id(request, validation.path_int(request, "scorer_id"))
    with_points = validation.optional_query_text(request, "include_human_points").lower() == "true"
    await request.app[LIMITER].count(request[API_KEY], group=RateGroup.REGISTRY)
    community = await _community(request, scorer_id)
    address = _address(request)
    scorer, request_id = request.app[SCORER], request[REQUEST_ID]
    try:
        shown = await reading.scored(scorer, community, address, with_points=with_points, request_id=request_id)
    except ScorerUnavailableError as error:
        raise ServiceFailedError("Unexpected error while submitting passport") from error
    return responses.json_response(bodies.v2_score(address, shown.score, shown.points))


async def history(request: web.Request) -> web.Response:
    """Return the score of an address at a time, from the events."""
    number, created_at = validation.together(
        lambda: validation.path_int(request, "scorer_id"), lambda: validation.query_text(request, "created_at")
    )
    scorer_id = _scorer_id(request, number)
    key = request[API_KEY]
    if not key.historical_endpoint:
        raise PermissionRefusedError
    if not created_at:
        raise BadInputError("You must provide created_at as a query param.")
    await request.app[LIMITER].count(key, group=RateGroup.REGISTRY)
    address = request.match_info["address"]
    data = await reading.history_event(
        request.app[DATABASE],
        community_id=int(scorer_id) if scorer_id.isdecimal() else -1,
        account_id=key.account_id,
        address=address.strip().lower(),
        # An unescaped "+" arrives as a blank.
        moment=parse_moment(created_at.strip()),
    )
    if data is None:
        raise NotFoundError(f"No Score Found for {address} at {created_at}", address=address)
    return responses.json_response(bodies.v2_score_of_event(address, data))


async def listing(request: web.Request) -> web.Response:
    """List a page of the stamps of an address, newest first."""
    limit, with_metadata = validation.together(
        lambda: validation.query_int(request, "limit", _LIMIT_MAX),
        lambda: validation.query_flag(request, "include_metadata"),
    )
    await request.app[LIMITER].count(request[API_KEY], group=RateGroup.REGISTRY)
    if limit > _LIMIT_MAX:
        raise BadInputError("Invalid limit.")
    address = _address(request)
    token = validation.optional_query_text(request, "token")
    cursor = parse_cursor(token) if token else None
    if limit < 0:
        raise UnanswerableError("limit is negative")
    page = await reading.stamp_page(request.app[DATABASE], address, limit=limit, cursor=cursor)
    names = [item.provider for item in page.items] if with_metadata else []
    described = await metadata.of_providers(request.app[SERVICES].metadata, names)
    return responses.json_response(_page_body(request, page, address, limit, described))


def _page_body(
    request: web.Request, page: reading.Page, address: str, limit: int, described: Mapping[str, Any]
) -> dict[str, Any]:
    # Both links use the older path, which serves the same listing.
    base = f"{request.scheme}://{request.host}/registry/stamps/{address}"

    def link(cursor: Cursor | None) -> str | None:
        return None if cursor is None else f"{base}?token={cursor.token()}&limit={limit}"

    items = [
        {"version": _STAMP_VERSION, "credential": item.stamp, "metadata": described.get(item.provider)}
        for item in page.items
    ]
    return {"next": link(page.older), "prev": link(page.newer), "items": items}


def _scorer_id(request: web.Request, number: int) -> str:
    """Return the scorer id as text; a negative one stands for the demo's."""
    return request.app[SETTINGS].demo.scorer_id if number < 0 else str(number)


async def _community(request: web.Request, scorer_id: str) -> Community:
    account_id = request[API_KEY].account_id
    with request.app[METRICS].stage("config"):
        community = await request.app[DATABASE].read(
            lambda conn: communities.find_of_account(conn, account_id, scorer_id)
        )
    if community is None:
        raise NotFoundError("No scorer matches the given criteria.")
    return community


def _address(request: web.Request) -> str:
    address = request.match_info["address"].lower()
    if not is_lower_address(address):
        raise AddressInvalidError
    return address
