"""The services that the scorer calls (stamp metadata, models), with the recorded responses."""

import json
from collections.abc import Iterable
from types import TracebackType
from typing import Any, Self

from aiohttp import web

RECORDED_AUTHORITY = "127.0.0.1:8090"
"""The address of the recorded services, which is replaced by that of the stub when a scenario is read."""


class UpstreamStub:
    """One HTTP server for a whole run; `answer_with` sets its responses, `unexpected` lists unknown requests."""

    def __init__(self) -> None:
        self._answers: list[dict[str, Any]] = []
        self._runner: web.AppRunner | None = None
        self.authority = ""
        self.unexpected: list[str] = []

    def answer_with(self, calls: Iterable[dict[str, Any]]) -> None:
        """Replace the responses of the previous scenario by those of these calls."""
        self._answers = list(calls)
        self.unexpected = []

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.authority = f"127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._runner:
            await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.Response:
        raw = await request.read()
        body = json.loads(raw) if raw else None
        for known in self._answers:
            if (known["method"], known["path"], known["body"]) == (request.method, request.path_qs, body):
                return _responded(known["response"])
        self.unexpected.append(f"{request.method} {request.path_qs} {raw.decode(errors='replace')}")
        return web.Response(status=599, text="this call was not recorded")


def _responded(response: dict[str, Any]) -> web.Response:
    if "body_text" in response:
        return web.Response(status=response["status"], text=response["body_text"])
    return web.json_response(response["body"], status=response["status"])
