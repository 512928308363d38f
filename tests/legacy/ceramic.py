"""POST, PATCH and DELETE /ceramic-cache/stamps/bulk, GET and POST /ceramic-cache/score: the writes of the Passport app.

Observed of the legacy: the address is the text after the last colon of the token's `did` and is not checked before the stamps are
stored; the soft delete and the insert are two transactions, so the first is kept when the second fails.
"""

from datetime import UTC, datetime
from typing import Any

import jwt
from asgiref.sync import sync_to_async
from django.conf import settings
from django.http import Http404
from django.utils import timezone
from ninja import Body, Router, Schema
from ninja.security import HttpBearer

from tests.legacy import scoring
from tests.legacy.models import CeramicCache, Community
from tests.legacy.refusing import ADDRESS, RefusedError

STAMPS_MAX = 100
PASSPORT_APP = 1
router = Router()


class Token(HttpBearer):
    """Authenticate by a token of either kind; the lower-case address becomes request.auth."""

    def authenticate(self, request, token):
        return claims_of(token)["did"].rpartition(":")[2].lower()


def claims_of(token: str) -> dict[str, Any]:
    """Return the claims: RS256 of the sign-in endpoint first, HS256 of the older sign-in second; 401 otherwise."""
    tries = [(settings.SIWE_JWT_PUBLIC_KEY, "RS256", {"issuer": "passport-scorer"}, [])]
    tries.append((settings.SECRET_KEY, "HS256", {}, ["exp", "jti", "token_type"]))
    for key, algorithm, claims, required in tries:
        if not key:
            continue
        try:
            return jwt.decode(token, key, algorithms=[algorithm], options={"require": required}, **claims)
        except jwt.PyJWTError:
            continue
    raise RefusedError(401, "Given token not valid for any token type")


class Given(Schema):
    """One stamp of a request; other members of the body are ignored."""

    provider: str
    stamp: Any = None


class Named(Schema):
    """One provider whose stamp is to be deleted."""

    provider: str


class Alternate(Schema):
    """The community to score in."""

    alternate_scorer_id: int | None = None


@router.post("/stamps/bulk", auth=Token(), response={201: Any})
async def add(request, payload: Body[list[Given]]):
    """Store stamps, replacing those of the same providers, and score."""
    refuse_too_many(payload)
    source = {"source_app": PASSPORT_APP, "source_scorer_id": int(settings.CERAMIC_CACHE_SCORER_ID)}
    await sync_to_async(soft_delete)(request.auth, [given.provider for given in payload], type=1)
    await sync_to_async(insert)(request.auth, payload, source)
    return 201, await scored_and_listed(request.auth)


@router.patch("/stamps/bulk", auth=Token())
async def replace(request, payload: Body[list[Given]]):
    """Delete the named stamps, store those that have a stamp, and score; all failures have one text."""
    try:
        refuse_too_many(payload)
        await sync_to_async(soft_delete)(request.auth, [given.provider for given in payload])
        await sync_to_async(insert)(request.auth, [given for given in payload if given.stamp], {})
        return await scored_and_listed(request.auth)
    except Exception as error:
        raise RefusedError(500, "An internal server error has occurred.") from error


@router.delete("/stamps/bulk", auth=Token())
async def delete(request, payload: Body[list[Named]]):
    """Delete the named stamps and score; the response does not include the score."""
    refuse_too_many(payload)
    if not await sync_to_async(soft_delete)(request.auth, [named.provider for named in payload]):
        raise RefusedError(404, "Unable to find stamp to delete.")
    answer = await scored_and_listed(request.auth)
    return {name: value for name, value in answer.items() if name != "score"}


@router.post("/score/{address}", auth=Token())
async def rescore(request, address: str, payload: Body[Alternate]):
    """Score any address in the community that the body names."""
    if not payload.alternate_scorer_id:
        raise RefusedError(500, "Scorer ID not set")
    return await scored(address.lower(), payload.alternate_scorer_id)


def refuse_too_many(payload: list) -> None:
    if len(payload) > STAMPS_MAX:
        raise RefusedError(422, "You have submitted too many stamps.")


def soft_delete(address: str, providers: list[str], **only: Any) -> int:
    """Mark the undeleted stamps of these providers as deleted, in one statement; return their number."""
    now = timezone.now()
    live = CeramicCache.objects.filter(address=address, provider__in=providers, deleted_at__isnull=True, **only)
    return live.update(deleted_at=now, updated_at=now)


def insert(address: str, payload: list[Given], source: dict[str, int]) -> None:
    rows = [
        CeramicCache(
            address=address,
            provider=given.provider,
            stamp=given.stamp,
            type=1,
            compose_db_save_status="pending",
            compose_db_stream_id="",
            issuance_date=moment(given.stamp.get("issuanceDate")),
            expiration_date=moment(given.stamp.get("expirationDate")),
            proof_value=given.stamp["proof"]["proofValue"],
            created_at=timezone.now(),
            updated_at=timezone.now(),
            **source,
        )
        for given in payload
    ]
    CeramicCache.objects.bulk_create(rows)


def moment(text: str | None) -> datetime | None:
    found = datetime.fromisoformat(text) if text else None
    return found.replace(tzinfo=UTC) if found and found.tzinfo is None else found


async def scored_and_listed(address: str) -> dict:
    """Score in the configured community, then list the undeleted, unrevoked stamps."""
    score = await scored(address, int(settings.CERAMIC_CACHE_SCORER_ID))
    return {"success": True, "stamps": await sync_to_async(listed)(address), "score": score}


async def scored(address: str, community_id: int) -> dict:
    community = await sync_to_async(Community.objects.filter(pk=community_id).first)()
    if community is None:
        raise Http404
    if not ADDRESS.match(address):
        raise RefusedError(400, "Invalid address.")
    return await scoring.score(address, community)


def listed(address: str) -> list[dict]:
    live = CeramicCache.objects.filter(address=address, type=1, deleted_at__isnull=True, revocation__isnull=True)
    return [{"id": row.pk, "address": row.address, "provider": row.provider, "stamp": row.stamp} for row in live]
