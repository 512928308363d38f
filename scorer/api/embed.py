"""The embed widget: hand in stamps, and score with the stamps beside."""

from aiohttp import web

from scorer.api import bodies, responses, validation, wire
from scorer.api.context import DATABASE, REQUEST_ID, SCORER, SETTINGS
from scorer.db import communities
from scorer.domain.address import is_lower_address
from scorer.domain.submission import all_different, provider_of, submitted
from scorer.errors import AddressInvalidError, BadInputError, NotFoundError, StampsTooManyError, UnanswerableError
from scorer.workflows import adding


async def add_stamps(request: web.Request) -> web.Response:
    """Store stamps under the providers their credentials name, replacing those held, and score."""
    payload = await validation.body(request, wire.EMBED_STAMPS)
    address = request.match_info["address"].lower()
    if not is_lower_address(address):
        raise AddressInvalidError
    stamps_max = request.app[SETTINGS].limits.stamps_max
    if len(payload["stamps"]) > stamps_max:
        raise StampsTooManyError
    add = all_different(submitted(provider_of(credential), credential) for credential in payload["stamps"])
    change = adding.StampChange([stamp.provider for stamp in add], add, adding.APP_EMBED)
    try:
        held = await adding.change_and_score(
            request.app[SCORER],
            change,
            address=address,
            community_id=payload["scorer_id"],
            stamps_max=stamps_max,
            request_id=request[REQUEST_ID],
        )
    except NotFoundError as error:
        raise UnanswerableError("the stamps are stored, but there is no such community") from error
    return _held_response(address, held)


async def score(request: web.Request) -> web.Response:
    """Score an address in any community, with its stamps."""
    community_id, address = validation.path_id(request, "scorer_id"), request.match_info["address"].lower()
    if await request.app[DATABASE].read(lambda conn: communities.find(conn, community_id)) is None:
        raise BadInputError("Invalid scorer_id")
    held = await adding.score_and_list(
        request.app[SCORER], address=address, community_id=community_id, request_id=request[REQUEST_ID]
    )
    return _held_response(address, held)


def _held_response(address: str, held: adding.Held) -> web.Response:
    return responses.json_response({**bodies.held_stamps(held.stamps), "score": bodies.v2_score(address, held.score)})
