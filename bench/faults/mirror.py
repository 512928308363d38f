"""A mirrored side with selectable misbehaviour, in a process of its own."""

import asyncio
import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from multiprocessing.connection import Connection
from typing import cast

import uvloop

from bench.load.backend import HEAD_END, Delays, PortStats
from bench.load.child import child_process
from bench.load.cores import LOAD_CORE

DRIP_S = 0.05


class Misbehaviour(StrEnum):
    """Behaviours of the mirrored side: normal, no response, no connections, one byte at a time, half a response, or random bytes."""

    NONE = "none"
    HUNG = "hung"
    REFUSING = "refusing"
    SLOW_LORIS = "slow_loris"
    HALF_CLOSED = "half_closed"
    GARBAGE = "garbage"


class MirrorState:
    """State that all connections share."""

    def __init__(self) -> None:
        self.misbehaviour = Misbehaviour.NONE
        self.counter = PortStats(Delays())
        self.open: set[asyncio.Transport] = set()
        self.draw = random.Random(1)

    def change(self, misbehaviour: Misbehaviour) -> None:
        """Change the behaviour, and abort open connections."""
        self.misbehaviour = misbehaviour
        for transport in list(self.open):
            transport.abort()


class MisbehavingConnection(asyncio.Protocol):
    """One connection. Requests have no bodies, so each ends with its head."""

    def __init__(self, state: MirrorState) -> None:
        self._state = state
        self._part = b""
        self._drip: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Register the connection."""
        self._transport = cast("asyncio.Transport", transport)
        self._state.open.add(self._transport)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 (asyncio calls it so)
        """Unregister the connection."""
        self._state.open.discard(self._transport)
        if self._drip:
            self._drip.cancel()

    def data_received(self, data: bytes) -> None:
        """Respond to every complete head."""
        *heads, self._part = (self._part + data).split(HEAD_END)
        for head in heads:
            self._respond(self._state.counter.response_to(head))

    def _respond(self, response: bytes) -> None:
        match self._state.misbehaviour:
            case Misbehaviour.NONE:
                self._transport.write(response)
            case Misbehaviour.SLOW_LORIS:
                self._write_slowly(response)
            case Misbehaviour.HALF_CLOSED:
                self._transport.write(response[: len(response) // 2])
                self._transport.write_eof()
            case Misbehaviour.GARBAGE:
                self._transport.write(self._state.draw.randbytes(200))
            case Misbehaviour.HUNG | Misbehaviour.REFUSING:
                pass

    def _write_slowly(self, response: bytes) -> None:
        self._transport.write(response[:1])
        if response[1:] and not self._transport.is_closing():
            self._drip = asyncio.get_running_loop().call_later(DRIP_S, self._write_slowly, response[1:])


@dataclass(frozen=True, slots=True)
class MisbehavingMirror:
    """Controls the process of the mirrored side."""

    port: int
    pipe: Connection

    def behave(self, misbehaviour: Misbehaviour) -> None:
        """Change its behaviour; return once it has."""
        self.pipe.send(misbehaviour.value)
        self.pipe.recv()


@contextmanager
def running_mirror() -> Iterator[MisbehavingMirror]:
    """Run the mirrored side until the block ends."""
    with child_process(_main) as (_, pipe):
        yield MisbehavingMirror(pipe.recv(), pipe)


def _main(pipe: Connection) -> None:
    os.sched_setaffinity(0, LOAD_CORE)
    uvloop.run(_serve(pipe))


async def _serve(pipe: Connection) -> None:
    loop = asyncio.get_running_loop()
    state = MirrorState()
    commands: asyncio.Queue[str] = asyncio.Queue()

    def receive() -> None:
        try:
            commands.put_nowait(pipe.recv())
        except EOFError:
            commands.put_nowait("")

    loop.add_reader(pipe.fileno(), receive)
    server = await _listen(state, 0)
    port: int = server.sockets[0].getsockname()[1]
    pipe.send(port)
    while command := await commands.get():
        misbehaviour = Misbehaviour(command)
        server.close()
        state.change(misbehaviour)
        if misbehaviour is not Misbehaviour.REFUSING:
            server = await _listen(state, port)
        pipe.send(None)


async def _listen(state: MirrorState, port: int) -> asyncio.Server:
    return await asyncio.get_running_loop().create_server(
        lambda: MisbehavingConnection(state), "127.0.0.1", port, backlog=1024, reuse_address=True
    )
