"""A TCP relay in front of a server, which can be cut (connections are reset and refused) or stalled (nothing passes)."""

import asyncio
import contextlib
import socket
import ssl
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from proxy.demo.free_ports import free_port

CHUNK_BYTES = 1 << 16
RESET = struct.pack("ii", 1, 0)


@dataclass
class Relay:
    """Passes bytes between its port and a server. Use as a context manager.

    Attributes:
        target: path of the server's unix socket, or its host and port.
        tls: for its own port; None for none. The server gets plain bytes in any case.
    """

    target: Path | tuple[str, int]
    port: int = field(default_factory=free_port)
    tls: ssl.SSLContext | None = None
    _server: asyncio.Server | None = None
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)
    _passing: asyncio.Event = field(default_factory=asyncio.Event)

    async def __aenter__(self) -> Self:
        self._passing.set()
        await self.restore()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._passing.set()
        await self.cut()

    async def cut(self) -> None:
        """Reset all connections and refuse new ones."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in list(self._writers):
            sock: socket.socket | None = writer.get_extra_info("socket")
            if sock is not None and sock.family == socket.AF_INET:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            writer.transport.abort()

    async def restore(self) -> None:
        """Accept connections again."""
        if self._server is None:
            self._server = await asyncio.start_server(
                self._accept, "127.0.0.1", self.port, reuse_address=True, ssl=self.tls
            )

    def stall(self, *, stalled: bool) -> None:
        """Let no byte pass, or let them pass again. Connections are accepted meanwhile."""
        if stalled:
            self._passing.clear()
        else:
            self._passing.set()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        with contextlib.suppress(OSError):
            await self._passing.wait()
            opened = (
                asyncio.open_unix_connection(str(self.target))
                if isinstance(self.target, Path)
                else asyncio.open_connection(*self.target)
            )
            there_reader, there_writer = await opened
            self._writers.add(there_writer)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pass(reader, there_writer), name="relay-out")
                group.create_task(self._pass(there_reader, writer), name="relay-in")
            self._writers.discard(there_writer)
        self._writers.discard(writer)
        writer.transport.abort()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(CHUNK_BYTES):
                await self._passing.wait()
                writer.write(data)
                await writer.drain()
            await writer.drain()
        writer.close()
