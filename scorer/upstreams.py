"""The services that the scorer asks over HTTP: the public stamp metadata and the model services.

Every question sits under a timeout, every answer under a size, and a failure of whatever kind becomes one error that names the service,
never its address.
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
    """The services asked."""

    METADATA = "metadata"
    MODEL = "model"


class Asker:
    """Asks one service and reads JSON answers of bounded size."""

    def __init__(
        self, session: aiohttp.ClientSession, metrics: Metrics, upstream: Upstream, *, timeout_s: float, max_bytes: int
    ) -> None:
        self._session = session
        self._metrics = metrics
        self._upstream = upstream
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._max_bytes = max_bytes

    async def ask(self, method: str, url: str, body: Any = None) -> Any:
        """The decoded answer.

        Raises:
            UpstreamFailedError: no answer in time, another status than 200, too large, or no JSON.
        """
        async with self._measured():
            try:
                asked = self._session.request(method, url, json=body, timeout=self._timeout, max_redirects=3)
                async with asked as response:
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
    """The public description of all stamps, asked for once an hour."""

    def __init__(self, asker: Asker, cache: Cache, *, public_url: str) -> None:
        self._asker = asker
        self._cache = cache
        self._public_url = public_url
        self._one_at_a_time = asyncio.Lock()

    async def document(self) -> list[dict[str, Any]]:
        """The platforms as JSON values, with the fields and the order that a response has.

        Raises:
            UpstreamFailedError: they are not kept and cannot be fetched.
        """
        kept = await self._cache.get(CacheName.METADATA, self._public_url)
        if kept is not None:
            return kept
        # Many requests may miss at once; the first fetches for all.
        async with self._one_at_a_time:
            kept = await self._cache.get(CacheName.METADATA, self._public_url)
            return kept if kept is not None else await self._fetched()

    async def platforms(self) -> list[PlatformDescription]:
        """The same as values.

        Raises:
            UpstreamFailedError: as above.
        """
        return parse_platforms(await self.document(), public_url=self._public_url)

    async def fresh_platforms(self) -> list[PlatformDescription]:
        """The same, fetched now and not taken from the cache.

        Raises:
            UpstreamFailedError: they cannot be fetched.
        """
        async with self._one_at_a_time:
            return parse_platforms(await self._fetched(), public_url=self._public_url)

    async def _fetched(self) -> list[dict[str, Any]]:
        answer = await self._asker.ask("GET", metadata_url(self._public_url))
        try:
            document = plain(parse_platforms(answer, public_url=self._public_url))
        except ValueError as error:
            raise UpstreamFailedError("metadata: not of the known shape") from error
        await self._cache.put(CacheName.METADATA, self._public_url, document)
        return document


class ModelServices:
    """The services that judge an address by its transactions."""

    def __init__(self, asker: Asker, endpoints: Mapping[str, str], *, calls_max: int = MODEL_CALLS_MAX) -> None:
        self._asker = asker
        self._endpoints = endpoints
        self._calls = asyncio.Semaphore(calls_max)

    async def score(self, model: str, address: str) -> float:
        """What `model` says of `address` (any spelling).

        Raises:
            ServiceFailedError: a model did not answer; the text lists which.
        """
        question: dict[str, Any] = {"address": with_checksum(address)}
        if model == AGGREGATE:
            inputs = list(AGGREGATE_INPUTS)
            question["data"] = aggregate_data(dict(zip(inputs, await self._ask_all(inputs, question), strict=True)))
        answer = (await self._ask_all([model], question))[0]
        try:
            return human_probability(answer)
        except ValueError as error:
            raise ServiceFailedError(failure_text([(model, 500)])) from error

    async def _ask_all(self, models: list[str], question: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        async with asyncio.TaskGroup() as group:
            asked = [group.create_task(self._ask(model, question), name=f"model-{model}") for model in models]
        answers = [task.result() for task in asked]
        failed = [(model, answer) for model, answer in zip(models, answers, strict=True) if isinstance(answer, int)]
        if failed:
            logger.warning("models_failed", extra={"models": dict(failed)})
            raise ServiceFailedError(failure_text(failed))
        return [answer for answer in answers if not isinstance(answer, int)]

    async def _ask(self, model: str, question: Mapping[str, Any]) -> Mapping[str, Any] | int:
        """The answer, or the HTTP status of the failure (500 when there was none)."""
        async with self._calls:
            try:
                answer = await self._asker.ask("POST", self._endpoints[model], question)
            except UpstreamFailedError as error:
                return error.status
        return cast("dict[str, Any]", answer) if isinstance(answer, dict) else 500
