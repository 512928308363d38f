"""A minimal HTTP/1.1 client on a keep-alive connection: it sends requests and finds the end of their responses."""

import asyncio
import re
from collections.abc import Callable
from typing import Protocol, cast

LENGTH = re.compile(rb"\r\n[Cc]ontent-[Ll]ength: *(\d+)")
CHUNKED = -1
CHUNKS_END = b"\r\n0\r\n\r\n"


class Listener(Protocol):
    """The loop that drives connections."""

    def ready(self, client: "Client") -> None:
        """Use a connection that was opened, or whose response is complete; `client.status` and `client.due_s` belong to the response."""
        ...

    def lost(self, client: "Client") -> None:
        """Note that the server closed a connection."""
        ...


class Client(asyncio.Protocol):
    """One connection, one request at a time."""

    __slots__ = ("_head", "_listener", "_remaining", "_tail", "_write", "due_s", "status", "transport")

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._head = b""
        self._tail = b""
        self._remaining = 0
        self.status = 0
        self.due_s = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Notify the listener."""
        self.transport = cast("asyncio.Transport", transport)
        self._write: Callable[[bytes], None] = self.transport.write
        self._listener.ready(self)

    def send(self, request: bytes, due_s: float = 0.0) -> None:
        """Send a request that was due at `due_s`."""
        self.due_s = due_s
        self._write(request)

    def data_received(self, data: bytes) -> None:
        """Count bytes until the response is complete."""
        if self._remaining > 0:
            self._remaining -= len(data)
        elif self._remaining == CHUNKED:
            self._chunks(data)
        else:
            self._begin(data)
        if self._remaining == 0 and not self._head:
            self._listener.ready(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 (asyncio names it)
        """Notify the listener."""
        self._listener.lost(self)

    def _begin(self, data: bytes) -> None:
        data = self._head + data if self._head else data
        end = data.find(b"\r\n\r\n")
        if end < 0:
            self._head = data
            return
        self._head = b""
        self.status = int(data[9:12])
        length = LENGTH.search(data, 0, end)
        if length:
            self._remaining = int(length[1]) - (len(data) - end - 4)
        else:
            self._remaining = CHUNKED
            self._chunks(data[end + 2 :])

    def _chunks(self, data: bytes) -> None:
        # Bodies of the benchmarks hold no line ends, so the last chunk cannot be mistaken.
        self._tail = (self._tail + data)[-len(CHUNKS_END) :]
        if self._tail == CHUNKS_END:
            self._tail = b""
            self._remaining = 0


async def connect(listener: Listener, port: int, count: int) -> list[Client]:
    """Open `count` connections to 127.0.0.1."""
    loop = asyncio.get_running_loop()
    connections = [await loop.create_connection(lambda: Client(listener), "127.0.0.1", port) for _ in range(count)]
    return [client for _, client in connections]
