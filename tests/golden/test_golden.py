"""The scorer matches every recorded scenario, and every declared difference still occurs."""

from pathlib import Path

import pytest

from tests.golden import report
from tests.golden.known import KnownDifferences
from tests.golden.replay import Stage
from tests.golden.run import Result, run_scenario

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_scenario_matches_the_legacy(scenario_path: Path, golden_stage: Stage, declared: KnownDifferences):
    found = await run_scenario(scenario_path, golden_stage, declared)
    assert found.result is not Result.MISMATCH, "\n".join([report.line(found), *report.details(found)])


async def test_every_declared_difference_still_applies(golden_stage: Stage, declared: KnownDifferences):
    assert declared.stale() == []
