"""Kill, stop, fill, cut off and misdate parts of an installation under load, and print what clients, accounting and a rollback had of it.

Each round causes one fault while clients send. During the fault an operator rolls back and looks at the status, both as commands of their
own. Then the exchanges are added up: a ledger made from what the clients sent and what is in the journal's files has to name the same losses
as the accounting. One line a kind; the last line is the result as JSON. It ends with 1 if a client was not served, a loss was not named, one
was invented, or a verdict was wrong.
"""

import argparse
import asyncio
import json
import random
import signal
import statistics
import sys
from dataclasses import asdict
from pathlib import Path

from bench.chaos.faults import FAULTS, Fault
from bench.chaos.installation import installed
from bench.chaos.rounds import RoundResult, kinds_of, run_round

RESULTS = Path("var/bench-chaos.jsonl")


def main() -> None:
    """Run all rounds, and print the result."""
    parser = argparse.ArgumentParser(prog="python -m bench.chaos", description=__doc__)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument(
        "--kind", help="kinds of faults whose names begin so, comma-separated, e.g. kill,store_read_only"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--resume", action="store_true", help=f"go on behind the rounds in {RESULTS}")
    parser.add_argument("--keep-logs", type=Path, help="folder for the logs of proxy and runner")
    options = parser.parse_args()
    RESULTS.parent.mkdir(exist_ok=True)
    done = [RoundResult(**json.loads(line)) for line in RESULTS.read_text().splitlines()] if options.resume else []
    if not options.resume:
        RESULTS.write_text("")
    results = done + asyncio.run(run(options, len(done)))
    report(results)
    sys.exit(any(result.problems or result.unserved or result.wrong_verdicts for result in results))


async def run(options: argparse.Namespace, done: int) -> list[RoundResult]:
    """Run the rounds that are left; note each, so that they can be resumed."""
    task = asyncio.current_task()
    assert task is not None
    # (what was started ends with it)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    draw, results = random.Random(options.seed), list[RoundResult]()
    beginnings = tuple(options.kind.split(",")) if options.kind else ("",)
    async with installed() as chaos:
        faults = [fault for fault in FAULTS if fault.name.startswith(beginnings)]
        for fault in faults:
            if obstacle := fault.obstacle(chaos):
                print(f"{fault.name} is left out: {obstacle}", flush=True)
        possible = [fault for fault in faults if not fault.obstacle(chaos)]
        try:
            for number, fault in enumerate(kinds_of(possible, options.rounds, draw)[done:], done + 1):
                result = await run_round(chaos, fault, draw)
                results.append(result)
                print(line(number, result), *result.wrong, sep="\n    ", flush=True)
                with RESULTS.open("a") as file:
                    file.write(json.dumps(asdict(result)) + "\n")
        finally:
            if options.keep_logs:
                options.keep_logs.mkdir(parents=True, exist_ok=True)
                for program in (chaos.proxy, chaos.runner):
                    (options.keep_logs / program.log.name).write_bytes(program.log.read_bytes())
    return results


def line(number: int, result: RoundResult) -> str:
    """Return one round as a line."""
    return (
        f"{number:>3} {result.kind:<16} {result.requests:>4} requests, {result.broken} repeated, longest wait {result.wait_s:.2f} s; "
        f"lost {result.lost}, named {result.named}; rollback {result.rollback_s:.2f} s ({result.rollback_cpu_s:.2f} s CPU), in effect {result.in_effect_s:.2f} s; "
        f"status {result.status_s:.2f} s; settled {result.settled_s:.1f} s; wrong verdicts {result.wrong_verdicts} {result.problems}"
    )


def report(results: list[RoundResult]) -> None:
    """Print the table and the line of JSON."""
    print(
        f"{'fault':<16}{'rounds':>7}{'requests':>9}{'served':>8}{'repeated':>9}{'wait s':>8}{'lost':>6}{'named':>6}{'wrong':>6}"
        f"{'rollback s':>11}{'(max)':>7}{'(CPU)':>7}{'in effect s':>12}{'status s':>9}{'(max)':>7}"
    )
    table: dict[str, dict[str, float]] = {}
    for fault in FAULTS:
        own = [result for result in results if result.kind == fault.name]
        if own:
            table[fault.name] = figures(fault, own, results)
    for name, row in table.items():
        print(
            f"{name:<16}{row['rounds']:>7}{row['requests']:>9}{row['served']:>8.2%}{row['repeated']:>9}{row['wait_s']:>8.2f}"
            f"{row['lost']:>6}{row['named']:>6}{row['wrong']:>6}{row['rollback_s']:>11.2f}{row['rollback_max_s']:>7.2f}{row['rollback_cpu_s']:>7.2f}"
            f"{row['in_effect_s']:>12.2f}{row['status_s']:>9.2f}{row['status_max_s']:>7.2f}"
        )
    for result in results:
        if result.problems:
            print(f"{result.kind}: {result.problems}")
    print(json.dumps({"bench": "chaos", "kinds": table}))


def figures(fault: Fault, own: list[RoundResult], results: list[RoundResult]) -> dict[str, float]:
    """Return the figures of one kind; losses are those that came in its rounds."""
    requests = sum(result.requests for result in own)
    gained = {"lost": 0, "named": 0}
    before: RoundResult | None = None
    for result in results:
        if result.kind == fault.name:
            gained["lost"] += result.lost - (before.lost if before and before.lost <= result.lost else 0)
            gained["named"] += result.named - (before.named if before and before.named <= result.named else 0)
        before = result
    return {
        "rounds": len(own),
        "requests": requests,
        "served": 1 - sum(result.unserved for result in own) / requests,
        "repeated": sum(result.broken + result.refused for result in own),
        "wait_s": max(result.wait_s for result in own),
        **gained,
        "wrong": sum(bool(result.problems) for result in own),
        "rollback_s": round(statistics.median(result.rollback_s for result in own), 3),
        "rollback_max_s": round(max(result.rollback_s for result in own), 3),
        "rollback_cpu_s": round(statistics.median(result.rollback_cpu_s for result in own), 3),
        "in_effect_s": round(max(result.in_effect_s for result in own), 3),
        "status_s": round(statistics.median(result.status_s for result in own), 3),
        "status_max_s": round(max(result.status_s for result in own), 3),
    }
