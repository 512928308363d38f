"""A real HTTP server that stands in for the services the scorer asks; answers are set by path, questions are kept."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

from aiohttp import web

Answer = Callable[[Any], Any]


@dataclass(frozen=True)
class Asked:
    """One question; `body` is decoded JSON, None without a body."""

    method: str
    path: str
    body: Any


class Upstream:
    """Answers 404 to paths that were not set. Nothing is answered while `hold` was called and `release` was not."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.waiting = asyncio.Event()
        self._answers: dict[str, tuple[int, bytes | Answer]] = {}
        self._open = asyncio.Event()
        self._open.set()
        self._runner: web.AppRunner | None = None
        self.url = ""

    def answer(self, path: str, answer: Any = None, *, status: int = 200, raw: bytes | None = None) -> None:
        """Answer `path` with a JSON value, with what a function makes of the question's body, or with raw bytes."""
        body = raw if raw is not None else answer if callable(answer) else json.dumps(answer).encode()
        self._answers[path] = (status, body)

    def hold(self) -> None:
        """Leave questions without an answer; `waiting` is set when one has come."""
        self.waiting.clear()
        self._open.clear()

    def release(self) -> None:
        """Answer again."""
        self._open.set()

    async def asked_times(self, count: int) -> None:
        """Wait until so many questions have come."""
        async with asyncio.timeout(60):
            while len(self.asked) < count:
                self.waiting.clear()
                await self.waiting.wait()

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
        self.asked.append(Asked(request.method, request.path, body))
        self.waiting.set()
        await self._open.wait()
        status, answer = self._answers.get(request.path, (404, b"{}"))
        data = answer if isinstance(answer, bytes) else json.dumps(answer(body)).encode()
        return web.Response(status=status, body=data, content_type="application/json")
