"""Clients of the HTTP services that the scorer calls: the public stamp metadata and the model services.

Every request has a timeout and a response size limit. Any failure becomes one error that names the service, never its URL.
"""

import asyncio
import json
import logging
import re
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from enum import StrEnum
from typing import Any, cast

import aiohttp
from pydantic_core import SchemaValidator, core_schema

from scorer.caches import Cache, CacheName
from scorer.domain.analysis import (
    AGGREGATE,
    AGGREGATE_INPUTS,
    aggregate_data,
    failure_text,
    model_data,
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
_JSON_TYPE = re.compile(r"^application/(?:[\w.+-]+?\+)?json$")
_NUMBER = SchemaValidator(core_schema.float_schema(allow_inf_nan=False))


class Upstream(StrEnum):
    """The upstream services."""

    METADATA = "metadata"
    MODEL = "model"


class JsonClient:
    """Calls one service and reads JSON responses of bounded size.

    Args:
        session: sends the requests.
        metrics: counts and times them.
        upstream: the service's name in metrics and errors.
        timeout_s: for a request, from connecting to the last byte of the response.
        max_bytes: of a response.
        json_type_required: a response whose content type is not JSON's fails, whatever its body is.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        metrics: Metrics,
        upstream: Upstream,
        *,
        timeout_s: float,
        max_bytes: int,
        json_type_required: bool = False,
    ) -> None:
        self._session = session
        self._metrics = metrics
        self._upstream = upstream
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._max_bytes = max_bytes
        self._json_type_required = json_type_required

    async def request(self, method: str, url: str, body: Any = None) -> Any:
        """Send a request and return the decoded JSON response.

        Raises:
            UpstreamFailedError: timeout, connection error, status other than 200, response too large or not JSON. Its status is
                the response's if that is a JSON object, else 500.
        """
        async with self._measured():
            try:
                call = self._session.request(method, url, json=body, timeout=self._timeout, max_redirects=3)
                async with call as response:
                    body = await self._bounded(response)
                    if response.status == 200:
                        return self._decoded(response, body)
                    status = response.status if self._is_object(response, body) else 500
                    raise UpstreamFailedError(f"{self._upstream}: status {response.status}", status=status)
            except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
                raise UpstreamFailedError(f"{self._upstream}: {type(error).__name__}") from error

    def _decoded(self, response: aiohttp.ClientResponse, body: bytes) -> Any:
        if self._json_type_required and _JSON_TYPE.match(response.content_type) is None:
            raise ValueError(f"content type {response.content_type}")
        return json.loads(body)

    def _is_object(self, response: aiohttp.ClientResponse, body: bytes) -> bool:
        try:
            return isinstance(self._decoded(response, body), dict)
        except ValueError:
            return False

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

    def __init__(self, client: JsonClient, cache: Cache, *, public_url: str) -> None:
        self._client = client
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
        answer = await self._client.request("GET", metadata_url(self._public_url))
        try:
            document = plain(parse_platforms(answer, public_url=self._public_url))
        except ValueError as error:
            raise UpstreamFailedError("metadata: unexpected structure") from error
        await self._cache.put(CacheName.METADATA, self._public_url, document)
        return document


class ModelServices:
    """The services that score an address by its transactions."""

    def __init__(self, client: JsonClient, endpoints: Mapping[str, str], *, calls_max: int = MODEL_CALLS_MAX) -> None:
        self._client = client
        self._endpoints = endpoints
        self._calls = asyncio.Semaphore(calls_max)

    async def score(self, model: str, address: str) -> float:
        """Return the score that `model` gives to `address` (any spelling).

        Raises:
            ServiceFailedError: a model service failed; the text lists the statuses.
        """
        question: dict[str, Any] = {"address": with_checksum(address)}
        try:
            if model == AGGREGATE:
                inputs = list(AGGREGATE_INPUTS)
                answers = await self._call_all(inputs, question)
                question["data"] = aggregate_data(dict(zip(inputs, answers, strict=True)))
            data = model_data((await self._call_all([model], question))[0])
            # Texts of numbers and booleans count, as in the legacy, whose response is a pydantic model; infinity is not JSON.
            return _NUMBER.validate_python(data.get("human_probability", 0))
        except ValueError as error:
            logger.warning("model_answer_unusable", extra={"model": model, "reason": type(error).__name__})
            raise ServiceFailedError(failure_text()) from error

    async def _call_all(self, models: list[str], question: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._call(model, question), name=f"model-{model}") for model in models]
        answers = [task.result() for task in tasks]
        if any(isinstance(answer, int) for answer in answers):
            statuses = [
                (m, answer if isinstance(answer, int) else 200) for m, answer in zip(models, answers, strict=True)
            ]
            logger.warning("models_failed", extra={"models": dict(statuses)})
            raise ServiceFailedError(failure_text(statuses))
        return [answer for answer in answers if not isinstance(answer, int)]

    async def _call(self, model: str, question: Mapping[str, Any]) -> Mapping[str, Any] | int:
        """Return the response, or the HTTP status of the failure (500 without one)."""
        async with self._calls:
            try:
                answer = await self._client.request("POST", self._endpoints[model], question)
            except UpstreamFailedError as error:
                return error.status
        return cast("dict[str, Any]", answer) if isinstance(answer, dict) else 500
