"""Failover: backends that fail or are unhealthy, the responses of clients, and what /status and /metrics show."""

import asyncio
import json
from pathlib import Path
from typing import Any, Self

import pytest

from comparator.exchanges.model import FailureCause, Side
from comparator.exchanges.skip import Skip
from tests.integration.proxy.serving.test_serving import admin, get
from tests.support.proxy_lab import Message, ProxyLab, ScriptedBackend, ok, proxy_lab, read_message

POST = b"POST /v2/stamps/3/score/0xAb HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi"
NEVER_S = 600


async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_message(reader)
    writer.transport.abort()


def backend_saying(text: bytes) -> ScriptedBackend:
    return ScriptedBackend(response=lambda _: ok(text))


def backend_status(it: ProxyLab, side: str = "candidate") -> dict[str, Any]:
    return it.proxy.status()["backends"][side]


def live(port: int, **more: Any) -> dict[str, Any]:
    return {"live": {"url": f"http://127.0.0.1:{port}", **more}}


async def eject(it: ProxyLab, request: bytes = POST) -> None:
    """Send requests until the candidate is ejected."""
    while not backend_status(it)["ejected"]:
        await it.ask(request)


EJECTION = {"consecutive_failures": 2, "ejection_base_s": NEVER_S, "ejection_max_s": NEVER_S}


class TwoBackends:
    """Two backends whose ports are known before the settings of the proxy are made."""

    def __init__(self, candidate: ScriptedBackend, legacy: ScriptedBackend) -> None:
        self.candidate, self.legacy = candidate, legacy
        self._servers: list[asyncio.Server] = []

    async def __aenter__(self) -> Self:
        for backend in (self.candidate, self.legacy):
            server = await asyncio.start_server(backend.converse, "127.0.0.1", 0)
            backend.port = server.sockets[0].getsockname()[1]
            self._servers.append(server)
        return self

    async def __aexit__(self, *_: object) -> None:
        for server in self._servers:
            server.close()

    def backends(self, **more: Any) -> dict[str, Any]:
        return {"candidate": live(self.candidate.port, **more), "legacy": live(self.legacy.port)}


async def test_ejected_side_gets_no_request_that_the_other_may_answer(tmp_path: Path) -> None:
    async with (
        TwoBackends(ScriptedBackend(handler=hang_up), backend_saying(b"legacy")) as both,
        proxy_lab(tmp_path, backends=both.backends(outlier_detection=EJECTION), serve={"fall_back": True}) as it,
    ):
        await eject(it)
        before = both.candidate.connections
        responses = [await it.ask(get()) for _ in range(5)]
        assert [(response.body, response.get("x-shadow-fallback")) for response in responses] == [
            (b"legacy", "legacy")
        ] * 5
        assert both.candidate.connections == before
        assert it.proxy.state.metrics.fallbacks[Side.LEGACY] == 5


async def test_failed_over_exchange_is_journaled_as_such(tmp_path: Path) -> None:
    async with (
        TwoBackends(ScriptedBackend(handler=hang_up), backend_saying(b"legacy")) as both,
        proxy_lab(tmp_path, backends=both.backends(outlier_detection=EJECTION), serve={"fall_back": True}) as it,
    ):
        await eject(it)
        posts = it.proxy.state.metrics.served
        await it.ask(get())
        exchange = (await it.journaled(posts + 1))[-1]
        assert (exchange.served_by, exchange.skip) == (Side.LEGACY, Skip.FALLBACK)


async def test_ejected_side_still_gets_requests_that_only_it_may_answer(tmp_path: Path) -> None:
    candidate = ScriptedBackend(handler=hang_up)
    async with (
        TwoBackends(candidate, backend_saying(b"legacy")) as both,
        proxy_lab(tmp_path, backends=both.backends(outlier_detection=EJECTION)) as it,
    ):
        await eject(it)
        candidate.handler = None
        assert [(await it.ask(request)).body for request in (POST, get())] == [b"ok", b"ok"]
        assert backend_status(it)["ejected"]


async def test_request_for_an_ejected_side_is_refused_if_configured(tmp_path: Path) -> None:
    async with (
        TwoBackends(ScriptedBackend(handler=hang_up), backend_saying(b"legacy")) as both,
        proxy_lab(tmp_path, backends=both.backends(outlier_detection={**EJECTION, "refuse": True})) as it,
    ):
        await eject(it)
        before = both.candidate.connections
        response = await it.ask(POST)
        assert (response.status, json.loads(response.body)["error"]) == (503, "backend_ejected")
        assert NEVER_S - 60 < int(response.get("retry-after") or 0) <= NEVER_S + 1
        assert both.candidate.connections == before
        assert it.proxy.state.metrics.backend_failures[Side.CANDIDATE, FailureCause.EJECTED] >= 1


async def test_answered_probe_restores_a_side(tmp_path: Path) -> None:
    candidate = ScriptedBackend(handler=hang_up, response=lambda _: ok(b"candidate"))
    ejection = {"consecutive_failures": 2, "ejection_base_s": 0.05, "ejection_max_s": 0.1}
    async with (
        TwoBackends(candidate, backend_saying(b"legacy")) as both,
        proxy_lab(tmp_path, backends=both.backends(outlier_detection=ejection), serve={"fall_back": True}) as it,
    ):
        await eject(it)
        candidate.handler = None
        async with asyncio.timeout(60):
            while backend_status(it)["ejected"]:
                assert (await it.ask(get())).status == 200
        assert (await it.ask(POST)).body == b"candidate"


async def test_client_of_a_failed_probe_gets_a_response(tmp_path: Path) -> None:
    ejection = {"consecutive_failures": 2, "ejection_base_s": 0.05, "ejection_max_s": 0.05}
    async with (
        TwoBackends(ScriptedBackend(handler=hang_up), backend_saying(b"legacy")) as both,
        proxy_lab(tmp_path, backends=both.backends(outlier_detection=ejection), serve={"fall_back": True}) as it,
    ):
        await eject(it)
        before = backend_status(it)["ejections"]
        async with asyncio.timeout(60):
            while backend_status(it)["ejections"] < before + 2:
                assert (await it.ask(get())).body == b"legacy"


async def test_chosen_side_gets_the_request_if_neither_is_available(tmp_path: Path) -> None:
    candidate, legacy = ScriptedBackend(handler=hang_up), ScriptedBackend(handler=hang_up)
    async with TwoBackends(candidate, legacy):
        backends = {
            side: live(port, outlier_detection=EJECTION)
            for side, port in (("candidate", candidate.port), ("legacy", legacy.port))
        }
        async with proxy_lab(tmp_path, backends=backends, serve={"fall_back": True}) as it:
            while not (backend_status(it)["ejected"] and backend_status(it, "legacy")["ejected"]):
                await it.ask(get())
            candidate.handler = None
            response = await it.ask(get())
            assert (response.body, response.get("x-shadow-fallback")) == (b"ok", None)


async def test_gateway_errors_of_a_side_eject_it(tmp_path: Path) -> None:
    candidate = ScriptedBackend(response=lambda _: ok(b"", status="503 Service Unavailable"))
    async with (
        TwoBackends(candidate, backend_saying(b"legacy")) as both,
        proxy_lab(tmp_path, backends=both.backends(outlier_detection=EJECTION)) as it,
    ):
        await eject(it)


async def test_responses_of_500_do_not_eject(tmp_path: Path) -> None:
    candidate = ScriptedBackend(response=lambda _: ok(b"", status="500 Internal Server Error"))
    async with (
        TwoBackends(candidate, backend_saying(b"legacy")) as both,
        proxy_lab(tmp_path, backends=both.backends(outlier_detection=EJECTION)) as it,
    ):
        for _ in range(5):
            await it.ask(POST)
        it.proxy.state.sweep(it.proxy.state.now())
        assert not backend_status(it)["ejected"]


def failing_check(seen: Message) -> bytes:
    """Respond as a backend whose health path is broken and nothing else."""
    return ok(b"", status="500 Internal Server Error") if "/health" in seen.line else ok(b"candidate")


CHECK = {"path": "/health", "interval_s": 0.02, "timeout_s": 5, "unhealthy_after": 2, "healthy_after": 2}


@pytest.mark.parametrize("request_bytes", [get(), POST], ids=["safe", "unsafe"])
async def test_failing_check_alone_fails_no_request(tmp_path: Path, request_bytes: bytes) -> None:
    ejection = {"refuse": True}
    async with (
        TwoBackends(ScriptedBackend(response=failing_check), backend_saying(b"legacy")) as both,
        proxy_lab(tmp_path, backends=both.backends(health_check=CHECK, outlier_detection=ejection)) as it,
    ):
        await it.until(lambda: backend_status(it)["healthy"] is False)
        assert (await it.ask(request_bytes)).body == b"candidate"


async def test_unhealthy_side_gets_no_request_that_the_other_may_answer(tmp_path: Path) -> None:
    async with (
        TwoBackends(ScriptedBackend(response=failing_check), backend_saying(b"legacy")) as both,
        proxy_lab(tmp_path, backends=both.backends(health_check=CHECK), serve={"fall_back": True}) as it,
    ):
        await it.until(lambda: backend_status(it)["healthy"] is False)
        assert [(await it.ask(request)).body for request in (get(), POST)] == [b"legacy", b"candidate"]


async def test_failed_over_request_returns_if_the_other_side_fails(tmp_path: Path) -> None:
    async with (
        TwoBackends(ScriptedBackend(response=failing_check), ScriptedBackend(handler=hang_up)) as both,
        proxy_lab(tmp_path, backends=both.backends(health_check=CHECK), serve={"fall_back": True}) as it,
    ):
        await it.until(lambda: backend_status(it)["healthy"] is False)
        response = await it.ask(get())
        assert (response.status, response.body, response.get("x-shadow-fallback")) == (200, b"candidate", None)


async def test_passed_checks_make_a_side_healthy_again(tmp_path: Path) -> None:
    candidate = ScriptedBackend(response=failing_check)
    async with (
        TwoBackends(candidate, backend_saying(b"legacy")) as both,
        proxy_lab(tmp_path, backends=both.backends(health_check=CHECK)) as it,
    ):
        await it.until(lambda: backend_status(it)["healthy"] is False)
        candidate.response = lambda _: ok(b"healthy")
        await it.until(lambda: backend_status(it)["healthy"] is True)
        assert not it.proxy.state.failover.degraded


async def test_check_without_a_response_times_out(tmp_path: Path) -> None:
    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        del writer
        await reader.read()

    check = {**CHECK, "timeout_s": 0.05}
    async with (
        TwoBackends(ScriptedBackend(handler=hang), backend_saying(b"legacy")) as both,
        proxy_lab(tmp_path, backends=both.backends(health_check=check)) as it,
    ):
        await it.until(lambda: backend_status(it)["healthy"] is False)


async def test_metrics_show_the_health(tmp_path: Path) -> None:
    async with (
        TwoBackends(ScriptedBackend(response=failing_check), backend_saying(b"legacy")) as both,
        proxy_lab(tmp_path, backends=both.backends(health_check=CHECK)) as it,
    ):
        await it.until(lambda: backend_status(it)["healthy"] is False)
        _, text = await admin(it, "GET", "/metrics")
        assert 'shadow_backend_healthy{side="candidate"} 0.0' in text
        assert 'shadow_backend_healthy{side="legacy"} 1.0' in text
        assert 'shadow_backend_ejected{side="candidate"} 0.0' in text
        assert 'shadow_backend_checks_total{result="failed",side="candidate"}' in text


LIMITED = [{"name": "score", "path": "/v2/stamps/{id}/score/{address}", "key": "address", "mirror_per_s_max": 0.001}]


@pytest.mark.parametrize("limit", [{"routes": LIMITED}, {"mirroring": {"per_s_max": 0.001}}], ids=["route", "overall"])
async def test_exchange_beyond_the_mirroring_rate_is_journaled_as_skipped(
    tmp_path: Path, limit: dict[str, Any]
) -> None:
    async with proxy_lab(tmp_path, **limit) as it:
        for _ in range(3):
            assert (await it.ask(get())).status == 200
        assert [exchange.skip for exchange in await it.journaled(3)] == ["", "rate_limited", "rate_limited"]
