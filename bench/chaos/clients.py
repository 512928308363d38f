"""Clients that send requests all the time, and know what became of each.

An attempt has a request id of its own. A client whose connection breaks tries again with the next id until it is served, as a client of
an idempotent request does.
"""

import asyncio
import random
import time
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import aiohttp

PAUSE_S = 0.1
"""Mean pause of a client between two requests."""
PATIENCE_S = 60.0
RETRY_S = 0.05
FAULT_SHARE = 0.1


@dataclass(slots=True)
class Attempt:
    """One request: monotonic times, and its status; 0 for a connection that broke or was refused."""

    id: str
    sent_s: float
    ended_s: float = 0.0
    status: int = 0


@dataclass
class Clients:
    """Some clients of one port.

    Attributes:
        port: of the proxy.
        paths: to request.
        spoil: called with the id of one request in ten before it is sent: its mirrored run is to differ.
        waits_s: times from a client's first attempt to its response, of the present round.
    """

    port: int
    paths: list[str]
    spoil: Callable[[str], None]
    count: int = 6
    attempts: dict[str, Attempt] = field(default_factory=dict)
    spoilt: set[str] = field(default_factory=set)
    waits_s: list[float] = field(default_factory=list)
    unserved: int = 0
    _sending: asyncio.Event = field(default_factory=asyncio.Event)
    _busy: int = 0
    _idle: asyncio.Event = field(default_factory=asyncio.Event)

    def start(self) -> None:
        """Let the clients send."""
        self.waits_s = []
        self.unserved = 0
        self._sending.set()

    async def stop(self) -> None:
        """Let the clients send no further request; return when all have their responses."""
        self._sending.clear()
        while self._busy:
            self._idle.clear()
            await self._idle.wait()

    @property
    def served(self) -> int:
        """Number of clients' requests of this round that were served."""
        return len(self.waits_s)

    def statuses(self, since_s: float) -> Counter[int]:
        """Count the attempts that were sent since then by status."""
        return Counter(attempt.status for attempt in self.attempts.values() if attempt.sent_s >= since_s)

    async def run(self) -> None:
        """Send until cancelled."""
        async with asyncio.TaskGroup() as group:
            for number in range(self.count):
                group.create_task(self._client(number), name=f"client-{number}")

    async def _client(self, number: int) -> None:
        draw = random.Random(number)
        timeout = aiohttp.ClientTimeout(total=PATIENCE_S)
        connector = aiohttp.TCPConnector(limit=1, force_close=number % 2 == 0)
        async with aiohttp.ClientSession(timeout=timeout, connector=connector) as session:
            while True:
                await self._sending.wait()
                self._busy += 1
                await self._request(session, draw)
                self._busy -= 1
                self._idle.set()
                await asyncio.sleep(PAUSE_S * 2 * draw.random())

    async def _request(self, session: aiohttp.ClientSession, draw: random.Random) -> None:
        began = time.monotonic()
        path = draw.choice(self.paths)
        while time.monotonic() - began < PATIENCE_S:
            attempt = Attempt(uuid.uuid4().hex, time.monotonic())
            self.attempts[attempt.id] = attempt
            if draw.random() < FAULT_SHARE:
                self.spoilt.add(attempt.id)
                self.spoil(attempt.id)
            try:
                async with session.get(
                    f"http://127.0.0.1:{self.port}{path}", headers={"X-Request-Id": attempt.id}
                ) as response:
                    await response.read()
                    attempt.status = response.status
            except (aiohttp.ClientError, TimeoutError):
                pass
            attempt.ended_s = time.monotonic()
            if attempt.status == 200:
                self.waits_s.append(attempt.ended_s - began)
                return
            await asyncio.sleep(RETRY_S)
        self.unserved += 1
