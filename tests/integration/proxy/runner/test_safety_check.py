"""The runner does not start when the configured shadow may be live."""

from pathlib import Path

import asyncpg
import pytest

from comparator.capture.clone import SHADOW_START
from comparator.capture.settings import CaptureSettings, Driver
from comparator.settings import CompareSettings
from comparator.tables import Table
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


NEW_SEQUENCE = "ALTER TABLE score ADD COLUMN number bigserial"


async def test_sequence_that_a_migration_adds_is_moved_apart(postgres_dsn: str, tmp_path: Path) -> None:
    capture = CaptureSettings(driver=Driver.STREAM, tables=WRITTEN)
    async with mirror_lab(postgres_dsn, tmp_path, capture=capture, runner=RunnerSettings(), population=2) as made:
        live, shadow = await asyncpg.connect(made.live_dsn), await asyncpg.connect(made.shadow_dsn)
        for conn in (live, shadow):
            await conn.execute(NEW_SEQUENCE)
        await live.execute("SELECT nextval('score_number_seq')")
        databases = DatabasesSettings(live=made.live_dsn, shadow=made.shadow_dsn)
        async with open_databases(databases, capture, shadow_connections=2):
            pass
        assert await shadow.fetchval("SELECT nextval('score_number_seq')") >= SHADOW_START
        assert await live.fetchval("SELECT nextval('score_number_seq')") == 2
        # Swapped databases are recognised by the other sequences still.
        swapped = DatabasesSettings(live=made.shadow_dsn, shadow=made.live_dsn)
        with pytest.raises(SettingsError, match="swapped"):
            async with open_databases(swapped, capture, shadow_connections=2):
                pass
        for conn in (live, shadow):
            await conn.close()


async def test_error_names_the_unreachable_database(postgres_dsn: str, tmp_path: Path) -> None:
    capture = CaptureSettings(driver=Driver.STREAM, tables=WRITTEN)
    async with mirror_lab(postgres_dsn, tmp_path, capture=capture, runner=RunnerSettings(), population=2) as made:
        wrong = DatabasesSettings(live=made.live_dsn, shadow="postgresql://nobody@127.0.0.1:1/none")
        with pytest.raises(SettingsError, match=r"databases\.shadow"):
            async with open_databases(wrong, capture, shadow_connections=2):
                pass


DIFFERENCES = {
    "ALTER TABLE score ADD COLUMN extra int": r"score\.extra is missing in live and integer in the shadow",
    "ALTER TABLE score ALTER COLUMN value TYPE text": r"score\.value is numeric\(18,9\) in live and text",
}


@pytest.mark.parametrize("statement", DIFFERENCES)
async def test_runner_refuses_databases_that_define_a_table_differently(
    postgres_dsn: str, tmp_path: Path, statement: str
) -> None:
    capture = CaptureSettings(driver=Driver.STREAM, tables=WRITTEN)
    async with mirror_lab(postgres_dsn, tmp_path, capture=capture, runner=RunnerSettings(), population=2) as made:
        conn = await asyncpg.connect(made.shadow_dsn)
        await conn.execute(statement)
        await conn.close()
        databases = DatabasesSettings(live=made.live_dsn, shadow=made.shadow_dsn)
        with pytest.raises(SettingsError, match=DIFFERENCES[statement]):
            async with open_databases(databases, capture, shadow_connections=2):
                pass


async def test_runner_refuses_descriptions_that_contradict_the_catalogue(postgres_dsn: str, tmp_path: Path) -> None:
    capture = CaptureSettings(driver=Driver.STREAM, tables=WRITTEN)
    async with mirror_lab(postgres_dsn, tmp_path, capture=capture, runner=RunnerSettings(), population=2) as made:
        databases = DatabasesSettings(live=made.live_dsn, shadow=made.shadow_dsn)
        compare = CompareSettings(
            tables={
                "score": Table(natural_key=("pasport_id",)),
                "forgotten": Table(natural_key=("id",)),
            }
        )
        async with open_databases(databases, capture, shadow_connections=2) as opened:
            with pytest.raises(SettingsError) as error:
                opened.refuse_contradictions(compare)
    assert "no column pasport_id (did you mean passport_id?)" in str(error.value)
    assert "table forgotten is not captured" in str(error.value)
