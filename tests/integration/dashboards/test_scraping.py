"""A real Prometheus scrapes the metrics pages, evaluates the generated rules and runs the queries of the panels."""

import asyncio
import json
import os
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import reduce
from http import HTTPStatus
from pathlib import Path

import yaml
from aiohttp import ClientError, ClientSession, ClientTimeout
from prometheus_client import CollectorRegistry

from comparator.exchanges.model import Side
from comparator.metrics import ComparatorMetrics
from dashboards import metric_catalog as metrics
from dashboards.generated_files import render_files
from dashboards.recording_rules import RECORDING_RULES
from proxy.demo.free_ports import free_port
from proxy.journal.driver import WriterCounts
from proxy.runner.admin import admin_server
from proxy.runner.metrics import RunnerMetrics
from proxy.serving.metrics import Gauges, ProxyMetrics
from scorer.metrics import Metrics as ScorerMetrics
from tests.support.promtool import program

READY_S = 60.0
TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"


class MetricPages:
    """The metrics of a proxy, a runner and a scorer that count the same traffic."""

    def __init__(self) -> None:
        self.registries = {job: CollectorRegistry() for job in metrics.JOBS}
        self.journal = WriterCounts()
        self.proxy = ProxyMetrics()
        self.proxy.gauges = Gauges(
            in_flight=lambda: 1,
            client_connections=lambda: 1,
            backend_connections=lambda: dict.fromkeys(Side, 1),
            candidate_share=lambda: 0.5,
            rolled_back=lambda: False,
            journal=lambda: self.journal,
            backend_health=lambda: dict.fromkeys(Side, (True, False)),
        )
        self.registries[metrics.PROXY_JOB].register(self.proxy)
        self.runner = RunnerMetrics(self.registries[metrics.RUNNER_JOB])
        ComparatorMetrics(self.registries[metrics.RUNNER_JOB], ["v2_score"])
        self.scorer = ScorerMetrics(self.registries[metrics.CANDIDATE_JOB])

    def serve_one_each(self) -> None:
        for side in Side:
            self.proxy.observe("v2_score", side, 200, 0.01)
            self.proxy.add_exemplar("v2_score", side, 0.01, TRACE_ID, time.time())
            self.journal.offered += 1
            self.journal.written += 1
            self.runner.read.inc()
            self.runner.compared.labels("v2_score", "match").inc()
            self.runner.mirrored_seconds.labels("v2_score", side.other.value).observe(
                0.02, exemplar={"trace_id": TRACE_ID}
            )
        self.scorer.request_seconds.labels("/").observe(0.02, exemplar={"trace_id": TRACE_ID})


@dataclass(frozen=True, slots=True)
class Prometheus:
    """A running Prometheus server."""

    session: ClientSession
    url: str

    async def query(self, expression: str) -> list[dict[str, object]]:
        """Return the series of an instant query."""
        async with self.session.get(f"{self.url}/api/v1/query", params={"query": expression}) as response:
            if response.status == HTTPStatus.SERVICE_UNAVAILABLE:  # still starting
                response.raise_for_status()
            answer = json.loads(await response.text())
        assert answer["status"] == "success", (expression, answer)
        return answer["data"]["result"] if answer["data"]["resultType"] == "vector" else []

    async def traces(self, metric: str) -> set[str]:
        """Return the trace ids of the exemplars of a histogram."""
        parameters = {"query": f"{metric}_bucket", "start": "0", "end": str(time.time() + 60)}
        async with self.session.get(f"{self.url}/api/v1/query_exemplars", params=parameters) as response:
            answer = json.loads(await response.text())
        assert answer["status"] == "success", answer
        return {one["labels"]["trace_id"] for series in answer["data"] for one in series["exemplars"]}

    async def until(self, expression: str, act: Callable[[], None]) -> list[dict[str, object]]:
        """Call `act` and query in turn until the query returns a series."""
        async with asyncio.timeout(READY_S):
            while True:
                act()
                try:
                    if series := await self.query(expression):
                        return series
                except ClientError:
                    pass
                await asyncio.sleep(0.1)


@asynccontextmanager
async def scraping(pages: MetricPages, directory: Path) -> AsyncGenerator[Prometheus, None]:
    """Run Prometheus with the generated rules; it scrapes and evaluates every second."""
    async with AsyncExitStack() as stack:
        targets = {
            job: await stack.enter_async_context(admin_server("127.0.0.1", 0, registry, dict))
            for job, registry in pages.registries.items()
        }
        for name, text in render_files().items():
            if name.endswith(".yml"):
                (directory / name).write_text(text.replace("interval: 15s", "interval: 1s"))
        jobs = [
            {
                "job_name": job,
                "static_configs": [{"targets": [f"127.0.0.1:{port}"], "labels": {"installation": "main"}}],
            }
            for job, port in targets.items()
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
                "--enable-feature=exemplar-storage",
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


def panel_queries() -> list[str]:
    texts = [text for name, text in render_files().items() if name.endswith(".json")]
    queries = [t["expr"] for text in texts for panel in json.loads(text)["panels"] for t in panel.get("targets", ())]
    variables = {
        "$__rate_interval": "30s",
        "$__range": "5m",
        "$route": ".+",
        "$instance": ".+",
        "$installation": "main",
        "$job": ".+",
    }
    return [reduce(lambda query, item: query.replace(*item), variables.items(), query) for query in queries]


async def test_rules_and_panels_work_in_a_real_prometheus(tmp_path: Path) -> None:
    pages = MetricPages()
    async with scraping(pages, tmp_path) as prometheus:
        for rule in RECORDING_RULES:
            assert await prometheus.until(rule.name, pages.serve_one_each), rule.name
        gap = await prometheus.query("sum(instance:shadow_accounting:gap)")
        match = await prometheus.query("shadow:match:ratio1h")
        results = [await prometheus.query(query) for query in panel_queries()]
        firing = await prometheus.query('ALERTS{alertstate="firing"}')
        histograms = (metrics.SERVED_SECONDS, metrics.MIRRORED_SECONDS, metrics.SCORER_SECONDS)
        traces = [await prometheus.traces(histogram.name) for histogram in histograms]

    assert [series["value"][1] for series in gap] == ["0"]  # pyright: ignore[reportIndexIssue]
    assert [series["value"][1] for series in match] == ["1"]  # pyright: ignore[reportIndexIssue]
    assert len([series for series in results if series]) > len(results) * 0.4
    assert [alert["metric"] for alert in firing] == []
    assert traces == [{TRACE_ID}] * 3
