"""Measure one system once: its throughput, its CPU time, and the latency that it adds."""

import gc
import os
import time
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass

import uvloop

from bench.load.backend import Backends
from bench.load.closed_loop import LoadResult, saturate
from bench.load.open_loop import OpenLoop, side_by_side
from bench.load.requests import Requests, due_times
from bench.proxy.figures import Sample, percentile
from bench.proxy.peers import Peer
from bench.proxy.processes import ProcessGroup, ResourceUsage, realtime_scheduling, resource_usage
from bench.proxy.records import Records

SETTLE_S = 30.0
PAUSE_S = 0.3
"""Copies that have not arrived after a pause of this length are lost; RECORDS_PAUSE_S with records, which nginx buffers for a second."""
RECORDS_PAUSE_S = 1.5
JOURNALED = ("shadow_served_total", "shadow_journal_written_total", "shadow_skipped_total", "shadow_journal_queued")


@dataclass(frozen=True, slots=True)
class LoadPlan:
    """Duration and load of a measurement; with `latency_s` 0, latencies are not measured."""

    connections: int
    seconds: float
    latency_s: float
    rate: float
    backend_s: float


@dataclass(frozen=True, slots=True)
class Contender:
    """A running system. Direct requests to the backend have neither peer nor process."""

    name: str
    port: int
    admin_port: int = 0
    peer: Peer | None = None
    running: ProcessGroup | None = None
    records: Records | None = None

    def pids(self) -> list[int]:
        """Return the ids of its processes."""
        return self.running.pids() if self.running else []

    def usage(self) -> ResourceUsage:
        """Return the resource usage of its processes."""
        return resource_usage(self.pids())

    def clear(self) -> None:
        """Delete the records so far."""
        if self.records:
            self.records.clear()


def measure(contender: Contender, backends: Backends, plan: LoadPlan, number: int) -> Sample:
    """Measure one contender once.

    Args:
        contender: to measure.
        backends: of all contenders.
        plan: duration and load.
        number: seed of the requests, so that they differ from those of other measurements.
    """
    gc.collect()
    gc.disable()
    try:
        backends.set_delay(0.0)
        copies = Copies(contender, backends)
        before = time.monotonic(), time.process_time() + backends.cpu_s()
        before_usage = contender.usage()
        load = _saturate(contender, plan, number)
        load_core = (time.process_time() + backends.cpu_s() - before[1]) / (time.monotonic() - before[0])
        expected, lost = copies.lost(load.sent)
        after = contender.usage()
        latencies = _measure_latencies(contender, backends, plan, number) if plan.latency_s else Latencies()
        contender.clear()
    finally:
        gc.enable()
    return Sample(
        rps=load.rps,
        cpu_us=(after.cpu_s - before_usage.cpu_s) / load.sent * 1e6,
        core=load.cpu_s / load.seconds,
        load_core=load_core,
        rss_mb=after.rss_mb,
        p50_ms=latencies.p50_ms,
        p99_ms=latencies.p99_ms,
        added_p50_ms=latencies.added_p50_ms,
        added_p99_ms=latencies.added_p99_ms,
        copies=expected,
        lost=lost,
        errors=load.errors + latencies.errors,
    )


def _saturate(contender: Contender, plan: LoadPlan, number: int) -> LoadResult:
    pids = contender.pids()
    loading = saturate(
        contender.port,
        Requests(number),
        connections=plan.connections,
        seconds=plan.seconds,
        cpu_s=lambda: resource_usage(pids).cpu_s,
    )
    return uvloop.run(loading)


class Copies:
    """Count the copies of one measurement: ours by the metrics of the journal, those of others by the requests of the second backend.

    A copy of a peer that also logs exchanges is lost if it is missing in either.
    """

    def __init__(self, contender: Contender, backends: Backends) -> None:
        self._contender = contender
        self._backends = backends
        self._begun = self._arrived()

    def lost(self, asked: int) -> tuple[int | None, int | None]:
        """Wait for the copies in flight; return how many there should be and how many are lost, None for a system that does not mirror."""
        peer = self._contender.peer
        if peer is None or not peer.mirrors:
            self._backends.wait_until_idle(SETTLE_S)
            return None, None
        pause_s = RECORDS_PAUSE_S if self._contender.records else PAUSE_S
        deadline = time.monotonic() + SETTLE_S
        last = None
        while (now := self._arrived()) != last and self._came(now) < asked and time.monotonic() < deadline:
            last = now
            time.sleep(pause_s)
        return asked, asked - self._came(now)

    def _came(self, now: Sequence[int]) -> int:
        return min(after - before for before, after in zip(self._begun, now, strict=True))

    def _arrived(self) -> tuple[int, ...]:
        peer = self._contender.peer
        if peer and peer.journals:
            served, written, skipped, _ = journaled(self._contender.admin_port)
            assert served >= written
            return (written + skipped,)
        _, mirrored = self._backends.counts()
        return (mirrored, self._contender.records.count()) if self._contender.records else (mirrored,)


def journaled(admin_port: int) -> list[int]:
    """Return the figures JOURNALED of our metrics page, summed over their labels."""
    with urllib.request.urlopen(f"http://127.0.0.1:{admin_port}/metrics", timeout=5) as page:
        lines = page.read().decode().splitlines()
    return [
        sum(int(float(line.rpartition(" ")[2])) for line in lines if line.startswith((f"{name} ", f"{name}{{")))
        for name in JOURNALED
    ]


@dataclass(frozen=True, slots=True)
class Latencies:
    """Latencies at a fixed rate."""

    p50_ms: float | None = None
    p99_ms: float | None = None
    added_p50_ms: float | None = None
    added_p99_ms: float | None = None
    errors: int = 0


def _measure_latencies(contender: Contender, backends: Backends, plan: LoadPlan, number: int) -> Latencies:
    """Measure the contender at the fixed rate and, in the same seconds, the backend itself at the same rate."""
    backends.set_delay(plan.backend_s)
    count = max(1, int(plan.rate * plan.latency_s))
    through = OpenLoop(Requests(number), due_times(count, rate=plan.rate, seed=2 * number))
    direct = OpenLoop(Requests(~number), due_times(count, rate=plan.rate, seed=2 * number + 1))
    with realtime_scheduling([os.getpid(), backends.pid, *contender.pids()]):
        uvloop.run(side_by_side([(through, contender.port), (direct, backends.served_port)]))
    backends.wait_until_idle(SETTLE_S)
    through_s, direct_s = (sorted(loop.latencies_s) for loop in (through, direct))
    if not through_s or not direct_s:
        return Latencies(errors=through.errors)
    p50, p99 = (percentile(through_s, share) * 1e3 for share in (0.5, 0.99))
    return Latencies(
        p50_ms=p50,
        p99_ms=p99,
        added_p50_ms=p50 - percentile(direct_s, 0.5) * 1e3,
        added_p99_ms=p99 - percentile(direct_s, 0.99) * 1e3,
        errors=through.errors,
    )
