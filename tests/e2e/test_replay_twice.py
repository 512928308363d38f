"""Two replays of generated traffic to the new scorer and the legacy stand-in from one snapshot give equal reports."""

import shutil
import tempfile
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from proxy.demo.installation import DemoOptions, drop_databases, prepared
from tests.support.matrix import FULL
from tests.support.replay_twice import TwoReplays, replay_twice

ADDRESSES, REQUESTS = (150, 110) if FULL else (60, 30)

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def twice(postgres_dsn: str) -> AsyncIterator[TwoReplays]:
    folder = Path(tempfile.mkdtemp(prefix="shadow-e2e-"))
    name = uuid.uuid4().hex[:8]
    options = DemoOptions(
        folder, ADDRESSES, divergences="lost_stamp:0.1,missing_event:0.2", profile="mixed", prefix=f"e2e_{name}_"
    )
    try:
        made = await prepared(postgres_dsn, options, lambda _: None)
        yield await replay_twice(made, REQUESTS, lambda _: None, snapshot=f"e2e-{name}")
    finally:
        await drop_databases(postgres_dsn, options.prefix)
        shutil.rmtree(folder, ignore_errors=True)


async def test_every_record_is_compared_and_the_faults_are_found(twice: TwoReplays) -> None:
    first, _ = twice.reports
    assert (first.verdicts.compared, first.left_out, first.malformed) == (REQUESTS, {}, 0)
    assert 0 < first.verdicts.mismatch < REQUESTS / 2
    assert {finding.route for finding in first.findings} == {"v2_score"}


async def test_each_side_responds_with_the_expected_status(twice: TwoReplays) -> None:
    first, _ = twice.reports
    assert {name: (side.sent, side.status_other) for name, side in first.sides.items()} == {
        "candidate": (REQUESTS, 0),
        "legacy": (REQUESTS, 0),
    }


async def test_both_replays_give_equal_reports_except_for_times(twice: TwoReplays) -> None:
    assert twice.differences == []
    assert twice.equal
