"""Measure the effect on clients of faults around the proxy.

Slices with and without a fault alternate at a fixed rate; a latency counts from the time at which its request was due. For each fault it
prints the number of requests without a 200, and the p99 of slices with the fault divided by that of the slices before and after, as the
median over all slices. The line `none` compares healthy slices in the same way, and shows the noise of the machine. As root, the processes
that clients wait for have priority over everything else, the runner and the mirrored side included. The last line is the result as JSON.
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

from bench.faults.installation import Installation
from bench.faults.mirror import MisbehavingMirror, Misbehaviour, running_mirror
from bench.load.backend import Backends, running_backends
from bench.load.closed_loop import saturate
from bench.load.cores import LOAD_CORE
from bench.load.open_loop import OpenLoop
from bench.load.requests import Requests, due_times
from bench.proxy.processes import raised_priority, realtime_scheduling

FLOODERS = 16
FLOOD_REQUESTS = {
    "admin": b"GET /metrics HTTP/1.1\r\nHost: admin\r\n\r\n",
    "ui": b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nHX-Request: true\r\n\r\n",
}
"""Requests by the process that is flooded: the metrics page of the proxy, and the overview of the web UI, which asks the proxy."""


@dataclass
class Fault:
    """One fault, and the results of its slices.

    Attributes:
        during: causes the fault for a block.
        flood: the process that is flooded meanwhile, "" for none.
        ratios: p99 of each slice divided by that of its healthy neighbours.
    """

    name: str
    during: Callable[[], AbstractContextManager[None]]
    flood: str = ""
    ratios: list[float] = field(default_factory=list[float])
    p99s_ms: list[float] = field(default_factory=list[float])
    requests: int = 0
    failed: int = 0

    @property
    def success(self) -> float:
        """Share of requests with a 200."""
        return 1 - self.failed / self.requests if self.requests else 0.0


class Flood:
    """Repeats one request."""

    def __init__(self, request: bytes) -> None:
        self._request = request

    def next(self) -> bytes:
        """Return the next request."""
        return self._request


def faults(system: Installation, mirrored: MisbehavingMirror) -> list[Fault]:
    """Return all faults; the first is none."""
    misbehaviours = [misbehaviour for misbehaviour in Misbehaviour if misbehaviour is not Misbehaviour.NONE]
    return [
        Fault("none", nullcontext),
        *(Fault(f"mirror_{misbehaviour}", partial(behaving, mirrored, misbehaviour)) for misbehaviour in misbehaviours),
        Fault("disk_full", partial(_full, system)),
        Fault("runner_dead", partial(_dead, system)),
        Fault("admin_flooded", nullcontext, flood="admin"),
        Fault("ui_flooded", nullcontext, flood="ui"),
    ]


@contextmanager
def behaving(mirrored: MisbehavingMirror, misbehaviour: Misbehaviour) -> Iterator[None]:
    """Let the mirrored side misbehave during the block."""
    mirrored.behave(misbehaviour)
    try:
        yield
    finally:
        mirrored.behave(Misbehaviour.NONE)


@contextmanager
def _full(system: Installation) -> Iterator[None]:
    system.fill_disk(full=True)
    try:
        yield
    finally:
        system.fill_disk(full=False)


@contextmanager
def _dead(system: Installation) -> Iterator[None]:
    system.kill_runner()
    try:
        yield
    finally:
        system.start_runner()


@dataclass(frozen=True, slots=True)
class Slice:
    """Results of a few seconds at the fixed rate."""

    p99_ms: float
    requests: int
    failed: int


class SliceRunner:
    """Sends requests to one installation, slice by slice."""

    def __init__(self, system: Installation, backends: Backends, *, rate: float, seconds: float) -> None:
        self._system = system
        self._client_path = [os.getpid(), backends.pid, *system.serving()]
        self._rate = rate
        self._count = max(100, int(rate * seconds))
        self._seconds = seconds
        self._requests = Requests(1)
        self._number = 0

    def slice(self, *, flood: str = "") -> Slice:
        """Send the requests of one slice."""
        self._number += 1
        loop = OpenLoop(self._requests, due_times(self._count, rate=self._rate, seed=self._number))
        with realtime_scheduling(self._client_path):
            uvloop.run(self._run(loop, flood=flood))
        ordered = sorted(loop.latencies_s)
        p99_ms = ordered[int(len(ordered) * 0.99)] * 1e3 if ordered else float("inf")
        return Slice(p99_ms, self._count, loop.errors)

    async def _run(self, loop: OpenLoop, *, flood: str) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(loop.run(self._system.port), name="clients")
            if flood:
                port = self._system.admin_port if flood == "admin" else self._system.ui_port
                request = Flood(FLOOD_REQUESTS[flood])
                group.create_task(
                    saturate(port, request, connections=FLOODERS, seconds=self._seconds * 0.8), name="flood"
                )


def measure(fault: Fault, system: Installation, runner: SliceRunner, slices: int) -> None:
    """Run slices with the fault, each between two healthy ones."""
    system.wait_until_idle()
    before = runner.slice()
    for _ in range(slices):
        with fault.during():
            during = runner.slice(flood=fault.flood)
        system.wait_until_idle()
        after = runner.slice()
        fault.ratios.append(2 * during.p99_ms / (before.p99_ms + after.p99_ms))
        fault.p99s_ms.append(during.p99_ms)
        fault.requests += during.requests
        fault.failed += during.failed
        before = after


def report(measured: list[Fault], account: tuple[int, int, int]) -> None:
    """Print the table and the line of JSON.

    Args:
        measured: faults with their results.
        account: exchanges served, copies dropped, served exchanges that are in no count.
    """
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
    """Measure, and print the result."""
    parser = argparse.ArgumentParser(prog="python -m bench.faults", description=__doc__)
    parser.add_argument("--rate", type=float, default=300.0, help="requests per second")
    parser.add_argument("--seconds", type=float, default=2.0, help="duration of each slice")
    parser.add_argument("--slices", type=int, default=5, help="slices with each fault")
    parser.add_argument("--backend-ms", type=float, default=10.0, help="response time of the served side")
    parser.add_argument("--only", help="faults to measure, comma-separated")
    parser.add_argument("--nice", type=int, default=-15, help="priority of all processes (root only)")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    os.sched_setaffinity(0, LOAD_CORE)
    with (
        raised_priority(options.nice),
        running_backends() as backends,
        running_mirror() as mirrored,
        tempfile.TemporaryDirectory(prefix="bench-faults-") as directory,
        Installation(Path(directory), backend=backends.served_port, mirror=mirrored.port) as system,
    ):
        report(*run(system, mirrored, backends, options))


def run(
    system: Installation, mirrored: MisbehavingMirror, backends: Backends, options: argparse.Namespace
) -> tuple[list[Fault], tuple[int, int, int]]:
    """Measure all chosen faults, one after the other; return them, and the account of `report`."""
    backends.set_delay(options.backend_ms / 1e3)
    runner = SliceRunner(system, backends, rate=options.rate, seconds=options.seconds)
    runner.slice()
    names = options.only.split(",") if options.only else None
    chosen = [fault for fault in faults(system, mirrored) if names is None or fault.name in names]
    for fault in chosen:
        measure(fault, system, runner, options.slices)
    system.wait_until_idle()
    return chosen, system.account()
