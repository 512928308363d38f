"""What clients notice of faults around the proxy.

Slices with and without a fault take turns at a fixed rate; a latency counts from when its request was due. For each fault: clients
that got no 200, and the p99 of a slice with the fault over that of its neighbours without it, the median over all slices. The line
`none` is healthy slices over their healthy neighbours: what the machine's own noise makes of the same figure. As root, what clients
wait for runs before everything else on the machine, the runner and the mirrored side included. The last line is the result as JSON.
"""

import argparse
import asyncio
import json
import os
import signal
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import uvloop

from bench.faults import mirror
from bench.faults.installation import Installation
from bench.faults.mirror import Manner, Mirror
from bench.load.backend import Backends, started
from bench.load.closed import saturate
from bench.load.cores import LOAD_CORE
from bench.load.opened import OpenLoop
from bench.load.requests import Requests, due_times
from bench.proxy.processes import preferred, undisturbed

FLOODERS = 16
FLOOD_REQUEST = b"GET /metrics HTTP/1.1\r\nHost: admin\r\n\r\n"


@dataclass
class Fault:
    """One fault: what brings it about for a while, and what its slices showed."""

    name: str
    during: Callable[[], AbstractContextManager[None]]
    flood: bool = False
    ratios: list[float] = field(default_factory=list[float])
    p99s_ms: list[float] = field(default_factory=list[float])
    requests: int = 0
    failed: int = 0

    @property
    def success(self) -> float:
        """Share of clients who got their 200."""
        return 1 - self.failed / self.requests if self.requests else 0.0


class Flood:
    """Asks for the metrics page, again and again."""

    def next(self) -> bytes:
        """One more."""
        return FLOOD_REQUEST


def faults(place: Installation, mirrored: Mirror) -> list[Fault]:
    """All that is measured; the first is none."""
    manners = [manner for manner in Manner if manner is not Manner.WELL]
    return [
        Fault("none", nullcontext),
        *(Fault(f"mirror_{manner}", partial(behaving, mirrored, manner)) for manner in manners),
        Fault("disk_full", partial(_full, place)),
        Fault("runner_dead", partial(_dead, place)),
        Fault("admin_flooded", nullcontext, flood=True),
    ]


@contextmanager
def behaving(mirrored: Mirror, manner: Manner) -> Iterator[None]:
    """A mirrored side with bad manners."""
    mirrored.behave(manner)
    try:
        yield
    finally:
        mirrored.behave(Manner.WELL)


@contextmanager
def _full(place: Installation) -> Iterator[None]:
    place.fill_disk(full=True)
    try:
        yield
    finally:
        place.fill_disk(full=False)


@contextmanager
def _dead(place: Installation) -> Iterator[None]:
    place.kill_runner()
    try:
        yield
    finally:
        place.start_runner()


@dataclass(frozen=True, slots=True)
class Slice:
    """A few seconds at the fixed rate."""

    p99_ms: float
    requests: int
    failed: int


class Measuring:
    """Slices of one installation."""

    def __init__(self, place: Installation, backends: Backends, *, rate: float, seconds: float) -> None:
        self._place = place
        self._waited_for = [os.getpid(), backends.pid, *place.serving()]
        self._rate = rate
        self._count = max(100, int(rate * seconds))
        self._seconds = seconds
        self._requests = Requests(1)
        self._turn = 0

    def slice(self, *, flood: bool = False) -> Slice:
        """Ask for a while."""
        self._turn += 1
        loop = OpenLoop(self._requests, due_times(self._count, rate=self._rate, seed=self._turn))
        with undisturbed(self._waited_for):
            uvloop.run(self._run(loop, flood=flood))
        ordered = sorted(loop.latencies_s)
        p99_ms = ordered[int(len(ordered) * 0.99)] * 1e3 if ordered else float("inf")
        return Slice(p99_ms, self._count, loop.errors)

    async def _run(self, loop: OpenLoop, *, flood: bool) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(loop.run(self._place.port), name="clients")
            if flood:
                port = self._place.admin_port
                group.create_task(
                    saturate(port, Flood(), connections=FLOODERS, seconds=self._seconds * 0.8), name="flood"
                )


def measure(fault: Fault, place: Installation, measuring: Measuring, slices: int) -> None:
    """Healthy, faulty, healthy, and so on, within one minute."""
    place.settle()
    before = measuring.slice()
    for _ in range(slices):
        with fault.during():
            during = measuring.slice(flood=fault.flood)
        place.settle()
        after = measuring.slice()
        fault.ratios.append(2 * during.p99_ms / (before.p99_ms + after.p99_ms))
        fault.p99s_ms.append(during.p99_ms)
        fault.requests += during.requests
        fault.failed += during.failed
        before = after


def report(measured: list[Fault], account: tuple[int, int, int]) -> None:
    """Print the table and the line of JSON."""
    print(f"{'fault':<20}{'requests':>10}{'failed':>8}{'p99 ms':>9}{'over healthy':>14}{'from':>8}{'to':>8}")
    for fault in measured:
        ratio, p99 = statistics.median(fault.ratios), statistics.median(fault.p99s_ms)
        print(
            f"{fault.name:<20}{fault.requests:>10}{fault.failed:>8}{p99:>9.2f}{ratio:>13.3f}x"
            f"{min(fault.ratios):>7.2f}x{max(fault.ratios):>7.2f}x"
        )
    served, dropped, unaccounted = account
    print(f"served {served}, copies dropped {dropped}, in no count {unaccounted}")
    result = {
        fault.name: {
            "success": fault.success,
            "p99_ms": round(statistics.median(fault.p99s_ms), 3),
            "p99_ratio": round(statistics.median(fault.ratios), 3),
        }
        for fault in measured
    }
    print(json.dumps({"bench": "faults", "faults": result, "unaccounted": unaccounted}))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.faults", description=__doc__)
    parser.add_argument("--rate", type=float, default=300.0, help="requests per second")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each slice")
    parser.add_argument("--slices", type=int, default=5, help="with each fault")
    parser.add_argument("--backend-ms", type=float, default=10.0, help="what the served side takes")
    parser.add_argument("--only", help="faults, comma-separated")
    parser.add_argument("--nice", type=int, default=-15, help="priority of all of it, where it may be had (root)")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    os.sched_setaffinity(0, LOAD_CORE)
    with (
        preferred(options.nice),
        started() as backends,
        mirror.started() as mirrored,
        tempfile.TemporaryDirectory(prefix="bench-faults-") as directory,
        Installation(Path(directory), backend=backends.served_port, mirror=mirrored.port) as place,
    ):
        report(*run(place, mirrored, backends, options))


def run(
    place: Installation, mirrored: Mirror, backends: Backends, options: argparse.Namespace
) -> tuple[list[Fault], tuple[int, int, int]]:
    """All faults, one after the other."""
    backends.take(options.backend_ms / 1e3)
    measuring = Measuring(place, backends, rate=options.rate, seconds=options.seconds)
    measuring.slice()
    wanted = options.only.split(",") if options.only else None
    chosen = [fault for fault in faults(place, mirrored) if wanted is None or fault.name in wanted]
    for fault in chosen:
        measure(fault, place, measuring, options.slices)
    place.settle()
    return chosen, place.account()
