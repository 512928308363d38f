"""As much as a server can do: a number of connections, each asking again as soon as it is answered."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from bench.load.clients import Client, connect


class Supply(Protocol):
    """Where requests come from."""

    def next(self) -> bytes:
        """The next request, complete."""
        ...


@dataclass(frozen=True, slots=True)
class Counted:
    """One turn. `answered` and `cpu_s` are of the `seconds` that count; `asked` is everything sent, with the warm-up."""

    seconds: float
    answered: int
    asked: int
    errors: int
    cpu_s: float

    @property
    def rps(self) -> float:
        """Requests per second."""
        return self.answered / self.seconds


class ClosedLoop:
    """What the connections of a turn share."""

    def __init__(self, supply: Supply) -> None:
        self._next = supply.next
        self.answered = 0
        self.asked = 0
        self.errors = 0
        self.over = False

    def ready(self, client: Client) -> None:
        """Ask, and ask again."""
        if client.status:
            self.answered += 1
            if client.status != 200:
                self.errors += 1
        if not self.over:
            self.asked += 1
            client.ask(self._next())

    def lost(self, client: Client) -> None:  # noqa: ARG002 (the listener's shape)
        """A server must not hang up on its clients."""
        self.errors += not self.over


async def saturate(
    port: int, supply: Supply, *, connections: int, seconds: float, cpu_s: Callable[[], float] = lambda: 0.0
) -> Counted:
    """Load a port for `seconds`, after a quarter of that as warm-up. `cpu_s` reads the server's CPU time."""
    load = ClosedLoop(supply)
    clients = await connect(load, port, connections)
    await asyncio.sleep(seconds / 4)
    answered, cpu, begun = load.answered, cpu_s(), time.monotonic()
    await asyncio.sleep(seconds)
    counted = Counted(
        seconds=time.monotonic() - begun,
        answered=load.answered - answered,
        cpu_s=cpu_s() - cpu,
        asked=load.asked,
        errors=load.errors,
    )
    load.over = True
    await _last_responses(load)
    for client in clients:
        client.transport.close()
    return counted


async def _last_responses(load: ClosedLoop) -> None:
    # Hanging up on requests in flight would make the server's mirroring look lossy.
    deadline = time.monotonic() + 5
    while load.answered < load.asked and time.monotonic() < deadline:
        await asyncio.sleep(0.01)
