"""Simulate and print the tables; the last line is the result as JSON.

`make bench-rollout` (ARGS: --runs 1000 --bad-runs 200 --rates 1 10 100 --only TEXT --results FILE). Results are kept in FILE as they
come, one line each, and are not simulated again: remove the file to begin afresh.
"""

import argparse
import json
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any, Final

import numpy as np

from bench.rollout.rivals import Rival, roll_out_by
from bench.rollout.rollouts import PROMOTED, ROLLED_BACK, finite, hours_max_of, roll_out
from bench.rollout.scenarios import BAD, GOOD
from comparator.stats.confidence import rate_interval

RESULTS: Final = Path("var/bench-rollout.ndjson")
RIVAL_RUNS: Final = 200
RIVALS_FROM_PER_S: Final = 100
SCENARIOS: Final = {scenario.name: scenario for scenario in (*GOOD, *BAD)}
OURS: Final = "gates"

Row = Mapping[str, Any]


def seed_of(name: str, per_s: float, rule: str) -> int:
    """Return a seed that is the same in every process."""
    return int.from_bytes(f"{name}/{per_s:g}/{rule}".encode(), "big") % (2**32)


def simulated(name: str, per_s: float, rule: str, runs: int) -> Row:
    """Simulate one row of the table."""
    scenario, seed = SCENARIOS[name], seed_of(name, per_s, rule)
    row: dict[str, Any] = {"scenario": name, "good": scenario.good, "per_s": per_s, "rule": rule, "runs": runs}
    if rule == OURS:
        ended = roll_out(scenario, runs=runs, per_s=per_s, seed=seed, hours_max=hours_max_of(per_s))
        promoted, back = ended.state == PROMOTED, ended.state == ROLLED_BACK
        gates = {gate: ended.gate.count(gate) for gate in sorted({gate for gate in ended.gate if gate})}
        row |= {"to_last_step_h": spread(ended.hours_to_last_step[promoted]), "gates": gates}
        row |= {"percent": spread(ended.percent[back]), "stuck_percent": spread(ended.percent[~promoted & ~back])}
        row |= {"harmed_stuck": spread(ended.harmed[~promoted & ~back])}
    else:
        ended = roll_out_by(Rival(rule), scenario, runs=runs, per_s=per_s, seed=seed)
        promoted, back = ~ended.rolled_back, ended.rolled_back
    return row | {
        "promoted": int(promoted.sum()),
        "rolled_back": int(back.sum()),
        "promoted_h": spread(ended.hours[promoted]),
        "rolled_back_h": spread(ended.hours[back]),
        "harmed": spread(ended.harmed[back]),
    }


def spread(values: np.ndarray) -> list[float | None]:
    """Return median, 95 % quantile and maximum."""
    if not len(values):
        return [None, None, None]
    return [finite(round(float(value), 3)) for value in (np.median(values), np.quantile(values, 0.95), values.max())]


def read(path: Path) -> dict[tuple[str, float, str], Row]:
    """Read the results there are; of several for one row the one with the most runs."""
    rows: dict[tuple[str, float, str], Row] = {}
    if path.exists():
        for line in path.read_text().splitlines():
            row = json.loads(line)
            key = row["scenario"], float(row["per_s"]), row["rule"]
            if key not in rows or rows[key]["runs"] <= row["runs"]:
                rows[key] = row
    return rows


def tasks_of(arguments: argparse.Namespace) -> Iterable[tuple[str, float, str, int]]:
    """Yield scenario, rate, rule and number of runs of each row."""
    only = [
        scenario
        for scenario in SCENARIOS.values()
        if not arguments.only or any(text in scenario.name for text in arguments.only)
    ]
    for per_s in arguments.rates:
        for scenario in only:
            yield scenario.name, per_s, OURS, arguments.runs if scenario.good else arguments.bad_runs
    # With less traffic a minute has too few requests for the others' rules.
    for per_s in arguments.rates:
        for scenario in only if per_s >= RIVALS_FROM_PER_S else ():
            for rival in Rival:
                yield scenario.name, per_s, rival.value, min(RIVAL_RUNS, arguments.runs)


def figures(values: Sequence[float | None], width: int) -> str:
    """Return median and 95 % quantile as text."""
    if values[0] is None or values[1] is None:
        return " " * (width - 1) + "-"
    return f"{values[0]:.3g} / {values[1]:.3g}".rjust(width)


def print_good(rows: Mapping[tuple[str, float, str], Row]) -> None:
    """Print the table of good candidates."""
    print("\nGood candidates: false rollbacks, and hours to 100 % (of these 24 are the last step)")
    print(f"{'candidate and traffic':<46} {'req/s':>6} {'runs':>5} {'rolled back':>12} {'at most':>8} {'promoted':>9} "
          f"{'hours median / 95 %':>20}  {'  '.join(f'{rival.value:>13}' for rival in Rival)}")  # fmt: skip
    for (name, per_s, rule), row in sorted(
        rows.items(), key=lambda item: (list(SCENARIOS).index(item[0][0]), item[0][1])
    ):
        if rule == OURS and row["good"]:
            at_most = rate_interval(row["rolled_back"], row["runs"], around=0.01).high
            rivals = [rows.get((name, per_s, rival.value)) for rival in Rival]
            others = "  ".join(f"{one['rolled_back'] / one['runs'] if one else float('nan'):>13.1%}" for one in rivals)
            print(f"{name:<46} {per_s:>6g} {row['runs']:>5} {row['rolled_back']:>12} {at_most:>8.2%} "
                  f"{row['promoted'] / row['runs']:>9.1%} {figures(row['promoted_h'], 20)}  {others}")  # fmt: skip


def print_bad(rows: Mapping[tuple[str, float, str], Row]) -> None:
    """Print the table of bad candidates."""
    print("\nBad candidates: found (rolled back), after hours, at percent, with harmed requests")
    print(f"{'candidate and traffic':<46} {'req/s':>6} {'runs':>5} {'found':>7} {'stuck':>7} {'hours med / 95 %':>17} {'at %':>5} "
          f"{'harmed med / 95 %':>18}  {'found, harmed: ' + ', '.join(Rival)}")  # fmt: skip
    for (name, per_s, rule), row in sorted(
        rows.items(), key=lambda item: (list(SCENARIOS).index(item[0][0]), item[0][1])
    ):
        if rule == OURS and not row["good"]:
            rivals = [rows.get((name, per_s, rival.value)) for rival in Rival]
            others = "  ".join(
                f"{one['rolled_back'] / one['runs']:>5.0%} {one['harmed'][0] if one['harmed'][0] is not None else float('nan'):>7.0f}"
                for one in rivals
                if one
            )
            stuck = 1 - (row["rolled_back"] + row["promoted"]) / row["runs"]
            percent = "-" if row["percent"][0] is None else f"{row['percent'][0]:g}"
            print(f"{name:<46} {per_s:>6g} {row['runs']:>5} {row['rolled_back'] / row['runs']:>7.1%} {stuck:>7.1%} "
                  f"{figures(row['rolled_back_h'], 17)} {percent:>5} {figures(row['harmed'], 18)}  {others}")  # fmt: skip


def main() -> None:
    """Simulate what is missing, and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.rollout", description=__doc__)
    parser.add_argument("--runs", type=int, default=1000, help="rollouts of each good candidate")
    parser.add_argument("--bad-runs", type=int, default=200, help="rollouts of each bad candidate")
    parser.add_argument("--rates", type=float, nargs="+", default=[1.0, 10.0, 100.0], help="requests per second")
    parser.add_argument("--only", nargs="*", default=[], help="texts, one of which the name contains")
    parser.add_argument("--results", type=Path, default=RESULTS, help="file of the results")
    parser.add_argument("--processes", type=int, default=2, help="number of processes")
    arguments = parser.parse_args()
    arguments.results.parent.mkdir(parents=True, exist_ok=True)
    rows = read(arguments.results)
    wanted = list(tasks_of(arguments))
    missing = [task for task in wanted if task[:3] not in rows or rows[task[:3]]["runs"] < task[3]]
    with ProcessPoolExecutor(arguments.processes) as pool, arguments.results.open("a") as file:
        for done in as_completed([pool.submit(simulated, *task) for task in missing]):
            row = done.result()
            rows[row["scenario"], row["per_s"], row["rule"]] = row
            file.write(json.dumps(row) + "\n")
            file.flush()
    shown = {task[:3]: rows[task[:3]] for task in wanted}
    print_good(shown)
    print_bad(shown)
    ours = [row for (_, _, rule), row in shown.items() if rule == OURS]
    good, bad = [row for row in ours if row["good"]], [row for row in ours if not row["good"]]
    worst = max((row["rolled_back"] / row["runs"] for row in good), default=0.0)
    least = min((row["promoted"] / row["runs"] for row in good), default=1.0)
    escaped = sum(row["promoted"] for row in bad)
    print(json.dumps({"bench": "rollout", "good_rows": len(good), "false_rollbacks_max": worst, "promoted_min": least,
                      "bad_rows": len(bad), "bad_promoted": escaped, "rows": ours}))  # fmt: skip


if __name__ == "__main__":
    main()
