"""The expected hours of a rollout, by the arithmetic of the gates."""

import math

import pytest

from proxy.config.rollout import GateSettings, RolloutSettings, StepSettings, steps_of
from proxy.rollout.gates import GateName
from proxy.rollout.plan import Traffic, plan_step, render

GATES = GateSettings()
STEPS = steps_of(RolloutSettings(), "all")


def hours_to_last_step(per_s: float, **figures: float) -> float:
    traffic = Traffic({"score": per_s * 0.9, "rare": per_s * 0.1}, **figures)  # type: ignore[arg-type]
    return sum(plan_step(step, GATES, traffic).hours for step in STEPS[:-2])


@pytest.mark.parametrize(
    ("per_s", "ratio", "simulated"),
    [(100, 1.0, 3.7), (100, 0.85, 3.0), (10, 0.85, 3.85), (10, 1.0, 10.4), (1, 0.85, 30.3), (1, 1.0, 95)],
)
def test_plan_agrees_with_the_simulation(per_s: float, ratio: float, simulated: float) -> None:
    """Medians of `make bench-rollout` until the day-long step."""
    assert hours_to_last_step(per_s, latency_ratio=ratio) == pytest.approx(simulated, rel=0.3)


def test_day_long_step_takes_a_day_and_time_decides() -> None:
    step = plan_step(STEPS[-2], GATES, Traffic({"score": 100.0}))
    assert (step.hours, step.decides) == (24.0, GateName.TIME)


@pytest.mark.parametrize(
    ("figures", "gate"),
    [
        ({"mismatch_rate": 0.002}, GateName.MISMATCHES),
        ({"error_rates": (0.003, 0.0)}, GateName.ERRORS),
        ({"transient_rate": 0.01}, GateName.TRANSIENT),
        ({"latency_ratio": 1.2}, GateName.LATENCY),
    ],
)
def test_gate_that_a_candidate_does_not_pass_never_opens(figures: dict[str, float], gate: GateName) -> None:
    step = plan_step(StepSettings(1.0), GATES, Traffic({"score": 100.0}, **figures))  # type: ignore[arg-type]
    assert (step.decides, step.hours) == (gate, math.inf)


def test_rare_route_decides_unless_it_is_quiet() -> None:
    traffic = Traffic({"score": 100.0, "rare": 0.0001})
    step = plan_step(StepSettings(25.0), GATES, traffic)
    assert (step.decides, step.slowest_route) == (GateName.COVERAGE, "rare")
    quiet = plan_step(StepSettings(25.0), GATES, traffic, quiet_routes=frozenset({"rare"}))
    assert quiet.decides is not GateName.COVERAGE


def test_text_has_a_line_for_each_step_that_is_left() -> None:
    traffic = Traffic({"score": 10.0})
    lines = render(tuple(plan_step(step, GATES, traffic) for step in STEPS), traffic)
    assert [line.split("%")[0].strip() for line in lines if "%  " in line] == ["0", "1", "5", "10", "25", "50", "75"]
    assert lines[-1].endswith("in all")
