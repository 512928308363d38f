"""The actions of the controller on good and bad evidence, in every phase."""

import asyncio
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from comparator.stats.confidence import VerdictCounts
from proxy.config.rollout import GroupSettings, StepSettings
from proxy.rollout.control import ChangeRequest, Control
from proxy.rollout.controller import Controller
from proxy.rollout.evidence import AccountingTotals, Evidence, Hits, RouteEvidence, SuspectFinding, WindowEvidence
from proxy.rollout.group_state import GroupState
from proxy.rollout.latency_blocks import LatencyBlock
from proxy.rollout.state_machine import Phase
from tests.support.rollouts import control_in

ROW = SuspectFinding("abc123", "score", "registry_score.score", "column", "number / number", 7)


def step(compared: int, *, differing: int = 0) -> WindowEvidence:
    """Return the evidence of a step in which some comparisons differ in rows, each of another client."""
    hits = Hits(differing, differing)
    score = RouteEvidence(
        VerdictCounts(match=compared), compared, hits, effects_compared=compared, effects=hits, pairs=compared
    )
    return WindowEvidence({"score": score})


GOOD = Evidence(
    seconds=9_999,
    step=step(90_000),
    blocks=tuple(LatencyBlock(120.0 * number, 120.0 * (number + 1), -0.5) for number in range(60)),
    dropped=0,
    accounting=AccountingTotals(1, 1, 0),
)
BAD = replace(GOOD, step=step(90_000, differing=20), suspects=(ROW,))


class EvidenceSource:
    """Evidence that tests replace."""

    def __init__(self, evidence: Evidence = GOOD) -> None:
        self.evidence = evidence
        self.reads = 0
        self.before_return = lambda: None

    async def __call__(self, state: GroupState, now: datetime) -> Evidence:
        self.reads += 1
        self.before_return()
        # More was compared at each look, as a second look at the same evidence confirms nothing.
        score = self.evidence.routes["score"]
        return replace(
            self.evidence,
            step=WindowEvidence(
                {"score": replace(score, pairs=score.pairs, effects_compared=score.effects_compared + self.reads)}
            ),
        )


async def controlled(tmp_path: Path, evidence: EvidenceSource, **settings: Any) -> tuple[Control, Controller]:
    control = control_in(tmp_path, **settings)
    controller = Controller(control, evidence)
    for group in control.replica.groups:
        await controller.evaluate(group)
    return control, controller


def phase(control: Control) -> Phase:
    return control.replica.states["all"].phase


async def test_first_evaluation_only_stores_the_start(tmp_path: Path) -> None:
    evidence = EvidenceSource()
    control, _ = await controlled(tmp_path, evidence, auto_promote=True)
    assert control.replica.states["all"].entered_at is not None
    assert (evidence.reads, phase(control)) == (0, Phase.SHADOWING)


async def test_bad_evidence_rolls_back_at_the_second_evaluation_and_names_the_finding(tmp_path: Path) -> None:
    control, controller = await controlled(tmp_path, EvidenceSource(BAD))
    await controller.evaluate("all")
    assert phase(control) is Phase.SHADOWING
    await controller.evaluate("all")
    assert control.switch.rolled_back
    entry = (await control.replica.history())[-1].entry
    assert (entry.event, entry.actor, entry.finding) == ("roll_back", "controller", "abc123")
    assert entry.reason.startswith("effects: 20 of 90002 on score differ in rows")
    assert "finding abc123 (score registry_score.score: column" in entry.reason
    figures = entry.evidence["figures"]
    assert isinstance(figures, dict)
    assert figures["effect_mismatches"] == 20


async def test_bad_evidence_rolls_back_while_paused_or_at_a_manual_step(tmp_path: Path) -> None:
    for name in ("paused", "manual"):
        steps = (StepSettings(0.0), StepSettings(10.0, manual=True), StepSettings(100.0))
        control, controller = await controlled(
            tmp_path / name, evidence := EvidenceSource(), steps=steps, auto_promote=True
        )
        await controller.evaluate("all")
        assert control.replica.states["all"].step == 1
        await controller.evaluate("all")
        assert control.replica.states["all"].step == 1
        if name == "paused":
            await control.pause(ChangeRequest("ann"))
        evidence.evidence = BAD
        await controller.evaluate("all")
        await controller.evaluate("all")
        assert phase(control) is Phase.ROLLED_BACK


async def test_streaks_of_two_steps_are_not_added(tmp_path: Path) -> None:
    control, controller = await controlled(tmp_path, evidence := EvidenceSource(BAD))
    await controller.evaluate("all")
    evidence.evidence = GOOD
    await control.promote(ChangeRequest("ann"))
    evidence.evidence = BAD
    await controller.evaluate("all")
    assert not control.switch.rolled_back


async def test_good_evidence_promotes_to_the_last_step(tmp_path: Path) -> None:
    control, controller = await controlled(tmp_path, EvidenceSource(), auto_promote=True)
    await controller.evaluate("all")
    await controller.evaluate("all")
    await controller.evaluate("all")
    assert phase(control) is Phase.PROMOTED


async def test_good_evidence_waits_for_an_operator_without_auto_promote(tmp_path: Path) -> None:
    control, controller = await controlled(tmp_path, EvidenceSource())
    await controller.evaluate("all")
    assert phase(control) is Phase.SHADOWING


async def test_single_step_may_promote_automatically(tmp_path: Path) -> None:
    steps = (StepSettings(0.0, manual=False), StepSettings(10.0), StepSettings(100.0))
    control, controller = await controlled(tmp_path, EvidenceSource(), steps=steps)
    await controller.evaluate("all")
    await controller.evaluate("all")
    assert control.replica.states["all"].step == 1


async def test_bad_group_rolls_back_alone(tmp_path: Path) -> None:
    control, controller = await controlled(tmp_path, EvidenceSource(BAD), groups=(GroupSettings("reads", ("score",)),))
    await controller.evaluate("reads")
    await controller.evaluate("reads")
    assert control.replica.states["reads"].phase is Phase.ROLLED_BACK
    assert phase(control) is Phase.SHADOWING


async def test_evidence_of_a_step_that_was_left_decides_nothing(tmp_path: Path) -> None:
    control, controller = await controlled(tmp_path, evidence := EvidenceSource(BAD))
    await controller.evaluate("all")
    evidence.before_return = lambda: control.replica.apply(
        {"all": GroupState(phase=Phase.STEPPING, step=1, version=9, entered_at=control.now, at=control.now)}
    )
    await controller.evaluate("all")
    assert not control.switch.rolled_back


async def test_failed_gate_is_logged_once(tmp_path: Path) -> None:
    few = replace(GOOD, accounting=AccountingTotals(9_999, 1, 0))
    control, controller = await controlled(tmp_path, EvidenceSource(few))
    await controller.evaluate("all")
    await controller.evaluate("all")
    events = [link.entry.event for link in await control.replica.history()]
    assert events == ["begin", "gate_failed"]


async def test_only_new_causes_are_reported_each_once(tmp_path: Path) -> None:
    reported: list[str] = []
    control = control_in(tmp_path)
    evidence = EvidenceSource(replace(GOOD, suspects=(replace(ROW, cause="old"),)))
    controller = Controller(control, evidence, on_new_cause=lambda _, suspect: reported.append(suspect.cause))
    for _ in range(3):
        await controller.evaluate("all")
    two = replace(ROW, id="f1", cause="new"), replace(ROW, id="f2", cause="new")
    evidence.evidence = replace(GOOD, suspects=(replace(ROW, cause="old"), replace(ROW, id="f3"), *two))
    await controller.evaluate("all")
    await controller.evaluate("all")
    assert reported == ["new"]


async def test_only_the_leader_acts(tmp_path: Path) -> None:
    looked = asyncio.Event()

    async def follow() -> bool:
        looked.set()
        return False

    control = control_in(tmp_path, evaluate_s=0.001)
    evidence = EvidenceSource(BAD)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(Controller(control, evidence, is_leader=follow).run(), name="controller")
        async with asyncio.timeout(60):
            await looked.wait()
        task.cancel()
    assert (evidence.reads, phase(control)) == (0, Phase.SHADOWING)
