"""Responses and accounting when a backend, the client, the journal or the process fails."""

import asyncio
import json
import shutil
from pathlib import Path

import pytest

from comparator.exchanges.model import Failed, FailureCause, Response, Side
from comparator.exchanges.skip import Skip
from tests.integration.proxy.journal.test_journal import file_size_limit
from tests.support.backends import full_listener
from tests.support.proxy_lab import ProxyLab, ScriptedBackend, ok, proxy_lab, read_message

GET = b"GET /v2/stamps/3/score/0xAb HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST /v2/stamps/3/score/0xAb HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi"


def accounted(it: ProxyLab) -> bool:
    """Return whether `served = written + queued + dropped + skipped`."""
    metrics, journal = it.proxy.state.metrics, it.proxy.journal
    assert journal is not None
    counts = journal.counts
    return metrics.served == counts.offered + metrics.skipped.total() and counts.queued >= 0


async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    del writer
    await reader.read()


async def vanish(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_message(reader)
    writer.transport.abort()


async def half(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_message(reader)
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")


@pytest.mark.parametrize(
    ("handler", "status", "cause"),
    [(hang, 504, FailureCause.TIMEOUT), (vanish, 502, FailureCause.RESET)],
    ids=["hung", "reset"],
)
async def test_backend_failure_is_reported_and_journaled(
    tmp_path: Path, handler: object, status: int, cause: FailureCause
) -> None:
    async with proxy_lab(tmp_path, candidate=ScriptedBackend(handler=handler), limits={"ttfb_s": 0.2}) as it:  # type: ignore[arg-type]
        response = await it.ask(GET)
        error = json.loads(response.body)
        assert response.status == status
        assert error["error"] == f"backend_{cause}"
        assert error["request_id"] == response.get("x-request-id")
        [exchange] = await it.journaled(1)
        assert isinstance(exchange.outcome, Failed)
        assert exchange.outcome.cause is cause


async def test_refused_connection_is_a_502(tmp_path: Path) -> None:
    async with proxy_lab(tmp_path, backends={"candidate": {"live": {"url": "http://127.0.0.1:1"}}}) as it:
        response = await it.ask(GET)
        assert response.status == 502
        assert json.loads(response.body)["error"] == "backend_refused"
        [exchange] = await it.journaled(1)
        assert exchange.outcome == Failed(FailureCause.REFUSED, "ConnectionRefusedError")


async def test_incomplete_response_is_incomplete_for_the_client(tmp_path: Path) -> None:
    async with proxy_lab(tmp_path, candidate=ScriptedBackend(handler=half)) as it:
        client = await it.client()
        await client.send(GET)
        assert (await client.rest()).count(b"HTTP/1.1") <= 1
        [exchange] = await it.journaled(1)
        assert isinstance(exchange.outcome, Failed)


async def test_total_limit_ends_a_slow_response(tmp_path: Path) -> None:
    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_message(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
        while True:
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.02)

    async with proxy_lab(tmp_path, candidate=ScriptedBackend(handler=drip), limits={"total_s": 0.3}) as it:
        client = await it.client()
        await client.send(GET)
        assert (await client.rest()).count(b"x") < 1000
        await it.until(lambda: not it.proxy.state.connections.requests)


async def test_safe_request_is_retried_after_a_stale_connection(tmp_path: Path) -> None:
    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_message(reader)
        writer.write(ok(b"once"))
        await read_message(reader)

    async with proxy_lab(tmp_path, candidate=ScriptedBackend(handler=once)) as it:
        client = await it.client()
        bodies = [(await client.ask(GET)).body for _ in range(4)]
        assert bodies == [b"once"] * 4
        assert it.proxy.state.metrics.retries == 3
        # What the first attempt has written is there twice.
        assert [exchange.skip for exchange in await it.journaled(4)] == ["", *[Skip.RETRIED] * 3]


async def test_timeout_is_not_retried(tmp_path: Path) -> None:
    requests = 0

    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal requests
        while (await read_message(reader)) and (requests := requests + 1) == 1:
            writer.write(ok(b"once"))
        await reader.read()

    async with proxy_lab(tmp_path, candidate=ScriptedBackend(handler=once), limits={"ttfb_s": 0.2}) as it:
        client = await it.client()
        assert [(await client.ask(GET)).status for _ in range(2)] == [200, 504]
        assert (requests, it.proxy.state.metrics.retries) == (2, 0)


async def test_unsafe_request_is_never_sent_twice(tmp_path: Path) -> None:
    posts = 0

    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal posts
        await read_message(reader)
        writer.write(ok(b"once"))
        await read_message(reader)
        posts += 1

    async with proxy_lab(tmp_path, candidate=ScriptedBackend(handler=once)) as it:
        client = await it.client()
        await client.ask(GET)
        assert (await client.ask(POST)).status == 502
        assert posts == 1


async def test_streamed_body_is_not_sent_again(tmp_path: Path) -> None:
    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_message(reader)
        writer.write(ok(b"once"))
        await reader.readuntil(b"\r\n\r\n")

    async with proxy_lab(tmp_path, candidate=ScriptedBackend(handler=once)) as it:
        client = await it.client()
        await client.ask(GET)
        await client.send(GET.replace(b"\r\n\r\n", b"\r\nContent-Length: 4\r\n\r\n"))
        await it.until(lambda: it.proxy.state.backends.connections[Side.CANDIDATE] == 0)
        assert (await client.ask(b"body")).status == 502
        assert it.proxy.state.metrics.retries == 0


async def test_other_side_answers_safe_requests_when_allowed(tmp_path: Path) -> None:
    legacy = ScriptedBackend(response=lambda _: ok(b"legacy"))
    async with proxy_lab(
        tmp_path, candidate=ScriptedBackend(handler=vanish), legacy=legacy, serve={"fall_back": True}
    ) as it:
        response = await it.ask(GET)
        assert (response.status, response.body, response.get("x-shadow-fallback")) == (200, b"legacy", "legacy")
        assert (await it.ask(POST)).status == 502
        [first, second] = await it.journaled(2)
        assert (first.served_by, first.skip) == (Side.LEGACY, Skip.FALLBACK)
        assert (second.served_by, second.skip) == (Side.CANDIDATE, "")


async def test_exchange_is_complete_after_the_client_hung_up(tmp_path: Path) -> None:
    go_on = asyncio.Event()
    candidate = ScriptedBackend()

    async def later(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        candidate.seen.append(await read_message(reader))
        await go_on.wait()
        writer.write(ok(b"done"))
        await reader.read()

    candidate.handler = later
    async with proxy_lab(tmp_path, candidate=candidate) as it:
        client = await it.client()
        await client.send(GET)
        await it.until(lambda: bool(candidate.seen))
        client.reset()
        await it.until(lambda: not it.proxy.state.connections.clients)
        go_on.set()
        [exchange] = await it.journaled(1)
        assert isinstance(exchange.outcome, Response)
        assert exchange.outcome.body == b"done"


async def test_client_gone_within_its_body_counts_as_aborted(tmp_path: Path) -> None:
    async with proxy_lab(tmp_path) as it:
        client = await it.client()
        await client.send(POST[:-1])
        await it.until(lambda: it.candidate.connections == 1)
        client.reset()
        await it.until(lambda: it.proxy.state.metrics.skipped == {Skip.ABORTED: 1})
        assert accounted(it)


async def test_overload_is_a_503_and_queued_requests_are_served(tmp_path: Path) -> None:
    go_on = asyncio.Event()

    async def later(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await read_message(reader)
            await go_on.wait()
            writer.write(ok(b"done"))

    candidate = ScriptedBackend(handler=later)
    async with proxy_lab(tmp_path, candidate=candidate) as first:
        url = f"http://127.0.0.1:{candidate.port}"
        pool = {"candidate": {"live": {"url": url, "connections_max": 1}}}
        async with proxy_lab(tmp_path / "2", backends=pool) as it:
            clients = [await it.client() for _ in range(3)]
            for client in clients:
                await client.send(GET)
            assert (await clients[2].response()).status == 503
            go_on.set()
            assert [(await client.response()).body for client in clients[:2]] == [b"done", b"done"]
        assert first.proxy.ready


async def test_sequential_requests_with_one_key_do_not_overlap(tmp_path: Path) -> None:
    async with proxy_lab(tmp_path) as it:
        client = await it.client()
        await client.ask(GET)
        await client.ask(GET)
        assert [exchange.overlapped for exchange in await it.journaled(2)] == [False, False]


async def test_both_requests_of_an_overlap_are_marked(tmp_path: Path) -> None:
    go_on = asyncio.Event()

    async def later(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await read_message(reader)
            await go_on.wait()
            writer.write(ok(b"done"))

    async with proxy_lab(tmp_path, candidate=ScriptedBackend(handler=later)) as it:
        clients = [await it.client() for _ in range(3)]
        paths = ("/v2/stamps/3/score/0xAB", "/v2/stamps/4/score/0xab", "/v2/stamps/3/score/other")
        for client, path in zip(clients, paths, strict=True):
            await client.send(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        await it.until(lambda: len(it.proxy.state.connections.requests) == 3)
        go_on.set()
        marks = {exchange.request.target: exchange.overlapped for exchange in await it.journaled(3)}
        assert marks == dict(zip(paths, (True, True, False), strict=True))


async def test_clients_are_served_without_the_journal_directory(tmp_path: Path) -> None:
    async with proxy_lab(tmp_path) as it:
        client = await it.client()
        await client.ask(GET)
        await it.journaled(1)
        directory = Path(it.settings.journal.directory)
        shutil.rmtree(directory)
        directory.write_text("a file where the folder was")
        statuses = [(await client.ask(GET)).status for _ in range(20)]
        await it.until(lambda: it.proxy.journal is not None and it.proxy.journal.counts.dropped.total() == 20)
        assert it.proxy.journal is not None
        assert it.proxy.journal.counts.losses_by_route() == {"score": 20}
        directory.unlink()
        assert statuses == [200] * 20
        await it.serve_until_journaled(client, GET)
        assert len(await it.journaled(1, name="other")) == 1
        assert accounted(it)


async def test_clients_are_served_while_the_disk_is_full(tmp_path: Path) -> None:
    async with proxy_lab(tmp_path) as it:
        client = await it.client()
        await client.ask(GET)
        await it.journaled(1)
        with file_size_limit(0):
            statuses = [(await client.ask(POST)).status for _ in range(20)]
            await it.until(lambda: it.proxy.status()["journal"]["dropped"].get("disk_full", 0) == 20)
        assert statuses == [200] * 20
        await it.serve_until_journaled(client, GET)
        assert accounted(it)


async def test_connect_timeout_is_a_504(tmp_path: Path) -> None:
    with full_listener() as (host, port):
        live = {"url": f"http://{host}:{port}", "connect_s": 0.1}
        async with proxy_lab(tmp_path, backends={"candidate": {"live": live}}) as it:
            response = await it.ask(GET)
            assert (response.status, json.loads(response.body)["error"]) == (504, "backend_timeout")


async def test_unused_backend_connection_is_closed(tmp_path: Path) -> None:
    backend = ScriptedBackend()
    async with await asyncio.start_server(backend.converse, "127.0.0.1", 0) as server:
        live = {"url": f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", "idle_s": 0.05}
        async with proxy_lab(tmp_path, backends={"candidate": {"live": live}}) as it:
            assert (await it.ask(GET)).status == 200
            await it.until(lambda: it.proxy.state.backends.connections[Side.CANDIDATE] == 0)


async def test_full_queue_drops_exchanges_not_clients(tmp_path: Path) -> None:
    async with proxy_lab(tmp_path, journal={"directory": str(tmp_path / "j"), "queue_max": 1, "flush_ms": 200}) as it:
        client = await it.client()
        statuses = [(await client.ask(GET)).status for _ in range(20)]
        assert statuses == [200] * 20
        assert it.proxy.status()["journal"]["dropped"]["queue_full"] >= 10
        assert accounted(it)


async def test_long_body_is_served_whole_and_journaled_truncated(tmp_path: Path) -> None:
    body = b"x" * 5000
    journal = {"directory": str(tmp_path / "j"), "body_max_bytes": 1000}
    async with proxy_lab(tmp_path, candidate=ScriptedBackend(response=lambda _: ok(body)), journal=journal) as it:
        assert (await it.ask(GET)).body == body
        request = b"POST /v2/stamps/3/score/1 HTTP/1.1\r\nHost: a\r\nContent-Length: 5000\r\n\r\n" + body
        assert (await it.ask(request)).body == body
        [first, second] = await it.journaled(2)
        assert isinstance(first.outcome, Response)
        assert (first.outcome.body, first.outcome.body_truncated, first.skip) == (b"x" * 1000, True, "")
        assert (second.request.body_truncated, second.skip) == (True, Skip.TRUNCATED)
