"""Ask a backend for its health path, on a connection that is not kept."""

import asyncio
import logging

import aiohttp

from proxy.config.settings import BackendSettings

logger = logging.getLogger(__name__)


ANSWER_MAX_BYTES = 64 * 1024


async def is_healthy(backend: BackendSettings) -> bool:
    """Whether the backend answers its health path with 2xx or 3xx in time."""
    connector, headers = connector_of(backend), headers_of(backend)
    url = backend.url.rstrip("/") + backend.health_check.path
    try:
        async with (
            asyncio.timeout(backend.health_check.timeout_s),
            aiohttp.ClientSession(connector=connector, auto_decompress=False) as session,
            session.get(url, headers=headers, allow_redirects=False) as response,
        ):
            await response.content.read(ANSWER_MAX_BYTES)
            return is_healthy_status(response.status)
    except (aiohttp.ClientError, OSError, TimeoutError, ValueError):
        return False
    except Exception:  # (its task's outermost loop: a check that breaks must not take the proxy down)
        logger.exception("backend_check_failed")
        return False


def is_healthy_status(status: int) -> bool:
    """What a health path's status means. 404 is no health: it says nothing of the service, and mostly that the path is mistyped."""
    return 200 <= status < 400


def connector_of(backend: BackendSettings) -> aiohttp.BaseConnector:
    """How the backend is reached, on connections that are not kept."""
    if backend.socket:
        return aiohttp.UnixConnector(backend.socket, force_close=True)
    return aiohttp.TCPConnector(force_close=True)


def headers_of(backend: BackendSettings) -> dict[str, str]:
    """The Host that the backend wants, where that is not its URL's."""
    return {} if backend.host in ("backend", "preserve") else {"Host": backend.host}
