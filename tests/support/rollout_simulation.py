"""Simulated rollouts of good candidates and of candidates with one defect, with the real gates and the real state machine."""

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
from proxy.rollout.state_machine import Event, Phase, Refusal, RolloutPosition, next_position

ROUTES: Final = {"score": 0.9, "history": 0.08, "rare": 0.02}
REQUESTS_PER_S: Final = 200
EVALUATE_S: Final = 60.0
DURATIONS_MAX: Final = 150
"""Durations drawn per side, role and evaluation: enough for the quantile sketch."""


@dataclass(frozen=True, slots=True)
class SimulatedCandidate:
    """A candidate and its defect. Rates are shares of its requests; with `since_percent` the defect starts at that step."""

    name: str
    wrong: float = 0.0
    wrong_rows: float = 0.0
    errors: float = 0.0
    slower: float = 0.85
    only_route: str = ""
    since_percent: float = 0.0


GOOD: Final = SimulatedCandidate("good")
BAD: Final = (
    SimulatedCandidate("slightly wrong (0.2 %)", wrong=0.002),
    SimulatedCandidate("slow (p95 +20 %)", slower=1.2),
    SimulatedCandidate("erroring (+0.3 %)", errors=0.003),
    SimulatedCandidate("wrong only in rows (0.05 %)", wrong_rows=0.0005),
    SimulatedCandidate("wrong only on one route (2 % of 2 %)", wrong=0.02, only_route="rare"),
)
NOISE: Final = 0.0001
"""Rate of confirmed mismatches of a good candidate, and of failures of either side alone."""


@dataclass(slots=True)
class SimulatedRollout:
    """The end of a rollout. `harmed_requests`: requests that the candidate served wrong or late before the rollback."""

    phase: Phase = Phase.SHADOWING
    reached: float = 0.0
    seconds: float = 0.0
    harmed_requests: float = 0.0
    gate: str = ""
    finding: str = ""


@dataclass(slots=True)
class _Step:
    """The evidence that accumulates during one step."""

    seconds: float = 0.0
    routes: dict[str, RouteEvidence] = field(default_factory=lambda: dict.fromkeys(ROUTES, RouteEvidence()))
    rows: int = 0
    sketches: dict[tuple[Side, Role], QuantileSketch] = field(
        default_factory=lambda: {(side, role): QuantileSketch() for side in Side for role in Role}
    )
    suspects: dict[str, int] = field(default_factory=dict[str, int])


def simulate(
    candidate: SimulatedCandidate, seed: int, *, gates: GateSettings | None = None, hours_max: float = 24.0
) -> SimulatedRollout:
    """Simulate a rollout with automatic promotion until it is complete, rolled back, or `hours_max` have passed."""
    source, gates, auto = random.Random(seed), gates or GateSettings(), AutoRollbackSettings()
    position, step, streaks, run = RolloutPosition(), _Step(), {}, SimulatedRollout()
    while run.seconds < hours_max * 3600 and position.phase in (Phase.SHADOWING, Phase.STEPPING):
        percent = DEFAULT_STEPS[position.step]
        _add_interval(step, candidate if percent >= candidate.since_percent else GOOD, percent, source, run)
        run.seconds, run.reached = run.seconds + EVALUATE_S, percent
        position, step, streaks = _decide(position, step, streaks, gates, auto, run)
    run.phase = position.phase
    return run


def _decide(
    position: RolloutPosition,
    step: _Step,
    streaks: Streaks,
    gates: GateSettings,
    auto: AutoRollbackSettings,
    run: SimulatedRollout,
) -> tuple[RolloutPosition, _Step, Streaks]:
    evidence = _evidence(step)
    results = judge(evidence, gates, StepSettings(DEFAULT_STEPS[position.step]), auto)
    streaks = streaks_after(streaks, results)
    ground = grounds_for_rollback(streaks, results, auto)
    event = Event.ROLL_BACK if ground else Event.PROMOTE if outcome_of(results) is JudgementOutcome.GOOD else None
    if ground:
        suspect = implicated_finding(ground, evidence, gates.points_tables)
        run.gate, run.finding = ground.name, suspect.id if suspect else ""
    if event is None:
        return position, step, streaks
    moved = next_position(position, event, last_step=len(DEFAULT_STEPS) - 1)
    assert not isinstance(moved, Refusal)
    return moved, _Step(), {}


def _add_interval(
    step: _Step, candidate: SimulatedCandidate, percent: float, source: random.Random, run: SimulatedRollout
) -> None:
    step.seconds += EVALUATE_S
    for route, share in ROUTES.items():
        requests = poisson(REQUESTS_PER_S * EVALUATE_S * share, source)
        hit = candidate.only_route in ("", route)
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
        run.harmed_requests += requests * percent / 100 * min(1.0, harm)
    _draw_durations(step, candidate, percent, source)


def _draw_durations(step: _Step, candidate: SimulatedCandidate, percent: float, source: random.Random) -> None:
    # Mirrored requests are 30 % slower on both sides: they go to instances with colder caches.
    requests = REQUESTS_PER_S * EVALUATE_S
    for side, factor, share in ((Side.CANDIDATE, candidate.slower, percent), (Side.LEGACY, 1.0, 100 - percent)):
        for role, part, load in ((Role.SERVED, share, 1.0), (Role.MIRRORED, 100 - share, 1.3)):
            for _ in range(min(DURATIONS_MAX, round(requests * part / 100))):
                step.sketches[side, role].add(20_000 * factor * load * source.lognormvariate(0, 0.4))


def _evidence(step: _Step) -> Evidence:
    served = sum(evidence.pairs for evidence in step.routes.values())
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
        suspects=tuple(sorted(suspects, key=lambda suspect: -suspect.count)),
    )


def poisson(mean: float, source: random.Random) -> int:
    """Draw from a Poisson distribution: Knuth's method for small means, a rounded normal for large ones."""
    if mean > 50:
        return max(0, round(source.gauss(mean, math.sqrt(mean))))
    limit, product, count = math.exp(-mean), source.random(), 0
    while product > limit:
        product, count = product * source.random(), count + 1
    return count
