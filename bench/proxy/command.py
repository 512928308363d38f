"""The command line of the benchmark.

In each round all systems are measured one after the other, and the order rotates with the rounds. The table shows medians; a ratio is the
median of the ratios within a round. On a shared machine rely on the ratios by CPU. The last line is the result as JSON.
"""

import argparse
import datetime as dt
import os
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench.load.backend import Backends, running_backends
from bench.load.cores import APART, LOAD_CORE
from bench.proxy import soak, tables
from bench.proxy.figures import Sample
from bench.proxy.measurement import Contender, LoadPlan, measure
from bench.proxy.peers import DEFAULT, OURS, Peer, UnknownPeerError, choose, names, version
from bench.proxy.processes import ProcessGroup, exclusive_run, raised_priority
from bench.proxy.templates import PeerSetup
from proxy.demo.free_ports import free_ports

DIRECT = "direct"


@dataclass
class Lineup:
    """The systems that take part, and why others do not."""

    contenders: list[Contender] = field(default_factory=list[Contender])
    missing: dict[str, str] = field(default_factory=dict[str, str])


def parser() -> argparse.ArgumentParser:
    """Build the parser of the options."""
    options = argparse.ArgumentParser(prog="python -m bench.proxy", description=__doc__)
    options.add_argument("--peers", help=f"of {','.join(names())} and ours@DIRECTORY; default {','.join(DEFAULT)}")
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument(
        "--seconds", type=float, default=2.0, help="of load in each measurement, after a warm-up of a quarter"
    )
    options.add_argument("--connections", type=int, default=64)
    options.add_argument(
        "--latency-seconds", type=float, default=4.0, help="at the fixed rate in each measurement; 0: none"
    )
    options.add_argument("--rate", type=float, default=300.0, help="requests per second while latencies are measured")
    options.add_argument("--backend-ms", type=float, default=10.0, help="delay of the backends meanwhile")
    options.add_argument("--nice", type=int, default=-15, help="priority of all processes (root only)")
    options.add_argument(
        "--soak", type=float, metavar="MINUTES", help="observe memory instead; of ours, unless --peers is given"
    )
    options.add_argument("--soak-rate", type=float, default=2000.0, help="requests per second of the soak")
    return options


def main() -> None:
    """Measure and print the result."""
    options = parser().parse_args()
    chosen = options.peers.split(",") if options.peers else [OURS] if options.soak else list(DEFAULT)
    try:
        peers = choose(chosen)
    except UnknownPeerError as error:
        sys.exit(str(error))
    # (a signal has to end all processes that were started)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    os.sched_setaffinity(0, LOAD_CORE)
    with (
        exclusive_run(),
        raised_priority(options.nice),
        running_backends() as backends,
        running(peers, backends) as lineup,
    ):
        if options.soak:
            soak.run(lineup.contenders[1:], lineup.missing, minutes=options.soak, rate=options.soak_rate)
        else:
            compare(peers, lineup, backends, options)


@contextmanager
def running(peers: Sequence[Peer], backends: Backends) -> Iterator[Lineup]:
    """Start all peers that are installed, for the life of the context."""
    lineup = Lineup([Contender(DIRECT, backends.served_port)])
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-proxy-")))
        for peer in peers:
            if peer.program is None:
                lineup.missing[peer.name] = f"not installed: {peer.hint}"
                continue
            try:
                lineup.contenders.append(_start(peer, backends, directory / peer.name.replace("/", "_"), stack))
            except RuntimeError as error:
                lineup.missing[peer.name] = str(error)
        yield lineup


def _start(peer: Peer, backends: Backends, directory: Path, stack: ExitStack) -> Contender:
    directory.mkdir()
    port, admin_port = free_ports(2)
    setup = PeerSetup(port, admin_port, backends.served_port, backends.mirrored_port, directory)
    running = stack.enter_context(ProcessGroup(peer.commands(setup), directory / "log"))
    running.wait_for(port)
    records = peer.records(directory) if peer.records else None
    if records:
        running.wait_until(records.ready)
    return Contender(peer.name, port, admin_port, peer, running, records)


def compare(peers: Sequence[Peer], lineup: Lineup, backends: Backends, options: argparse.Namespace) -> None:
    """Run all rounds, then print the table and the line of JSON."""
    plan = LoadPlan(
        options.connections, options.seconds, options.latency_seconds, options.rate, options.backend_ms / 1000
    )
    samples: dict[str, list[Sample]] = {contender.name: [] for contender in lineup.contenders}
    started, load_before = dt.datetime.now(dt.UTC), os.getloadavg()[0]
    for number in range(options.rounds):
        shift = number % len(lineup.contenders)
        for position, contender in enumerate(lineup.contenders[shift:] + lineup.contenders[:shift]):
            samples[contender.name].append(measure(contender, backends, plan, 1 + number * 100 + position))
    machine = {
        "begun": started.isoformat(timespec="seconds"),
        "cores": os.cpu_count(),
        "apart": APART,
        "versions": {peer.name: version(peer).strip() for peer in peers},
        "load_before": round(load_before, 2),
        "load_after": round(os.getloadavg()[0], 2),
    }
    heading = (
        f"{started:%Y-%m-%d %H:%M} UTC, load average {machine['load_before']} before and {machine['load_after']} after; "
        f"{'' if APART else 'all processes on ONE core; '}{options.rounds} rounds of {options.seconds:g} s at {plan.connections} connections, then {plan.latency_s:g} s at "
        f"{plan.rate:g} requests/s with a backend that needs {options.backend_ms:g} ms; medians"
    )
    titles = {DIRECT: "direct"} | {peer.name: peer.title + version(peer) for peer in peers}
    tables.show(samples, titles, lineup.missing, heading)
    print(tables.line(samples, lineup.missing, machine))
