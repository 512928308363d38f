"""The backends of a benchmark, in a process of their own: one serves, the other gets mirrored requests. They respond and count.

The response depends on the address (0x...) in the request.
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
from bench.load.child import child_process
from bench.load.cores import LOAD_CORE
from bench.load.responses import responses

HEAD_END = b"\r\n\r\n"


class PortStats:
    """The counts and responses of one port, shared by its connections."""

    def __init__(self, delays: "Delays") -> None:
        self.requests = 0
        self.delays = delays
        self._responses = responses(seed=1)

    def response_to(self, head: bytes) -> bytes:
        """Return the response to a request: the same for the same address from both backends, so that a comparison matches."""
        index = head.find(b"0x")
        if index < 0:
            return self._responses[0]
        return self._responses[int(head[index + 2 : index + 5], 16) % len(self._responses)]


class Delays:
    """Responses that are delayed, all by the same time."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._delayed: deque[tuple[float, asyncio.Transport, bytes]] = deque()
        self._alarm = Alarm(asyncio.get_running_loop(), self._send_due)

    def hold(self, transport: asyncio.Transport, response: bytes) -> None:
        """Send a response after the delay."""
        due_s = time.monotonic() + self.seconds
        self._delayed.append((due_s, transport, response))
        if len(self._delayed) == 1:
            self._alarm.set(due_s)

    def _send_due(self) -> None:
        now = time.monotonic()
        while self._delayed and self._delayed[0][0] <= now:
            _, transport, response = self._delayed.popleft()
            if not transport.is_closing():  # (the client may have gone meanwhile)
                transport.write(response)
        if self._delayed:
            self._alarm.set(self._delayed[0][0])


class BackendProtocol(asyncio.Protocol):
    """One connection. Requests have no body, so each ends with its head."""

    def __init__(self, counter: PortStats) -> None:
        self._counter = counter
        self._part = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Store the transport."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Respond to every complete head."""
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
    """The process of the backends, as the benchmark sees it."""

    pid: int
    served_port: int
    mirrored_port: int
    pipe: Connection

    def counts(self) -> tuple[int, int]:
        """Return the requests so far: served, mirrored."""
        self.pipe.send("counts")
        return self.pipe.recv()

    def cpu_s(self) -> float:
        """Return the CPU time of the process so far."""
        self.pipe.send("cpu")
        return self.pipe.recv()

    def set_delay(self, delay_s: float) -> None:
        """Delay every response by this time from now on."""
        self.pipe.send(delay_s)
        self.pipe.recv()

    def wait_until_idle(self, timeout_s: float) -> tuple[int, int]:
        """Wait until no request has come for a while, at most `timeout_s`; return the counts."""
        deadline = time.monotonic() + timeout_s
        last = self.counts()
        while time.monotonic() < deadline:
            time.sleep(0.15)
            now = self.counts()
            if now == last:
                break
            last = now
        return last


@contextmanager
def running_backends() -> Iterator[Backends]:
    """Run both backends for the life of the context."""
    with child_process(_main) as (pid, pipe):
        served, mirrored = pipe.recv()
        yield Backends(pid, served, mirrored, pipe)


def _main(pipe: Connection) -> None:
    os.sched_setaffinity(0, LOAD_CORE)
    gc.disable()
    uvloop.run(_serve(pipe))


async def _serve(pipe: Connection) -> None:
    loop = asyncio.get_running_loop()
    delays = Delays()
    counters = [PortStats(delays), PortStats(delays)]
    ports: list[int] = []
    for counter in counters:
        server = await loop.create_server(lambda c=counter: BackendProtocol(c), "127.0.0.1", 0, backlog=4096)
        ports.append(server.sockets[0].getsockname()[1])
    over = asyncio.Event()

    def on_message() -> None:
        try:
            message = pipe.recv()
        except EOFError:
            over.set()
            return
        if message == "counts":
            pipe.send(tuple(counter.requests for counter in counters))
        elif message == "cpu":
            pipe.send(time.process_time())
        else:
            delays.seconds = message
            pipe.send(None)

    loop.add_reader(pipe.fileno(), on_message)
    pipe.send(ports)
    await over.wait()
