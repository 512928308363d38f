"""The scoring pipeline of one address in one community, statement by statement as the legacy runs it."""

import asyncio
import itertools
import json
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal

import didkit
from asgiref.sync import sync_to_async
from django.conf import settings
from django.core.serializers.json import DjangoJSONEncoder
from django.utils import timezone

from tests.legacy import dedup, points
from tests.legacy.divergences import Divergence, Divergences
from tests.legacy.models import (
    SUBTYPES,
    AllowList,
    CeramicCache,
    Community,
    CustomCredential,
    Customization,
    Event,
    Passport,
    Score,
    Stamp,
)

VERIFY_OPTIONS = json.dumps({"proofPurpose": "assertionMethod"})
NOISE = itertools.cycle((0.0, settings.SHADOW_NOISE_S))
DIVERGENCES = Divergences.parse(settings.SHADOW_DIVERGENCES)


@dataclass
class Sum:
    """The sum of the counted stamps."""

    total: Decimal = Decimal(0)
    expires: datetime | None = None
    weights: dict[str, float] = field(default_factory=dict)
    stamps: dict[str, dict] = field(default_factory=dict)


async def score(address: str, community: Community) -> dict:
    """Score, store, and return the body of the response."""
    if DIVERGENCES.diverges(Divergence.SLOW_RESPONSE, address):
        await asyncio.sleep(settings.SHADOW_SLOW_RESPONSE_S)
    if DIVERGENCES.diverges(Divergence.ERROR_500, address):
        raise RuntimeError("switched on by SHADOW_DIVERGENCES")
    row, created = await sync_to_async(load_score)(address, community)
    try:
        candidates = await sync_to_async(latest_stamps)(address)
        valid = [stamp for stamp in candidates if await is_valid(stamp[1], address)]
        await sync_to_async(calculate)(row, valid, address, community)
    except Exception as error:  # noqa: BLE001 - whatever breaks becomes the row's error text
        await sync_to_async(store_error)(row, str(error))
    else:
        await sync_to_async(store)(row, address, created=created)
    return response(row, address)


def load_score(address: str, community: Community) -> tuple[Score, bool]:
    """Select or insert the passport, then its score; True if the score is new."""
    passport, _ = Passport.objects.update_or_create(address=address, community=community)
    return Score.objects.select_related("passport").get_or_create(passport=passport, defaults={"status": "PROCESSING"})


def latest_stamps(address: str) -> list[tuple[str, dict]]:
    """Return (row provider, credential) of each provider's newest unrevoked, undeleted row; the first read wins a tie."""
    latest: dict[str, CeramicCache] = {}
    for row in CeramicCache.objects.filter(address=address, deleted_at__isnull=True, revocation__isnull=True):
        if row.provider not in latest or row.updated_at > latest[row.provider].updated_at:
            latest[row.provider] = row
    return [(provider, row.stamp) for provider, row in latest.items()]


async def is_valid(credential: dict, address: str) -> bool:
    """Return whether issuer, expiry, subject and proof are valid.

    A malformed expirationDate raises, for any issuer, and so fails the whole scoring.
    """
    trusted = "issuer" in credential and credential["issuer"] in settings.TRUSTED_IAM_ISSUERS
    expired = datetime.fromisoformat(credential["expirationDate"]) < timezone.now()
    subject = credential.get("credentialSubject") or {}
    named = (subject.get("hash") or subject.get("nullifiers")) and subject.get("provider")
    if not trusted or expired or not named or str(subject.get("id")).lower() != f"did:pkh:eip155:1:{address}":
        return False
    try:
        outcome = await didkit.verify_credential(json.dumps(credential), VERIFY_OPTIONS)
    except Exception:  # noqa: BLE001 - the Rust library raises many kinds; each only drops the stamp
        return False
    return not json.loads(outcome)["errors"]


def calculate(row: Score, valid: list[tuple[str, dict]], address: str, community: Community) -> None:
    """Deduplicate, replace the stored stamps, sum the weights, award points; fills `row` without saving it."""
    if community.rule != "LIFO":
        raise ValueError("Invalid rule")
    kept, clashing = dedup.deduplicate(valid, address, community)
    Stamp.objects.filter(passport=row.passport).delete()
    lost = len(kept) - 1 if DIVERGENCES.diverges(Divergence.LOST_STAMP, address) else len(kept)
    for provider, credential in kept[: max(lost, 0)]:
        Stamp(passport=row.passport, provider=provider, credential=credential).save()
    weights, threshold = load_weights(community)
    if DIVERGENCES.diverges(Divergence.THRESHOLD_HIGH, address):
        threshold += Decimal("1.5")
    if kept and DIVERGENCES.diverges(Divergence.WRONG_WEIGHT, address):
        provider = kept[0][0]
        weights[provider] = str(Decimal(weights.get(provider, 0)) * Decimal("1.25"))
    summed = sum_up(Stamp.objects.filter(passport=row.passport), weights)
    mark_clashes(summed, clashing)
    if DIVERGENCES.diverges(Divergence.NO_EXPIRY, address):
        summed.expires = None
    fill(row, summed, threshold, passing=passes(summed.total, threshold, address))
    if not DIVERGENCES.diverges(Divergence.POINTS_LOST, address):
        points.award(address, community, kept, passing=row.score == 1)


def load_weights(community: Community) -> tuple[dict, Decimal]:
    """Return the weights of the community's scorer, with its customization merged over them, and the threshold."""
    fresh = Community.objects.get(pk=community.pk)
    scorer = SUBTYPES[fresh.scorer.type].objects.get(pk=fresh.scorer_id)
    custom = Customization.objects.filter(scorer=fresh).first()
    weights = dict(scorer.weights) if scorer.weights is not None else None
    if custom:
        weights = dict(weights or {})
        for listed in AllowList.objects.filter(customization=custom).select_related("address_list"):
            weights[f"AllowList#{listed.address_list.name}"] = str(listed.weight)
        for owned in CustomCredential.objects.filter(customization=custom).select_related("ruleset"):
            weights[owned.ruleset.provider_id] = str(owned.weight)
    return weights, scorer.threshold


def sum_up(stored, weights) -> Sum:
    """Add the weight of each stored stamp in read order; floats count as their exact binary value."""
    summed = Sum()
    for stamp in stored:
        weight = Decimal(weights.get(stamp.provider, 0))
        expires = datetime.fromisoformat(stamp.credential["expirationDate"])
        summed.total += weight
        summed.expires = expires if summed.expires is None else min(summed.expires, expires)
        summed.weights[stamp.provider] = float(weight)
        summed.stamps[stamp.provider] = {
            "score": f"{float(weight):.5f}",
            "dedup": False,
            "expiration_date": expires.isoformat(),
        }
    return summed


def mark_clashes(summed: Sum, clashing: dict[str, dict]) -> None:
    """Mark clashing stamps: on the counted stamp of that provider if there is one, else as a stamp with score 0."""
    for provider, credential in clashing.items():
        entry = summed.stamps.setdefault(provider, {"score": "0.00000"})
        entry["dedup"] = True
        entry["expiration_date"] = credential["expirationDate"]


def passes(total: Decimal, threshold: Decimal, address: str) -> bool:
    if DIVERGENCES.diverges(Divergence.THRESHOLD_OFF_BY_ONE, address):
        return total > threshold
    return total >= threshold


def fill(row: Score, summed: Sum, threshold: Decimal, *, passing: bool) -> None:
    row.score = Decimal(1) if passing else Decimal(0)
    row.status, row.error = "DONE", None
    row.last_score_timestamp = timezone.now()
    row.expiration_date = noisy(summed.expires)
    row.evidence = {
        "type": "ThresholdScoreCheck",
        "success": passing,
        "rawScore": str(summed.total),
        "threshold": str(threshold),
    }
    row.stamp_scores, row.stamps = summed.weights, summed.stamps


def noisy(expires: datetime | None) -> datetime | None:
    """Return the time unchanged at every second call, else SHADOW_NOISE_S later."""
    return expires and expires + timedelta(seconds=next(NOISE))


def store(row: Score, address: str, *, created: bool) -> None:
    """Write the event, then the row: two statements, each committed on its own."""
    passport = row.passport
    community = passport.community if created else Community.objects.get(pk=passport.community_id)
    names = [
        "passport",
        "score",
        "last_score_timestamp",
        "status",
        "error",
        "evidence",
        "stamp_scores",
        "stamps",
        "expiration_date",
    ]
    fields = {name: passport.pk if name == "passport" else getattr(row, name) for name in names}
    if DIVERGENCES.diverges(Divergence.EVENT_STATUS, address):
        fields["status"] = "BULK_PROCESSING"
    data = {"model": "registry.score", "pk": row.pk, "fields": fields}
    copies = 0 if DIVERGENCES.diverges(Divergence.MISSING_EVENT, address) else 1
    copies += 1 if DIVERGENCES.diverges(Divergence.DOUBLED_EVENT, address) else 0
    for _ in range(copies):
        plain = json.loads(json.dumps(data, cls=DjangoJSONEncoder))
        Event(action="SCU", address=address, community=community, data=plain).save()
    row.save()


def store_error(row: Score, text: str) -> None:
    row.status, row.error = "ERROR", text
    row.score = row.last_score_timestamp = row.expiration_date = None
    row.evidence = row.stamp_scores = row.stamps = None
    row.save()


def response(row: Score, address: str) -> dict:
    """Return the body: all keys in this order; constants for a row without evidence."""
    evidence = row.evidence or {"rawScore": "0", "threshold": "20", "success": False}
    body = {
        "address": address,
        "score": f"{Decimal(evidence['rawScore']):.5f}",
        "passing_score": evidence["success"],
        "last_score_timestamp": row.last_score_timestamp and row.last_score_timestamp.isoformat(),
        "expiration_timestamp": row.expiration_date and row.expiration_date.isoformat(),
        "threshold": f"{Decimal(evidence['threshold']):.5f}",
        "error": row.error,
        "stamps": row.stamps or {},
        "points_data": None,
        "possible_points_data": None,
        "linked_score": None,
    }
    return diverging(body, Decimal(evidence["rawScore"]), address)


def diverging(body: dict, total: Decimal, address: str) -> dict:
    """Return the body with the active faults of the response."""
    if DIVERGENCES.diverges(Divergence.SCORE_TEXT, address):
        body["score"] = f"{total:.4f}"
    if DIVERGENCES.diverges(Divergence.LOST_FIELD, address):
        del body["possible_points_data"]
    if DIVERGENCES.diverges(Divergence.EMPTY_ERROR, address):
        body["error"] = body["error"] or ""
    if DIVERGENCES.diverges(Divergence.EMPTY_STAMPS, address):
        body["stamps"] = {}
    return body
