"""Attribution: with background writers and many requests in flight, no row is attributed to a request that did not write it."""

from pathlib import Path

import pytest

from comparator.capture.settings import CaptureSettings, Driver
from comparator.exchanges.model import Side
from proxy.config.runner import RunnerSettings
from tests.support.attribution_truth import run_attribution
from tests.support.mirror_lab import WRITTEN, install_log, mirror_lab

COUNTS = {Driver.STREAM: 600, Driver.SQL: 400, Driver.TRIGGERS: 300}


@pytest.mark.parametrize("side", list(Side))
@pytest.mark.parametrize("driver", [Driver.STREAM, Driver.SQL, Driver.TRIGGERS])
async def test_no_row_is_attributed_to_a_request_that_did_not_write_it(
    postgres_dsn: str, tmp_path: Path, driver: Driver, side: Side
) -> None:
    capture = CaptureSettings(driver=driver, tables=WRITTEN, poll_ms=20, fence_timeout_ms=60_000)
    made_for = {"population": 500, "think_s": 0.01}
    async with mirror_lab(postgres_dsn, tmp_path, capture=capture, runner=RunnerSettings(), **made_for) as made:
        if driver is Driver.TRIGGERS:
            await install_log(made.live_dsn, capture)
        truth = await run_attribution(made, side, count=COUNTS[driver], in_flight=32, background_per_s=100)
    assert truth.requests == COUNTS[driver]
    assert truth.wrong == 0
    assert truth.outcomes["attributed"] > truth.requests / 10
    assert truth.outcomes.total() == truth.requests
    assert truth.background > 0
