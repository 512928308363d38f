"""Run a folder of scenarios: `python -m tests.golden DIR [--only TEXT] [--verbose]`; exit code 0 without mismatches."""

import argparse
import asyncio
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.golden import known, report
from tests.golden.replay import stage
from tests.golden.run import Report, Result, run_scenario
from tests.golden.scenario import paths_of
from tests.support.postgres import session_cluster
from tests.support.redis import RedisServer, running_redis

SCENARIOS = Path(__file__).parent / "scenarios"


def main(words: list[str]) -> int:
    """Run the scenarios, print the results, return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.golden", description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=SCENARIOS, help="a folder of scenario files")
    parser.add_argument("--only", default="", help="run the scenarios whose name contains this text")
    parser.add_argument("--verbose", action="store_true", help="print every difference whole")
    arguments = parser.parse_args(words)
    paths = paths_of(arguments.folder, arguments.only)
    if not paths:
        print(f"no scenarios in {arguments.folder}")
        return 2
    logging.disable(logging.CRITICAL)
    with _cluster() as dsn, running_redis() as redis_server, _quiet_panics(arguments.verbose):
        return asyncio.run(_run(paths, dsn, redis_server, verbose=arguments.verbose))


async def _run(paths: list[Path], dsn: str, redis_server: RedisServer, *, verbose: bool) -> int:
    declared = known.load()
    reports: list[Report] = []
    async with stage(dsn, redis_server) as on:
        for path in paths:
            reports.append(await run_scenario(path, on, declared))
            print(report.line(reports[-1]), flush=True)
            if verbose:
                print("\n".join(report.details(reports[-1])), flush=True)
    stale = declared.stale()
    for words in stale:
        print(f"stale             {words}")
    print(report.totals(reports), flush=True)
    return 1 if stale or any(one.result is Result.MISMATCH for one in reports) else 0


@contextmanager
def _cluster() -> Iterator[str]:
    yield from session_cluster()


@contextmanager
def _quiet_panics(verbose: bool) -> Iterator[None]:
    """Discard the backtraces that didkit prints to stderr for panics that it catches; some scenarios cause them."""
    if verbose:
        yield
        return
    kept = os.dup(2)
    with Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)


if __name__ == "__main__":
    status = main(sys.argv[1:])
    sys.stdout.flush()
    # didkit may crash while the interpreter shuts down, after all work is done.
    os._exit(status)
