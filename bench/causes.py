"""Accuracy of causes, not speed, on faults that are known: `make bench-causes`.

Synthetic worlds of known faults first; then any two faults of the corpus, as the comparison finds them; then the stand-in of the legacy with
all of its faults switched on, each for its own share of the addresses, behind the real proxy and runner. From that run worlds are cut by address: each fault alone, any two, all at once. Aim: at most
1.2 causes a fault, and none hidden. Prints a table, and one line of JSON at the end. `--addresses 0` leaves the stand-in out; `--save FILE`
writes its exchanges, which the tests replay.
"""

import argparse
import asyncio
import datetime as dt
import itertools
import json
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import asyncpg
import msgspec

from comparator.exchanges.difference import Kind
from comparator.findings.cause_solver import solve
from comparator.findings.causes import FindingSet, KnownCause, find_causes
from comparator.findings.clustering import Signature
from comparator.findings.tokens import Level, Token, token_of
from proxy.demo.summary import wait_for_outcomes
from proxy.demo.traffic import TrafficGenerator
from tests.e2e.systems import installation
from tests.legacy.divergences import Divergence, Divergences
from tests.support import postgres
from tests.support.cause_worlds import Score, World, WorldOptions, cut, joined, make_faults, make_world, rate
from tests.support.corpus_worlds import corpus_pairs

SYNTHETIC: Mapping[str, WorldOptions] = {
    "1 fault": WorldOptions(faults=1),
    "2 faults, 20 % overlap": WorldOptions(faults=2, overlap=0.2),
    "6 faults": WorldOptions(),
    "6 faults, 20 % overlap": WorldOptions(overlap=0.2),
    "6 faults, 2 % noise": WorldOptions(noise=0.02),
    "6 faults, 2 % of findings lost": WorldOptions(drop=0.02),
    "12 faults, 5 routes, 5 % overlap, 1 % noise, 1 % lost": WorldOptions(
        faults=12, routes=5, overlap=0.05, noise=0.01, drop=0.01
    ),
}
SHARES = {
    **{divergence: 0.07 for divergence in Divergence if divergence is not Divergence.SLOW_RESPONSE},
    Divergence.ERROR_500: 0.03,
    # Few addresses score exactly the threshold, or have a stamp that another address holds.
    Divergence.THRESHOLD_OFF_BY_ONE: 0.3,
    Divergence.DEDUP_OFF: 0.15,
    Divergence.MISSING_DEDUP_EVENT: 0.15,
    Divergence.LINKS_LOST: 0.1,
}
ALL_FAULTS = ",".join(f"{divergence.value}:{share}" for divergence, share in SHARES.items())
SELECTED = Divergences.parse(ALL_FAULTS)


def report(name: str, score: Score, seconds: float, worlds: int, result: dict[str, object]) -> None:
    """Print one line, and note it for the line of JSON."""
    print(
        f"{name:<56}{score.per_fault:>8.2f}{score.right_share:>8.3f}{score.hidden:>6} of {score.faults:<5}"
        f"{1000 * seconds / worlds:>8.0f}",
        flush=True,
    )
    result[name] = {**asdict(score), "per_fault": round(score.per_fault, 3), "right": round(score.right_share, 4)}


def rated(worlds: Iterable[World]) -> tuple[Score, float, int]:
    """Solve worlds; return the sum of their scores, the seconds, and their number."""
    total, seconds, number = Score(), 0.0, 0
    for world in worlds:
        counts = world.counts
        started = time.perf_counter()
        solution = solve(counts)
        seconds += time.perf_counter() - started
        total, number = total + rate(world, solution), number + 1
    return total, seconds, number


def aging(seed: int, window_days: int) -> tuple[Score, int]:
    """Solve once a day for 12 days, of which each has two of six faults; return the score, and the ids that changed their fault or ended.

    Args:
        seed: of the faults.
        window_days: days whose counts are kept.
    """
    faults = make_faults(seed, WorldOptions())
    days = [
        make_world(seed + day, WorldOptions(overlap=0.1, mismatches=150), faults[day // 2 % 5 : day // 2 % 5 + 2])
        for day in range(12)
    ]
    now = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    known: dict[str, KnownCause] = {}
    total, lost = Score(), 0
    for day in range(12):
        kept = joined(days[max(0, day - window_days + 1) : day + 1])
        sets = [
            FindingSet(
                " ".join(sorted(t.name for t in tokens)), "r", {t.name: t for t in tokens}, count, now, now, keys=(1, 2)
            )
            for tokens, count in kept.counts.items()
        ]
        named = find_causes(sets, known.values())
        lost += len(named.merged)
        for one in known.values():
            known[one.id] = replace(one, sets=frozenset(), merged=one.id in named.merged)
        for cause in named.causes:
            known[cause.id] = KnownCause(cause.id, cause.body.title, cause.sets, now)
        total += rate(kept, solve(kept.counts))
    return total, lost


def measure_aging(seeds: Sequence[int], result: dict[str, object]) -> None:
    """Compare keeping the counts of three days with keeping all."""
    for name, days in (("faults come and go, 3 days kept", 3), ("faults come and go, all days kept", 12)):
        started = time.perf_counter()
        scores = [aging(seed, days) for seed in seeds]
        report(
            name, sum((score for score, _ in scores), Score()), time.perf_counter() - started, 12 * len(seeds), result
        )
        lost = sum(number for _, number in scores)
        print(f"  ids that ended in another cause: {lost}")
        result[f"{name}: ids lost"] = lost


async def stand_in(dsn: str, addresses: int) -> World:
    """Send two requests for each address through an installation whose mirrored legacy has all faults."""
    runner = {"confirm": False, "concurrency": 8}
    async with installation(dsn, addresses=addresses, divergences=ALL_FAULTS, runner=runner) as running:
        targets = [
            msgspec.structs.replace(target, headers={**target.headers, "X-Request-Id": f"bench-{number}"})
            for number, target in enumerate(running.targets)
        ]
        traffic = TrafficGenerator(running.url, targets, concurrency=4)
        await traffic.as_fast_as_possible(len(targets))
        await wait_for_outcomes(running)
        tokens = await _tokens_of_exchanges(running.addresses.store_dsn)
    found: list[tuple[frozenset[str], frozenset[Token]]] = []
    for number, target in enumerate(targets):
        address = target.path.rpartition("/")[2]
        faults = frozenset(one.value for one in SHARES if SELECTED.diverges(one, address))
        found.append((faults, tokens.get(f"bench-{number}", frozenset())))
    return World(visible(found))


SELECT_SETS = """
SELECT exchange_id, findings FROM shadow.comparison JOIN shadow.finding_set ON finding_set.id = comparison.finding_set
"""
SELECT_FINDINGS = "SELECT id, route, kind, place, shape, source_table, discriminator FROM shadow.finding"


async def _tokens_of_exchanges(dsn: str) -> Mapping[str, frozenset[Token]]:
    conn = await asyncpg.connect(dsn)
    try:
        tokens = {
            record["id"]: token_of(
                Signature(record["route"], Kind(record["kind"]), *(record[name] for name in list(record.keys())[3:]))
            )
            for record in await conn.fetch(SELECT_FINDINGS)
        }
        return {
            record["exchange_id"]: frozenset(tokens[identity] for identity in record["findings"])
            for record in await conn.fetch(SELECT_SETS)
        }
    finally:
        await conn.close()


def visible(
    exchanges: Sequence[tuple[frozenset[str], frozenset[Token]]],
) -> list[tuple[frozenset[str], frozenset[Token]]]:
    """Keep, of the faults of each exchange, those that can be seen in it: by a token that they show where they are alone."""
    alone: dict[str, set[Token]] = {}
    for faults, tokens in exchanges:
        if len(faults) == 1:
            alone.setdefault(next(iter(faults)), set()).update(tokens)
    seen: list[tuple[frozenset[str], frozenset[Token]]] = []
    for faults, tokens in exchanges:
        if any(token.level is Level.STATUS for token in tokens):
            shown = faults & {Divergence.ERROR_500.value}
        else:
            shown = frozenset(fault for fault in faults if alone.get(fault, set()) & tokens)
        if tokens:
            seen.append((shown, tokens))
    return seen


def measure_stand_in(world: World, result: dict[str, object]) -> None:
    """Cut worlds of one, two and all faults, and rate them."""
    counts = Counter(fault for faults, _ in world.exchanges for fault in faults)
    print(f"stand-in: {len(world.exchanges)} mismatches, {len(world.counts)} sets of tokens; exchanges of each fault:")
    print("  " + ", ".join(f"{fault} {count}" for fault, count in counts.most_common()))
    names = sorted(counts)
    singles = [cut(world, {name}) for name in names]
    pairs = [cut(world, set(pair)) for pair in itertools.combinations(names, 2)]
    for name, worlds in (("each fault alone", singles), ("any two faults at once", pairs), ("all faults", [world])):
        report(f"stand-in, {name}", *rated(worlds), result)


def save(world: World, path: Path) -> None:
    """Write the exchanges, equal ones once with their count."""
    grouped = Counter(world.exchanges)
    tokens = sorted({token for _, shown in grouped for token in shown}, key=lambda token: token.name)
    index = {token: number for number, token in enumerate(tokens)}
    lines = sorted(
        [sorted(faults), sorted(index[token] for token in shown), count] for (faults, shown), count in grouped.items()
    )
    document = {"tokens": tokens, "exchanges": lines}
    path.write_bytes(msgspec.json.format(msgspec.json.encode(document), indent=0) + b"\n")


def main() -> None:
    """Measure, and print the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20, help="synthetic worlds of each kind (default: %(default)s)")
    parser.add_argument("--addresses", type=int, default=600, help="of the stand-in's run (default: %(default)s)")
    parser.add_argument("--save", type=Path, help="file for the stand-in's exchanges")
    options = parser.parse_args()
    result: dict[str, object] = {}
    print(f"{'world':<56}{'causes/':>8}{'exch.':>8}{'':>6}    {'':<5}{'solving':>8}")
    print(f"{'':<56}{'fault':>8}{'right':>8}{'hidden':>6}    {'':<5}{'ms':>8}")
    for name, world in SYNTHETIC.items():
        seeds = range(1000, 1000 + options.seeds)
        report(name, *rated(make_world(seed, world) for seed in seeds), result)
    measure_aging(range(1000, 1000 + options.seeds), result)
    report("corpus, any two faults at once", *rated(corpus_pairs()), result)
    for dsn in postgres.session_cluster() if options.addresses else ():
        found = asyncio.run(stand_in(dsn, options.addresses))
        measure_stand_in(found, result)
        if options.save:
            save(found, options.save)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
