"""A real Prometheus scrapes real pages, evaluates the generated rules, and answers what the panels ask."""

import asyncio
import json
import os
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

import yaml
from aiohttp import ClientError, ClientSession, ClientTimeout
from prometheus_client import CollectorRegistry

from comparator.exchanges.model import Side
from comparator.metrics import ComparatorMetrics
from dashboards import sources as at
from dashboards.files import generated
from dashboards.recording import RECORDED
from proxy.journal.writer import WriterCounts
from proxy.runner.admin import admin_server
from proxy.runner.metrics import RunnerMetrics
from proxy.serving.metrics import Gauges, ProxyMetrics
from scorer.metrics import Metrics as ScorerMetrics
from tests.support.promtool import program
from tests.support.scraping import free_port

READY_S = 60.0


class Processes:
    """The metrics of a proxy, a runner and a scorer, which count the same traffic."""

    def __init__(self) -> None:
        self.registries = {job: CollectorRegistry() for job in at.JOBS}
        self.journal = WriterCounts()
        self.proxy = ProxyMetrics()
        self.proxy.gauges = Gauges(
            in_flight=lambda: 1,
            client_connections=lambda: 1,
            backend_connections=lambda: dict.fromkeys(Side, 1),
            candidate_share=lambda: 0.5,
            rolled_back=lambda: False,
            journal=lambda: self.journal,
            fit=lambda: dict.fromkeys(Side, (True, False)),
        )
        self.registries[at.PROXY_JOB].register(self.proxy)
        self.runner = RunnerMetrics(self.registries[at.RUNNER_JOB])
        ComparatorMetrics(self.registries[at.RUNNER_JOB], ["v2_score"])
        self.scorer = ScorerMetrics(self.registries[at.CANDIDATE_JOB])

    def serve_one_each(self) -> None:
        for side in Side:
            self.proxy.observe("v2_score", side, 200, 0.01)
            self.journal.offered += 1
            self.journal.written += 1
            self.runner.read.inc()
            self.runner.compared.labels("v2_score", "match").inc()
            self.runner.mirrored_seconds.labels("v2_score", side.other.value).observe(0.02)


@dataclass(frozen=True, slots=True)
class Prometheus:
    """A running one."""

    session: ClientSession
    url: str

    async def ask(self, expression: str) -> list[dict[str, object]]:
        """The series of an instant query."""
        async with self.session.get(f"{self.url}/api/v1/query", params={"query": expression}) as response:
            if response.status == HTTPStatus.SERVICE_UNAVAILABLE:  # it is still starting
                response.raise_for_status()
            answer = json.loads(await response.text())
        assert answer["status"] == "success", (expression, answer)
        return answer["data"]["result"] if answer["data"]["resultType"] == "vector" else []

    async def until(self, expression: str, act: Callable[[], None]) -> list[dict[str, object]]:
        """Act and ask, again and again, until there is an answer."""
        async with asyncio.timeout(READY_S):
            while True:
                act()
                try:
                    if found := await self.ask(expression):
                        return found
                except ClientError:
                    pass
                await asyncio.sleep(0.1)


@asynccontextmanager
async def scraping(processes: Processes, directory: Path) -> AsyncGenerator[Prometheus, None]:
    """Prometheus with the generated rules, scraping and evaluating every second."""
    async with AsyncExitStack() as stack:
        targets = {
            job: await stack.enter_async_context(admin_server("127.0.0.1", 0, registry, dict))
            for job, registry in processes.registries.items()
        }
        for name, text in generated().items():
            if name.endswith(".yml"):
                (directory / name).write_text(text.replace("interval: 15s", "interval: 1s"))
        jobs = [
            {"job_name": job, "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]} for job, port in targets.items()
        ]
        config = {
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s"},
            "rule_files": ["*.rules.yml"],
            "scrape_configs": jobs,
        }
        (directory / "prometheus.yml").write_text(yaml.safe_dump(config))
        port = free_port()
        with (directory / "log").open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                program("prometheus"),
                f"--config.file={directory / 'prometheus.yml'}",
                f"--storage.tsdb.path={directory / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
                stdout=log,
                stderr=log,
                env=os.environ | {"GOMAXPROCS": "1"},
            )
            try:
                session = await stack.enter_async_context(ClientSession(timeout=ClientTimeout(total=10)))
                yield Prometheus(session, f"http://127.0.0.1:{port}")
            finally:
                process.terminate()
                await process.wait()


def panel_questions() -> list[str]:
    texts = [text for name, text in generated().items() if name.endswith(".json")]
    found = [t["expr"] for text in texts for panel in json.loads(text)["panels"] for t in panel.get("targets", ())]
    filled = [one.replace("$__rate_interval", "30s").replace("$__range", "5m") for one in found]
    return [one.replace("$route", ".*").replace("$instance", ".*") for one in filled]


async def test_rules_and_panels_work_in_a_real_prometheus(tmp_path: Path) -> None:
    processes = Processes()
    async with scraping(processes, tmp_path) as prometheus:
        for one in RECORDED:
            assert await prometheus.until(one.name, processes.serve_one_each), one.name
        gap = await prometheus.ask("sum(instance:shadow_accounting:gap)")
        match = await prometheus.ask("shadow:match:ratio1h")
        answered = [await prometheus.ask(question) for question in panel_questions()]
        firing = await prometheus.ask('ALERTS{alertstate="firing"}')

    assert [one["value"][1] for one in gap] == ["0"]  # pyright: ignore[reportIndexIssue]
    assert [one["value"][1] for one in match] == ["1"]  # pyright: ignore[reportIndexIssue]
    assert len([one for one in answered if one]) > len(answered) / 2
    assert [one["metric"] for one in firing] == []
