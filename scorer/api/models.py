"""GET /v2/models/score/{address} and GET /v2/stamps/metadata: relay the answers of upstream services."""

from aiohttp import web

from scorer.api import responses, validation
from scorer.api.context import API_KEY, LIMITER, SERVICES
from scorer.domain.analysis import ModelRefusal, parse_model
from scorer.domain.checksums import is_address
from scorer.domain.rate_limit import RateGroup
from scorer.errors import AddressInvalidError, BadInputError
from scorer.workflows import metadata


async def score(request: web.Request) -> web.Response:
    """Return the score that a model gives to an address; the address is echoed as given."""
    await request.app[LIMITER].count(request[API_KEY], group=RateGroup.ANALYSIS)
    address = request.match_info["address"]
    if not is_address(address):
        raise AddressInvalidError
    model = parse_model(validation.optional_query_text(request, "model"))
    if isinstance(model, ModelRefusal):
        raise BadInputError(model.detail)
    result = await request.app[SERVICES].models.score(model, address)
    return responses.json_response({"address": address, "details": {"models": {model: {"score": result}}}})


async def stamp_metadata(request: web.Request) -> web.Response:
    """List every platform with its stamps."""
    await request.app[LIMITER].count(request[API_KEY], group=RateGroup.REGISTRY)
    return responses.json_response(await metadata.all_platforms(request.app[SERVICES].metadata))
