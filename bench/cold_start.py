"""Cold starts, from the start of a process to its first score: the Lambda function, the scorer as a server, and the legacy stand-in.

`python -m bench.cold_start [--rounds N]` starts each in turn, prints the medians and, last, one JSON line. The function runs under AWS's own runtime
client, against a Runtime API on this machine; loading the image or the archive, which Lambda does before, is not part of it.
"""

import argparse
import asyncio
import json
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from bench.scorer import STAMPS, Server, environment, fill, legacy, ours, requests_for
from bench.scorer_load import Connection
from proxy.demo.embedded_postgres import EmbeddedPostgres
from scorer.population.people import address_of
from scorer.population.rows import KEY, PLAIN
from tests.support.lambda_runtime import lambda_runtime

MOST_STAMPS = STAMPS[-1]


@dataclass(frozen=True, slots=True)
class ColdStart:
    """Milliseconds from the start of the process to its first score, and those that the second score took."""

    first_ms: float
    second_ms: float


async def function(dsn: str) -> ColdStart:
    """Measure the Lambda function."""
    event = {
        "requestContext": {"elb": {}},
        "httpMethod": "GET",
        "path": f"/v2/stamps/{PLAIN.scorer_id}/score/{address_of(f'bench.{MOST_STAMPS}.0')}",
        "headers": {"x-api-key": KEY.text},
        "body": "",
    }
    began = time.perf_counter()
    async with lambda_runtime(environment(dsn)) as running:

        async def ask() -> None:
            result = await running.invoke(event)
            assert result["statusCode"] == 200, result

        return await _timed(began, ask)


async def server(dsn: str) -> ColdStart:
    """Measure the scorer as a server."""
    return await _served(ours("scorer", dsn))


async def stand_in(dsn: str) -> ColdStart:
    """Measure the legacy stand-in."""
    return await _served(legacy(dsn))


async def _served(process: AbstractAsyncContextManager[Server]) -> ColdStart:
    began = time.perf_counter()
    async with process as running:
        connection = await Connection.open(running.port)

        async def ask() -> None:
            assert await connection.ask(requests_for(MOST_STAMPS)[0]) == 200

        timed = await _timed(began, ask)
        connection.close()
        return timed


async def _timed(began: float, ask: Callable[[], Awaitable[None]]) -> ColdStart:
    await ask()
    first = time.perf_counter()
    await ask()
    return ColdStart((first - began) * 1000, (time.perf_counter() - first) * 1000)


async def run(rounds: int) -> dict[str, float]:
    """Measure `rounds` starts of each, interleaved; print the table; return the content of the JSON line."""
    measured = {"function": function, "server": server, "legacy": stand_in}
    found: dict[str, list[ColdStart]] = {name: [] for name in measured}
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="shadow-bench-")))
        folder.chmod(0o755)
        postgres = EmbeddedPostgres(folder / "data")
        postgres.start()
        stack.callback(postgres.stop, mode="immediate")
        dsn = postgres.dsn()
        await fill(dsn)
        for _ in range(rounds):
            for name, measure in measured.items():
                found[name].append(await measure(dsn))
    first = {name: median(start.first_ms for start in starts) for name, starts in found.items()}
    second = {name: median(start.second_ms for start in starts) for name, starts in found.items()}
    print(f"median of {rounds} starts, an address with {MOST_STAMPS} stamps\n")
    print(f"{'':<10} {'first score ms':>15} {'second score ms':>16} {'of the legacy':>14}")
    for name in measured:
        print(f"{name:<10} {first[name]:>15.0f} {second[name]:>16.1f} {first[name] / first['legacy']:>14.2f}")
    return {
        **{f"{name}_first_ms": round(value, 1) for name, value in first.items()},
        **{f"{name}_second_ms": round(value, 2) for name, value in second.items()},
        "function_to_legacy": round(first["function"] / first["legacy"], 3),
        "server_to_legacy": round(first["server"] / first["legacy"], 3),
    }


def main() -> None:
    """Run it; the last line is JSON."""
    parser = argparse.ArgumentParser(prog="python -m bench.cold_start", description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    print(json.dumps(asyncio.run(run(parser.parse_args().rounds))))


if __name__ == "__main__":
    main()
