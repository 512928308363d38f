"""The runner does not start when the configured shadow may be live."""

from pathlib import Path

import pytest

from comparator.capture.settings import CaptureSettings, Driver
from proxy.config.databases import DatabasesSettings
from proxy.config.runner import RunnerSettings
from proxy.errors import SettingsError
from proxy.runner.databases import open_databases
from tests.support.mirror_lab import WRITTEN, mirror_lab


@pytest.mark.parametrize("mistake", ["equal", "swapped"])
async def test_runner_refuses_a_shadow_that_may_be_live(postgres_dsn: str, tmp_path: Path, mistake: str) -> None:
    capture = CaptureSettings(driver=Driver.STREAM, tables=WRITTEN)
    async with mirror_lab(postgres_dsn, tmp_path, capture=capture, runner=RunnerSettings(), population=2) as made:
        wrong = DatabasesSettings(live=made.live_dsn, shadow=made.live_dsn)
        if mistake == "swapped":
            wrong = DatabasesSettings(live=made.shadow_dsn, shadow=made.live_dsn)
        with pytest.raises(SettingsError, match=r"same database|swapped"):
            async with open_databases(wrong, capture, shadow_connections=2):
                pass


async def test_error_names_the_unreachable_database(postgres_dsn: str, tmp_path: Path) -> None:
    capture = CaptureSettings(driver=Driver.STREAM, tables=WRITTEN)
    async with mirror_lab(postgres_dsn, tmp_path, capture=capture, runner=RunnerSettings(), population=2) as made:
        wrong = DatabasesSettings(live=made.live_dsn, shadow="postgresql://nobody@127.0.0.1:1/none")
        with pytest.raises(SettingsError, match=r"databases\.shadow"):
            async with open_databases(wrong, capture, shadow_connections=2):
                pass
