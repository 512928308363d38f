"""What the embed widget and the Passport app load before they show anything: weights, sections, the key's rate limit."""

from aiohttp import web

from scorer.api import responses, validation
from scorer.api.context import API_KEY, SERVICES


async def config(request: web.Request) -> web.Response:
    """GET /internal/embed/config?community_id="""
    found = await request.app[SERVICES].weights.embed_config(validation.query_text(request, "community_id"))
    sections = [
        {
            "title": section.title,
            "order": section.order,
            "items": [{"platform_id": item.platform_id, "order": item.order} for item in section.items],
        }
        for section in found.sections
    ]
    return responses.json_response({"weights": found.weights, "stamp_sections": sections})


async def weights(request: web.Request) -> web.Response:
    """GET /internal/embed/weights[?community_id=], older than `config`, which replaces it."""
    community = validation.optional_query_text(request, "community_id")
    return responses.json_response(await request.app[SERVICES].weights.read(community))


async def own_weights(request: web.Request) -> web.Response:
    """GET /ceramic-cache/weights: those of the default community."""
    return responses.json_response(await request.app[SERVICES].weights.read())


async def validate_api_key(request: web.Request) -> web.Response:
    """GET /internal/embed/validate-api-key: that the key passed is the answer."""
    return responses.json_response({"embed_rate_limit": request[API_KEY].embed_rate_limit})
