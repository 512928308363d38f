"""Several real proxy processes that are peers, each with its own folder, and clients that send requests continuously."""

import asyncio
import itertools
import os
import signal
import sys
import time
from asyncio.subprocess import Process
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import yaml
from aiohttp import web

from proxy.demo.free_ports import free_ports
from tests.support.paths import ROOT

WAIT_S = 120.0


@dataclass
class TimedResponse:
    """One request of a client: monotonic times of request and response, and the side that served it; "" for a failure."""

    sent_at: float
    received_at: float
    served_by: str


@dataclass
class ProxyNode:
    """One proxy process."""

    number: int
    folder: Path
    port: int
    admin: int
    process: Process | None = None
    responses: list[TimedResponse] = field(default_factory=list)
    is_sending: bool = True

    @property
    def config(self) -> Path:
        return self.folder / "config.yaml"

    async def start(self) -> None:
        """Start the process and wait until it serves requests."""
        log = (self.folder / "log").open("ab")
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        arguments = ["-m", "proxy", "proxy", "--config", str(self.config)]
        self.process = await asyncio.create_subprocess_exec(
            sys.executable, *arguments, cwd=self.folder, env=environment, stdout=log, stderr=log
        )
        log.close()
        async with aiohttp.ClientSession() as session, asyncio.timeout(WAIT_S):
            while not await self._ready(session):
                assert self.process.returncode is None, (self.folder / "log").read_text()
                await asyncio.sleep(0.02)

    async def _ready(self, session: aiohttp.ClientSession) -> bool:
        try:
            async with session.get(f"http://127.0.0.1:{self.admin}/readyz") as response:
                if response.status != 200:
                    return False
            # The admin port is open before the port for clients.
            _, writer = await asyncio.open_connection("127.0.0.1", self.port)
            writer.close()
        except (aiohttp.ClientError, OSError):
            return False
        return True

    def send_signal(self, number: signal.Signals) -> None:
        assert self.process
        self.process.send_signal(number)

    async def kill(self) -> None:
        if self.process and self.process.returncode is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
        if self.process:
            await self.process.wait()

    async def send_requests(self, stop: asyncio.Event) -> None:
        """Send requests on one connection until stopped, and record which side served each."""
        timeout = aiohttp.ClientTimeout(total=WAIT_S)
        async with aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=1)) as session:
            for count in itertools.count():
                if stop.is_set() or not self.is_sending:
                    return
                sent = time.monotonic()
                try:
                    async with session.get(f"http://127.0.0.1:{self.port}/score/{count}") as response:
                        by = (await response.text()) if response.status == 200 else ""
                except (aiohttp.ClientError, TimeoutError):
                    by = ""
                self.responses.append(TimedResponse(sent, time.monotonic(), by))
                await asyncio.sleep(0.002)

    async def served_only_by(self, side: str, *, since: float) -> float:
        """Return the seconds from `since` to the first request after which only `side` serves; wait for twenty such requests."""
        async with asyncio.timeout(WAIT_S):
            while True:
                others = [r.sent_at for r in self.responses if r.served_by != side and r.sent_at >= since]
                last_other = max(others, default=since)
                after = [r for r in self.responses if r.sent_at > last_other and r.served_by == side]
                if len(after) >= 20:
                    return after[0].sent_at - since
                await asyncio.sleep(0.005)


def make_nodes(folder: Path, count: int, *, store: str, candidate: int, legacy: int, **rollout: Any) -> list[ProxyNode]:
    """Configure nodes without starting them."""
    ports = free_ports(count * 2)
    nodes = [ProxyNode(i, folder / f"node{i}", ports[2 * i], ports[2 * i + 1]) for i in range(count)]
    for node in nodes:
        node.folder.mkdir()
        peers = [{"host": "127.0.0.1", "port": other.admin} for other in nodes if other is not node]
        document: dict[str, Any] = {
            "listen": {"port": node.port},
            "admin": {"port": node.admin},
            "backends": {
                "candidate": {"live": {"url": f"http://127.0.0.1:{candidate}"}},
                "legacy": {"live": {"url": f"http://127.0.0.1:{legacy}"}},
            },
            "databases": {"store": store},
            "routes": [{"name": "score", "path": "/score/{address}", "key": "address"}],
            "serve": {"state_file": str(node.folder / "switch.json"), "sentinel_file": str(node.folder / "rollback")},
            "journal": {"directory": str(node.folder / "journal")},
            "rollout": {"enabled": True, "steps": [0, 100], "peers": peers, **rollout},
        }
        node.config.write_text(yaml.safe_dump(document))
    return nodes


@asynccontextmanager
async def backend(name: str) -> AsyncGenerator[int]:
    """Run a side that responds with its name."""

    async def answer(_: web.Request) -> web.Response:
        return web.Response(text=name)

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()
