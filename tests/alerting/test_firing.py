"""A running system fires its alerts, in a real Prometheus and Alertmanager with the provisioned configuration.

Proxy (two workers), runner, scorer and legacy stand-in run as processes; one after the other something happens to them. What arrives at the
receiver of the people on call, and at the proxy, is asserted. `for` of the alerts and the intervals are cut to a second, thresholds are as they are.
"""

import asyncio
import json
import os
import re
import signal
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import psutil
import yaml
from aiohttp import web

from proxy.config.loader import read_settings
from proxy.demo.free_ports import free_port
from proxy.demo.installation import Installation
from proxy.demo.traffic import TrafficGenerator
from tests.e2e.systems import installation
from tests.support.paths import ROOT
from tests.support.promotion import promote_by_force
from tests.support.promtool import program

FIRED_S = 90.0
PER_S = 8.0
PROVISIONED = ROOT / "dashboards" / "provisioning" / "prometheus"
WAITS = re.compile(r"^(\s+for: )(?!0)\w+$", re.MULTILINE)
INTERVALS = re.compile(r"(_interval|interval|group_wait): \w+")


@dataclass
class Receiver:
    """The webhook of the people on call: what Alertmanager sent, by name of the alert."""

    alerts: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    _arrived: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def receive(self, request: web.Request) -> web.Response:
        async with self._arrived:
            for alert in (await request.json())["alerts"]:
                if alert["status"] == "firing":
                    self.alerts[alert["labels"]["alertname"]] = alert
            self._arrived.notify_all()
        return web.Response()

    async def until(self, name: str) -> dict[str, Any]:
        """Return the alert of this name once it has arrived."""
        try:
            async with asyncio.timeout(FIRED_S), self._arrived:
                await self._arrived.wait_for(lambda: name in self.alerts)
        except TimeoutError:
            raise AssertionError(f"{name} did not arrive; these did: {sorted(self.alerts)}") from None
        return self.alerts[name]


@dataclass(frozen=True, slots=True)
class World:
    """The system, its traffic, and where its alerts arrive."""

    system: Installation
    receiver: Receiver

    def process_of(self, part: str) -> psutil.Process:
        return psutil.Process(self.system.children[part].process.pid)

    async def on_database(self, name: str, statement: str) -> None:
        """Execute a statement on the live or the shadow database."""
        databases = read_settings(self.system.config_path).databases
        connection = await asyncpg.connect({"live": databases.live, "shadow": databases.shadow}[name])
        try:
            await connection.execute(statement)
        finally:
            await connection.close()


async def wrong_scores(_: World) -> None:
    """The legacy loses a stamp of half of the requests from the start on; Alertmanager has the proxy roll back."""


async def refused_configuration(world: World) -> None:
    path = world.system.config_path
    good = path.read_text()
    path.write_text(good + "\nnonsense: true\n")
    await world.receiver.until("ShadowConfigReloadFailed")
    await world.receiver.until("ShadowRulesReloadFailed")
    path.write_text(good)


async def killed_worker(world: World) -> None:
    world.process_of("proxy").children()[0].kill()


async def migration(world: World) -> None:
    await world.on_database("live", "ALTER TABLE registry_score ADD COLUMN added integer")


async def foreign_write(world: World) -> None:
    await world.on_database("shadow", "UPDATE registry_score SET error = 'changed by hand'")


async def candidate_gone(world: World) -> None:
    world.process_of("scorer-live").send_signal(signal.SIGSTOP)
    world.process_of("scorer-live").kill()


async def killed_runner(world: World) -> None:
    world.process_of("runner").kill()


async def killed_proxy(world: World) -> None:
    for process in [*world.process_of("proxy").children(), world.process_of("proxy")]:
        process.kill()


Act = Callable[[World], Awaitable[None]]
# In this order: each act leaves what the next ones need.
STEPS: tuple[tuple[Act, tuple[str, ...]], ...] = (
    (wrong_scores, ("ShadowRowsDiffer", "ShadowMatchRateLow", "ShadowUnhandledCause", "ShadowRolledBack")),
    (refused_configuration, ("ShadowConfigReloadFailed", "ShadowRulesReloadFailed")),
    (killed_worker, ("ShadowWorkerCrashed",)),
    (foreign_write, ("ShadowStrayTransactions", "ShadowDriftedRows")),
    (migration, ("ShadowSchemaDiffers",)),
    (candidate_gone, ("ShadowCandidateMetricsLost",)),
    (killed_runner, ("ShadowRunnerDown",)),
    (killed_proxy, ("ShadowProxyDown",)),
)


@asynccontextmanager
async def running_world(postgres_dsn: str, folder: Path) -> AsyncGenerator[World]:
    """Run the system, with steady traffic, Prometheus and Alertmanager beside it."""
    async with (
        installation(
            postgres_dsn,
            addresses=12,
            divergences="lost_stamp:0.5",
            listen={"workers": 2},
            rollout={"enabled": True, "steps": [0, 50, 100], "auto_rollback": {"enabled": False}},
        ) as system,
        monitoring(system, folder) as receiver,
        asyncio.TaskGroup() as tasks,
    ):
        traffic = TrafficGenerator(system.url, system.targets, concurrency=4)
        sending = tasks.create_task(traffic.at_rate(PER_S, seconds=3600), name="traffic")
        running = World(system, receiver)
        await promote_by_force(system, "test")
        yield running
        sending.cancel()


async def test_what_happens_arrives_at_the_people_on_call(postgres_dsn: str, tmp_path: Path) -> None:
    async with running_world(postgres_dsn, tmp_path) as world:
        for act, names in STEPS:
            await act(world)
            for name in names:
                alert = await world.receiver.until(name)
                assert alert["labels"]["installation"] == "main"
                assert alert["labels"]["severity"] in {"page", "warning"}
                assert alert["annotations"]["runbook_url"].startswith("http://")
                assert alert["annotations"]["dashboard_url"].endswith("var-installation=main")
                assert "{{" not in json.dumps(alert["annotations"])


@asynccontextmanager
async def monitoring(system: Installation, folder: Path) -> AsyncGenerator[Receiver]:
    """Run Prometheus and Alertmanager on the provisioned configuration, with the addresses of this system and short intervals."""
    receiver = Receiver()
    app = web.Application()
    app.router.add_post("/", receiver.receive)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    async with AsyncExitStack() as stack:
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        manager_port, prometheus_port = free_port(), free_port()
        addresses = system.addresses
        ports = {
            "127.0.0.1:9093": f"127.0.0.1:{manager_port}",
            "127.0.0.1:9901": f"127.0.0.1:{addresses.proxy_admin}",
            "127.0.0.1:9902": f"127.0.0.1:{addresses.runner}",
            "127.0.0.1:9911": f"127.0.0.1:{addresses.candidate_live_admin}",
            "127.0.0.1:9912": f"127.0.0.1:{addresses.candidate_shadow_admin}",
        }
        rules = folder / "generated"
        rules.mkdir()
        for path in (ROOT / "dashboards" / "generated").glob("*.rules.yml"):
            (rules / path.name).write_text(INTERVALS.sub(r"\1: 1s", WAITS.sub(r"\g<1>1s", path.read_text())))
        prometheus, manager = (
            yaml.safe_load(_replaced(INTERVALS.sub(r"\1: 1s", (PROVISIONED / name).read_text()), ports))
            for name in ("prometheus.yml", "alertmanager.yml")
        )
        prometheus["rule_files"] = [str(rules / Path(name).name) for name in prometheus["rule_files"]]
        [people] = [one for one in manager["receivers"] if one["name"] == "people"]
        people["webhook_configs"] = [{"url": f"http://127.0.0.1:{runner.addresses[0][1]}/"}]
        manager["route"] |= {"group_wait": "0s", "group_interval": "1s"}
        for name, document, words in (
            ("alertmanager", manager, (f"--web.listen-address=127.0.0.1:{manager_port}", "--cluster.listen-address=")),
            ("prometheus", prometheus, (f"--web.listen-address=127.0.0.1:{prometheus_port}",)),
        ):
            await stack.enter_async_context(_running(name, document, words, folder))
        await _ready(f"http://127.0.0.1:{manager_port}/-/ready")
        await _ready(f"http://127.0.0.1:{prometheus_port}/-/ready")
        yield receiver


@asynccontextmanager
async def _running(name: str, document: Any, words: tuple[str, ...], folder: Path) -> AsyncGenerator[None]:
    config = folder / f"{name}.yml"
    config.write_text(yaml.safe_dump(document))
    storage = "--storage.path" if name == "alertmanager" else "--storage.tsdb.path"
    command = (program("prometheus-alertmanager" if name == "alertmanager" else name), f"--config.file={config}")
    with (folder / f"{name}.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *command,
            *words,
            f"{storage}={folder / name}",
            stdout=log,
            stderr=log,
            env=os.environ | {"GOMAXPROCS": "1"},
        )
        try:
            yield
        finally:
            process.kill()
            await process.wait()


def _replaced(text: str, ports: dict[str, str]) -> str:
    for old, new in ports.items():
        text = text.replace(old, new)
    return text


async def _ready(url: str) -> None:
    async with asyncio.timeout(60), aiohttp.ClientSession() as session:
        while True:
            try:
                async with session.get(url) as response:
                    if response.status == 200:
                        return
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.1)
