"""A mirrored side, in a process of its own, that misbehaves on order."""

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

from bench.load.backend import HEAD_END, Counter, Delays
from bench.load.child import child
from bench.load.cores import LOAD_CORE

DRIP_S = 0.05


class Manner(StrEnum):
    """How requests are answered: as they should be, never, not even accepted, a byte at a time, half, or with noise."""

    WELL = "well"
    HUNG = "hung"
    REFUSING = "refusing"
    SLOW_LORIS = "slow_loris"
    HALF_CLOSED = "half_closed"
    GARBAGE = "garbage"


class Behaviour:
    """What all connections share."""

    def __init__(self) -> None:
        self.manner = Manner.WELL
        self.counter = Counter(Delays())
        self.open: set[asyncio.Transport] = set()
        self.draw = random.Random(1)

    def change(self, manner: Manner) -> None:
        """Behave so from now on; connections from before are cut."""
        self.manner = manner
        for transport in list(self.open):
            transport.abort()


class Answering(asyncio.Protocol):
    """One connection. Requests have no bodies, so each ends with its head."""

    def __init__(self, behaviour: Behaviour) -> None:
        self._behaviour = behaviour
        self._part = b""
        self._drip: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep it."""
        self._transport = cast("asyncio.Transport", transport)
        self._behaviour.open.add(self._transport)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 (asyncio calls it so)
        """Forget it."""
        self._behaviour.open.discard(self._transport)
        if self._drip:
            self._drip.cancel()

    def data_received(self, data: bytes) -> None:
        """Answer every complete head, in the manner of the day."""
        *heads, self._part = (self._part + data).split(HEAD_END)
        for head in heads:
            self._answer(self._behaviour.counter.response_to(head))

    def _answer(self, response: bytes) -> None:
        match self._behaviour.manner:
            case Manner.WELL:
                self._transport.write(response)
            case Manner.SLOW_LORIS:
                self._write_slowly(response)
            case Manner.HALF_CLOSED:
                self._transport.write(response[: len(response) // 2])
                self._transport.write_eof()
            case Manner.GARBAGE:
                self._transport.write(self._behaviour.draw.randbytes(200))
            case Manner.HUNG | Manner.REFUSING:
                pass

    def _write_slowly(self, response: bytes) -> None:
        self._transport.write(response[:1])
        if response[1:] and not self._transport.is_closing():
            self._drip = asyncio.get_running_loop().call_later(DRIP_S, self._write_slowly, response[1:])


@dataclass(frozen=True, slots=True)
class Mirror:
    """The other end of the process."""

    port: int
    pipe: Connection

    def behave(self, manner: Manner) -> None:
        """Change the manner."""
        self.pipe.send(manner.value)
        self.pipe.recv()


@contextmanager
def started() -> Iterator[Mirror]:
    """Run it."""
    with child(_main) as (_, pipe):
        yield Mirror(pipe.recv(), pipe)


def _main(pipe: Connection) -> None:
    os.sched_setaffinity(0, LOAD_CORE)
    uvloop.run(_serve(pipe))


async def _serve(pipe: Connection) -> None:
    loop = asyncio.get_running_loop()
    behaviour = Behaviour()
    orders: asyncio.Queue[str] = asyncio.Queue()

    def ordered() -> None:
        try:
            orders.put_nowait(pipe.recv())
        except EOFError:
            orders.put_nowait("")

    loop.add_reader(pipe.fileno(), ordered)
    server = await _listen(behaviour, 0)
    port: int = server.sockets[0].getsockname()[1]
    pipe.send(port)
    while order := await orders.get():
        manner = Manner(order)
        server.close()
        behaviour.change(manner)
        if manner is not Manner.REFUSING:
            server = await _listen(behaviour, port)
        pipe.send(None)


async def _listen(behaviour: Behaviour, port: int) -> asyncio.Server:
    return await asyncio.get_running_loop().create_server(
        lambda: Answering(behaviour), "127.0.0.1", port, backlog=1024, reuse_address=True
    )
