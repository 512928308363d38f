"""`scorer sync-platforms`: copy the platforms of the public stamp metadata into the database, as the legacy's admin page does."""

import sys

import aiohttp
from prometheus_client import CollectorRegistry

from scorer.caches import Cache, MemoryCache, SharedCache
from scorer.db import pool
from scorer.metrics import Metrics
from scorer.settings import ScorerSettings
from scorer.shared_store import SharedStore
from scorer.upstreams import METADATA_MAX_BYTES, METADATA_TIMEOUT_S, JsonClient, StampMetadata, Upstream
from scorer.workflows.metadata import SyncReport, sync_platforms


async def run(settings: ScorerSettings) -> int:
    """Synchronize once, print the changes and return the exit status.

    Raises:
        UpstreamFailedError: the metadata cannot be fetched; nothing was changed.
    """
    metrics = Metrics(CollectorRegistry())
    store = SharedStore(settings.redis_url, timeout_s=settings.limits.store_timeout_s) if settings.redis_url else None
    # The fetched metadata goes into the shared cache, so that running scorers serve it from now on.
    cache: Cache = SharedCache(store, metrics) if store else MemoryCache(metrics)
    try:
        async with (
            aiohttp.ClientSession() as session,
            pool.opened(settings.database_url, settings.limits, metrics, emit_request_id=False) as database,
        ):
            client = JsonClient(
                session, metrics, Upstream.METADATA, timeout_s=METADATA_TIMEOUT_S, max_bytes=METADATA_MAX_BYTES
            )
            metadata = StampMetadata(client, cache, public_url=settings.passport_public_url)
            _print(await sync_platforms(database, metadata))
    finally:
        if store is not None:
            await store.close()
    return 0


def _print(report: SyncReport) -> None:
    sys.stdout.write(
        f"{report.platforms_created} platforms created, {report.platforms_renamed} renamed, "
        f"{report.stamps_linked} stamps linked\n"
    )
