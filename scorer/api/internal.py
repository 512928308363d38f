"""The score for other backends: any account's community, by its id."""

from aiohttp import web

from scorer.api import bodies, responses, validation
from scorer.api.context import DATABASE, REQUEST_ID, SCORER
from scorer.db import communities
from scorer.domain.address import is_lower_address
from scorer.errors import AddressInvalidError, NotFoundError, ServiceFailedError


async def score(request: web.Request) -> web.Response:
    """Score an address and store the outcome; a stored failure is an error here."""
    community_id, address = validation.path_id(request, "scorer_id"), request.match_info["address"].lower()
    community = await request.app[DATABASE].read(lambda conn: communities.find(conn, community_id))
    if community is None:
        raise NotFoundError("No Community matches the given query.")
    if not is_lower_address(address):
        raise AddressInvalidError
    outcome = await request.app[SCORER].score(community, address, request_id=request[REQUEST_ID])
    if outcome.error is not None:
        raise ServiceFailedError("Failed to calculate score.")
    return responses.json_response(bodies.v2_score(address, outcome))
