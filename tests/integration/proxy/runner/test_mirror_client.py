"""proxy.runner.mirror_client over a real socket."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from comparator.exchanges.model import Exchange, Failed, FailureCause, Request, Response, Side
from proxy.config.backends import BackendSettings
from proxy.runner.mirror_client import MirrorClient
from tests.support.backends import full_listener

LIMIT = 1_000


@pytest.mark.parametrize(
    ("length", "kept", "truncated"), [(999, 999, False), (1_000, 1_000, False), (5_000_000, 1_000, True)]
)
async def test_long_response_is_cut_at_the_limit_of_the_journal(length: int, kept: int, truncated: bool) -> None:
    async def long(_: web.Request) -> web.Response:
        return web.Response(body=b"x" * length)

    app = web.Application()
    app.router.add_get("/long", long)
    exchange = Exchange(
        "1", "r", "", Side.CANDIDATE, "", 0, 1, Request("GET", "/long", (), b""), Response(200, (), b"")
    )
    async with TestServer(app) as server:
        url = str(server.make_url(""))
        async with MirrorClient(
            {Side.LEGACY: BackendSettings(url=url)}, timeout_s=5.0, connections_max=1, body_max_bytes=LIMIT
        ) as sender:
            responses = [(await sender.send(exchange, Side.LEGACY)).outcome for _ in range(2)]
    assert all(isinstance(response, Response) for response in responses)
    assert [(len(r.body), r.body_truncated) for r in responses if isinstance(r, Response)] == [(kept, truncated)] * 2


Manner = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def hangs(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    del writer
    await reader.read()


async def drips(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    while not writer.is_closing():
        writer.write(b"x")
        # (the pace of a slow response)
        await asyncio.sleep(0.01)


async def ends_half_way(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
    writer.write_eof()
    await reader.read()


async def hangs_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.transport.abort()


async def makes_noise(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"\x00\xff\x16\x03 no HTTP at all\r\n\r\n")
    await reader.read()


@pytest.mark.parametrize(
    ("manner", "cause"),
    [
        (hangs, FailureCause.TIMEOUT),
        (drips, FailureCause.TIMEOUT),
        (ends_half_way, FailureCause.RESET),
        (hangs_up, FailureCause.RESET),
        (makes_noise, FailureCause.PROTOCOL),
    ],
)
async def test_misbehaving_side_is_a_failure_with_its_cause_and_the_next_request_succeeds(
    manner: Manner, cause: FailureCause
) -> None:
    manners = {"now": manner}

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await manners["now"](reader, writer)
        finally:
            writer.close()

    exchange = Exchange("1", "r", "", Side.CANDIDATE, "", 0, 1, Request("GET", "/", (), b""), Response(200, (), b""))
    async with await asyncio.start_server(converse, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        # Long enough for a busy machine to respond, where a response comes.
        timeout_s = 0.3 if cause is FailureCause.TIMEOUT else 10.0
        async with MirrorClient(
            {Side.LEGACY: BackendSettings(url=url)}, timeout_s=timeout_s, connections_max=1, body_max_bytes=LIMIT
        ) as sender:
            response = await sender.send(exchange, Side.LEGACY)
        manners["now"] = answers
        async with MirrorClient(
            {Side.LEGACY: BackendSettings(url=url)}, timeout_s=10.0, connections_max=1, body_max_bytes=LIMIT
        ) as sender:
            second = (await sender.send(exchange, Side.LEGACY)).outcome
    assert isinstance(response.outcome, Failed)
    assert (response.outcome.cause, response.sent) == (cause, True)
    assert isinstance(second, Response)


async def answers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    await writer.drain()


@pytest.mark.parametrize("breaks", [True, False])
async def test_response_is_awaited_behind_the_timeout(*, breaks: bool) -> None:
    goes_on = asyncio.Event()

    async def answers_late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await goes_on.wait()
            if not breaks:
                await answers(reader, writer)
        finally:
            writer.transport.abort() if breaks else writer.close()

    exchange = Exchange("1", "r", "", Side.CANDIDATE, "", 0, 1, Request("GET", "/", (), b""), Response(200, (), b""))
    async with await asyncio.start_server(answers_late, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with MirrorClient(
            {Side.LEGACY: BackendSettings(url=url)}, timeout_s=0.1, connections_max=1, body_max_bytes=LIMIT
        ) as sender:
            # (one that is never answered holds up neither the next, nor the end)
            responses = [await sender.send(exchange, Side.LEGACY) for _ in range(2)]
            lates = [response.late for response in responses]
            assert [late.has_come for late in lates if late is not None] == [None, None]
            goes_on.set()
            async with asyncio.timeout(10):
                while any(late.has_come is None for late in lates if late is not None):
                    await asyncio.sleep(0.01)
            assert [late.has_come for late in lates if late is not None] == [not breaks] * 2
            goes_on.clear()
            assert (await sender.send(exchange, Side.LEGACY)).late is not None


async def test_refused_connection_is_a_failure() -> None:
    exchange = Exchange("1", "r", "", Side.CANDIDATE, "", 0, 1, Request("GET", "/", (), b""), Response(200, (), b""))
    nowhere = {Side.LEGACY: BackendSettings(url="http://127.0.0.1:1")}
    async with MirrorClient(nowhere, timeout_s=10.0, connections_max=1, body_max_bytes=LIMIT) as sender:
        response = await sender.send(exchange, Side.LEGACY)
    assert isinstance(response.outcome, Failed)
    assert (response.outcome.cause, response.sent) == (FailureCause.REFUSED, False)


async def test_request_without_a_connection_was_not_sent() -> None:
    exchange = Exchange("1", "r", "", Side.CANDIDATE, "", 0, 1, Request("GET", "/", (), b""), Response(200, (), b""))
    with full_listener() as (host, port):
        busy = {Side.LEGACY: BackendSettings(url=f"http://{host}:{port}", connect_s=0.1)}
        async with MirrorClient(busy, timeout_s=10.0, connections_max=1, body_max_bytes=LIMIT) as sender:
            response = await sender.send(exchange, Side.LEGACY)
    assert isinstance(response.outcome, Failed)
    assert (response.outcome.cause, response.sent) == (FailureCause.TIMEOUT, False)


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "POST"])
async def test_request_is_sent_once_when_the_peer_closes_a_reused_connection(method: str) -> None:
    connections: list[int] = []

    async def answers_once_then_hangs_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(0)
        while head := await reader.readuntil(b"\r\n\r\n"):
            connections[-1] += 1
            if connections != [1]:
                writer.transport.abort()
                return
            await reader.readexactly(2 if b"Content-Length: 2" in head else 0)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    exchange = Exchange("1", "r", "", Side.CANDIDATE, "", 0, 1, Request(method, "/", (), b"{}"), Response(200, (), b""))
    async with await asyncio.start_server(answers_once_then_hangs_up, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with MirrorClient(
            {Side.LEGACY: BackendSettings(url=url)}, timeout_s=10.0, connections_max=1, body_max_bytes=LIMIT
        ) as sender:
            first, second = [(await sender.send(exchange, Side.LEGACY)).outcome for _ in range(2)]
    assert isinstance(first, Response)
    assert isinstance(second, Failed)
    assert second.cause is FailureCause.RESET
    assert connections == [2]


@pytest.mark.parametrize(
    ("host", "client", "expected"),
    [
        ("preserve", "api.example", "api.example"),
        ("preserve", "", "the URL's"),
        ("backend", "api.example", "the URL's"),
        ("legacy.internal", "api.example", "legacy.internal"),
    ],
)
async def test_host_header_follows_the_instances_setting(host: str, client: str, expected: str) -> None:
    seen: list[bytes] = []

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        writer.close()

    headers = (("Host", client),) if client else ()
    exchange = Exchange(
        "1", "r", "", Side.CANDIDATE, "", 0, 1, Request("GET", "/", headers, b""), Response(200, (), b"")
    )
    async with await asyncio.start_server(converse, "127.0.0.1", 0) as server:
        authority = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        instance = BackendSettings(url=f"http://{authority}/", host=host)
        async with MirrorClient(
            {Side.LEGACY: instance}, timeout_s=10.0, connections_max=1, body_max_bytes=LIMIT
        ) as sender:
            await sender.send(exchange, Side.LEGACY)
    hosts = [
        line.partition(b":")[2].strip().decode() for line in seen[0].split(b"\r\n") if line.lower().startswith(b"host:")
    ]
    assert hosts == [authority if expected == "the URL's" else expected]


async def test_connection_idle_longer_than_the_limit_is_not_used_again() -> None:
    connections = 0

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        with contextlib.suppress(asyncio.IncompleteReadError):
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    exchange = Exchange("1", "r", "", Side.CANDIDATE, "", 0, 1, Request("GET", "/", (), b""), Response(200, (), b""))
    async with await asyncio.start_server(converse, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        for idle_s, expected in ((60.0, 1), (0.05, 3)):
            instance = BackendSettings(url=url, idle_s=idle_s)
            async with MirrorClient(
                {Side.LEGACY: instance}, timeout_s=10.0, connections_max=1, body_max_bytes=LIMIT
            ) as sender:
                await sender.send(exchange, Side.LEGACY)
                # The connection is idle for longer than the second limit of `idle_s`, which is what is tested.
                await asyncio.sleep(0.2)
                await sender.send(exchange, Side.LEGACY)
            assert connections == expected
