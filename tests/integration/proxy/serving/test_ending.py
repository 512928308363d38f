"""The end of a client's connection: a client that still reads loses no response, one that sends no more is not waited for."""

import asyncio
import os
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.support.proxy_lab import ProxyLab, ScriptedBackend, ok, proxy_lab, read_message

GET = b"GET /v2/stamps/1/score/0xa HTTP/1.1\r\nHost: a\r\n"
PART = b"POST /v2/stamps/1/score/0xa HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhe"
BODY = bytes(60_000)
"""More than the socket buffers hold, and less than what pauses the backend."""
PIPELINED = 1000
ROOMY = {"body_max_bytes": 16 * 1024**2, "queue_max_bytes": 64 * 1024**2}
LONG_S = 10.0
"""Longer than LINGER_S."""


@asynccontextmanager
async def slow_client(it: ProxyLab) -> AsyncGenerator[socket.socket, None]:
    """Yield a client that has sent its last request and read nothing of the response, which the proxy has completely."""
    loop = asyncio.get_running_loop()
    with socket.socket(fileno=os.dup(it.proxy.servers[0].sockets[0].fileno())) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.setblocking(False)
        await loop.sock_connect(client, ("127.0.0.1", it.proxy.port))
        await loop.sock_sendall(client, GET + b"Connection: close\r\n\r\n")
        await it.until(lambda: it.proxy.state.metrics.served == 1)
        yield client


async def test_slow_client_gets_all_of_its_last_response(tmp_path: Path) -> None:
    loop = asyncio.get_running_loop()
    received = b""
    async with (
        proxy_lab(tmp_path, candidate=ScriptedBackend(response=lambda _: ok(BODY))) as it,
        slow_client(it) as client,
    ):
        it.proxy.state.sweep(loop.time() + LONG_S)
        async with asyncio.timeout(60):
            while data := await loop.sock_recv(client, 65536):
                received += data
    assert received.endswith(BODY)


async def test_client_that_reads_nothing_more_is_aborted(tmp_path: Path) -> None:
    loop = asyncio.get_running_loop()
    async with proxy_lab(tmp_path, candidate=ScriptedBackend(response=lambda _: ok(BODY))) as it, slow_client(it):
        it.proxy.state.sweep(loop.time() + LONG_S)
        assert it.proxy.state.connections.clients
        it.proxy.state.sweep(loop.time() + LONG_S + 2 * it.settings.limits.total_s)
        await it.until(lambda: not it.proxy.state.connections.clients)


async def test_incomplete_pipelined_request_is_not_waited_for(tmp_path: Path) -> None:
    requested, respond = asyncio.Event(), asyncio.Event()

    async def waits(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_message(reader)
        requested.set()
        await respond.wait()
        writer.write(ok(b"first"))
        await reader.read()

    async with proxy_lab(tmp_path, candidate=ScriptedBackend(handler=waits)) as it, asyncio.timeout(60):
        client = await it.client()
        await client.send(GET + b"\r\n" + PART)
        client.writer.write_eof()
        await requested.wait()
        respond.set()
        rest = await client.rest()
        await it.until(lambda: not it.proxy.state.connections.requests)
        assert rest.endswith(b"first")
        assert it.proxy.status()["skipped"] == {"aborted": 1}


async def test_client_that_reads_nothing_gets_no_further_responses(tmp_path: Path) -> None:
    async with proxy_lab(tmp_path, candidate=ScriptedBackend(response=lambda _: ok(BODY))) as it, asyncio.timeout(60):
        client = await it.client()
        reading: asyncio.ReadTransport = client.writer.transport  # type: ignore[assignment]
        reading.pause_reading()
        await client.send((GET + b"\r\n") * PIPELINED)
        await it.until(lambda: len(it.candidate.seen) > 1 and not it.proxy.state.connections.requests)
        assert len(it.candidate.seen) < PIPELINED
        reading.resume_reading()
        for _ in range(PIPELINED):
            assert (await client.response()).body == BODY


async def test_connection_with_unsent_bytes_is_not_reused(tmp_path: Path) -> None:
    over = asyncio.Event()
    body = b'{"user": {"address": "0xa"}}'.ljust(8 * 1024**2)

    async def hasty(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(ok(b"hasty"))
        await over.wait()

    async with proxy_lab(
        tmp_path, candidate=ScriptedBackend(handler=hasty), journal=ROOMY | {"directory": str(tmp_path)}
    ) as it:
        client = await it.client()
        head = b"POST /by-body HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body)
        first = await client.ask(head + body)
        assert (first.body, first.get("connection")) == (b"hasty", None)
        assert (await client.ask(GET + b"\r\n")).body == b"hasty"
        over.set()
