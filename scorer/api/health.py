"""Is the process up, and can it serve."""

import asyncio

import asyncpg
from aiohttp import web

from scorer.api import responses
from scorer.api.context import DATABASE, SERVICES
from scorer.db.pool import LOST_CONNECTION, Database
from scorer.errors import StoreUnavailableError
from scorer.shared_store import SharedStore

_CHECK_TIMEOUT_S = 2.0


async def ok(_request: web.Request) -> web.Response:
    """The legacy's check: it looks at nothing."""
    return responses.text_response("Ok")


async def live(_request: web.Request) -> web.Response:
    """The process runs its event loop."""
    return responses.json_response({"status": "ok"})


async def ready(request: web.Request) -> web.Response:
    """Every dependency's state; 503 while one that is needed is away."""
    database = await _database_state(request.app[DATABASE])
    store = await _store_state(request.app[SERVICES].store)
    whole = database == "ok"
    body = {"status": "ok" if whole else "unavailable", "database": database, "store": store}
    return responses.json_response(body, status=200 if whole else 503)


async def _store_state(store: SharedStore | None) -> str:
    """Requests go on without the store, so it never makes the process unready."""
    if store is None:
        return "not configured"
    try:
        async with asyncio.timeout(_CHECK_TIMEOUT_S):
            await store.ping()
    except (TimeoutError, StoreUnavailableError):
        return "unavailable"
    return "ok"


async def _database_state(database: Database) -> str:
    try:
        async with asyncio.timeout(_CHECK_TIMEOUT_S):
            await database.read(lambda conn: conn.fetchval("SELECT 1"))
    except (TimeoutError, asyncpg.PostgresError, *LOST_CONNECTION):
        return "unavailable"
    return "ok"
