"""Correctness at scale, not speed: `make bench-truth`.

It attributes 10,000 requests, and mirrors 5,000 with alignment, and compares with what the services logged as committed. Then 5,000 more
with a temporary slot and with a persistent one, while the runner is killed three times, the shadow restarted and the replication
connection cut. Prints a table, and one line of JSON at the end. `--requests`, `--aligned` and `--crash-requests` make a part smaller;
0 leaves it out.
"""

import argparse
import asyncio
import json
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path

from aiohttp import ClientSession

from comparator.capture.settings import CaptureSettings, Driver, SlotKind
from comparator.exchanges.model import Side
from proxy.config.runner import RunnerSettings
from proxy.demo.free_ports import free_port
from proxy.rollout.accounting import total
from tests.support import postgres
from tests.support.attribution_truth import AttributionResult, run_attribution
from tests.support.mirror_lab import WRITTEN, checksums, install_log, mirror_lab
from tests.support.mirroring import clean_up_job, mirroring, outcomes, send_requests, settled
from tests.support.runner_crashes import crash_lab, run_through_crashes
from tests.support.runner_process import RunnerProcess
from tests.support.scraping import until

SHARES = {Driver.STREAM: 1.0, Driver.SQL: 0.2, Driver.TRIGGERS: 0.2}


async def attribution(dsn: str, driver: Driver, side: Side, count: int) -> AttributionResult:
    """Attribute the requests of one side, captured by one driver."""
    capture = CaptureSettings(driver=driver, tables=WRITTEN, poll_ms=20)
    with tempfile.TemporaryDirectory() as folder:
        options = {"population": 2_000, "think_s": 0.01}
        async with mirror_lab(dsn, Path(folder), capture=capture, runner=RunnerSettings(), **options) as made:
            if driver is Driver.TRIGGERS:
                await install_log(made.live_dsn, capture)
            return await run_attribution(made, side, count=count, in_flight=32, background_per_s=100)


async def alignment(dsn: str, count: int) -> dict[str, object]:
    """Mirror `count` requests with injected divergences and a background writer; compare whole tables at the end."""
    capture = CaptureSettings(driver=Driver.STREAM, tables=WRITTEN)
    runner = RunnerSettings(port=free_port(), queue_max=100_000, confirm_per_s_max=1_000)
    with tempfile.TemporaryDirectory() as folder:
        async with (
            mirror_lab(dsn, Path(folder), capture=capture, runner=runner, population=1_000) as made,
            ClientSession() as session,
        ):
            async with mirroring(made), asyncio.TaskGroup() as tasks:
                stop = asyncio.Event()
                tasks.create_task(clean_up_job(made.live_dsn, stop), name="clean-up")
                started = time.perf_counter()
                injected = await send_requests(made, session, count=count, side=Side.CANDIDATE, fault_share=0.02)
                stop.set()
                samples = await until(runner.port, lambda s: settled(s, count), timeout_s=900)
                seconds = time.perf_counter() - started
            verdicts = await outcomes(made)
            equal = await checksums(made.live_dsn) == await checksums(made.shadow_dsn)
    return {
        "requests": count,
        "compared": total(samples, "shadow_compared_total"),
        "skipped": total(samples, "shadow_skipped_total"),
        "injected": len(injected),
        "reported": len(set(verdicts) & set(injected)),
        "false_positives": len(set(verdicts) - set(injected)),
        "tables_equal": equal,
        "requests_per_s": round(count / seconds, 1),
    }


async def crashes(dsn: str, count: int, slot: SlotKind) -> dict[str, object]:
    """Mirror `count` requests through kills, a restart of the shadow and a cut; compare whole tables at the end."""
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        async with crash_lab(dsn, directory, slot=slot) as (made, server):
            process = RunnerProcess(made.settings(), directory)
            started = time.perf_counter()
            try:
                result = await run_through_crashes(made, server, process, part=count // 4)
            finally:
                await process.kill()
            seconds = time.perf_counter() - started
    return {
        "slot": slot.value,
        "requests": count,
        "compared": len(result.compared),
        "skipped": dict(result.skipped),
        "injected": len(result.injected),
        "injected_and_compared": len(result.injected & result.compared),
        "reported": len(result.reported & result.injected),
        "unreported": len(result.unreported),
        "false_positives": len(result.false_reports),
        "mirrored_run_failed": len(result.failed),
        "resyncs": result.resyncs,
        "tables_equal": result.equal,
        "seconds": round(seconds, 1),
    }


async def measure(
    dsn: str, requests: int, aligned: int, crash_requests: int, slots: Sequence[SlotKind]
) -> dict[str, object]:
    """Carry out all runs, one after the other."""
    result: dict[str, object] = {}
    if requests:
        print(f"{'attribution':<24}{'requests':>10}{'rows':>10}{'wrong rows':>12}  outcomes")
    for driver, share in SHARES.items() if requests else ():
        for side in Side:
            truth = await attribution(dsn, driver, side, int(requests * share))
            counts = ", ".join(f"{name} {count}" for name, count in truth.outcomes.most_common())
            print(
                f"{driver + ' ' + side:<24}{truth.requests:>10}{truth.rows:>10}{truth.wrong:>12}  {counts}", flush=True
            )
            result[f"{driver}_{side}_wrong_rows"] = truth.wrong
    runs: list[tuple[str, Callable[[], Awaitable[dict[str, object]]], int]] = [
        ("alignment", partial(alignment, dsn, aligned), aligned),
        *((f"crashes_{slot}", partial(crashes, dsn, crash_requests, slot), crash_requests) for slot in slots),
    ]
    for name, run, count in runs:
        if count:
            part = await run()
            print(name + "".join(f"  {key} {value}" for key, value in part.items()), flush=True)
            result[name] = part
    return result


def main() -> None:
    """Measure, and print the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=10_000, help="to attribute (default: %(default)s)")
    parser.add_argument("--aligned", type=int, default=5_000, help="to mirror with alignment (default: %(default)s)")
    parser.add_argument(
        "--crash-requests", type=int, default=5_000, help="to mirror through crashes (default: %(default)s)"
    )
    parser.add_argument("--crash-slots", nargs="+", type=SlotKind, default=list(SlotKind), help="default: both")
    options = parser.parse_args()
    for dsn in postgres.session_cluster():
        result = asyncio.run(
            measure(dsn, options.requests, options.aligned, options.crash_requests, options.crash_slots)
        )
        print(json.dumps(result))


if __name__ == "__main__":
    main()
