"""The backends of a benchmark, in a process of their own: one that serves, one that gets the copies. They answer and count.

What they say depends on the address (0x...) that a request names.
"""

import asyncio
import gc
import os
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import cast

import uvloop

from bench.load.alarm import Alarm
from bench.load.child import child
from bench.load.cores import LOAD_CORE
from bench.load.responses import responses

HEAD_END = b"\r\n\r\n"


class Counter:
    """What the connections of one port share."""

    def __init__(self, delays: "Delays") -> None:
        self.requests = 0
        self.delays = delays
        self._responses = responses(seed=1)

    def response_to(self, head: bytes) -> bytes:
        """The same for the same address, whichever backend is asked, so that who compares finds them equal."""
        place = head.find(b"0x")
        if place < 0:
            return self._responses[0]
        return self._responses[int(head[place + 2 : place + 5], 16) % len(self._responses)]


class Delays:
    """Answers that are held back, all equally long."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._held: deque[tuple[float, asyncio.Transport, bytes]] = deque()
        self._alarm = Alarm(asyncio.get_running_loop(), self._rang)

    def hold(self, transport: asyncio.Transport, response: bytes) -> None:
        """Send a response when its time has come."""
        due_s = time.monotonic() + self.seconds
        self._held.append((due_s, transport, response))
        if len(self._held) == 1:
            self._alarm.set(due_s)

    def _rang(self) -> None:
        now = time.monotonic()
        while self._held and self._held[0][0] <= now:
            _, transport, response = self._held.popleft()
            if not transport.is_closing():  # (whoever asked may have gone meanwhile)
                transport.write(response)
        if self._held:
            self._alarm.set(self._held[0][0])


class Answering(asyncio.Protocol):
    """One connection. Requests have no bodies, so each ends with its head."""

    def __init__(self, counter: Counter) -> None:
        self._counter = counter
        self._part = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep it."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Answer every complete head."""
        *heads, self._part = (self._part + data).split(HEAD_END)
        for head in heads:
            self._counter.requests += 1
            response = self._counter.response_to(head)
            if self._counter.delays.seconds:
                self._counter.delays.hold(self._transport, response)
            elif not self._transport.is_closing():
                self._transport.write(response)


@dataclass(frozen=True, slots=True)
class Backends:
    """The other end of the process."""

    pid: int
    served_port: int
    mirrored_port: int
    pipe: Connection

    def counts(self) -> tuple[int, int]:
        """Requests that came so far: served, mirrored."""
        self.pipe.send("counts")
        return self.pipe.recv()

    def cpu_s(self) -> float:
        """CPU time of the process so far."""
        self.pipe.send("cpu")
        return self.pipe.recv()

    def take(self, delay_s: float) -> None:
        """Take this long for each answer from now on."""
        self.pipe.send(delay_s)
        self.pipe.recv()

    def settled(self, patience_s: float) -> tuple[int, int]:
        """The counts when nothing has come for a while, or when patience ends."""
        deadline = time.monotonic() + patience_s
        last = self.counts()
        while time.monotonic() < deadline:
            time.sleep(0.15)
            now = self.counts()
            if now == last:
                break
            last = now
        return last


@contextmanager
def started() -> Iterator[Backends]:
    """Run both backends."""
    with child(_main) as (pid, pipe):
        served, mirrored = pipe.recv()
        yield Backends(pid, served, mirrored, pipe)


def _main(pipe: Connection) -> None:
    os.sched_setaffinity(0, LOAD_CORE)
    gc.disable()
    uvloop.run(_serve(pipe))


async def _serve(pipe: Connection) -> None:
    loop = asyncio.get_running_loop()
    delays = Delays()
    counters = [Counter(delays), Counter(delays)]
    ports: list[int] = []
    for counter in counters:
        server = await loop.create_server(lambda c=counter: Answering(c), "127.0.0.1", 0, backlog=4096)
        ports.append(server.sockets[0].getsockname()[1])
    over = asyncio.Event()

    def asked() -> None:
        try:
            question = pipe.recv()
        except EOFError:
            over.set()
            return
        if question == "counts":
            pipe.send(tuple(counter.requests for counter in counters))
        elif question == "cpu":
            pipe.send(time.process_time())
        else:
            delays.seconds = question
            pipe.send(None)

    loop.add_reader(pipe.fileno(), asked)
    pipe.send(ports)
    await over.wait()
