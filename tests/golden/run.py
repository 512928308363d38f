"""Run scenarios one after the other; the result of each is match, known difference or mismatch."""

import traceback
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from comparator.rules.conditions import ExchangeEvidence
from tests.golden import races
from tests.golden.evidence import evidence_of_step
from tests.golden.identities import Identities
from tests.golden.judge import Found, judge_step, recorded_row_changes
from tests.golden.known import Entry, KnownDifferences
from tests.golden.replay import Stage, StepRun, replay
from tests.golden.scenario import Scenario, Step, load
from tests.golden.upstream import RECORDED_AUTHORITY


class Result(StrEnum):
    """The result of a scenario."""

    MATCH = "match"
    KNOWN = "known difference"
    MISMATCH = "mismatch"


@dataclass(frozen=True, slots=True)
class Report:
    """One scenario: its result, the declared differences and the others. `broke` is the error that ended it."""

    name: str
    result: Result
    known: tuple[tuple[Found, Entry], ...] = ()
    found: tuple[Found, ...] = ()
    broke: str = ""


async def run_scenario(path: Path, on: Stage, known: KnownDifferences) -> Report:
    """Replay one scenario file and judge it; a failure of the scorer is a result, not an exception."""
    try:
        scenario = load(path, authority=(RECORDED_AUTHORITY, on.upstream.authority))
        runs = await replay(scenario, on)
        found = judge(scenario, runs)
        evidence = evidence_by_step(scenario, runs)
    except Exception as error:  # noqa: BLE001 (one broken scenario must not hide the others)
        return Report(path.stem, Result.MISMATCH, broke=_why(error))
    declared, left = known.split(scenario, found, evidence)
    result = Result.MISMATCH if left else Result.KNOWN if declared else Result.MATCH
    return Report(scenario.name, result, tuple(declared), tuple(left))


def judge(scenario: Scenario, runs: list[StepRun]) -> list[Found]:
    """Return all differences of a scenario in order of the steps."""
    identities = Identities()
    found: list[Found] = []
    comparable = True
    for index, (step, run) in enumerate(zip(scenario.steps, runs, strict=True)):
        found += _judge(index, step, run, identities, comparable=comparable)
        # A race may end otherwise than in the recording; what follows then starts from another state.
        comparable = comparable and not (step.races and not races.is_as_recorded(step, run))
    return found


def evidence_by_step(scenario: Scenario, runs: list[StepRun]) -> dict[int, list[ExchangeEvidence]]:
    """Return the evidence of each call by step; steps without a call have none."""
    return {
        index: evidence_of_step(scenario, index, run, recorded_row_changes(step, run.offset))
        for index, (step, run) in enumerate(zip(scenario.steps, runs, strict=True))
        if step.calls
    }


def _judge(index: int, step: Step, run: StepRun, identities: Identities, *, comparable: bool) -> list[Found]:
    if not step.calls:
        return []
    if step.races:
        identities.learn(recorded_row_changes(step, run.offset), run.changes)
        return [Found(index, difference) for difference in races.judge_race(step, run)]
    if not comparable:
        return [Found(index, difference) for difference in races.promises_of(step, run)]
    return judge_step(index, step, run, identities)


def _why(error: BaseException) -> str:
    if isinstance(error, BaseExceptionGroup):
        return "; ".join(_why(one) for one in error.exceptions)
    frames = traceback.extract_tb(error.__traceback__)
    last = frames[-1]
    return f"{type(error).__name__}: {error} ({Path(last.filename).name}:{last.lineno})"
