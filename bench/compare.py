"""Measure the CPU time of comparing responses and effects, beside a plain DeepDiff implementation with equivalent options.

`python -m bench.compare [--rounds N]`: all contenders take turns in every round on the same pairs; the results are medians of the rounds,
and the last line is JSON. One process on one core; CPU time, so other processes do not count. Responses have 20 stamps (about 2.4 KB) and
the headers of a Django response, of which Date differs in every pair.
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
from typing import Any, cast

import msgspec
from deepdiff import DeepDiff
from deepdiff.operator import BaseOperator

from comparator.exchanges.comparison import Verdict
from comparator.exchanges.model import Effects, EffectsOutcome, Observation, Response, Role, Side
from comparator.findings.clustering import Clusterer
from comparator.settings import CompareSettings, RuleSettings
from comparator.verdict import Comparator
from tests.support.comparison_faults import as_inserts, legacy_settings, score_response, score_rows
from tests.support.schemas import LEGACY_SCHEMAS

PAIRS = 50
STAMPS = 20
SAMPLE_S = 0.01


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
    # Separate string objects for each response, as from two connections: comparing an object with itself would be too fast.
    lines = tuple((bytes(name, "ascii").decode(), bytes(value, "ascii").decode()) for name, value in headers(second))
    return Observation(side, role, Response(200, lines, body), 1_000_000, effects)


def pairs(
    change: Callable[[dict[str, Any], int], dict[str, Any]], *, compact: bool = False, second: int = 2
) -> list[Pair]:
    none = Effects(EffectsOutcome.ATTRIBUTED)
    made = []
    for number in range(PAIRS):
        truth = score_response(STAMPS) | {"address": f"0x{number:040x}"}
        stamps = cast("dict[str, dict[str, Any]]", truth["stamps"])
        for day, stamp in enumerate(stamps.values()):
            stamp["expiration_date"] = f"2026-{1 + number % 12:02}-{1 + day:02}T23:59:59+00:00"
        other = change(json.loads(json.dumps(truth)), number)
        made.append(
            Pair(
                observation(Role.SERVED, truth, 1, none, compact=False),
                observation(Role.MIRRORED, other, second, none, compact=compact),
            )
        )
    return made


def later(document: dict[str, Any], number: int) -> dict[str, Any]:
    return {**document, "last_score_timestamp": f"2026-03-04T12:00:01.{number:06}+00:00"}


def other_notation(document: dict[str, Any], number: int) -> dict[str, Any]:
    """Write every time in the other notation, with a later timestamp."""
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
        RuleSettings(path="last_score_timestamp", time_within_ms=60_000),
        RuleSettings(path="expiration_timestamp", same="time"),
        RuleSettings(path="stamps.*.expiration_date", same="time"),
    )
)
TIMES = r"root\['(last_score|expiration)_timestamp'\]|root\['stamps'\]\['[^']+'\]\['expiration_date'\]"
LEFT_OUT = re.compile(TIMES)


class TimesWithin(BaseOperator):
    """The declared time rules in DeepDiff's terms: at their places, two times that are close enough are equal."""

    def give_up_diffing(self, level: Any, diff_instance: Any) -> bool:  # noqa: ARG002 (DeepDiff's signature)
        try:
            a, b = dt.datetime.fromisoformat(level.t1), dt.datetime.fromisoformat(level.t2)
        except (TypeError, ValueError):
            return False
        within_s = 60 if level.path().endswith("['last_score_timestamp']") else 0
        return abs(a - b).total_seconds() <= within_s


OPERATORS = [TimesWithin(regex_paths=[TIMES])]


def documents(pair: Pair) -> tuple[Any, Any]:
    """Parse both bodies, with exact decimals."""
    a, b = pair.served.outcome, pair.mirrored.outcome
    assert isinstance(a, Response)
    assert isinstance(b, Response)
    return json.loads(a.body, parse_float=Decimal), json.loads(b.body, parse_float=Decimal)


def deepdiff_compare(pair: Pair) -> bool:
    """Compare with DeepDiff under the same rules."""
    left, right = documents(pair)
    return not DeepDiff(left, right, ignore_private_variables=False, custom_operators=OPERATORS, verbose_level=1)


def deepdiff_leaving_out(pair: Pair) -> bool:
    """Compare with DeepDiff without the places of the time rules, which is faster and allows any time there."""
    left, right = documents(pair)
    return not DeepDiff(left, right, ignore_private_variables=False, exclude_regex_paths=[LEFT_OUT], verbose_level=1)


def seconds_per_call(call: Callable[[Pair], object], work: list[Pair], *, repeats: int = 1) -> float:
    started = time.process_time()
    for _ in range(repeats):
        for pair in work:
            call(pair)
    return (time.process_time() - started) / (repeats * len(work))


def repeats_of(call: Callable[[Pair], object], work: list[Pair]) -> int:
    """Return how many passes over the pairs make one sample, so that it lasts long enough to warm the caches."""
    return max(1, round(SAMPLE_S / (seconds_per_call(call, work) * len(work))))


def effect_pairs() -> list[Pair]:
    made = []
    for number in range(PAIRS):
        sides = [score_rows(8), json.loads(json.dumps(score_rows(8, first_id=2**40)).replace("00.685", "01.001"))]
        for side in sides:
            # 30 rows a side: the rows of the corpus and more links, as of a passport with many nullifiers.
            side["registry_hashscorerlink"] += [
                {**side["registry_hashscorerlink"][0], "id": 5_000 + i, "hash": f"v0:more{number}-{i}"}
                for i in range(9)
            ]
        effects = [Effects(EffectsOutcome.ATTRIBUTED, as_inserts(side), LEGACY_SCHEMAS) for side in sides]
        document = score_response(STAMPS)
        made.append(
            Pair(
                observation(Role.SERVED, document, 1, effects[0], compact=False),
                observation(Role.MIRRORED, document, 2, effects[1], compact=False),
            )
        )
    return made


def check(comparator: Comparator, work: list[Pair], verdict: Verdict, *, deep: bool | None = None) -> None:
    """Check that the contenders agree on every pair, before anything is measured."""
    now = dt.datetime(2026, 3, 4, tzinfo=dt.UTC)
    for pair in work:
        assert comparator.compare("r", pair.served, pair.mirrored, now=now).verdict is verdict
        assert deep is None or deepdiff_compare(pair) is deepdiff_leaving_out(pair) is deep


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
        return clusterer.occurrences("r", comparator.compare("r", pair.served, pair.mirrored, now=now))

    def effects(pair: Pair) -> object:
        return effects_comparator.compare("v2_score", pair.served, pair.mirrored, now=now)

    cases = {
        "equal bytes, equal header lines": pairs(lambda document, _: document, second=1),
        "equal bytes, another Date": pairs(lambda document, _: document),
        "equal, one time within tolerance": pairs(later),
        "equal under rules everywhere": pairs(other_notation, compact=True),
        "differing in two places": pairs(differing),
    }
    for name, work in cases.items():
        differ = name.startswith("differing")
        check(comparator, work, Verdict.MISMATCH if differ else Verdict.MATCH, deep=not differ)
    rows = effect_pairs()
    check(effects_comparator, rows, Verdict.MATCH)
    contenders = {(name, "ours"): (ours, work) for name, work in cases.items()}
    contenders |= {(name, "deepdiff"): (deepdiff_compare, work[:3]) for name, work in cases.items()}
    contenders |= {(name, "leaving out"): (deepdiff_leaving_out, work[:3]) for name, work in cases.items()}
    contenders["differing, with findings", "ours"] = (pipeline, cases["differing in two places"])
    contenders["effects, 30 rows a side", "ours"] = (effects, rows)
    samples: dict[tuple[str, str], list[float]] = {key: [] for key in contenders}
    repeats = {key: repeats_of(call, work) for key, (call, work) in contenders.items()}
    for _ in range(rounds):
        for key, (call, work) in contenders.items():
            samples[key].append(seconds_per_call(call, work, repeats=repeats[key]))
    medians = {key: statistics.median(times) for key, times in samples.items()}
    report(medians, size=len(json.dumps(score_response(STAMPS))), rounds=rounds)


def report(medians: dict[tuple[str, str], float], *, size: int, rounds: int) -> None:
    print(f"body {size} bytes, {STAMPS} stamps; {rounds} rounds, medians of CPU time; one core")
    print("DeepDiff: with the same rules. Leaving out: DeepDiff without the places of the time rules.")
    print(
        f"{'case':<34} {'ours us':>8} {'per second':>11} {'DeepDiff us':>12} {'ratio':>7} {'leaving out':>12} {'ratio':>7}"
    )
    result: dict[str, Any] = {"body_bytes": size, "rounds": rounds, "cases": {}}
    for name in dict.fromkeys(name for name, _ in medians):
        ours = medians[name, "ours"]
        line, entry = f"{name:<34} {ours * 1e6:>8.2f} {1 / ours:>11,.0f}", {"us": round(ours * 1e6, 3)}
        for contender in ("deepdiff", "leaving out"):
            other = medians.get((name, contender))
            if other:
                line += f" {other * 1e6:>12.0f} {other / ours:>6.0f}x"
                entry |= {f"{contender}_us": round(other * 1e6, 1), f"{contender}_ratio": round(other / ours, 1)}
        print(line)
        result["cases"][name] = entry
    print(msgspec.json.encode(result).decode())


if __name__ == "__main__":
    main()
