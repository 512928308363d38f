"""Time `shadow rollback` and `shadow status` while each part of an installation is dead, stopped, full or cut off: `make bench-switch`.

A real installation (two workers of the proxy, runner, three PostgreSQL servers, the journal on a disk of its own where that is allowed)
serves clients. In each round one fault begins; an operator rolls back, and looks at the status; the fault ends. Times are seconds from the
key press: to the first line of the command, to its end, and to the last request that the candidate was given. The web UI does not run at
all: no command uses it. Commands and proxy run before the other programs of this machine (needs root), as on a machine of their own.
The last line is the result as JSON, with ratios to the same command while everything is alive.
"""

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass

from bench.chaos.faults import FAULTS, Fault, kill_runner, start_runner
from bench.chaos.installation import ROOT, Chaos, come_first, installed
from bench.chaos.rounds import resume, served

SERVED_BEFORE = 6
SERVED_AFTER = 12
FAULT_S = 0.3
COMMAND_S = 60.0
CHOSEN = (
    "kill_store",
    "stop_store",
    "cut_store",
    "stall_store",
    "store_read_only",
    "store_away",
    "cut_databases",
    "stop_runner",
    "stop_proxy",
    "fill_disk",
    "freeze_disk",
)
"""Of the faults of `bench.chaos`."""


async def nothing(_: Chaos) -> None:
    """Do nothing."""


ALL_FAULTS = (
    Fault("everything alive", nothing),
    *(fault for fault in FAULTS if fault.name in CHOSEN),
    Fault("kill_runner", kill_runner, start_runner),
)


@dataclass(frozen=True, slots=True)
class Timed:
    """A command of an operator: its exit code, and the seconds to its first line and to its end."""

    code: int
    first_line_s: float
    end_s: float


@dataclass(frozen=True, slots=True)
class Round:
    """The times of one round; `in_effect_s` is that of the rollback."""

    rollback: Timed
    in_effect_s: float
    status: Timed


def main() -> None:
    """Run all rounds, and print the table and the line of JSON."""
    parser = argparse.ArgumentParser(prog="python -m bench.switch", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="of each fault (default: %(default)s)")
    parser.add_argument("--fault", default="", help="faults whose names begin so, comma-separated")
    options = parser.parse_args()
    results = asyncio.run(run(options.rounds, tuple(options.fault.split(","))))
    report(results)


async def run(rounds: int, beginnings: tuple[str, ...]) -> dict[str, list[Round]]:
    """Run each fault `rounds` times, all faults in turn."""
    results: dict[str, list[Round]] = {}
    async with installed(spoil=False) as chaos:
        chosen = [fault for fault in ALL_FAULTS if fault is ALL_FAULTS[0] or fault.name.startswith(beginnings)]
        for fault in chosen:
            if obstacle := fault.obstacle(chaos):
                print(f"{fault.name} is left out: {obstacle}", flush=True)
        for _ in range(rounds):
            for fault in chosen:
                if not fault.obstacle(chaos):
                    results.setdefault(fault.name, []).append(await one_round(chaos, fault))
    return results


async def one_round(chaos: Chaos, fault: Fault) -> Round:
    """Run one round; the installation is whole again at its end."""
    chaos.clients.start()
    await served(chaos, SERVED_BEFORE)
    await fault.begin(chaos)
    await asyncio.sleep(FAULT_S)
    pressed_s = time.monotonic()
    rollback = await command(chaos, "rollback", "--reason", "bench")
    status = await command(chaos, "status")
    await fault.end(chaos)
    await served(chaos, chaos.clients.served + SERVED_AFTER)
    in_effect_s = chaos.in_effect_s(pressed_s)
    await resume(chaos)
    await chaos.clients.stop()
    await fault.restore(chaos)
    return Round(rollback, in_effect_s, status)


async def command(chaos: Chaos, *words: str) -> Timed:
    """Run a command of `shadow`."""
    return await asyncio.to_thread(timed, [*words, "--config", str(chaos.config)], chaos)


def timed(words: list[str], chaos: Chaos) -> Timed:
    """Run a command of `shadow`; its output is a pipe, which is read as it comes."""
    started = time.monotonic()
    with subprocess.Popen(
        [sys.executable, "-m", "proxy", *words],
        cwd=chaos.folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        preexec_fn=come_first,  # noqa: PLW1509 (it calls the kernel only)
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        first_line_s = time.monotonic() - started
        process.stdout.read()
        code = process.wait(COMMAND_S)
    return Timed(code, first_line_s, time.monotonic() - started)


def report(results: dict[str, list[Round]]) -> None:
    """Print the medians, and the worst in brackets."""
    rows: dict[str, dict[str, float]] = {}
    for name, rounds in results.items():
        columns = {
            "first_line_s": [one.rollback.first_line_s for one in rounds],
            "in_effect_s": [one.in_effect_s for one in rounds],
            "rollback_s": [one.rollback.end_s for one in rounds],
            "status_s": [one.status.end_s for one in rounds],
        }
        rows[name] = {key: round(statistics.median(values), 3) for key, values in columns.items()}
        rows[name] |= {key.replace("_s", "_max_s"): round(max(values), 3) for key, values in columns.items()}
    heads = ("first line", "in effect", "rollback", "status")
    print(f"{'dead part':<18}{'rounds':>7}" + "".join(f"{head + ', s':>20}" for head in heads) + "  exit codes")
    for name, row in rows.items():
        cells = "".join(
            f"{row[key]:>13.2f} ({row[key.replace('_s', '_max_s')]:.2f})"
            for key in ("first_line_s", "in_effect_s", "rollback_s", "status_s")
        )
        codes = sorted({(one.rollback.code, one.status.code) for one in results[name]})
        print(f"{name:<18}{len(results[name]):>7}{cells}  {codes}")
    alive = rows[ALL_FAULTS[0].name]
    ratios = {
        name: {key: round(row[key] / alive[key], 2) for key in ("first_line_s", "rollback_s", "status_s")}
        for name, row in rows.items()
    }
    print(json.dumps({"bench": "switch", "seconds": rows, "ratios": ratios}))


if __name__ == "__main__":
    main()
