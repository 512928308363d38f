"""Measures one system once: as much as it can do, what that costs, and what it adds to a client's wait."""

import gc
import os
import time
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass

import uvloop

from bench.load.backend import Backends
from bench.load.closed import Counted, saturate
from bench.load.opened import OpenLoop, side_by_side
from bench.load.requests import Requests, due_times
from bench.proxy.figures import Sample, percentile
from bench.proxy.peers import Peer
from bench.proxy.processes import Running, Weight, undisturbed, weigh
from bench.proxy.records import Records

SETTLE_S = 30.0
PAUSE_S = 0.3
"""Copies are lost when none came for so long; with records for RECORDS_PAUSE_S, as nginx keeps some back for a second."""
RECORDS_PAUSE_S = 1.5
JOURNALED = ("shadow_served_total", "shadow_journal_written_total", "shadow_skipped_total", "shadow_journal_queued")


@dataclass(frozen=True, slots=True)
class Plan:
    """How long and how hard. `latency_s` 0 leaves the latencies out."""

    connections: int
    seconds: float
    latency_s: float
    rate: float
    backend_s: float


@dataclass(frozen=True, slots=True)
class Contender:
    """A system that runs: the direct way to the backend has neither peer nor process."""

    name: str
    port: int
    admin_port: int = 0
    peer: Peer | None = None
    running: Running | None = None
    records: Records | None = None

    def family(self) -> list[int]:
        """Ids of its processes."""
        return self.running.family() if self.running else []

    def weight(self) -> Weight:
        """What its processes use."""
        return weigh(self.family())

    def clear(self) -> None:
        """Drop what it recorded so far."""
        if self.records:
            self.records.clear()


def turn(contender: Contender, backends: Backends, plan: Plan, number: int) -> Sample:
    """One turn of one contender. `number` makes its requests differ from those of other turns."""
    gc.collect()
    gc.disable()
    try:
        backends.take(0.0)
        copies = Copies(contender, backends)
        before = time.monotonic(), time.process_time() + backends.cpu_s()
        idle = contender.weight()
        counted = _saturate(contender, plan, number)
        load_core = (time.process_time() + backends.cpu_s() - before[1]) / (time.monotonic() - before[0])
        owed, lost = copies.lost(counted.asked)
        done = contender.weight()
        waits = _latencies(contender, backends, plan, number) if plan.latency_s else Waits()
        contender.clear()
    finally:
        gc.enable()
    return Sample(
        rps=counted.rps,
        cpu_us=(done.cpu_s - idle.cpu_s) / counted.asked * 1e6,
        core=counted.cpu_s / counted.seconds,
        load_core=load_core,
        rss_mb=done.rss_mb,
        p50_ms=waits.p50_ms,
        p99_ms=waits.p99_ms,
        added_p50_ms=waits.added_p50_ms,
        added_p99_ms=waits.added_p99_ms,
        copies=owed,
        lost=lost,
        errors=counted.errors + waits.errors,
    )


def _saturate(contender: Contender, plan: Plan, number: int) -> Counted:
    family = contender.family()
    loading = saturate(
        contender.port,
        Requests(number),
        connections=plan.connections,
        seconds=plan.seconds,
        cpu_s=lambda: weigh(family).cpu_s,
    )
    return uvloop.run(loading)


class Copies:
    """Counts what became of the copies of one turn: ours by the journal's metrics, the others' by what the second backend got.

    A peer that journals too has lost a copy when it lacks in either place.
    """

    def __init__(self, contender: Contender, backends: Backends) -> None:
        self._contender = contender
        self._backends = backends
        self._begun = self._arrived()

    def lost(self, asked: int) -> tuple[int | None, int | None]:
        """Copies owed and copies lost, when all that was under way has come; None for who does not mirror."""
        peer = self._contender.peer
        if peer is None or not peer.mirrors:
            self._backends.settled(SETTLE_S)
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
    """The figures JOURNALED of our metrics page, summed over their labels."""
    with urllib.request.urlopen(f"http://127.0.0.1:{admin_port}/metrics", timeout=5) as page:
        lines = page.read().decode().splitlines()
    return [
        sum(int(float(line.rpartition(" ")[2])) for line in lines if line.startswith((f"{name} ", f"{name}{{")))
        for name in JOURNALED
    ]


@dataclass(frozen=True, slots=True)
class Waits:
    """What clients waited at a fixed rate."""

    p50_ms: float | None = None
    p99_ms: float | None = None
    added_p50_ms: float | None = None
    added_p99_ms: float | None = None
    errors: int = 0


def _latencies(contender: Contender, backends: Backends, plan: Plan, number: int) -> Waits:
    """Ask the contender at the fixed rate and, in the same seconds, the backend itself at the same rate."""
    backends.take(plan.backend_s)
    count = max(1, int(plan.rate * plan.latency_s))
    through = OpenLoop(Requests(number), due_times(count, rate=plan.rate, seed=2 * number))
    direct = OpenLoop(Requests(~number), due_times(count, rate=plan.rate, seed=2 * number + 1))
    with undisturbed([os.getpid(), backends.pid, *contender.family()]):
        uvloop.run(side_by_side([(through, contender.port), (direct, backends.served_port)]))
    backends.settled(SETTLE_S)
    mine, base = (sorted(loop.latencies_s) for loop in (through, direct))
    if not mine or not base:
        return Waits(errors=through.errors)
    p50, p99 = (percentile(mine, share) * 1e3 for share in (0.5, 0.99))
    return Waits(
        p50_ms=p50,
        p99_ms=p99,
        added_p50_ms=p50 - percentile(base, 0.5) * 1e3,
        added_p99_ms=p99 - percentile(base, 0.99) * 1e3,
        errors=through.errors,
    )
