"""Probe the health of a backend: GET a path on a connection of its own, healthy by a 2xx or 3xx in time."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass

import aiohttp

from proxy.config.backends import BackendSettings

BODY_MAX_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """The result of a probe.

    Attributes:
        status: of the response, None when there was none.
        took_s: until the response, or until the probe failed.
        error: why there was no response, "" when there was one.
        location: where a redirect leads to.
    """

    status: int | None
    took_s: float
    error: str = ""
    location: str = ""

    @property
    def healthy(self) -> bool:
        """True if the status is 2xx or 3xx. A 404 is not healthy: most likely the path is mistyped."""
        return self.status is not None and 200 <= self.status < 400


async def probe_backend(backend: BackendSettings, path: str, *, timeout_s: float) -> ProbeResult:
    """Probe a path of a backend as the proxy reaches it: over its socket if it has one, with its Host."""
    # (a connection that is not kept: a probe that reused one could fail because that one was stale)
    connector = aiohttp.UnixConnector(backend.socket, force_close=True) if backend.socket else None
    headers = {} if backend.host in ("backend", "preserve") else {"Host": backend.host}
    return await probe_url(backend.url.rstrip("/") + path, timeout_s=timeout_s, connector=connector, headers=headers)


async def probe_url(
    url: str,
    *,
    timeout_s: float,
    connector: aiohttp.BaseConnector | None = None,
    headers: Mapping[str, str] | None = None,
) -> ProbeResult:
    """Probe a URL. Failures are results, not exceptions."""
    started = time.monotonic()
    try:
        async with (
            asyncio.timeout(timeout_s),
            aiohttp.ClientSession(
                connector=connector or aiohttp.TCPConnector(force_close=True), auto_decompress=False
            ) as session,
            session.get(url, headers=headers, allow_redirects=False) as response,
        ):
            await response.content.read(BODY_MAX_BYTES)
            location = response.headers.get("Location", "")
            return ProbeResult(response.status, time.monotonic() - started, location=location)
    except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
        return ProbeResult(None, time.monotonic() - started, f"{type(error).__name__}: {error}")
