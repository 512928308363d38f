"""An HTTP server in place of the scorer's upstream services: responses are set by path, requests are kept."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

from aiohttp import web

Answer = Callable[[Any], Any]


@dataclass(frozen=True)
class UpstreamRequest:
    """One received request; `body` is decoded JSON, None without a body."""

    method: str
    path: str
    body: Any


class Upstream:
    """Responds with 404 to paths without a response, and to nothing between `hold` and `release`."""

    def __init__(self) -> None:
        self.requests: list[UpstreamRequest] = []
        self.request_received = asyncio.Event()
        self._answers: dict[str, tuple[int, bytes | Answer]] = {}
        self._open = asyncio.Event()
        self._open.set()
        self._runner: web.AppRunner | None = None
        self.url = ""

    def set_response(self, path: str, answer: Any = None, *, status: int = 200, raw: bytes | None = None) -> None:
        """Set the response to `path`: a JSON value, a function of the request's body, or raw bytes."""
        body = raw if raw is not None else answer if callable(answer) else json.dumps(answer).encode()
        self._answers[path] = (status, body)

    def hold(self) -> None:
        """Hold responses back; `request_received` is set when a request has arrived."""
        self.request_received.clear()
        self._open.clear()

    def release(self) -> None:
        """Send the held and all further responses."""
        self._open.set()

    async def wait_for_requests(self, count: int) -> None:
        """Wait until so many requests have arrived."""
        async with asyncio.timeout(60):
            while len(self.requests) < count:
                self.request_received.clear()
                await self.request_received.wait()

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answered)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/"
        return self

    async def __aexit__(self, *_: object) -> None:
        self.release()
        if self._runner:
            await self._runner.cleanup()

    async def _answered(self, request: web.Request) -> web.Response:
        raw = await request.read()
        body = json.loads(raw) if raw else None
        self.requests.append(UpstreamRequest(request.method, request.path, body))
        self.request_received.set()
        await self._open.wait()
        status, answer = self._answers.get(request.path, (404, b"{}"))
        data = answer if isinstance(answer, bytes) else json.dumps(answer(body)).encode()
        return web.Response(status=status, body=data, content_type="application/json")
