"""A proxy between byte-level clients and scripted backends, all on real sockets of 127.0.0.1."""

import asyncio
import struct
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from socket import SO_LINGER, SOL_SOCKET
from typing import Any

import yaml

from comparator.exchanges.model import Exchange
from proxy.config.loader import load
from proxy.config.settings import Settings
from proxy.journal.keys import load_keys
from proxy.journal.segment_reader import SegmentReader
from proxy.serving.app import RunningProxy, running
from tests.support import waiting

WAIT_S = 60.0


@dataclass
class Message:
    """An HTTP message as it crossed the wire: first line, fields in order, decoded body."""

    line: str
    fields: list[tuple[str, str]]
    body: bytes = b""

    def get(self, name: str) -> str | None:
        """Return the first value of a field, None when it is absent."""
        return next((value for key, value in self.fields if key.lower() == name.lower()), None)

    def all(self, name: str) -> list[str]:
        """Return all values of a field."""
        return [value for key, value in self.fields if key.lower() == name.lower()]

    @property
    def status(self) -> int:
        """The status code of a response."""
        return int(self.line.split(" ")[1])


def parse_head(data: bytes) -> Message:
    """Parse a head, given with or without its empty line."""
    first, *rest = data.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
    fields = [line.partition(":") for line in rest if line]
    return Message(first, [(name, value.strip()) for name, _, value in fields])


async def read_message(reader: asyncio.StreamReader, *, method: str = "") -> Message:
    """Read one message.

    Args:
        reader: of the connection.
        method: of the request, if the message is a response.
    """
    async with asyncio.timeout(WAIT_S):
        message = parse_head(await reader.readuntil(b"\r\n\r\n"))
        is_response = message.line.startswith("HTTP/")
        if is_response and (method == "HEAD" or message.status in (101, 204, 304) or message.status < 200):
            return message
        length = message.get("content-length")
        if (message.get("transfer-encoding") or "").lower() == "chunked":
            message.body = await _read_chunks(reader)
        elif length is not None:
            message.body = await reader.readexactly(int(length))
        elif is_response:
            message.body = await reader.read()
        return message


async def _read_chunks(reader: asyncio.StreamReader) -> bytes:
    body = b""
    while True:
        size = int((await reader.readuntil(b"\r\n")).partition(b";")[0], 16)
        body += await reader.readexactly(size)
        await reader.readexactly(2)
        if not size:
            return body


Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class ScriptedBackend:
    """A scripted instance of one side.

    Attributes:
        response: makes the response to a request.
        handler: replaces the whole conversation on a connection.
        seen: requests so far.
        connections: connections so far.
        arrived: set by the first request.
    """

    response: Callable[[Message], bytes] = lambda seen: ok(b"ok")
    handler: Handler | None = None
    seen: list[Message] = field(default_factory=list)
    connections: int = 0
    port: int = 0
    arrived: asyncio.Event = field(default_factory=asyncio.Event)

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        self.connections += 1
        try:
            if self.handler is not None:
                await self.handler(reader, writer)
                return
            while True:
                message = await read_message(reader)
                self.seen.append(message)
                self.arrived.set()
                writer.write(self.response(message))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, TimeoutError):
            pass
        finally:
            writer.close()


def ok(body: bytes, *fields: str, status: str = "200 OK") -> bytes:
    """Return a response with a Content-Length."""
    lines = "".join(f"{line}\r\n" for line in fields)
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{lines}\r\n".encode("latin-1") + body


@dataclass
class RawClient:
    """A raw connection to the proxy."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, data: bytes) -> None:
        """Send some bytes unchanged."""
        self.writer.write(data)
        async with asyncio.timeout(WAIT_S):
            await self.writer.drain()

    async def response(self, *, method: str = "GET") -> Message:
        """Read one response."""
        return await read_message(self.reader, method=method)

    async def ask(self, data: bytes, *, method: str = "GET") -> Message:
        """Send a request and read its response."""
        await self.send(data)
        return await self.response(method=method)

    async def rest(self) -> bytes:
        """Read until the proxy closes the connection; a reset counts as the end."""
        data = b""
        with suppress(ConnectionError):
            async with asyncio.timeout(WAIT_S):
                while more := await self.reader.read(65536):
                    data += more
        return data

    def close(self) -> None:
        """Close the connection."""
        self.writer.close()

    def reset(self) -> None:
        """Reset the connection."""
        socket: Any = self.writer.transport.get_extra_info("socket")
        socket.setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


@dataclass
class ProxyLab:
    """A running proxy with its backends and clients."""

    proxy: RunningProxy
    candidate: ScriptedBackend
    legacy: ScriptedBackend
    settings: Settings
    clients: list[RawClient] = field(default_factory=list)

    async def client(self) -> RawClient:
        """Connect to the proxy."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.proxy.port, limit=2**24)
        client = RawClient(reader, writer)
        self.clients.append(client)
        return client

    async def ask(self, data: bytes, *, method: str = "GET") -> Message:
        """Send a request on a connection of its own and read its response."""
        client = await self.client()
        response = await client.ask(data, method=method)
        client.close()
        return response

    async def journaled(self, count: int, *, name: str = "test") -> list[Exchange]:
        """Read the first `count` exchanges of the journal; time out when they do not come."""
        directory = Path(self.settings.journal.directory)
        exchanges: list[Exchange] = []
        async with asyncio.timeout(WAIT_S):
            while not (directory / "key").exists():
                await asyncio.sleep(0.005)
            with SegmentReader(directory, name, keys=load_keys(directory, {})) as reader:
                while len(exchanges) < count:
                    exchanges += [entry.exchange for entry in await reader.read(count - len(exchanges), 1.0)]
        return exchanges

    async def serve_until_journaled(self, client: RawClient, request: bytes) -> None:
        """Repeat a request until one more exchange is on disk: the writer pauses after a failure of the disk."""
        journal = self.proxy.journal
        assert journal is not None
        written = journal.counts.written
        async with asyncio.timeout(WAIT_S):
            while journal.counts.written == written:
                assert (await client.ask(request)).status == 200
                await asyncio.sleep(0.05)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until a condition holds that other tasks or threads bring about."""
        await waiting.until(condition)


ROUTES = [
    {"name": "score", "path": "/v2/stamps/{id}/score/{address}", "methods": ["GET", "HEAD", "POST"], "key": "address"},
    {"name": "body", "path": "/by-body", "methods": ["POST"], "key": "json:user.address"},
    {"name": "quiet", "path": "/quiet/{address}", "methods": ["GET"], "key": "address", "mirror": "skip"},
    {"name": "write", "path": "/write/{address}", "methods": ["POST"], "key": "address", "writes": "idempotent"},
    {"name": "sampled", "path": "/sampled/{address}", "methods": ["GET"], "key": "address", "sample": 0.0},
]


def settings_for(tmp_path: Path, candidate_port: int, legacy_port: int, changes: Mapping[str, Any]) -> Settings:
    """Return the settings of a lab, with `changes` merged into the sections."""
    document: dict[str, Any] = {
        "listen": {"port": 0},
        "admin": {"port": 0},
        "backends": {
            "candidate": {"live": {"url": f"http://127.0.0.1:{candidate_port}"}},
            "legacy": {"live": {"url": f"http://127.0.0.1:{legacy_port}"}},
        },
        "routes": ROUTES,
        "serve": {"state_file": str(tmp_path / "switch.json"), "sentinel_file": str(tmp_path / "rollback")},
        "limits": {"drain_s": 2},
        "journal": {"directory": str(tmp_path / "journal")},
    }
    for section, values in changes.items():
        document[section] = {**document.get(section, {}), **values} if isinstance(values, Mapping) else values
    return load(yaml.safe_dump(document), {})


@asynccontextmanager
async def proxy_lab(
    tmp_path: Path, *, candidate: ScriptedBackend | None = None, legacy: ScriptedBackend | None = None, **changes: Any
) -> AsyncGenerator[ProxyLab, None]:
    """Run a proxy with its two backends."""
    sides = (candidate or ScriptedBackend(), legacy or ScriptedBackend())
    servers = []
    for side in sides:
        server = await asyncio.start_server(side.converse, "127.0.0.1", 0)
        side.port = server.sockets[0].getsockname()[1]
        servers.append(server)
    settings = settings_for(tmp_path, sides[0].port, sides[1].port, changes)
    try:
        async with running(settings, environ={}) as proxy:
            running_lab = ProxyLab(proxy, *sides, settings)
            try:
                yield running_lab
            finally:
                for client in running_lab.clients:
                    client.close()
    finally:
        for server in servers:
            server.close()
