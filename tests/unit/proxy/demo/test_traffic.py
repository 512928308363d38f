import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from proxy.demo.traffic import DemoRequest, TrafficGenerator, TrafficResult, read_targets

TARGETS = (DemoRequest("GET", "/ok", {"X-API-Key": "k"}, "pass"), DemoRequest("GET", "/bad", {}, "bad_address", 400))


@pytest.fixture
async def server() -> AsyncIterator[TestServer]:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(status={"/ok": 200, "/bad": 400}.get(request.path, 404))

    app = web.Application()
    app.router.add_get("/{name}", answer)
    running = TestServer(app)
    await running.start_server()
    yield running
    await running.close()


async def test_targets_are_requested_in_a_cycle(server: TestServer) -> None:
    traffic = TrafficGenerator(str(server.make_url("")).rstrip("/"), TARGETS, concurrency=1)
    await traffic.as_fast_as_possible(5)
    assert traffic.result.statuses == {200: 3, 400: 2}
    assert not traffic.result.unexpected


async def test_status_other_than_the_targets_is_unexpected(server: TestServer) -> None:
    traffic = TrafficGenerator(
        str(server.make_url("")).rstrip("/"), [DemoRequest("GET", "/gone", {}, "pass")], concurrency=2
    )
    await traffic.as_fast_as_possible(2)
    assert traffic.result.unexpected == {"pass: 404 for 200": 2}


async def test_refused_connection_is_counted_as_unexpected(unused_tcp_port: int) -> None:
    traffic = TrafficGenerator(f"http://127.0.0.1:{unused_tcp_port}", TARGETS[:1], concurrency=1)
    await traffic.as_fast_as_possible(1)
    assert traffic.result.unexpected == {"pass: ClientConnectorError": 1}


async def test_rate_and_seconds_determine_the_number_of_requests(server: TestServer) -> None:
    traffic = TrafficGenerator(str(server.make_url("")).rstrip("/"), TARGETS[:1], concurrency=2)
    async with asyncio.timeout(60):
        await traffic.at_rate(50, seconds=0.2)
    assert traffic.result.sent == 10


def test_quantile_of_durations_is_in_milliseconds() -> None:
    seen = TrafficResult(durations_s=[0.001, 0.002, 0.003, 0.1])
    assert seen.quantile_ms(0.5) == pytest.approx(3.0)
    assert seen.quantile_ms(0.99) == pytest.approx(100.0)
    assert TrafficResult().quantile_ms(0.5) == 0.0


def test_targets_are_read_from_json_lines(tmp_path: Path) -> None:
    path = tmp_path / "targets.ndjson"
    path.write_text('{"method":"GET","path":"/a","headers":{},"case":"pass"}\n')
    assert read_targets(path) == (DemoRequest("GET", "/a", {}, "pass"),)
