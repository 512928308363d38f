"""The composition root: everything is built once, in order, inside context managers, and hung on the app under typed keys."""

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
    """The whole scorer as one aiohttp application; resources open at its start and close at its end.

    Args:
        settings: see `scorer.settings.load`.
        registry: where the metrics go; a new registry without it.
        verifier: checks credentials' proofs; didkit without it.
        clock: the current time, aware and in UTC; the system's without it.
        tracing: where spans go; to `settings.otlp_endpoint` without it.
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
    # In order of opening; aiohttp closes them in the reverse order.
    app.cleanup_ctx.extend([_tracing, _database, _services])
    routes.install(app, v2_enabled=settings.v2_enabled)
    return app


async def _tracing(app: web.Application) -> AsyncIterator[None]:
    yield
    # The exporter sends what is left from its own thread and may wait for its collector.
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
