"""The handling of every request: pages, headers, hosts, admission, metrics, the process itself."""

import asyncio
import os
import re
import signal
import sys

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from scorer import serving
from scorer.settings import RateLimitSettings
from tests.support import scoring
from tests.support.scoring import address, headers

A = address(0xA)


@pytest.mark.parametrize(
    "path", ["/nope", f"/v2/stamps/1/score/{A}/", f"/v2/stamps/1%2F2/score/{A}", "/internal/embed/score/-1/0x1"]
)
async def test_unknown_paths_are_a_page(client, path):
    async with client.get(path) as response:
        assert (response.status, response.content_type) == (404, "text/html")


async def test_other_method_gets_the_allowed_ones(client):
    async with client.post(f"/v2/stamps/1/score/{A}") as response:
        assert (response.status, response.headers["Allow"], await response.text()) == (405, "GET", "Method not allowed")


async def test_preflight_is_answered_before_everything(client):
    async with client.options(
        "/any", headers={"Origin": "http://x", "Access-Control-Request-Method": "GET"}
    ) as response:
        assert (response.status, response.headers["Access-Control-Allow-Origin"], await response.read()) == (
            200,
            "*",
            b"",
        )


async def test_origin_may_read_the_response(client):
    async with client.get("/health/", headers={"Origin": "http://x"}) as response:
        assert response.headers["Access-Control-Allow-Origin"] == "*"


async def test_foreign_host_is_refused(migrated, serve):
    client = await serve(scoring.settings(migrated, allowed_hosts=("testserver", ".example.test")))
    found = []
    for host in ("testserver", "a.example.test:80", "other"):
        async with client.get("/health/", headers={"Host": host}) as response:
            found.append(response.status)
    assert found == [200, 200, 400]


async def test_public_api_can_be_switched_off(migrated, serve):
    client = await serve(scoring.settings(migrated, v2_enabled=False))
    async with client.get(f"/v2/stamps/1/score/{A}", headers=headers()) as response:
        assert response.status == 404


async def test_more_requests_than_are_admitted_wait_their_turn(migrated, world, serve):
    client = await serve(scoring.settings(migrated, limits=RateLimitSettings(requests_in_progress_max=1, pool_max=1)))

    async def ask() -> int:
        async with client.get(f"/v2/stamps/1/score/{A}", headers=headers()) as response:
            return response.status

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(ask(), name=f"ask-{n}") for n in range(16)]
    assert [task.result() for task in tasks] == [200] * 16


async def test_admin_port_shows_the_metrics_of_the_api(client, aiohttp_client):
    trace_id = "4bf92f3577b34da6a3ce929d0e0e4736"
    traced = {**headers(), "traceparent": f"00-{trace_id}-00f067aa0ba902b7-01"}
    async with client.get(f"/v2/stamps/1/score/{A}", headers=traced) as response:
        assert response.status == 200
    beside = await aiohttp_client(serving.admin_app(client.app))
    accept = {"Accept": "application/openmetrics-text;version=1.0.0,text/plain;q=0.5"}
    async with beside.get("/metrics", headers=accept) as response:
        families = list(text_string_to_metric_families(await response.text()))
    traces = {s.exemplar.labels["trace_id"] for f in families for s in f.samples if s.exemplar is not None}
    assert traces == {trace_id}
    assert any(family.name == "process_resident_memory_bytes" for family in families)
    async with beside.get("/metrics") as response:
        text = await response.text()
    route = 'route="/v2/stamps/{scorer_id}/score/{address}"'
    assert f'scorer_requests_total{{{route},status="200"}} 1.0' in text
    assert 'scorer_stage_seconds_count{stage="save"} 1.0' in text
    assert re.search(r"^process_resident_memory_bytes [1-9]", text, re.MULTILINE)


async def test_scoring_event_is_written_beside_when_it_is_switched_on(migrated, world, serve):
    client = await serve(scoring.settings(migrated, scoring_events=True))
    await world.stamp(A, "Github", ["v0:1"])
    async with client.get(f"/v2/stamps/1/score/{A}", headers=headers()) as response:
        assert response.status == 200
    row = await world.conn.fetchrow(
        "SELECT score, raw_score, weights, stamps_snapshot->'valid'->0->>'provider' FROM scoring_events"
    )
    assert (int(row[0]), str(row[1]), row[2], row[3]) == (0, "2.0", '{"Github": 2.0}', "Github")


async def test_process_serves_until_its_signal(migrated):
    environ = {**os.environ, "DATABASE_URL": migrated, "SCORER_ADMIN_PORT": "0"}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "scorer",
        "serve",
        "--port",
        "0",
        env=environ,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    async with asyncio.timeout(60):
        assert process.stdout is not None
        line = (await process.stdout.readline()).decode()
        process.send_signal(signal.SIGTERM)
        assert (line.startswith("listening on "), await process.wait()) == (True, 0)


@pytest.mark.parametrize("name", ["X-Request-Id", "X-API-Key", "Authorization"])
async def test_headers_that_are_not_utf_8_get_a_response(client, name):
    reader, writer = await asyncio.open_connection(client.host, client.port)
    raw = (
        f"GET /v2/stamps/1/score/{A} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{name}: ".encode()
        + b"a \xff.\xfe\r\n\r\n"
    )
    writer.write(raw)
    async with asyncio.timeout(60):
        status_line = await reader.readline()
    writer.close()
    assert status_line == b"HTTP/1.1 401 Unauthorized\r\n"


async def test_request_id_that_is_not_utf_8_does_not_stop_scoring(client):
    reader, writer = await asyncio.open_connection(client.host, client.port)
    lines = f"GET /v2/stamps/1/score/{A} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-API-Key: {scoring.KEY}\r\nX-Request-Id: "
    writer.write(lines.encode() + b"\xff\r\n\r\n")
    async with asyncio.timeout(60):
        status_line = await reader.readline()
    writer.close()
    assert status_line == b"HTTP/1.1 200 OK\r\n"
