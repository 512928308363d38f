"""GET /v2/stamps/{scorer_id}/score/{address}: authentication, look-ups and responses."""

from asgiref.sync import sync_to_async
from django.conf import settings
from ninja import NinjaAPI

from tests.legacy import analytics, ceramic, keys, scoring
from tests.legacy.models import SUBTYPES, Community
from tests.legacy.refusing import ADDRESS, RefusedError

BIGINT_MAX = 2**63 - 1


async def api_key(request):
    """Authenticate, or refuse with 401; the key row becomes request.auth."""
    row = await keys.authenticate(request.headers)
    if row is None:
        raise RefusedError(401, "Invalid API Key.")
    return row


api = NinjaAPI(docs_url=None, openapi_url=None, urls_namespace="legacy")
api.add_router("/ceramic-cache", ceramic.router)


@api.exception_handler(RefusedError)
def refuse(request, error):
    return api.create_response(request, {"detail": error.detail}, status=error.status)


@api.get("/v2/stamps/{scorer_id}/score/{address}", auth=api_key)
async def score(request, scorer_id: int, address: str):
    """Score the address, store the outcome and return it."""
    if not settings.FF_API_ANALYTICS:
        return await scored(request.auth, scorer_id, address.lower())
    status, body, problem = 200, None, None
    try:
        body = await scored(request.auth, scorer_id, address.lower())
    except RefusedError as error:
        status, problem = error.status, error.detail
        raise
    finally:
        await sync_to_async(analytics.record)(request, request.auth, status=status, body=body, error=problem)
    return body


async def scored(key, scorer_id: int, address: str) -> dict:
    """Return the body of a successful response.

    Raises:
        RefusedError: 404 for a scorer of another account, 400 for a bad address, 500 for a scorer without weights row.
    """
    community = await sync_to_async(community_of)(
        key, str(scorer_id) if scorer_id >= 0 else str(settings.DEMO_API_SCORER_ID)
    )
    if community is None:
        raise RefusedError(404, "No scorer matches the given criteria.")
    if not ADDRESS.match(address):
        raise RefusedError(400, "Invalid address.")
    if not await sync_to_async(scorer_is_whole)(community):
        raise RefusedError(500, "Unexpected error while submitting passport")
    return await scoring.score(address, community)


def community_of(key, scorer_id: str) -> Community | None:
    """Return the account's community by its external id, else by its id."""
    found = Community.objects.filter(external_scorer_id=scorer_id, account=key.account).first()
    if found or not scorer_id.isdecimal() or int(scorer_id) > BIGINT_MAX:
        return found
    return Community.objects.filter(id=int(scorer_id), account=key.account).first()


def scorer_is_whole(community: Community) -> bool:
    """Return whether the row of the scorer's own type exists."""
    subtype = SUBTYPES.get(community.scorer.type)
    return subtype is not None and subtype.objects.filter(pk=community.scorer_id).first() is not None
