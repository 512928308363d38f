"""/internal: scores of any account's community, and the look-ups of stamp issuers (contributions, allow lists, custom credentials)."""

from aiohttp import web

from scorer.api import bodies, responses, validation
from scorer.api.context import DATABASE, REQUEST_ID, SCORER
from scorer.db import communities, contributions, lists
from scorer.domain.address import is_lower_address
from scorer.domain.checksums import is_address
from scorer.domain.contributions import combine
from scorer.domain.texts import is_storable
from scorer.errors import AddressInvalidError, NotFoundError, ServiceFailedError


async def score(request: web.Request) -> web.Response:
    """Score an address and store the result; a stored failure is an error here."""
    community_id, address = validation.path_id(request, "scorer_id"), request.match_info["address"].lower()
    community = await request.app[DATABASE].read(lambda conn: communities.find(conn, community_id))
    if community is None:
        raise NotFoundError("No Community matches the given query.")
    if not is_lower_address(address):
        raise AddressInvalidError
    result = await request.app[SCORER].score(community, address, request_id=request[REQUEST_ID])
    if result.error is not None:
        raise ServiceFailedError("Failed to calculate score.")
    return responses.json_response(bodies.v2_score(address, result))


async def contributor_statistics(request: web.Request) -> web.Response:
    """Return the contribution statistics of an address, which must have a valid checksum."""
    address = validation.query_text(request, "address")
    if not is_address(address):
        raise AddressInvalidError
    lowered, database = address.lower(), request.app[DATABASE]
    grants = await database.read(lambda conn: contributions.to_grants(conn, lowered))
    protocol = await database.read(lambda conn: contributions.in_protocol_rounds(conn, lowered))
    statistics = combine(grants, protocol)
    fields = ("num_grants_contribute_to", "total_contribution_amount")
    response = responses.json_response({name: getattr(statistics, name) for name in fields})
    # The one response without a charset. Observed of the legacy.
    response.headers["Content-Type"] = "application/json"
    return response


async def allow_list(request: web.Request) -> web.Response:
    """Report whether an address is on a list; an unknown list or a malformed address is not an error."""
    name, address = request.match_info["list"], request.match_info["address"].lower()
    if not (is_storable(name) and is_storable(address)):
        return responses.json_response({"is_member": False})
    is_member = await request.app[DATABASE].read(lambda conn: lists.is_member(conn, name, address=address))
    return responses.json_response({"is_member": is_member})


async def credential(request: web.Request) -> web.Response:
    """Return the definition of a custom credential; a `#` in its id may be percent-encoded once or twice."""
    provider_id = request.match_info["provider_id"].replace("%23", "#")
    if not is_storable(provider_id):
        raise NotFoundError
    ruleset = await request.app[DATABASE].read(lambda conn: lists.ruleset(conn, provider_id))
    if ruleset is None:
        raise NotFoundError
    return responses.json_response({"ruleset": ruleset.definition})
