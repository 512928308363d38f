"""The function that AWS Lambda calls: `scorer.aws_lambda.handler.handler`.

The application runs in the function's own event loop and listens on a Unix socket in the temporary folder; each event is sent to it as an HTTP
request, so that a client of the function and one of the server receive the same bytes. It starts once an environment, in Lambda already while
the module is imported, and lives as long as the environment does.
"""

import asyncio
import json
import logging
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import aiohttp
import uvloop
from aiohttp import hdrs, web
from yarl import URL

from scorer import app, logs
from scorer import settings as settings_module
from scorer.api.context import SERVICES
from scorer.aws_lambda.events import RESULT_MAX_BYTES, EventError, EventRequest, request_of, result_of
from scorer.errors import ScorerSettingsError
from scorer.settings import ScorerSettings

logger = logging.getLogger("scorer")

# An environment answers one request at a time: one connection for it and one for the analytics behind it.
_DEFAULTS = {"SCORER_POOL_MAX": "2"}
# What is left of the function's time when the request is given up, for the answer that says so.
_ANSWER_S = 0.5
_OWN_HEADERS = (hdrs.ACCEPT, hdrs.ACCEPT_ENCODING, hdrs.USER_AGENT, hdrs.CONTENT_TYPE)


class LambdaContext(Protocol):
    """The part of the context object that the handler uses."""

    def get_remaining_time_in_millis(self) -> int:
        """Return the time until Lambda ends the invocation."""
        ...


class Function:
    """The running application and the session that sends it requests; `started` makes one."""

    def __init__(self, runner: asyncio.Runner, folder: Path) -> None:
        self._runner = runner
        self._socket = str(folder / "scorer.sock")
        self._app: web.Application
        self._serving: web.AppRunner
        self._session: aiohttp.ClientSession

    def start(self, settings: ScorerSettings) -> None:
        """Open the application's resources and listen."""
        self._runner.run(self._start(settings))

    def answer(self, event: object, remaining_s: float) -> dict[str, Any]:
        """Return the result for one event.

        Raises:
            EventError: the event is not an HTTP request.
        """
        return self._runner.run(self._answer(request_of(event), remaining_s - _ANSWER_S))

    def close(self) -> None:
        """Close everything that `start` opened."""
        self._runner.run(self._close())
        self._runner.close()

    async def _start(self, settings: ScorerSettings) -> None:
        self._app = app.build(settings)
        self._serving = web.AppRunner(self._app, access_log=None, shutdown_timeout=settings.limits.drain_s)
        await self._serving.setup()
        await web.UnixSite(self._serving, self._socket).start()
        self._session = aiohttp.ClientSession(
            connector=aiohttp.UnixConnector(self._socket),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            skip_auto_headers=_OWN_HEADERS,
            timeout=aiohttp.ClientTimeout(),
        )

    async def _close(self) -> None:
        await self._session.close()
        await self._serving.cleanup()

    async def _answer(self, request: EventRequest, limit_s: float) -> dict[str, Any]:
        try:
            async with asyncio.timeout(limit_s):
                result = await self._sent(request)
                # The environment is frozen as soon as it has answered, so nothing may be left to do.
                if tracker := self._app[SERVICES].tracker:
                    await tracker.flushed()
        except TimeoutError:
            logger.warning("request_timed_out", extra={"limit_s": round(limit_s, 3)})
            return _failure(request, 504, "The request took longer than the function may run.")
        except (aiohttp.InvalidURL, ValueError) as error:
            logger.warning("request_refused", extra={"error": str(error)})
            return _failure(request, 400, "Bad request.")
        size, most = len(json.dumps(result)), RESULT_MAX_BYTES[request.form]
        if size > most:
            logger.error("response_too_large", extra={"bytes": size, "bytes_max": most})
            return _failure(request, 500, f"The response has {size} bytes; what called the function takes {most}.")
        return result

    async def _sent(self, request: EventRequest) -> dict[str, Any]:
        async with self._session.request(
            request.method,
            URL(f"http://scorer{request.target}", encoded=True),
            headers=request.headers,
            data=request.body or None,
            allow_redirects=False,
        ) as response:
            body = await response.read()
            return result_of(request.form, response.status, list(response.headers.items()), body)


def _failure(request: EventRequest, status: int, detail: str) -> dict[str, Any]:
    headers = (("Content-Type", "application/json; charset=utf-8"),)
    return result_of(request.form, status, headers, json.dumps({"detail": detail}).encode())


def started(environ: Mapping[str, str], folder: Path) -> Function:
    """Start the application with the settings of an environment; its socket lies in `folder`.

    Raises:
        ScorerSettingsError: a variable cannot be parsed or is missing, or a setting has no meaning in a function.
    """
    settings = settings_module.load({**_DEFAULTS, **environ})
    if settings.rate_limits and not settings.redis_url:
        raise ScorerSettingsError(
            "RATELIMIT_ENABLE needs SCORER_REDIS_URL in a Lambda function: each environment would count for itself"
        )
    logs.configure(settings.log_level)
    function = Function(asyncio.Runner(loop_factory=uvloop.new_event_loop), folder)
    function.start(settings)
    return function


_function: Function | None = None


def handler(event: object, context: LambdaContext) -> dict[str, Any]:
    """Answer one event.

    Raises:
        EventError: it is not an HTTP request; Lambda reports it as the function's error.
    """
    try:
        return _running().answer(event, context.get_remaining_time_in_millis() / 1000)
    except EventError as error:
        logger.error("event_refused", extra={"error": str(error)})
        raise


def _running() -> Function:
    global _function  # noqa: PLW0603 (Lambda calls a function of the module, and keeps the module between the calls)
    if _function is None:
        _function = started(os.environ, Path(tempfile.mkdtemp(prefix="scorer-")))
    return _function


# Lambda imports the module before the first event, with more CPU than later.
if "AWS_LAMBDA_RUNTIME_API" in os.environ:
    _running()
