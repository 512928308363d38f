import json
import subprocess
import sys
from pathlib import Path

import asyncpg
import pytest

from tests.legacy.running import ROOT


def scorer(*words: str, dsn: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "scorer", *words],
        cwd=ROOT,
        env={"DATABASE_URL": dsn},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def migrated(database: str) -> str:
    assert scorer("migrate", dsn=database).returncode == 0
    return database


async def test_population_is_written_and_described(migrated: str, tmp_path: Path) -> None:
    path = tmp_path / "targets.ndjson"
    done = scorer("populate", "--addresses", "20", "--targets", str(path), dsn=migrated)
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert summary["people"] == 20
    assert summary["targets"] == len(path.read_bytes().splitlines())
    conn = await asyncpg.connect(migrated)
    stored = await conn.fetchval("SELECT count(*) FROM ceramic_cache_ceramiccache")
    issuers = await conn.fetch("SELECT DISTINCT stamp ->> 'issuer' AS did FROM ceramic_cache_ceramiccache")
    await conn.close()
    assert stored > 40
    assert set(summary["trusted_issuers"]) < {record["did"] for record in issuers}


async def test_ids_go_on_after_those_of_the_population(migrated: str) -> None:
    assert scorer("populate", "--addresses", "20", dsn=migrated).returncode == 0
    conn = await asyncpg.connect(migrated)
    greatest = await conn.fetchval("SELECT max(id) FROM registry_hashscorerlink")
    following = await conn.fetchval("SELECT nextval(pg_get_serial_sequence('registry_hashscorerlink', 'id'))")
    await conn.close()
    assert following == greatest + 1


def test_a_database_with_accounts_is_refused_in_one_line(migrated: str) -> None:
    assert scorer("populate", "--addresses", "1", dsn=migrated).returncode == 0
    again = scorer("populate", "--addresses", "1", dsn=migrated)
    assert again.returncode == 2
    assert again.stderr == "scorer: the database has accounts already: populate needs one without accounts\n"


def test_a_missing_database_is_said_in_one_line() -> None:
    done = scorer("populate", dsn="")
    assert done.returncode == 2
    assert done.stderr == "scorer: no database: set --database-url or DATABASE_URL, or a file with --sql\n"


def test_a_database_that_is_away_is_said_in_one_line() -> None:
    done = scorer("migrate", dsn="postgresql://127.0.0.1:1/none")
    assert done.returncode == 3
    assert done.stderr.startswith("scorer: ConnectionRefusedError: ")
    assert done.stderr.count("\n") == 1


def test_migrating_once_more_says_that_nothing_was_to_do(migrated: str) -> None:
    again = scorer("migrate", dsn=migrated)
    assert (again.returncode, again.stdout) == (0, "")
    assert again.stderr.startswith("nothing to apply")
