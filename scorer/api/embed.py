"""/internal/embed: the embed widget's configuration, stamps and scores."""

from aiohttp import web

from scorer.api import bodies, responses, validation, wire
from scorer.api.context import API_KEY, DATABASE, REQUEST_ID, SCORER, SERVICES, SETTINGS
from scorer.db import communities
from scorer.domain.address import is_lower_address
from scorer.domain.submission import all_different, provider_of, submitted
from scorer.errors import AddressInvalidError, BadInputError, NotFoundError, StampsTooManyError, UnanswerableError
from scorer.workflows import adding


async def add_stamps(request: web.Request) -> web.Response:
    """Store stamps under the providers that their credentials name, replacing existing ones, and score."""
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
        result = await adding.change_and_score(
            request.app[SCORER],
            change,
            address=address,
            community_id=payload["scorer_id"],
            stamps_max=stamps_max,
            request_id=request[REQUEST_ID],
        )
    except NotFoundError as error:
        raise UnanswerableError("the stamps are stored, but the community does not exist") from error
    return _response(address, result)


async def score(request: web.Request) -> web.Response:
    """Score an address in any community, and list its stamps."""
    community_id, address = validation.path_id(request, "scorer_id"), request.match_info["address"].lower()
    if await request.app[DATABASE].read(lambda conn: communities.find(conn, community_id)) is None:
        raise BadInputError("Invalid scorer_id")
    result = await adding.score_and_list(
        request.app[SCORER], address=address, community_id=community_id, request_id=request[REQUEST_ID]
    )
    return _response(address, result)


async def config(request: web.Request) -> web.Response:
    """Return the weights and stamp sections of a community."""
    embed_config = await request.app[SERVICES].weights.embed_config(validation.query_text(request, "community_id"))
    sections = [
        {
            "title": section.title,
            "order": section.order,
            "items": [{"platform_id": item.platform_id, "order": item.order} for item in section.items],
        }
        for section in embed_config.sections
    ]
    return responses.json_response({"weights": embed_config.weights, "stamp_sections": sections})


async def weights(request: web.Request) -> web.Response:
    """Return the weights of a community; superseded by `config`."""
    community = validation.optional_query_text(request, "community_id")
    return responses.json_response(await request.app[SERVICES].weights.read(community))


async def validate_api_key(request: web.Request) -> web.Response:
    """Return the embed rate limit of the key, which authentication has validated."""
    return responses.json_response({"embed_rate_limit": request[API_KEY].embed_rate_limit})


def _response(address: str, result: adding.StampsAndScore) -> web.Response:
    return responses.json_response(
        {**bodies.held_stamps(result.stamps), "score": bodies.v2_score(address, result.score)}
    )
