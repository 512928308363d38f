"""Whole rollouts of candidates that are good or bad in one way, in simulated time, judged by the real gates and the real machine."""

import math
import random
from dataclasses import dataclass, field
from typing import Final

from comparator.exchanges.model import Role, Side
from comparator.stats.confidence import JudgementOutcome, VerdictCounts
from comparator.stats.quantile_sketch import QuantileSketch
from proxy.config.rollout import DEFAULT_STEPS, AutoRollbackSettings, GateSettings, StepSettings
from proxy.rollout.evidence import AccountingTotals, Evidence, RouteEvidence, SuspectFinding
from proxy.rollout.gates import Streaks, grounds_for_rollback, implicated_finding, judge, outcome_of, streaks_after
from proxy.rollout.state_machine import Event, Phase, RolloutPosition, Refusal, next_position

ROUTES: Final = {"score": 0.9, "history": 0.08, "rare": 0.02}
REQUESTS_PER_S: Final = 200
EVALUATE_S: Final = 60.0
TIMED: Final = 150
"""Durations drawn of each side an evaluation; the sketch does not need all."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """What is wrong with it. Rates are of its requests; `since_percent`: only from that step on (it was replaced meanwhile)."""

    name: str
    wrong: float = 0.0
    wrong_rows: float = 0.0
    errors: float = 0.0
    slower: float = 0.85
    only_on: str = ""
    since_percent: float = 0.0


GOOD: Final = Candidate("good")
BAD: Final = (
    Candidate("slightly wrong (0.2 %)", wrong=0.002),
    Candidate("slow (p95 +20 %)", slower=1.2),
    Candidate("erroring (+0.3 %)", errors=0.003),
    Candidate("wrong only in rows (0.05 %)", wrong_rows=0.0005),
    Candidate("wrong only on one route (2 % of 2 %)", wrong=0.02, only_on="rare"),
)
NOISE: Final = 0.0001
"""Confirmed mismatches of a good candidate, and failures of either side alone."""


@dataclass(slots=True)
class Run:
    """How a rollout ended. `exposed`: requests that clients got wrong or late from the candidate before the rollback."""

    phase: Phase = Phase.SHADOWING
    reached: float = 0.0
    seconds: float = 0.0
    exposed: float = 0.0
    gate: str = ""
    finding: str = ""


@dataclass(slots=True)
class _Step:
    """The evidence of one step, as it grows."""

    seconds: float = 0.0
    routes: dict[str, RouteEvidence] = field(default_factory=lambda: dict.fromkeys(ROUTES, RouteEvidence()))
    rows: int = 0
    sketches: dict[tuple[Side, Role], QuantileSketch] = field(
        default_factory=lambda: {(side, role): QuantileSketch() for side in Side for role in Role}
    )
    suspects: dict[str, int] = field(default_factory=dict[str, int])


def simulate(candidate: Candidate, seed: int, *, gates: GateSettings | None = None, hours_max: float = 24.0) -> Run:
    """One rollout with automatic promotion, until it is promoted, rolled back, or `hours_max` are over."""
    source, gates, auto = random.Random(seed), gates or GateSettings(), AutoRollbackSettings()
    place, step, streaks, run = RolloutPosition(), _Step(), {}, Run()
    while run.seconds < hours_max * 3600 and place.phase in (Phase.SHADOWING, Phase.STEPPING):
        percent = DEFAULT_STEPS[place.step]
        _observe(step, candidate if percent >= candidate.since_percent else GOOD, percent, source, run)
        run.seconds, run.reached = run.seconds + EVALUATE_S, percent
        place, step, streaks = _decide(place, step, streaks, gates, auto, run)
    run.phase = place.phase
    return run


def _decide(
    place: RolloutPosition, step: _Step, streaks: Streaks, gates: GateSettings, auto: AutoRollbackSettings, run: Run
) -> tuple[RolloutPosition, _Step, Streaks]:
    measured = _measured(step)
    found = judge(measured, gates, StepSettings(DEFAULT_STEPS[place.step]), auto)
    streaks = streaks_after(streaks, found)
    ground = grounds_for_rollback(streaks, found, auto)
    event = Event.ROLL_BACK if ground else Event.PROMOTE if outcome_of(found) is JudgementOutcome.GOOD else None
    if ground:
        suspect = implicated_finding(ground, measured, gates.points_tables)
        run.gate, run.finding = ground.name, suspect.id if suspect else ""
    if event is None:
        return place, step, streaks
    moved = next_position(place, event, last_step=len(DEFAULT_STEPS) - 1)
    assert not isinstance(moved, Refusal)
    return moved, _Step(), {}


def _observe(step: _Step, candidate: Candidate, percent: float, source: random.Random, run: Run) -> None:
    step.seconds += EVALUATE_S
    for route, share in ROUTES.items():
        requests = poisson(REQUESTS_PER_S * EVALUATE_S * share, source)
        hit = candidate.only_on in ("", route)
        wrong = poisson(requests * (NOISE + (candidate.wrong if hit else 0.0)), source)
        rows = poisson(requests * (candidate.wrong_rows if hit else 0.0), source)
        errors = poisson(requests * (NOISE + (candidate.errors if hit else 0.0)), source)
        legacy_errors = poisson(requests * NOISE, source)
        differing = min(requests, wrong + rows + errors)
        counts = VerdictCounts(match=requests - differing, mismatch=differing)
        step.routes[route] += RouteEvidence(counts, requests, errors, legacy_errors)
        step.rows += rows
        for name, count in (("response", wrong), ("rows", rows), ("status", errors)):
            step.suspects[f"{name}/{route}"] = step.suspects.get(f"{name}/{route}", 0) + count
        late = candidate.slower - 1 if candidate.slower > 1 else 0.0
        harm = (candidate.wrong + candidate.wrong_rows + candidate.errors if hit else 0.0) + late
        run.exposed += requests * percent / 100 * min(1.0, harm)
    _time(step, candidate, percent, source)


def _time(step: _Step, candidate: Candidate, percent: float, source: random.Random) -> None:
    # Mirrored runs are 30 % slower whoever they are: they go to colder instances.
    requests = REQUESTS_PER_S * EVALUATE_S
    for side, factor, share in ((Side.CANDIDATE, candidate.slower, percent), (Side.LEGACY, 1.0, 100 - percent)):
        for role, part, load in ((Role.SERVED, share, 1.0), (Role.MIRRORED, 100 - share, 1.3)):
            for _ in range(min(TIMED, round(requests * part / 100))):
                step.sketches[side, role].add(20_000 * factor * load * source.lognormvariate(0, 0.4))


def _measured(step: _Step) -> Evidence:
    served = sum(one.pairs for one in step.routes.values())
    kinds = {"response": "changed", "rows": "column", "status": "status"}
    suspects = [
        SuspectFinding(name, name.partition("/")[2], "score", kinds[name.partition("/")[0]], "number → number", count)
        for name, count in step.suspects.items()
        if count
    ]
    return Evidence(
        seconds=step.seconds,
        routes=step.routes,
        effect_mismatches=step.rows,
        effects_compared=served,
        durations=step.sketches,
        rss_bytes=200 * 1024**2,
        completed=served,
        compared=served,
        accounting=AccountingTotals(served, served, 0),
        suspects=tuple(sorted(suspects, key=lambda one: -one.count)),
    )


def poisson(mean: float, source: random.Random) -> int:
    """A Poisson number: Knuth's product for small means, a rounded normal for large ones."""
    if mean > 50:
        return max(0, round(source.gauss(mean, math.sqrt(mean))))
    limit, product, count = math.exp(-mean), source.random(), 0
    while product > limit:
        product, count = product * source.random(), count + 1
    return count
