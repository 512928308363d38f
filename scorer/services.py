"""Services around scoring that live as long as the app: HTTP sessions, shared store, caches, limiter, tokens, analytics.

Built from the settings in one place; handlers read them from the app under one key.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime

import aiohttp

from scorer.caches import Cache, MemoryCache, SharedCache
from scorer.db.pool import Database
from scorer.limiter import KeyRateLimiter, LocalCounters, NoLimits, SharedCounters
from scorer.metrics import Metrics
from scorer.settings import ScorerSettings
from scorer.shared_store import SharedStore
from scorer.signatures import ContractSignatures
from scorer.tokens import Tokens
from scorer.tracking import Tracker
from scorer.upstreams import (
    METADATA_MAX_BYTES,
    METADATA_TIMEOUT_S,
    MODEL_MAX_BYTES,
    MODEL_TIMEOUT_S,
    JsonClient,
    ModelServices,
    StampMetadata,
    Upstream,
)
from scorer.workflows.sign_in import Nonces, SignIn
from scorer.workflows.terms import TermsOfService
from scorer.workflows.weights import CachedWeights

logger = logging.getLogger(__name__)

_RPC_URL = "https://eth-mainnet.g.alchemy.com/v2/{key}"


@dataclass(frozen=True, slots=True)
class Services:
    """One instance of each service. `store` is None without a Redis URL, `tracker` while analytics are off."""

    store: SharedStore | None
    cache: Cache
    limiter: KeyRateLimiter | NoLimits
    tokens: Tokens
    metadata: StampMetadata
    models: ModelServices
    weights: CachedWeights
    nonces: Nonces
    sign_in: SignIn
    terms: TermsOfService
    tracker: Tracker | None


@asynccontextmanager
async def opened(
    settings: ScorerSettings, database: Database, metrics: Metrics, *, clock: Callable[[], datetime]
) -> AsyncGenerator[Services, None]:
    """Open the services for the duration of the block; closing drains the analytics for at most `limits.drain_s`."""
    limits = settings.limits
    store = SharedStore(settings.redis_url, timeout_s=limits.store_timeout_s) if settings.redis_url else None
    tracker = Tracker(database, metrics) if settings.analytics else None
    try:
        # The session has no limits of its own: each client of it bounds its calls.
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as session:
            services = _built(settings, database, metrics, session=session, store=store, tracker=tracker, clock=clock)
            async with _running(tracker, drain_s=limits.drain_s):
                yield services
    finally:
        if store is not None:
            await store.close()


def _built(
    settings: ScorerSettings,
    database: Database,
    metrics: Metrics,
    *,
    session: aiohttp.ClientSession,
    store: SharedStore | None,
    tracker: Tracker | None,
    clock: Callable[[], datetime],
) -> Services:
    cache: Cache = SharedCache(store, metrics) if store else MemoryCache(metrics)
    tokens = Tokens(
        public_key=settings.siwe_jwt_public_key,
        private_key=settings.siwe_jwt_private_key,
        secret_key=settings.secret_key,
        clock=clock,
    )
    key = settings.alchemy_api_key
    contracts = ContractSignatures(session, _RPC_URL.format(key=key), metrics) if key else None
    metadata_client = JsonClient(
        session, metrics, Upstream.METADATA, timeout_s=METADATA_TIMEOUT_S, max_bytes=METADATA_MAX_BYTES
    )
    model_client = JsonClient(
        session,
        metrics,
        Upstream.MODEL,
        timeout_s=MODEL_TIMEOUT_S,
        max_bytes=MODEL_MAX_BYTES,
        json_type_required=True,
    )
    nonces = Nonces(database, clock=clock)
    return Services(
        store=store,
        cache=cache,
        limiter=_limiter(settings, metrics, store, clock),
        tokens=tokens,
        metadata=StampMetadata(metadata_client, cache, public_url=settings.passport_public_url),
        models=ModelServices(model_client, settings.model_endpoints),
        weights=CachedWeights(database, cache, community_default=settings.community_default),
        nonces=nonces,
        sign_in=SignIn(nonces, tokens, contracts, domains=settings.siwe_domains, clock=clock),
        terms=TermsOfService(database, nonces, clock=clock),
        tracker=tracker,
    )


def _limiter(
    settings: ScorerSettings, metrics: Metrics, store: SharedStore | None, clock: Callable[[], datetime]
) -> KeyRateLimiter | NoLimits:
    if not settings.rate_limits:
        return NoLimits()
    if store is not None:
        return KeyRateLimiter(SharedCounters(store), metrics, clock=clock)
    logger.warning(
        "rate_limits_counted_in_process", extra={"reason": "neither SCORER_REDIS_URL nor CELERY_BROKER_URL is set"}
    )
    return KeyRateLimiter(LocalCounters(), metrics, clock=clock)


@asynccontextmanager
async def _running(tracker: Tracker | None, *, drain_s: float) -> AsyncGenerator[None, None]:
    if tracker is None:
        yield
        return
    async with asyncio.TaskGroup() as group:
        task = group.create_task(tracker.run(), name="analytics")
        try:
            yield
        finally:
            await tracker.stop()
            done, _ = await asyncio.wait({task}, timeout=drain_s)
            if not done:
                task.cancel()
