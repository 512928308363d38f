"""Plan a rollout: the expected hours of each step and gate for a given traffic, by the arithmetic of the gates. Pure.

A gate opens when the evidence excludes its limit. With the expected number of hits that takes a number of comparisons, and the traffic
says how long these take. For example, 10 requests per second with 0.01 % mismatches and a limit of 0.1 %:

    comparisons until log_wealth(0.001, 0.0001 n, n) = log(1 / 0.01)   ->   about 9,500   ->   0.26 hours

Chance makes a rollout faster or slower than that, and rare noise of one client slower.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import Final

from comparator.stats.betting import BETS, log_wealth_of_decrease
from comparator.stats.confidence import log_wealth
from proxy.config.rollout import GateSettings, StepSettings
from proxy.rollout.gates import LATENCY_CLIP, GateName
from proxy.rollout.latency_blocks import BLOCK_S, LatencyComparison

NEVER: Final = math.inf
MIRROR_PENALTY: Final = math.log(1.3)
"""Assumed logarithm of what a mirrored request takes longer, which matters at 0 % and 100 % only."""
LATENCY_SPREAD: Final = 0.85
"""Error of the logarithm of the 95 % quantile of one duration: that of a lognormal distribution with a deviation of 0.4."""
_TRIALS_MAX: Final = 1e12
_NORMAL: Final = tuple(NormalDist().inv_cdf((number + 0.5) / 41) for number in range(41))


@dataclass(frozen=True, slots=True)
class Traffic:
    """The traffic that is compared, and a candidate's figures in it.

    Attributes:
        per_s: comparisons per second by route.
        mismatch_rate: share of comparisons that differ.
        error_rates: shares of the requests that fail on the candidate alone, and on the legacy alone.
        transient_rate: share of the candidate's mirrored runs that differ and do not reproduce.
        latency_ratio: candidate's latency over the legacy's.
        latency_spread: error of the logarithm of the quantile, for one duration.
    """

    per_s: Mapping[str, float]
    mismatch_rate: float = 0.0001
    error_rates: tuple[float, float] = (0.0001, 0.0001)
    transient_rate: float = 0.0001
    latency_ratio: float = 1.0
    latency_spread: float = LATENCY_SPREAD

    @property
    def total_per_s(self) -> float:
        """Comparisons per second on all routes."""
        return sum(self.per_s.values())


@dataclass(frozen=True, slots=True)
class StepPlan:
    """The expected hours until each gate of a step opens; infinite for one that this candidate does not pass."""

    percent: float
    hours_of: Mapping[GateName, float] = field(default_factory=dict[GateName, float])
    slowest_route: str = ""

    @property
    def hours(self) -> float:
        """The expected hours of the step."""
        return max(self.hours_of.values(), default=0.0)

    @property
    def decides(self) -> GateName:
        """The gate that opens last."""
        return max(self.hours_of, key=lambda name: self.hours_of[name])


def plan_step(
    step: StepSettings, gates: GateSettings, traffic: Traffic, *, quiet_routes: frozenset[str] = frozenset()
) -> StepPlan:
    """Plan one step."""
    per_s, needed = traffic.total_per_s, -math.log(gates.alpha)
    time_s = gates.time_min_s if step.time_min_s is None else step.time_min_s
    comparisons = gates.comparisons_min if step.comparisons_min is None else step.comparisons_min
    mirrored_per_s = per_s * (1 - step.percent / 100)
    candidate, legacy = traffic.error_rates
    slowest = min(
        (route for route in traffic.per_s if route not in quiet_routes),
        key=lambda route: traffic.per_s[route],
        default="",
    )
    trials: dict[GateName, tuple[float, float]] = {
        GateName.COMPARISONS: (comparisons, per_s),
        GateName.MISMATCHES: (_trials_below(traffic.mismatch_rate, gates.mismatch_rate_max, needed), per_s),
        GateName.TRANSIENT: (_trials_below(traffic.transient_rate, gates.transient_rate_max, needed), mirrored_per_s),
        GateName.ERRORS: (_trials_of_errors(candidate, legacy, gates.error_rate_increase_max, needed), per_s),
    }
    if slowest:
        trials[GateName.COVERAGE] = gates.route_comparisons_min, traffic.per_s[slowest]
    hours = {name: count / rate / 3600 if rate else NEVER for name, (count, rate) in trials.items()}
    if not mirrored_per_s:
        hours[GateName.TRANSIENT] = 0.0
    hours[GateName.TIME] = time_s / 3600
    hours[GateName.LATENCY] = _latency_hours(step.percent, gates, traffic, needed)
    return StepPlan(step.percent, hours, slowest)


def _trials_below(rate: float, limit: float, needed: float) -> float:
    return _smallest(lambda trials: log_wealth(limit, rate * trials, trials, around=limit) >= needed, rate < limit)


def _trials_of_errors(candidate: float, legacy: float, limit: float, needed: float) -> float:
    others = 1 - candidate - legacy

    def opens(pairs: float) -> bool:
        return log_wealth_of_decrease(limit, candidate * pairs, legacy * pairs, others * pairs) >= needed

    return _smallest(opens, candidate - legacy < limit)


def _smallest(opens: Callable[[float], bool], possible: bool) -> float:
    """Return the smallest number of trials with which a gate opens, within 1 %; NEVER where it cannot."""
    if not possible:
        return NEVER
    trials = 1.0
    while not opens(trials):
        trials *= 2
        if trials > _TRIALS_MAX:
            return NEVER
    low = trials / 2
    while trials / low > 1.01:
        middle = (low + trials) / 2
        low, trials = (low, middle) if opens(middle) else (middle, trials)
    return trials


def _latency_hours(percent: float, gates: GateSettings, traffic: Traffic, needed: float) -> float:
    comparison = LatencyComparison.at(percent)
    served, mirrored = traffic.total_per_s * percent / 100, traffic.total_per_s * (1 - percent / 100)
    halves = {
        LatencyComparison.CROSSOVER: (served, mirrored),
        LatencyComparison.CANDIDATE_SERVED: (served,),
        LatencyComparison.CANDIDATE_MIRRORED: (mirrored,),
    }[comparison]
    if not min(halves):
        return NEVER
    block_s = max(BLOCK_S, math.ceil(gates.latency_durations_min / min(halves) / 60) * 60)
    deviation = traffic.latency_spread * math.sqrt(sum(2 / (rate * block_s) for rate in halves)) / len(halves)
    limit = math.log(gates.latency_ratio_max if comparison.same_roles else gates.latency_across_roles_max)
    center = (
        math.log(traffic.latency_ratio)
        + {
            LatencyComparison.CROSSOVER: 0.0,
            LatencyComparison.CANDIDATE_SERVED: -MIRROR_PENALTY,
            LatencyComparison.CANDIDATE_MIRRORED: MIRROR_PENALTY,
        }[comparison]
    )
    distances = [max(-1.0, min(1.0, (limit - center - deviation * one) / LATENCY_CLIP)) for one in _NORMAL]
    growth = [sum(math.log1p(bet * distance) for distance in distances) / len(distances) for bet in BETS]

    def opens(blocks: float) -> bool:
        top = max(growth) * blocks
        return top + math.log(sum(math.exp(one * blocks - top) for one in growth) / len(growth)) >= needed

    return _smallest(opens, max(growth) > 0) * block_s / 3600


SHOWN: Final = (
    GateName.TIME,
    GateName.COMPARISONS,
    GateName.MISMATCHES,
    GateName.TRANSIENT,
    GateName.ERRORS,
    GateName.LATENCY,
    GateName.COVERAGE,
)


def render(steps: tuple[StepPlan, ...], traffic: Traffic) -> list[str]:
    """Return the plan as lines: the hours of each step and gate, and the gate that decides. The last step is not left."""
    figures = (
        f"{traffic.total_per_s:.3g} comparisons per second on {len(traffic.per_s)} routes; mismatches {traffic.mismatch_rate:.4%}, "
        f"errors {traffic.error_rates[0]:.4%} and {traffic.error_rates[1]:.4%}, transient {traffic.transient_rate:.4%}, "
        f"latency ratio {traffic.latency_ratio:.3f}"
    )
    heads = "".join(f"{name.value:>13}" for name in SHOWN)
    lines = [figures, "", "expected hours until each gate opens", f"{'step':>6}  {heads}{'hours':>9}  decides"]
    for step in steps[:-1]:
        cells = "".join(f"{_hours_text(step.hours_of.get(name, 0.0)):>13}" for name in SHOWN)
        route = f" ({step.slowest_route})" if step.decides is GateName.COVERAGE else ""
        lines.append(f"{step.percent:>5g}%  {cells}{_hours_text(step.hours):>9}  {step.decides.value}{route}")
    lines.append(f"{'':>8}{'':>{13 * len(SHOWN)}}{_hours_text(sum(step.hours for step in steps[:-1])):>9}  in all")
    return lines


def _hours_text(hours: float) -> str:
    return "never" if hours == NEVER else f"{hours:.2f}" if hours < 10 else f"{hours:.0f}"
