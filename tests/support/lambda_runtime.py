"""The Runtime API of AWS Lambda, to which a function's process connects, and that process under AWS's own runtime client."""

import asyncio
import json
import os
import sys
import time
import uuid
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from tempfile import TemporaryDirectory
from typing import Any

from aiohttp import web

from tests.support.paths import ROOT

HANDLER = "scorer.aws_lambda.handler.handler"
API = "/2018-06-01/runtime"
ANSWER_TIMEOUT_S = 120.0


class FunctionError(Exception):
    """The error that the function reported instead of a result."""


@dataclass
class LambdaRuntime:
    """Hands events to the function one at a time, as the service does. Use `lambda_runtime`."""

    deadline_s: float = 30.0
    _events: asyncio.Queue[tuple[str, object]] = field(default_factory=asyncio.Queue)
    _answers: dict[str, asyncio.Future[Any]] = field(default_factory=dict)
    ended: asyncio.Future[Any] = field(default_factory=asyncio.Future)

    def app(self) -> web.Application:
        app = web.Application(client_max_size=10_000_000)
        app.router.add_get(f"{API}/invocation/next", self._next)
        app.router.add_post(API + "/invocation/{id}/response", self._response)
        app.router.add_post(API + "/invocation/{id}/error", self._error)
        app.router.add_post(f"{API}/init/error", self._init_error)
        return app

    async def invoke(self, event: object) -> Any:
        """Return the function's result for one event.

        Raises:
            FunctionError: it reported an error, here or at its start.
        """
        number = str(uuid.uuid4())
        self._answers[number] = asyncio.get_running_loop().create_future()
        await self._events.put((number, event))
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            done, _ = await asyncio.wait({self._answers[number], self.ended}, return_when=asyncio.FIRST_COMPLETED)
        return done.pop().result()

    async def _next(self, _: web.Request) -> web.Response:
        number, event = await self._events.get()
        return web.Response(
            body=json.dumps(event).encode(),
            headers={
                "Content-Type": "application/json",  # without a charset: the client compares the whole value
                "Lambda-Runtime-Aws-Request-Id": number,
                "Lambda-Runtime-Deadline-Ms": str(round((time.time() + self.deadline_s) * 1000)),
                "Lambda-Runtime-Invoked-Function-Arn": "arn:aws:lambda:eu-west-1:1:function:scorer",
            },
        )

    async def _response(self, request: web.Request) -> web.Response:
        self._answers.pop(request.match_info["id"]).set_result(json.loads(await request.read()))
        return web.json_response({"status": "OK"}, status=202)

    async def _error(self, request: web.Request) -> web.Response:
        self._answers.pop(request.match_info["id"]).set_exception(FunctionError(await request.text()))
        return web.json_response({"status": "OK"}, status=202)

    async def _init_error(self, request: web.Request) -> web.Response:
        self.ended.set_exception(FunctionError(await request.text()))
        return web.json_response({"status": "OK"}, status=202)


@asynccontextmanager
async def lambda_runtime(environment: Mapping[str, str], *, deadline_s: float = 30.0) -> AsyncGenerator[LambdaRuntime]:
    """Run the scorer's function in a process of its own, as Lambda does in an execution environment."""
    runtime = LambdaRuntime(deadline_s)
    runner = web.AppRunner(runtime.app(), access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    # (Lambda's own /tmp goes with the environment)
    folder = TemporaryDirectory(prefix="lambda-")
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        own = {"PATH": os.environ["PATH"], "TMPDIR": folder.name, "AWS_LAMBDA_RUNTIME_API": f"{host}:{port}"}
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "awslambdaric", HANDLER),
            cwd=ROOT,
            env={**own, **environment},
        )
        try:
            yield runtime
        finally:
            process.kill()
            await process.wait()
    finally:
        await runner.cleanup()
        folder.cleanup()
