"""A keep-alive connection of HTTP/1.1 that asks, and knows when its response is complete. No more than that."""

import asyncio
import re
from collections.abc import Callable
from typing import Protocol, cast

LENGTH = re.compile(rb"\r\n[Cc]ontent-[Ll]ength: *(\d+)")
CHUNKED = -1
CHUNKS_END = b"\r\n0\r\n\r\n"


class Listener(Protocol):
    """Whoever drives connections."""

    def ready(self, client: "Client") -> None:
        """A connection is open, or its response is complete; `client.status` and `client.due_s` are those of the response."""
        ...

    def lost(self, client: "Client") -> None:
        """The other end closed a connection."""
        ...


class Client(asyncio.Protocol):
    """One connection, one request at a time."""

    __slots__ = ("_head", "_left", "_listener", "_tail", "_write", "due_s", "status", "transport")

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._head = b""
        self._tail = b""
        self._left = 0
        self.status = 0
        self.due_s = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Tell the listener."""
        self.transport = cast("asyncio.Transport", transport)
        self._write: Callable[[bytes], None] = self.transport.write
        self._listener.ready(self)

    def ask(self, request: bytes, due_s: float = 0.0) -> None:
        """Send a request. `due_s` is when it should have been sent."""
        self.due_s = due_s
        self._write(request)

    def data_received(self, data: bytes) -> None:
        """Count bytes until the response is complete."""
        if self._left > 0:
            self._left -= len(data)
        elif self._left == CHUNKED:
            self._chunks(data)
        else:
            self._begin(data)
        if self._left == 0 and not self._head:
            self._listener.ready(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 (asyncio calls it so)
        """Tell the listener."""
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
            self._left = int(length[1]) - (len(data) - end - 4)
        else:
            self._left = CHUNKED
            self._chunks(data[end + 2 :])

    def _chunks(self, data: bytes) -> None:
        # Bodies of the benchmarks hold no line ends, so the last chunk cannot be mistaken.
        self._tail = (self._tail + data)[-len(CHUNKS_END) :]
        if self._tail == CHUNKS_END:
            self._tail = b""
            self._left = 0


async def connect(listener: Listener, port: int, count: int) -> list[Client]:
    """Open `count` connections to 127.0.0.1."""
    loop = asyncio.get_running_loop()
    made = [await loop.create_connection(lambda: Client(listener), "127.0.0.1", port) for _ in range(count)]
    return [client for _, client in made]
