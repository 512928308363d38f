"""Backends that fail or seem to: who is asked then, what clients get, and what is shown."""

import asyncio
import json
from pathlib import Path
from typing import Any, Self

import pytest

from comparator.exchanges.model import FailureCause, Side
from comparator.exchanges.skip import Skip
from tests.integration.proxy.serving.test_serving import admin, get
from tests.support.proxying import Backend, Lab, Message, lab, ok, read_message

POST = b"POST /v2/stamps/3/score/0xAb HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi"
NEVER_S = 600


async def vanish(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_message(reader)
    writer.transport.abort()


def named(name: bytes) -> Backend:
    return Backend(response=lambda _: ok(name))


def judged(it: Lab, side: str = "candidate") -> dict[str, Any]:
    return it.proxy.status()["backends"][side]


def live(port: int, **more: Any) -> dict[str, Any]:
    return {"live": {"url": f"http://127.0.0.1:{port}", **more}}


async def ejected(it: Lab, request: bytes = POST) -> None:
    """Ask until the candidate is ejected."""
    while not judged(it)["ejected"]:
        await it.ask(request)


EJECTION = {"consecutive_failures": 2, "ejection_base_s": NEVER_S, "ejection_max_s": NEVER_S}


class Place:
    """Two backends whose ports are known before the proxy's settings are made."""

    def __init__(self, candidate: Backend, legacy: Backend) -> None:
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


async def test_an_ejected_side_is_spared_where_the_other_may_answer(tmp_path: Path) -> None:
    async with (
        Place(Backend(handler=vanish), named(b"legacy")) as place,
        lab(tmp_path, backends=place.backends(outlier_detection=EJECTION), serve={"fall_back": True}) as it,
    ):
        await ejected(it)
        asked = place.candidate.connections
        responses = [await it.ask(get()) for _ in range(5)]
        assert [(response.body, response.get("x-shadow-fallback")) for response in responses] == [
            (b"legacy", "legacy")
        ] * 5
        assert place.candidate.connections == asked
        assert it.proxy.state.metrics.fallbacks[Side.LEGACY] == 5


async def test_what_was_steered_to_the_other_side_is_journaled_so(tmp_path: Path) -> None:
    async with (
        Place(Backend(handler=vanish), named(b"legacy")) as place,
        lab(tmp_path, backends=place.backends(outlier_detection=EJECTION), serve={"fall_back": True}) as it,
    ):
        await ejected(it)
        posts = it.proxy.state.metrics.served
        await it.ask(get())
        exchange = (await it.journaled(posts + 1))[-1]
        assert (exchange.served_by, exchange.skip) == (Side.LEGACY, Skip.FALLBACK)


async def test_an_ejected_side_is_still_asked_where_nothing_else_may_answer(tmp_path: Path) -> None:
    candidate = Backend(handler=vanish)
    async with (
        Place(candidate, named(b"legacy")) as place,
        lab(tmp_path, backends=place.backends(outlier_detection=EJECTION)) as it,
    ):
        await ejected(it)
        candidate.handler = None
        assert [(await it.ask(request)).body for request in (POST, get())] == [b"ok", b"ok"]
        assert judged(it)["ejected"]


async def test_an_ejected_side_refuses_at_once_where_that_is_configured(tmp_path: Path) -> None:
    async with (
        Place(Backend(handler=vanish), named(b"legacy")) as place,
        lab(tmp_path, backends=place.backends(outlier_detection={**EJECTION, "refuse": True})) as it,
    ):
        await ejected(it)
        asked = place.candidate.connections
        response = await it.ask(POST)
        assert (response.status, json.loads(response.body)["error"]) == (503, "backend_ejected")
        assert NEVER_S - 60 < int(response.get("retry-after") or 0) <= NEVER_S + 1
        assert place.candidate.connections == asked
        assert it.proxy.state.metrics.backend_failures[Side.CANDIDATE, FailureCause.EJECTED] >= 1


async def test_a_probe_brings_a_side_back(tmp_path: Path) -> None:
    candidate = Backend(handler=vanish, response=lambda _: ok(b"candidate"))
    ejection = {"consecutive_failures": 2, "ejection_base_s": 0.05, "ejection_max_s": 0.1}
    async with (
        Place(candidate, named(b"legacy")) as place,
        lab(tmp_path, backends=place.backends(outlier_detection=ejection), serve={"fall_back": True}) as it,
    ):
        await ejected(it)
        candidate.handler = None
        async with asyncio.timeout(60):
            while judged(it)["ejected"]:
                assert (await it.ask(get())).status == 200
        assert (await it.ask(POST)).body == b"candidate"


async def test_a_probe_that_fails_costs_its_client_nothing(tmp_path: Path) -> None:
    ejection = {"consecutive_failures": 2, "ejection_base_s": 0.05, "ejection_max_s": 0.05}
    async with (
        Place(Backend(handler=vanish), named(b"legacy")) as place,
        lab(tmp_path, backends=place.backends(outlier_detection=ejection), serve={"fall_back": True}) as it,
    ):
        await ejected(it)
        before = judged(it)["ejections"]
        async with asyncio.timeout(60):
            while judged(it)["ejections"] < before + 2:
                assert (await it.ask(get())).body == b"legacy"


async def test_with_both_sides_unfit_the_chosen_one_is_asked(tmp_path: Path) -> None:
    candidate, legacy = Backend(handler=vanish), Backend(handler=vanish)
    async with Place(candidate, legacy):
        backends = {
            side: live(port, outlier_detection=EJECTION)
            for side, port in (("candidate", candidate.port), ("legacy", legacy.port))
        }
        async with lab(tmp_path, backends=backends, serve={"fall_back": True}) as it:
            while not (judged(it)["ejected"] and judged(it, "legacy")["ejected"]):
                await it.ask(get())
            candidate.handler = None
            response = await it.ask(get())
            assert (response.body, response.get("x-shadow-fallback")) == (b"ok", None)


async def test_gateway_errors_of_a_side_count_against_it(tmp_path: Path) -> None:
    candidate = Backend(response=lambda _: ok(b"", status="503 Service Unavailable"))
    async with (
        Place(candidate, named(b"legacy")) as place,
        lab(tmp_path, backends=place.backends(outlier_detection=EJECTION)) as it,
    ):
        await ejected(it)


async def test_responses_of_500_do_not_eject(tmp_path: Path) -> None:
    candidate = Backend(response=lambda _: ok(b"", status="500 Internal Server Error"))
    async with (
        Place(candidate, named(b"legacy")) as place,
        lab(tmp_path, backends=place.backends(outlier_detection=EJECTION)) as it,
    ):
        for _ in range(5):
            await it.ask(POST)
        it.proxy.state.sweep(it.proxy.state.now())
        assert not judged(it)["ejected"]


def ill(seen: Message) -> bytes:
    """A side whose health path is broken and nothing else."""
    return ok(b"", status="500 Internal Server Error") if "/health" in seen.line else ok(b"candidate")


CHECK = {"path": "/health", "interval_s": 0.02, "timeout_s": 5, "unhealthy_after": 2, "healthy_after": 2}


@pytest.mark.parametrize("request_bytes", [get(), POST], ids=["safe", "unsafe"])
async def test_a_wrong_check_alone_fails_no_request(tmp_path: Path, request_bytes: bytes) -> None:
    ejection = {"refuse": True}
    async with (
        Place(Backend(response=ill), named(b"legacy")) as place,
        lab(tmp_path, backends=place.backends(health_check=CHECK, outlier_detection=ejection)) as it,
    ):
        await it.until(lambda: judged(it)["healthy"] is False)
        assert (await it.ask(request_bytes)).body == b"candidate"


async def test_an_unhealthy_side_is_spared_where_the_other_may_answer(tmp_path: Path) -> None:
    async with (
        Place(Backend(response=ill), named(b"legacy")) as place,
        lab(tmp_path, backends=place.backends(health_check=CHECK), serve={"fall_back": True}) as it,
    ):
        await it.until(lambda: judged(it)["healthy"] is False)
        assert [(await it.ask(request)).body for request in (get(), POST)] == [b"legacy", b"candidate"]


async def test_a_request_steered_away_comes_back_when_the_other_side_fails(tmp_path: Path) -> None:
    async with (
        Place(Backend(response=ill), Backend(handler=vanish)) as place,
        lab(tmp_path, backends=place.backends(health_check=CHECK), serve={"fall_back": True}) as it,
    ):
        await it.until(lambda: judged(it)["healthy"] is False)
        response = await it.ask(get())
        assert (response.status, response.body, response.get("x-shadow-fallback")) == (200, b"candidate", None)


async def test_good_checks_make_a_side_healthy_again(tmp_path: Path) -> None:
    candidate = Backend(response=ill)
    async with (
        Place(candidate, named(b"legacy")) as place,
        lab(tmp_path, backends=place.backends(health_check=CHECK)) as it,
    ):
        await it.until(lambda: judged(it)["healthy"] is False)
        candidate.response = lambda _: ok(b"well")
        await it.until(lambda: judged(it)["healthy"] is True)
        assert not it.proxy.state.failover.degraded


async def test_a_check_that_is_never_answered_fails_in_time(tmp_path: Path) -> None:
    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        del writer
        await reader.read()

    check = {**CHECK, "timeout_s": 0.05}
    async with (
        Place(Backend(handler=hang), named(b"legacy")) as place,
        lab(tmp_path, backends=place.backends(health_check=check)) as it,
    ):
        await it.until(lambda: judged(it)["healthy"] is False)


async def test_health_is_on_the_metrics_page(tmp_path: Path) -> None:
    async with (
        Place(Backend(response=ill), named(b"legacy")) as place,
        lab(tmp_path, backends=place.backends(health_check=CHECK)) as it,
    ):
        await it.until(lambda: judged(it)["healthy"] is False)
        _, text = await admin(it, "GET", "/metrics")
        assert 'shadow_backend_healthy{side="candidate"} 0.0' in text
        assert 'shadow_backend_healthy{side="legacy"} 1.0' in text
        assert 'shadow_backend_ejected{side="candidate"} 0.0' in text
        assert 'shadow_backend_checks_total{result="failed",side="candidate"}' in text


LIMITED = [{"name": "score", "path": "/v2/stamps/{id}/score/{address}", "key": "address", "mirror_per_s_max": 0.001}]


@pytest.mark.parametrize("limit", [{"routes": LIMITED}, {"mirroring": {"per_s_max": 0.001}}], ids=["route", "overall"])
async def test_what_is_above_the_mirroring_rate_is_journaled_as_skipped(tmp_path: Path, limit: dict[str, Any]) -> None:
    async with lab(tmp_path, **limit) as it:
        for _ in range(3):
            assert (await it.ask(get())).status == 200
        assert [exchange.skip for exchange in await it.journaled(3)] == ["", "rate_limited", "rate_limited"]
