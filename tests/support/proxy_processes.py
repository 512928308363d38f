"""Several real proxy processes, each with its own disk, that know each other; and clients who never stop."""

import asyncio
import itertools
import os
import signal
import socket
import sys
import time
from asyncio.subprocess import Process
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from tests.support.paths import ROOT

WAIT_S = 120.0


def free_ports(count: int) -> list[int]:
    """Ports nobody listens on, all different."""
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in held]
    for one in held:
        one.close()
    return ports


@dataclass
class Answered:
    """One request of a client: when it was sent and answered (monotonic), and by whom; "" for a failure."""

    sent: float
    done: float
    by: str


@dataclass
class Node:
    """One proxy process."""

    number: int
    folder: Path
    port: int
    admin: int
    process: Process | None = None
    answered: list[Answered] = field(default_factory=list)
    calling: bool = True

    @property
    def config(self) -> Path:
        return self.folder / "config.yaml"

    async def start(self) -> None:
        """Start it, and wait until it answers."""
        log = (self.folder / "log").open("ab")
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        words = ["-m", "proxy", "proxy", "--config", str(self.config)]
        self.process = await asyncio.create_subprocess_exec(
            sys.executable, *words, cwd=self.folder, env=environment, stdout=log, stderr=log
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
            # The admin port is up before the clients' one.
            _, writer = await asyncio.open_connection("127.0.0.1", self.port)
            writer.close()
        except (aiohttp.ClientError, OSError):
            return False
        return True

    def send(self, number: signal.Signals) -> None:
        assert self.process
        self.process.send_signal(number)

    async def end(self) -> None:
        if self.process and self.process.returncode is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
        if self.process:
            await self.process.wait()

    async def call(self, stop: asyncio.Event) -> None:
        """One client with one connection: asks, notes who answered, asks again."""
        timeout = aiohttp.ClientTimeout(total=WAIT_S)
        async with aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=1)) as session:
            for count in itertools.count():
                if stop.is_set() or not self.calling:
                    return
                sent = time.monotonic()
                try:
                    async with session.get(f"http://127.0.0.1:{self.port}/score/{count}") as response:
                        by = (await response.text()) if response.status == 200 else ""
                except (aiohttp.ClientError, TimeoutError):
                    by = ""
                self.answered.append(Answered(sent, time.monotonic(), by))
                await asyncio.sleep(0.002)

    async def served_only_by(self, side: str, *, since: float) -> float:
        """Seconds from `since` to the first request sent from which on only `side` answered; waits for twenty such."""
        async with asyncio.timeout(WAIT_S):
            while True:
                others = [one.sent for one in self.answered if one.by != side and one.sent >= since]
                begun = max(others, default=since)
                after = [one for one in self.answered if one.sent > begun and one.by == side]
                if len(after) >= 20:
                    return after[0].sent - since
                await asyncio.sleep(0.005)


def make_nodes(folder: Path, count: int, *, store: str, candidate: int, legacy: int, **rollout: Any) -> list[Node]:
    """Nodes that are configured and not started."""
    ports = free_ports(count * 2)
    nodes = [Node(i, folder / f"node{i}", ports[2 * i], ports[2 * i + 1]) for i in range(count)]
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
