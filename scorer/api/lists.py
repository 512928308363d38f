"""What the issuers of stamps ask: contributions, allow lists, definitions of custom credentials."""

from aiohttp import web

from scorer.api import responses, validation
from scorer.api.context import DATABASE
from scorer.db import contributions, lists
from scorer.domain.checksums import is_address
from scorer.domain.contributions import combine
from scorer.errors import AddressInvalidError, NotFoundError


async def contributor_statistics(request: web.Request) -> web.Response:
    """GET /internal/cgrants/contributor_statistics?address="""
    address = validation.query_text(request, "address")
    if not is_address(address):
        raise AddressInvalidError
    lowered, database = address.lower(), request.app[DATABASE]
    grants = await database.read(lambda conn: contributions.to_grants(conn, lowered))
    protocol = await database.read(lambda conn: contributions.in_protocol_rounds(conn, lowered))
    found = combine(grants, protocol)
    figures = ("num_grants_contribute_to", "total_contribution_amount")
    response = responses.json_response({figure: getattr(found, figure) for figure in figures})
    # The one response whose type names no charset. Observed of the legacy.
    response.headers["Content-Type"] = "application/json"
    return response


async def allow_list(request: web.Request) -> web.Response:
    """GET /internal/allow-list/{list}/{address}: no list and no address is an error."""
    name, address = request.match_info["list"], request.match_info["address"].lower()
    found = await request.app[DATABASE].read(lambda conn: lists.is_member(conn, name, address=address))
    return responses.json_response({"is_member": found})


async def credential(request: web.Request) -> web.Response:
    """GET /internal/customization/credential/{provider_id}: a `#` may be encoded once or twice."""
    provider_id = request.match_info["provider_id"].replace("%23", "#")
    found = await request.app[DATABASE].read(lambda conn: lists.ruleset(conn, provider_id))
    if found is None:
        raise NotFoundError
    return responses.json_response({"ruleset": found.definition})
