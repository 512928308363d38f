"""The pieces in which a stream of requests arrives change neither the responses nor what the backend receives."""

import asyncio
import random
from pathlib import Path

import pytest

from proxy.serving.client_connection import ClientConnection
from tests.support.http_streams import streams
from tests.support.proxy_lab import ProxyLab, proxy_lab

COUNT = 100


class RecordingTransport(asyncio.Transport):
    """A transport that records what a connection writes, and whether it has ended."""

    def __init__(self) -> None:
        super().__init__({"peername": ("192.0.2.1", 1)})
        self.written = b""
        self.ended = asyncio.Event()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += bytes(data)

    def write_eof(self) -> None:
        self.ended.set()

    def can_write_eof(self) -> bool:
        return True

    def close(self) -> None:
        self.ended.set()

    abort = close

    def is_closing(self) -> bool:
        return False

    def pause_reading(self) -> None:
        """Ignore it: the test feeds the bytes."""

    def resume_reading(self) -> None:
        """Ignore it: the test feeds the bytes."""


def pieces(stream: bytes, draw: random.Random) -> list[bytes]:
    cuts = sorted(draw.sample(range(1, len(stream)), min(draw.choice((1, 2, 5, len(stream))), len(stream) - 1)))
    return [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]


async def conversation(it: ProxyLab, parts: list[bytes]) -> tuple[list[str], list[tuple[str, bytes]]]:
    """Feed some bytes; return the status lines for the client, and first line and body of the requests that the backend received."""
    it.candidate.seen.clear()
    transport = RecordingTransport()
    connection = ClientConnection(it.proxy.state)
    connection.connection_made(transport)
    for part in parts:
        if not transport.ended.is_set():
            connection.data_received(part)
    # Complete requests get a response; an incomplete one ends with the connection.
    await it.until(
        lambda: transport.ended.is_set() or not it.proxy.state.connections.requests or is_in_body(connection)
    )
    connection.connection_lost(None)
    await it.until(lambda: not it.proxy.state.connections.requests)
    lines = [line for line in transport.written.decode("latin-1").split("\r\n") if line.startswith("HTTP/1.1 ")]
    return lines, [(seen.line, seen.body) for seen in it.candidate.seen]


def is_in_body(connection: ClientConnection) -> bool:
    """Return whether the connection waits for more of a request body."""
    return connection._state.name == "BODY"


@pytest.mark.parametrize("seed", range(4))
async def test_pieces_of_a_stream_do_not_matter(tmp_path: Path, seed: int) -> None:
    draw = random.Random(seed)
    async with proxy_lab(tmp_path) as it:
        chosen = draw.sample(streams(seed), COUNT)
        whole = [await conversation(it, [stream]) for stream in chosen]
        cut = [await conversation(it, pieces(stream, draw)) for stream in chosen]
        assert cut == whole
        assert sum(len(lines) for lines, _ in whole) >= COUNT // 2
        assert not it.proxy.state.connections.clients
