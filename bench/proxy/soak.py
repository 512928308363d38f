"""Whether memory stays flat: a fixed rate for minutes, resident memory of the process tree at each."""

import json
from collections.abc import Mapping, Sequence

import uvloop

from bench.load.opened import OpenLoop, side_by_side
from bench.load.requests import Requests, due_times
from bench.proxy.figures import slope
from bench.proxy.processes import weigh
from bench.proxy.turns import Contender

SETTLED_MINUTES = 2
"""Pools, buffers and caches fill first; the slope is of what comes after."""


def run(contenders: Sequence[Contender], missing: Mapping[str, str], *, minutes: float, rate: float) -> None:
    """One contender after the other; the last line is JSON."""
    found: dict[str, object] = {}
    for contender in contenders:
        found[contender.name] = _watch(contender, minutes=minutes, rate=rate)
    for name, reason in missing.items():
        print(f"{name}: {reason}")
    print(json.dumps({"bench": "proxy-soak", "rate": rate, "systems": found, "missing": missing}))


def _watch(contender: Contender, *, minutes: float, rate: float) -> dict[str, object]:
    assert contender.running
    pages: list[tuple[float, float]] = [(0.0, weigh(contender.running.family()).rss_mb)]
    errors, number = 0, 0
    print(f"{contender.name}: {rate:g} requests/s; start {pages[0][1]:.1f} MB")
    while number < minutes:
        seconds = 60 * min(1.0, minutes - number)
        loop = OpenLoop(Requests(number), due_times(int(rate * seconds), rate=rate, seed=number))
        uvloop.run(side_by_side([(loop, contender.port)]))
        number += 1
        errors += loop.errors
        contender.clear()
        pages.append((min(number, minutes), weigh(contender.running.family()).rss_mb))
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
