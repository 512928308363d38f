"""The composition root: builds everything once, in order, inside context managers, and stores it on the app under typed keys."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime

from aiohttp import web
from prometheus_client import CollectorRegistry

from scorer import services
from scorer.api import context, middleware, routes
from scorer.credentials import CredentialVerifier, DidkitVerifier
from scorer.db import pool
from scorer.metrics import Metrics
from scorer.settings import ScorerSettings
from scorer.tracing import Tracing, exporting
from scorer.workflows.keys import KeyChecker
from scorer.workflows.scoring import Scorer


def build(
    settings: ScorerSettings,
    *,
    registry: CollectorRegistry | None = None,
    verifier: CredentialVerifier | None = None,
    clock: context.Clock | None = None,
    tracing: Tracing | None = None,
) -> web.Application:
    """Build the scorer as one aiohttp application, whose resources open when it starts and close when it stops.

    Args:
        settings: see `scorer.settings.load`.
        registry: receives the metrics; default: a new registry.
        verifier: verifies the proofs of credentials; default: didkit.
        clock: returns the current time, aware and in UTC; default: the system clock.
        tracing: receives the spans; default: an exporter to `settings.otlp_endpoint`.
    """
    limits = settings.limits
    app = web.Application(middlewares=[middleware.outermost], client_max_size=limits.body_max_bytes)
    traces = tracing or exporting(settings.otlp_endpoint)
    metrics = Metrics(registry or CollectorRegistry(), traces)
    app[context.SETTINGS] = settings
    app[context.METRICS] = metrics
    app[context.TRACING] = traces
    app[context.CLOCK] = clock or _utc_now
    app[context.VERIFIER] = verifier or DidkitVerifier(
        metrics, in_progress_max=limits.verifications_in_progress_max, cached_max=limits.proofs_cached_max
    )
    app[middleware.ADMISSION] = asyncio.Semaphore(limits.requests_in_progress_max)
    # In opening order; aiohttp closes them in reverse.
    app.cleanup_ctx.extend([_tracing, _database, _services])
    routes.install(app, v2_enabled=settings.v2_enabled)
    return app


async def _tracing(app: web.Application) -> AsyncIterator[None]:
    yield
    # Closing flushes the remaining spans and may block on the collector.
    await asyncio.to_thread(app[context.TRACING].close)


async def _database(app: web.Application) -> AsyncIterator[None]:
    settings, metrics = app[context.SETTINGS], app[context.METRICS]
    opened = pool.opened(settings.database_url, settings.limits, metrics, emit_request_id=settings.emit_request_id)
    async with opened as database:
        app[context.DATABASE] = database
        app[context.KEY_CHECKER] = KeyChecker(database, metrics)
        app[context.SCORER] = Scorer(
            database,
            app[context.VERIFIER],
            metrics,
            app[context.CLOCK],
            settings.trusted_issuers,
            settings.human_points,
            scoring_events=settings.scoring_events,
        )
        yield


async def _services(app: web.Application) -> AsyncIterator[None]:
    settings, database, metrics = app[context.SETTINGS], app[context.DATABASE], app[context.METRICS]
    async with services.opened(settings, database, metrics, clock=app[context.CLOCK]) as opened:
        app[context.SERVICES] = opened
        app[context.TOKEN_READER] = opened.tokens
        app[context.LIMITER] = opened.limiter
        yield


def _utc_now() -> datetime:
    return datetime.now(UTC)
