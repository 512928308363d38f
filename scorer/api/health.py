"""Health checks: the legacy's, liveness and readiness."""

import asyncio

import asyncpg
from aiohttp import web

from scorer.api import responses
from scorer.api.context import DATABASE, SERVICES
from scorer.db.pool import LOST_CONNECTION, Database
from scorer.errors import SharedStoreUnavailableError
from scorer.shared_store import SharedStore

_CHECK_TIMEOUT_S = 2.0


async def ok(_request: web.Request) -> web.Response:
    """Return the legacy's constant "Ok"."""
    return responses.text_response("Ok")


async def live(_request: web.Request) -> web.Response:
    """Report that the event loop runs."""
    return responses.json_response({"status": "ok"})


async def ready(request: web.Request) -> web.Response:
    """Report the state of each dependency; 503 while a required one is unavailable."""
    database = await _database_state(request.app[DATABASE])
    store = await _store_state(request.app[SERVICES].store)
    is_ready = database == "ok"
    body = {"status": "ok" if is_ready else "unavailable", "database": database, "store": store}
    return responses.json_response(body, status=200 if is_ready else 503)


async def _store_state(store: SharedStore | None) -> str:
    # Requests go on without the store, so it never makes the process unready.
    if store is None:
        return "not configured"
    try:
        async with asyncio.timeout(_CHECK_TIMEOUT_S):
            await store.ping()
    except (TimeoutError, SharedStoreUnavailableError):
        return "unavailable"
    return "ok"


async def _database_state(database: Database) -> str:
    try:
        async with asyncio.timeout(_CHECK_TIMEOUT_S):
            await database.read(lambda conn: conn.fetchval("SELECT 1"))
    except (TimeoutError, asyncpg.PostgresError, *LOST_CONNECTION):
        return "unavailable"
    return "ok"
