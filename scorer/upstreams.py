"""Clients of the HTTP services that the scorer calls: the public stamp metadata and the model services.

Every request has a timeout and a response size limit. Any failure becomes one error that names the service, never its URL.
"""

import asyncio
import json
import logging
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from enum import StrEnum
from typing import Any, cast

import aiohttp

from scorer.caches import Cache, CacheName
from scorer.domain.analysis import (
    AGGREGATE,
    AGGREGATE_INPUTS,
    aggregate_data,
    failure_text,
    human_probability,
)
from scorer.domain.checksums import with_checksum
from scorer.domain.stamp_metadata import PlatformDescription, metadata_url, parse_platforms, plain
from scorer.errors import ServiceFailedError, UpstreamFailedError
from scorer.metrics import Metrics

logger = logging.getLogger(__name__)

METADATA_TIMEOUT_S = 5.0
METADATA_MAX_BYTES = 8 * 1024 * 1024
MODEL_TIMEOUT_S = 15.0
MODEL_MAX_BYTES = 1024 * 1024
MODEL_CALLS_MAX = 64


class Upstream(StrEnum):
    """The upstream services."""

    METADATA = "metadata"
    MODEL = "model"


class JsonClient:
    """Calls one service and reads JSON responses of bounded size."""

    def __init__(
        self, session: aiohttp.ClientSession, metrics: Metrics, upstream: Upstream, *, timeout_s: float, max_bytes: int
    ) -> None:
        self._session = session
        self._metrics = metrics
        self._upstream = upstream
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._max_bytes = max_bytes

    async def request(self, method: str, url: str, body: Any = None) -> Any:
        """Send a request and return the decoded JSON response.

        Raises:
            UpstreamFailedError: timeout, connection error, status other than 200, response too large or not JSON.
        """
        async with self._measured():
            try:
                call = self._session.request(method, url, json=body, timeout=self._timeout, max_redirects=3)
                async with call as response:
                    if response.status != 200:
                        raise UpstreamFailedError(f"{self._upstream}: status {response.status}", status=response.status)
                    return json.loads(await self._bounded(response))
            except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
                raise UpstreamFailedError(f"{self._upstream}: {type(error).__name__}") from error

    @asynccontextmanager
    async def _measured(self) -> AsyncGenerator[None, None]:
        started = time.perf_counter()
        try:
            yield
        except UpstreamFailedError as error:
            self._metrics.upstream_failures.labels(self._upstream).inc()
            logger.warning("upstream_failed", extra={"upstream": self._upstream.value, "reason": str(error)})
            raise
        finally:
            self._metrics.upstream_seconds.labels(self._upstream).observe(time.perf_counter() - started)

    async def _bounded(self, response: aiohttp.ClientResponse) -> bytes:
        chunks = bytearray()
        async for chunk in response.content.iter_any():
            chunks += chunk
            if len(chunks) > self._max_bytes:
                raise UpstreamFailedError(f"{self._upstream}: too large")
        return bytes(chunks)


class StampMetadata:
    """The public description of all stamps, cached for an hour."""

    def __init__(self, asker: JsonClient, cache: Cache, *, public_url: str) -> None:
        self._asker = asker
        self._cache = cache
        self._public_url = public_url
        self._one_at_a_time = asyncio.Lock()

    async def document(self) -> list[dict[str, Any]]:
        """Return the platforms as JSON values, in the response's shape.

        Raises:
            UpstreamFailedError: they are not cached and cannot be fetched.
        """
        cached = await self._cache.get(CacheName.METADATA, self._public_url)
        if cached is not None:
            return cached
        # Many requests may miss at once; the first one fetches for all.
        async with self._one_at_a_time:
            cached = await self._cache.get(CacheName.METADATA, self._public_url)
            return cached if cached is not None else await self._fetched()

    async def platforms(self) -> list[PlatformDescription]:
        """Return the platforms as domain values.

        Raises:
            UpstreamFailedError: they are not cached and cannot be fetched.
        """
        return parse_platforms(await self.document(), public_url=self._public_url)

    async def fresh_platforms(self) -> list[PlatformDescription]:
        """Fetch the platforms, bypassing the cache.

        Raises:
            UpstreamFailedError: they cannot be fetched.
        """
        async with self._one_at_a_time:
            return parse_platforms(await self._fetched(), public_url=self._public_url)

    async def _fetched(self) -> list[dict[str, Any]]:
        answer = await self._asker.request("GET", metadata_url(self._public_url))
        try:
            document = plain(parse_platforms(answer, public_url=self._public_url))
        except ValueError as error:
            raise UpstreamFailedError("metadata: unexpected structure") from error
        await self._cache.put(CacheName.METADATA, self._public_url, document)
        return document


class ModelServices:
    """The services that score an address by its transactions."""

    def __init__(self, asker: JsonClient, endpoints: Mapping[str, str], *, calls_max: int = MODEL_CALLS_MAX) -> None:
        self._asker = asker
        self._endpoints = endpoints
        self._calls = asyncio.Semaphore(calls_max)

    async def score(self, model: str, address: str) -> float:
        """Return the score that `model` gives to `address` (any spelling).

        Raises:
            ServiceFailedError: a model service failed; the text lists the statuses.
        """
        question: dict[str, Any] = {"address": with_checksum(address)}
        if model == AGGREGATE:
            inputs = list(AGGREGATE_INPUTS)
            question["data"] = aggregate_data(dict(zip(inputs, await self._call_all(inputs, question), strict=True)))
        answer = (await self._call_all([model], question))[0]
        try:
            return human_probability(answer)
        except ValueError as error:
            raise ServiceFailedError(failure_text([(model, 500)])) from error

    async def _call_all(self, models: list[str], question: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._call(model, question), name=f"model-{model}") for model in models]
        answers = [task.result() for task in tasks]
        failed = [(model, answer) for model, answer in zip(models, answers, strict=True) if isinstance(answer, int)]
        if failed:
            logger.warning("models_failed", extra={"models": dict(failed)})
            raise ServiceFailedError(failure_text(failed))
        return [answer for answer in answers if not isinstance(answer, int)]

    async def _call(self, model: str, question: Mapping[str, Any]) -> Mapping[str, Any] | int:
        """Return the response, or the HTTP status of the failure (500 without one)."""
        async with self._calls:
            try:
                answer = await self._asker.request("POST", self._endpoints[model], question)
            except UpstreamFailedError as error:
                return error.status
        return cast("dict[str, Any]", answer) if isinstance(answer, dict) else 500
