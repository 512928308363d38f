"""A backend that keeps the requests it receives, and recordings to replay to it."""

import argparse
import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import web

from comparator.exchanges.model import Request, Response
from proxy.cli import replay as command
from proxy.recordings import ndjson
from proxy.recordings.model import RecordedExchange

MS = 1_000_000


@dataclass
class ReceivedRequest:
    """One request as the backend received it."""

    method: str
    path: str
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str:
        return next((value for key, value in self.headers if key.lower() == name), "")


@dataclass
class ReplayBackend:
    """Responds with 200, with NNN to `/status/NNN`, and to `/slow` once `released` is set."""

    received: list[ReceivedRequest] = field(default_factory=list)
    released: asyncio.Event = field(default_factory=asyncio.Event)
    reached: asyncio.Event = field(default_factory=asyncio.Event)
    in_flight: int = 0
    in_flight_max: int = 0
    by_key: dict[str, int] = field(default_factory=dict)
    url: str = ""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        headers = [(name.decode(), value.decode("latin-1")) for name, value in request.raw_headers]
        self.received.append(ReceivedRequest(request.method, request.path_qs, headers, await request.read()))
        self.in_flight += 1
        self.in_flight_max = max(self.in_flight_max, self.in_flight)
        try:
            if request.path.endswith("/slow"):
                self.reached.set()
                await self.released.wait()
            if "/status/" in request.path:
                return web.json_response({"ok": False}, status=int(request.path.rpartition("/")[2]))
            await asyncio.sleep(0)
            return web.json_response({"ok": True})
        finally:
            self.in_flight -= 1


@asynccontextmanager
async def replay_backend() -> AsyncIterator[ReplayBackend]:
    made = ReplayBackend()
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", made.handle)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield made
    finally:
        made.released.set()
        await runner.cleanup()


def recorded_exchange(
    number: int,
    *,
    path: str = "/score",
    key: str = "",
    method: str = "GET",
    at_ms: int | None = None,
    status: int = 200,
    **more,
) -> RecordedExchange:
    headers = more.pop("headers", (("Host", "api.example"), ("Accept", "*/*")))
    body = more.pop("body", b"")
    return RecordedExchange(
        Request(method, f"{path}?n={number}", headers, body, more.pop("truncated", False)),
        Response(status, (), b"{}"),
        id=f"id-{number}",
        started_ns=(1_000 + (number if at_ms is None else at_ms)) * MS,
        duration_ns=5 * MS,
        key=key,
        route="score",
        **more,
    )


def write_recording(path: Path, records: Sequence[RecordedExchange]) -> Path:
    path.write_bytes(b"".join(map(ndjson.dump, records)))
    return path


def replay_arguments(*arguments: object) -> argparse.Namespace:
    """Parse arguments of `shadow replay`."""
    parser = argparse.ArgumentParser()
    command.configure(parser)
    return parser.parse_args([str(argument) for argument in arguments])
