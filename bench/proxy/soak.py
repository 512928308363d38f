"""Check that memory stays constant: a fixed rate for minutes, and the resident memory of the process tree after each."""

import json
from collections.abc import Mapping, Sequence

import uvloop

from bench.load.open_loop import OpenLoop, side_by_side
from bench.load.requests import Requests, due_times
from bench.proxy.figures import slope
from bench.proxy.measurement import Contender
from bench.proxy.processes import resource_usage

SETTLED_MINUTES = 2
"""Pools, buffers and caches fill at first; the slope is of the time after that."""


def run(contenders: Sequence[Contender], missing: Mapping[str, str], *, minutes: float, rate: float) -> None:
    """Observe one contender after the other; the last line is JSON."""
    results: dict[str, object] = {}
    for contender in contenders:
        results[contender.name] = _watch(contender, minutes=minutes, rate=rate)
    for name, reason in missing.items():
        print(f"{name}: {reason}")
    print(json.dumps({"bench": "proxy-soak", "rate": rate, "systems": results, "missing": missing}))


def _watch(contender: Contender, *, minutes: float, rate: float) -> dict[str, object]:
    assert contender.running
    pages: list[tuple[float, float]] = [(0.0, resource_usage(contender.running.pids()).rss_mb)]
    errors, number = 0, 0
    print(f"{contender.name}: {rate:g} requests/s; start {pages[0][1]:.1f} MB")
    while number < minutes:
        seconds = 60 * min(1.0, minutes - number)
        loop = OpenLoop(Requests(number), due_times(int(rate * seconds), rate=rate, seed=number))
        uvloop.run(side_by_side([(loop, contender.port)]))
        number += 1
        errors += loop.errors
        contender.clear()
        pages.append((min(number, minutes), resource_usage(contender.running.pids()).rss_mb))
        print(f"{contender.name}: minute {pages[-1][0]:g}: {pages[-1][1]:.1f} MB, {errors} errors", flush=True)
    growth = slope([page for page in pages if page[0] >= min(SETTLED_MINUTES, minutes)])
    each = growth * 2**20 / (60 * rate)
    print(f"{contender.name}: {growth:+.2f} MB a minute after minute {SETTLED_MINUTES}, {each:+.1f} bytes a request")
    return {
        "rss_mb": [round(mb, 2) for _, mb in pages],
        "mb_per_minute": round(growth, 4),
        "bytes_per_request": round(each, 2),
        "requests": int(rate * 60 * minutes),
        "errors": errors,
    }
