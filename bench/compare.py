"""How fast replies and effects are compared, beside a plain DeepDiff implementation with equivalent options.

`python -m bench.compare [--rounds N]`: all contenders take turns in every round on the same pairs, medians of the rounds;
the last line is JSON. One process, one core, CPU time (other processes' share of the machine is not counted). Replies have 20 stamps (about 2.4 KB) and the headers of a Django answer, of
which Date differs in every pair.
"""

import argparse
import datetime as dt
import json
import random
import re
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import msgspec
from deepdiff import DeepDiff

from comparator.exchange import Effects, EffectsOutcome, Observation, Reply, Role, Side
from comparator.findings import Clusterer
from comparator.settings import CompareSettings, Rule
from comparator.verdict import Comparator, Verdict
from tests.support.corpus import inserted, legacy_settings, score_reply, score_rows

PAIRS = 50
STAMPS = 20


def headers(second: int) -> tuple[tuple[str, str], ...]:
    return (
        ("Content-Type", "application/json; charset=utf-8"),
        ("X-Frame-Options", "DENY"),
        ("Content-Length", "2431"),
        ("Vary", "origin"),
        ("X-Content-Type-Options", "nosniff"),
        ("Referrer-Policy", "same-origin"),
        ("Cross-Origin-Opener-Policy", "same-origin"),
        ("Date", f"Wed, 04 Mar 2026 12:00:{second:02} GMT"),
        ("Server", "gunicorn"),
    )


@dataclass
class Pair:
    served: Observation
    mirrored: Observation


def observation(role: Role, document: dict[str, Any], second: int, effects: Effects, *, compact: bool) -> Observation:
    layout: Any = (",", ":") if compact else None
    body = json.dumps(document, separators=layout).encode()
    side = Side.CANDIDATE if role is Role.SERVED else Side.LEGACY
    return Observation(side, role, Reply(200, headers(second), body), 1_000_000, effects)


def pairs(change: Callable[[dict[str, Any], int], dict[str, Any]], *, compact: bool = False) -> list[Pair]:
    none = Effects(EffectsOutcome.ATTRIBUTED)
    made = []
    for number in range(PAIRS):
        truth = score_reply(STAMPS) | {"address": f"0x{number:040x}"}
        for day, stamp in enumerate(truth["stamps"].values()):
            stamp["expiration_date"] = f"2026-{1 + number % 12:02}-{1 + day:02}T23:59:59+00:00"
        other = change(json.loads(json.dumps(truth)), number)
        made.append(
            Pair(
                observation(Role.SERVED, truth, 1, none, compact=False),
                observation(Role.MIRRORED, other, 2, none, compact=compact),
            )
        )
    return made


def later(document: dict[str, Any], number: int) -> dict[str, Any]:
    return {**document, "last_score_timestamp": f"2026-03-04T12:00:01.{number:06}+00:00"}


def other_notation(document: dict[str, Any], number: int) -> dict[str, Any]:
    """Every time in the other notation, as well as a later timestamp and a compact layout."""
    text = json.dumps(later(document, number)).replace("+00:00", "Z")
    return json.loads(text)


def differing(document: dict[str, Any], number: int) -> dict[str, Any]:
    changed = later(document, number)
    names = list(changed["stamps"])
    changed["stamps"][names[number % STAMPS]]["score"] = "9.99999"
    changed["stamps"][names[(number + 3) % STAMPS]]["dedup"] = True
    return changed


SETTINGS = CompareSettings(
    rules=(
        Rule(path="last_score_timestamp", time_within_ms=60_000),
        Rule(path="expiration_timestamp", same="time"),
        Rule(path="stamps.*.expiration_date", same="time"),
    )
)
TIMES = re.compile(r"root\['(last_score|expiration)_timestamp'\]|root\['stamps'\]\['[^']+'\]\['expiration_date'\]")


def deepdiff_compare(pair: Pair) -> bool:
    """What one writes with DeepDiff: decimals kept, the places of the declared time rules left out."""
    a, b = pair.served.outcome, pair.mirrored.outcome
    assert isinstance(a, Reply)
    assert isinstance(b, Reply)
    left, right = json.loads(a.body, parse_float=Decimal), json.loads(b.body, parse_float=Decimal)
    return not DeepDiff(
        left, right, ignore_private_variables=False, exclude_regex_paths=[TIMES], ignore_order=False, verbose_level=1
    )


def seconds_per_call(call: Callable[[Pair], object], work: list[Pair]) -> float:
    started = time.process_time()
    for pair in work:
        call(pair)
    return (time.process_time() - started) / len(work)


def effect_pairs() -> list[Pair]:
    made = []
    for number in range(PAIRS):
        sides = [score_rows(8), json.loads(json.dumps(score_rows(8, first_id=2**40)).replace("00.685", "01.001"))]
        for side in sides:
            # 30 rows a side: the corpus's set and more links, as a passport with many nullifiers has.
            side["registry_hashscorerlink"] += [
                {**side["registry_hashscorerlink"][0], "id": 5_000 + i, "hash": f"v0:more{number}-{i}"}
                for i in range(9)
            ]
        found = [Effects(EffectsOutcome.ATTRIBUTED, inserted(side)) for side in sides]
        document = score_reply(STAMPS)
        made.append(
            Pair(
                observation(Role.SERVED, document, 1, found[0], compact=False),
                observation(Role.MIRRORED, document, 2, found[1], compact=False),
            )
        )
    return made


def check(comparator: Comparator, work: list[Pair], verdict: Verdict, *, deep: bool | None = None) -> None:
    """The contenders agree on every pair before anything is timed."""
    now = dt.datetime(2026, 3, 4, tzinfo=dt.UTC)
    for pair in work:
        assert comparator.compare("r", pair.served, pair.mirrored, now=now).verdict is verdict
        assert deep is None or deepdiff_compare(pair) is deep


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    comparator, effects_comparator = Comparator(SETTINGS), Comparator(legacy_settings())
    now = dt.datetime(2026, 3, 4, tzinfo=dt.UTC)
    clusterer = Clusterer(SETTINGS.dynamic)
    random.seed(1)

    def ours(pair: Pair) -> object:
        return comparator.compare("r", pair.served, pair.mirrored, now=now)

    def pipeline(pair: Pair) -> object:
        return clusterer.sightings("r", comparator.compare("r", pair.served, pair.mirrored, now=now))

    def effects(pair: Pair) -> object:
        return effects_comparator.compare("v2_score", pair.served, pair.mirrored, now=now)

    cases = {
        "equal bytes": pairs(lambda document, _: document),
        "equal, one time within tolerance": pairs(later),
        "equal under rules everywhere": pairs(other_notation, compact=True),
        "differing in two places": pairs(differing),
    }
    check(comparator, cases["equal bytes"], Verdict.MATCH, deep=True)
    check(comparator, cases["equal, one time within tolerance"], Verdict.MATCH, deep=True)
    check(comparator, cases["equal under rules everywhere"], Verdict.MATCH, deep=True)
    check(comparator, cases["differing in two places"], Verdict.MISMATCH, deep=False)
    rows = effect_pairs()
    check(effects_comparator, rows, Verdict.MATCH)
    contenders = {(name, "ours"): (ours, work) for name, work in cases.items()}
    contenders |= {(name, "deepdiff"): (deepdiff_compare, work[:3]) for name, work in cases.items()}
    contenders["differing, with findings", "ours"] = (pipeline, cases["differing in two places"])
    contenders["effects, 30 rows a side", "ours"] = (effects, rows)
    samples: dict[tuple[str, str], list[float]] = {key: [] for key in contenders}
    for _ in range(rounds):
        for key, (call, work) in contenders.items():
            samples[key].append(seconds_per_call(call, work))
    medians = {key: statistics.median(found) for key, found in samples.items()}
    report(medians, size=len(json.dumps(score_reply(STAMPS))), rounds=rounds)


def report(medians: dict[tuple[str, str], float], *, size: int, rounds: int) -> None:
    print(f"body {size} bytes, {STAMPS} stamps; {rounds} rounds, medians; one core")
    print(f"{'case':<36} {'ours us':>10} {'per second':>12} {'DeepDiff us':>12} {'ratio':>8}")
    result: dict[str, Any] = {"body_bytes": size, "rounds": rounds, "cases": {}}
    for name in dict.fromkeys(name for name, _ in medians):
        mine, theirs = medians[name, "ours"], medians.get((name, "deepdiff"))
        ratio = theirs / mine if theirs else None
        deep = f"{theirs * 1e6:>12.0f} {ratio:>7.0f}x" if theirs and ratio else ""
        print(f"{name:<36} {mine * 1e6:>10.2f} {1 / mine:>12,.0f} {deep}")
        result["cases"][name] = {
            "us": round(mine * 1e6, 3),
            "per_second": round(1 / mine),
            "deepdiff_us": round(theirs * 1e6, 1) if theirs else None,
            "ratio": round(ratio, 1) if ratio else None,
        }
    print(msgspec.json.encode(result).decode())


if __name__ == "__main__":
    main()
