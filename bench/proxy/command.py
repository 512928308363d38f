"""The command line of the benchmark.

Systems take turns within each round, in an order that turns with the rounds; the table shows medians, ratios are medians of the
ratios within a round. On a shared machine trust those by CPU. The last line is the result as JSON.
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

from bench.load.backend import Backends, started
from bench.load.cores import APART, LOAD_CORE
from bench.proxy import soak, tables
from bench.proxy.figures import Sample
from bench.proxy.peers import DEFAULT, OURS, Peer, UnknownPeerError, choose, names, version
from bench.proxy.processes import Running, alone, free_ports, preferred
from bench.proxy.templates import Place
from bench.proxy.turns import Contender, Plan, turn

DIRECT = "direct"


@dataclass
class Field:
    """Who takes part, and why the others do not."""

    contenders: list[Contender] = field(default_factory=list[Contender])
    missing: dict[str, str] = field(default_factory=dict[str, str])


def parser() -> argparse.ArgumentParser:
    """The options."""
    made = argparse.ArgumentParser(prog="python -m bench.proxy", description=__doc__)
    made.add_argument("--peers", help=f"of {','.join(names())} and ours@DIRECTORY; default {','.join(DEFAULT)}")
    made.add_argument("--rounds", type=int, default=3)
    made.add_argument("--seconds", type=float, default=2.0, help="of load in each turn, after a quarter as warm-up")
    made.add_argument("--connections", type=int, default=64)
    made.add_argument("--latency-seconds", type=float, default=4.0, help="at the fixed rate in each turn; 0: none")
    made.add_argument("--rate", type=float, default=300.0, help="requests per second while latencies are measured")
    made.add_argument("--backend-ms", type=float, default=10.0, help="what the backends take meanwhile")
    made.add_argument("--nice", type=int, default=-15, help="priority of all of it, where it may be had (root)")
    made.add_argument("--soak", type=float, metavar="MINUTES", help="watch memory instead, of ours unless --peers says")
    made.add_argument("--soak-rate", type=float, default=2000.0, help="requests per second of the soak")
    return made


def main() -> None:
    """Measure and print."""
    options = parser().parse_args()
    chosen = options.peers.split(",") if options.peers else [OURS] if options.soak else list(DEFAULT)
    try:
        peers = choose(chosen)
    except UnknownPeerError as error:
        sys.exit(str(error))
    # Whoever stops us stops everybody we have started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    os.sched_setaffinity(0, LOAD_CORE)
    with alone(), preferred(options.nice), started() as backends, running(peers, backends) as found:
        if options.soak:
            soak.run(found.contenders[1:], found.missing, minutes=options.soak, rate=options.soak_rate)
        else:
            compare(peers, found, backends, options)


@contextmanager
def running(peers: Sequence[Peer], backends: Backends) -> Iterator[Field]:
    """Start everybody who is installed; all stop with the block."""
    found = Field([Contender(DIRECT, backends.served_port)])
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-proxy-")))
        for peer in peers:
            if peer.program is None:
                found.missing[peer.name] = f"not installed: {peer.hint}"
                continue
            try:
                found.contenders.append(_start(peer, backends, directory / peer.name.replace("/", "_"), stack))
            except RuntimeError as error:
                found.missing[peer.name] = str(error)
        yield found


def _start(peer: Peer, backends: Backends, directory: Path, stack: ExitStack) -> Contender:
    directory.mkdir()
    port, admin_port = free_ports(2)
    place = Place(port, admin_port, backends.served_port, backends.mirrored_port, directory)
    running = stack.enter_context(Running(peer.commands(place), directory / "log"))
    running.wait_for(port)
    records = peer.records(directory) if peer.records else None
    if records:
        running.wait_until(records.ready)
    return Contender(peer.name, port, admin_port, peer, running, records)


def compare(peers: Sequence[Peer], found: Field, backends: Backends, options: argparse.Namespace) -> None:
    """All rounds, the table, the line."""
    plan = Plan(options.connections, options.seconds, options.latency_seconds, options.rate, options.backend_ms / 1000)
    samples: dict[str, list[Sample]] = {one.name: [] for one in found.contenders}
    begun, load_before = dt.datetime.now(dt.UTC), os.getloadavg()[0]
    for number in range(options.rounds):
        shift = number % len(found.contenders)
        for place, one in enumerate(found.contenders[shift:] + found.contenders[:shift]):
            samples[one.name].append(turn(one, backends, plan, 1 + number * 100 + place))
    machine = {
        "begun": begun.isoformat(timespec="seconds"),
        "cores": os.cpu_count(),
        "apart": APART,
        "versions": {peer.name: version(peer).strip() for peer in peers},
        "load_before": round(load_before, 2),
        "load_after": round(os.getloadavg()[0], 2),
    }
    heading = (
        f"{begun:%Y-%m-%d %H:%M} UTC, load average {machine['load_before']} before and {machine['load_after']} after; "
        f"{'' if APART else 'everything on ONE core; '}{options.rounds} rounds of {options.seconds:g} s at {plan.connections} connections, then {plan.latency_s:g} s at "
        f"{plan.rate:g} requests/s with a backend that takes {options.backend_ms:g} ms; medians"
    )
    titles = {DIRECT: "direct"} | {peer.name: peer.title + version(peer) for peer in peers}
    tables.show(samples, titles, found.missing, heading)
    print(tables.line(samples, found.missing, machine))
