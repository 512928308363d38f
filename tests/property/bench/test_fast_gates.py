"""The vectorised gates of the simulation judge as the gates do."""

import math
import random
from collections.abc import Sequence

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.rollout.fast_gates import INDEX, ROUTES, TESTED, FastEvidence, FastGates
from comparator.stats.confidence import JudgementOutcome, VerdictCounts
from proxy.config.rollout import AutoRollbackSettings, GateSettings, StepSettings
from proxy.rollout.alpha_spending import RECENT_S, window_begins
from proxy.rollout.evidence import Evidence, Hits, RecentWindow, RouteEvidence, WindowEvidence
from proxy.rollout.gates import GateName, GateResult, judge, step_alpha
from proxy.rollout.latency_blocks import LatencyBlock, rounded

GATES, AUTO = GateSettings(), AutoRollbackSettings()
ALPHA = step_alpha(GATES, steps=8)
TICK_S = 60
RATES = (0.0, 1e-6, 1e-5, 1e-4, 5e-4, 1e-3, 2e-3, 5e-3, 0.02)


def drawn_column(source: random.Random, requests: float) -> np.ndarray:
    """Return the counts of one route in one tick; mismatches and others come in groups of one key."""
    column = np.zeros(len(INDEX))
    mirrored = source.choice((0.0, 0.25, 0.9, 1.0))
    legacy = hits(source, requests, source.choice(RATES))
    candidate = hits(source, requests, source.choice(RATES))
    judged = max(0.0, requests - legacy[0] - candidate[0])
    mismatch = hits(source, judged, source.choice(RATES))
    effect = tuple(
        min(part, of) for part, of in zip(hits(source, judged, source.choice(RATES[:5])), mismatch, strict=True)
    )
    transient = hits(source, requests * mirrored, source.choice(RATES))
    other = hits(source, requests * (1 - mirrored), source.choice(RATES))
    values = {
        "judged": judged, "pairs": requests, "mirrored": round(requests * mirrored),
        "unmirrored": requests - round(requests * mirrored),
        "mismatch": mismatch[0], "mismatch_squares": mismatch[1], "mismatch_keys": mismatch[2],
        "effect": effect[0], "effect_squares": effect[1], "effect_keys": effect[2],
        "candidate": candidate[0], "candidate_squares": candidate[1], "candidate_keys": candidate[2],
        "legacy": legacy[0], "legacy_squares": legacy[1],
        "transient": transient[0], "transient_squares": transient[1], "transient_keys": transient[2],
        "legacy_transient": other[0], "legacy_transient_squares": other[1],
    }  # fmt: skip
    for name, value in values.items():
        column[INDEX[name]] = value
    return column


def hits(source: random.Random, trials: float, rate: float) -> tuple[float, float, float]:
    """Return number, sum of squares by key and number of keys."""
    count = min(int(trials), int(trials * rate * source.uniform(0.3, 2) + source.random()))
    groups: list[int] = []
    while sum(groups) < count:
        groups.append(min(source.choice((1, 1, 1, 2, 5)), count - sum(groups)))
    return float(count), float(sum(size * size for size in groups)), float(len(groups))


def route_evidence(counts: np.ndarray) -> RouteEvidence:
    """Return the counts as the gates get them."""

    def of(name: str) -> int:
        return int(counts[INDEX[name]])

    def found(name: str, keys: int) -> Hits:
        count, squares = of(name), of(f"{name}_squares")
        return Hits(count, keys, max(1.0, squares / count) if count else 1.0)

    return RouteEvidence(
        counts=VerdictCounts(match=of("judged")),
        judged=of("judged"),
        mismatches=found("mismatch", of("mismatch_keys")),
        effects_compared=of("judged"),
        effects=found("effect", of("effect_keys")),
        pairs=of("pairs"),
        candidate_only_errors=found("candidate", of("candidate_keys")),
        legacy_only_errors=found("legacy", 0),
        candidate_mirrored=of("mirrored"),
        candidate_transient=found("transient", of("transient_keys")),
        legacy_mirrored=of("unmirrored"),
        legacy_transient=found("legacy_transient", 0),
    )


def window_of(counts: np.ndarray) -> WindowEvidence:
    """Return the evidence of one run in one window."""
    overall = route_evidence(counts[ROUTES])
    names = (
        "mismatches", "effects", "candidate_only_errors", "legacy_only_errors", "candidate_transient", "legacy_transient",
    )  # fmt: skip
    routes = {str(route): route_evidence(counts[route]) for route in range(ROUTES)}
    return WindowEvidence(routes, {name: getattr(overall, name) for name in names})


@settings(max_examples=12, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    ticks=st.integers(1, 25),
    percent=st.sampled_from((0.0, 1.0, 50.0, 100.0)),
    ratio=st.floats(0.8, 2.6),
)
def test_fast_gates_judge_as_the_gates_do(seed: int, ticks: int, percent: float, ratio: float) -> None:
    source, fast_evidence = random.Random(seed), FastEvidence(1)
    limit = GATES.latency_ratio_max if 0 < percent < 100 else GATES.latency_across_roles_max
    history: list[tuple[float, np.ndarray]] = []
    blocks: list[LatencyBlock] = []
    scale, spells = source.choice((5, 100, 3_000)), source.choice((0.0, 0.3, 0.8))
    entered_s = source.choice((0.0, 240.0, 600.0))
    fast_evidence.entered_s[0] = entered_s
    now_s = entered_s
    for _ in range(ticks):
        begin_s, now_s = now_s, now_s + TICK_S
        by_route = np.array([drawn_column(source, float(source.randrange(scale))) for _ in range(ROUTES)])
        columns = np.concatenate((by_route, by_route.sum(axis=0, keepdims=True)))
        history.append((begin_s, columns))
        fast_evidence.add(columns.T[:, None, :], now_s)
        value = math.log(ratio) + source.gauss(0, 0.1) + (1.1 if source.random() < spells else 0.0)
        blocks.append(LatencyBlock(begin_s, now_s, rounded(value)))
        fast_evidence.add_blocks(np.array([True]), np.array([value]), np.array([math.log(limit)]), np.array([begin_s]))
    fast = FastGates(GATES, AUTO, ALPHA)
    bad = fast.bad(fast_evidence, np.array([percent]), now_s)
    results = real_results(history, blocks, entered_s, now_s, percent)
    judged = {result.name for result in results if result.rolls_back}
    assert {name for name in TESTED if bad[name][0]} == judged
    if not judged:
        opened = all(result.outcome is JudgementOutcome.GOOD for result in results if result.name in TESTED)
        good = fast.latency_is_good(fast_evidence) & fast.errors_are_good(fast_evidence)
        assert (bool(good[0]) and fast.rates_are_good(fast_evidence, 0)) == opened


def real_results(
    history: Sequence[tuple[float, np.ndarray]],
    blocks: Sequence[LatencyBlock],
    entered_s: float,
    now_s: float,
    percent: float,
) -> Sequence[GateResult]:
    """Judge the same ticks by the gates."""
    recent: list[RecentWindow] = []
    for length_s, begin_s in window_begins(now_s):
        assert length_s in RECENT_S
        if begin_s >= entered_s:
            counts = sum((columns for at, columns in history if at >= begin_s), np.zeros_like(history[0][1]))
            recent.append(RecentWindow(length_s, begin_s, window_of(counts)))
    step = window_of(sum((columns for _, columns in history), np.zeros_like(history[0][1])))
    evidence = Evidence(seconds=now_s - entered_s, step=step, recent=tuple(recent), blocks=tuple(blocks))
    results = judge(evidence, GATES, StepSettings(percent), AUTO, alpha=ALPHA)
    assert {GateName.LATENCY, GateName.SLOW_SPELLS} <= {result.name for result in results}
    return results
