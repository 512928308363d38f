"""What is called the shadow is written to, so a runner that may have live there does not begin."""

from pathlib import Path

import msgspec
import pytest

from comparator.capture.settings import CaptureSettings, Driver
from proxy.config.databases import DatabasesSettings
from proxy.config.runner import RunnerSettings
from proxy.errors import SettingsError
from proxy.runner.app import open_databases
from tests.support.mirror_lab import WRITTEN, mirror_lab


@pytest.mark.parametrize("mistake", ["equal", "exchanged"])
async def test_runner_refuses_a_shadow_that_may_be_live(postgres_dsn: str, tmp_path: Path, mistake: str) -> None:
    capture = CaptureSettings(driver=Driver.STREAM, tables=WRITTEN)
    async with mirror_lab(postgres_dsn, tmp_path, capture=capture, runner=RunnerSettings(), population=2) as made:
        wrong = DatabasesSettings(live=made.live_dsn, shadow=made.live_dsn)
        if mistake == "exchanged":
            wrong = DatabasesSettings(live=made.shadow_dsn, shadow=made.live_dsn)
        settings = msgspec.structs.replace(made.settings(), databases=wrong)
        with pytest.raises(SettingsError, match=r"same database|exchanged"):
            async with open_databases(settings):
                pass


async def test_database_that_does_not_answer_is_named(postgres_dsn: str, tmp_path: Path) -> None:
    capture = CaptureSettings(driver=Driver.STREAM, tables=WRITTEN)
    async with mirror_lab(postgres_dsn, tmp_path, capture=capture, runner=RunnerSettings(), population=2) as made:
        wrong = DatabasesSettings(live=made.live_dsn, shadow="postgresql://nobody@127.0.0.1:1/none")
        with pytest.raises(SettingsError, match=r"databases\.shadow"):
            async with open_databases(msgspec.structs.replace(made.settings(), databases=wrong)):
                pass
