import json
import secrets
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from proxy.replay.snapshot_transfer import program
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


def test_database_with_accounts_is_refused_in_one_line(migrated: str) -> None:
    assert scorer("populate", "--addresses", "1", dsn=migrated).returncode == 0
    again = scorer("populate", "--addresses", "1", dsn=migrated)
    assert again.returncode == 2
    assert again.stderr == "scorer: the database has accounts already: populate needs one without accounts\n"


def test_missing_database_is_reported_in_one_line() -> None:
    done = scorer("populate", dsn="")
    assert done.returncode == 2
    assert done.stderr == "scorer: no database: set --database-url or DATABASE_URL, or a file with --sql\n"


def test_unavailable_database_is_reported_in_one_line() -> None:
    done = scorer("migrate", dsn="postgresql://127.0.0.1:1/none")
    assert done.returncode == 3
    assert done.stderr.startswith("scorer: ConnectionRefusedError: ")
    assert done.stderr.count("\n") == 1


def test_migrating_once_more_says_that_nothing_was_to_do(migrated: str) -> None:
    again = scorer("migrate", dsn=migrated)
    assert (again.returncode, again.stdout) == (0, "")
    assert again.stderr.startswith("nothing to apply")


REAL_SYSTEM = """
INSERT INTO account_customplatform (id, platform_type, name, is_evm) VALUES (1, 'DEVEL', 'Developer List', true), (2, 'NFT', 'NFT', true);
INSERT INTO account_customcredentialruleset (id, credential_type, definition, name, provider_id)
    VALUES (1, 'DEVEL', '{}', 'List', 'DeveloperList#List#0x1');
INSERT INTO registry_humanpointsconfig (action, points, active) VALUES ('SCB', 500, true), ('HKY', 100, true), ('PMT', 300, true);
SELECT setval(pg_get_serial_sequence('account_customplatform', 'id'), 2),
       setval(pg_get_serial_sequence('account_customcredentialruleset', 'id'), 1);
"""
"""Rows that the real system's own migrations leave behind."""
ACTIONS = "SELECT array_agg(action::text ORDER BY action) FROM registry_humanpointsconfig"


@pytest.fixture
async def owned(database: str) -> AsyncIterator[str]:
    """DSN of a database as the real system's migrations leave it, for a role that owns it and is not a superuser."""
    parts = urlsplit(database)
    name, role = parts.path.removeprefix("/"), f"plain_{secrets.token_hex(4)}"
    conn = await asyncpg.connect(database)
    await conn.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'plain'; ALTER DATABASE {name} OWNER TO {role}")
    await conn.execute(f"GRANT ALL ON SCHEMA public TO {role}")
    await conn.close()
    dsn = urlunsplit(parts._replace(netloc=f"{role}:plain@{parts.netloc.rpartition('@')[2]}"))
    assert scorer("migrate", dsn=dsn).returncode == 0
    plain = await asyncpg.connect(dsn)
    await plain.execute(REAL_SYSTEM)
    await plain.close()
    yield dsn
    conn = await asyncpg.connect(database)
    await conn.execute(f"REASSIGN OWNED BY {role} TO CURRENT_USER; ALTER DATABASE {name} OWNER TO CURRENT_USER")
    await conn.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")
    await conn.close()


async def test_population_goes_beside_rows_of_real_migrations(owned: str) -> None:
    done = scorer("populate", "--addresses", "5", dsn=owned)
    assert (done.returncode, done.stderr) == (0, "")
    conn = await asyncpg.connect(owned)
    actions = await conn.fetchval(ACTIONS)
    following = await conn.fetchval("SELECT nextval(pg_get_serial_sequence('account_customplatform', 'id'))")
    await conn.close()
    assert actions == ["CSB", "HKY", "ISG", "PMT", "SCB"]
    assert following == 1_000_002


async def test_script_runs_as_a_plain_role_without_warnings(owned: str, tmp_path: Path) -> None:
    script = tmp_path / "people.sql"
    assert scorer("populate", "--addresses", "5", "--sql", str(script), dsn="").returncode == 0
    words = ("-X", "-q", "-v", "ON_ERROR_STOP=1", "-o", "/dev/null", "-f", str(script), owned)
    done = subprocess.run([program("psql", None), *words], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    conn = await asyncpg.connect(owned)
    actions = await conn.fetchval(ACTIONS)
    await conn.close()
    assert actions == ["CSB", "HKY", "ISG", "PMT", "SCB"]
