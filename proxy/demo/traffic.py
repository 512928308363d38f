"""Send requests at a steady rate, however long responses take, and record the results as clients see them."""

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import msgspec

_TIMEOUT_S = 30.0


class DemoRequest(msgspec.Struct, frozen=True):
    """One line of the population's target list.

    Attributes:
        case: the kind of person that the request is about.
        status: the status that the response should have.
    """

    method: str
    path: str
    headers: dict[str, str]
    case: str
    status: int = 200


@dataclass(slots=True)
class TrafficResult:
    """Results as clients see them.

    Attributes:
        statuses: responses by status.
        unexpected: responses with another status than the target's, and errors, each by case.
        durations_s: seconds from the time at which a request was due to its end.
    """

    statuses: Counter[int] = field(default_factory=Counter[int])
    unexpected: Counter[str] = field(default_factory=Counter[str])
    durations_s: list[float] = field(default_factory=list[float])

    @property
    def sent(self) -> int:
        """Requests that ended, with a response or an error."""
        return len(self.durations_s)

    def quantile_ms(self, share: float) -> float:
        """Return a quantile of the durations, in milliseconds; 0 when there are none."""
        ordered = sorted(self.durations_s)
        return ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1e3 if ordered else 0.0


def read_targets(path: Path) -> tuple[DemoRequest, ...]:
    """Read a target list: one JSON object per line."""
    decoder = msgspec.json.Decoder(DemoRequest)
    return tuple(decoder.decode(line) for line in path.read_bytes().splitlines())


class TrafficGenerator:
    """Sends requests for the targets to one proxy, or to several in turn, in a cycle.

    Args:
        url: the proxy.
        targets: requested in this order.
        concurrency: requests in flight at a time. Beyond it a due request waits, and its wait is part of its duration.
        more_urls: further proxies.
    """

    def __init__(
        self, url: str, targets: Sequence[DemoRequest], *, concurrency: int, more_urls: Sequence[str] = ()
    ) -> None:
        self._urls = itertools.cycle((url, *more_urls))
        self._targets = itertools.cycle(targets)
        self._concurrency = concurrency
        self.result = TrafficResult()

    async def at_rate(self, per_s: float, *, seconds: float) -> None:
        """Send one request every 1 / `per_s` seconds, for `seconds` (open loop)."""
        started = time.monotonic()
        await self._work(started + number / per_s for number in range(int(per_s * seconds)))

    async def as_fast_as_possible(self, count: int) -> None:
        """Send `count` requests, always with as many in flight as allowed (closed loop)."""
        await self._work(0.0 for _ in range(count))

    async def _work(self, due: Iterator[float]) -> None:
        connector = aiohttp.TCPConnector(limit=self._concurrency)
        timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
        async with (
            aiohttp.ClientSession(connector=connector, timeout=timeout) as session,
            asyncio.TaskGroup() as tasks,
        ):
            for number in range(self._concurrency):
                tasks.create_task(self._worker(session, due), name=f"client-{number}")

    async def _worker(self, session: aiohttp.ClientSession, due: Iterator[float]) -> None:
        for at in due:
            target = next(self._targets)
            await asyncio.sleep(max(0.0, at - time.monotonic()) if at else 0.0)
            await self._send(session, target, since=at or time.monotonic())

    async def _send(self, session: aiohttp.ClientSession, target: DemoRequest, *, since: float) -> None:
        try:
            async with session.request(
                target.method, next(self._urls) + target.path, headers=target.headers
            ) as response:
                await response.read()
                self.result.statuses[response.status] += 1
                if response.status != target.status:
                    self.result.unexpected[f"{target.case}: {response.status} for {target.status}"] += 1
        except (aiohttp.ClientError, TimeoutError) as error:
            self.result.unexpected[f"{target.case}: {type(error).__name__}"] += 1
        self.result.durations_s.append(time.monotonic() - since)
