"""README's way to a shadow database, by a role that owns live and may replicate and create databases: no superuser."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from proxy.cli.main import main
from tests.support import postgres


async def execute(dsn: str, *statements: str) -> None:
    conn = await asyncpg.connect(dsn)
    try:
        for statement in statements:
            await conn.execute(statement)
    finally:
        await conn.close()


@pytest.fixture
async def config(postgres_dsn: str, database: str, tmp_path: Path) -> AsyncIterator[Path]:
    """A configuration whose databases are reached as a role of the operator's; the shadow does not exist yet."""
    role = f"t_role_{uuid.uuid4().hex[:8]}"
    shadow = postgres.with_database(postgres_dsn, f"t_shadow_{uuid.uuid4().hex[:8]}")
    name = urlsplit(database).path.lstrip("/")
    await execute(
        postgres_dsn, f"CREATE ROLE {role} LOGIN REPLICATION CREATEDB", f'ALTER DATABASE "{name}" OWNER TO {role}'
    )
    dsns = {"live": as_role(database, role), "shadow": as_role(shadow, role)}
    await execute(dsns["live"], "CREATE TABLE thing (id serial PRIMARY KEY, owner text)")
    path = tmp_path / "config.yaml"
    lines = [f"  {place}: '{dsn}'\n" for place, dsn in dsns.items()]
    path.write_text("databases:\n" + "".join(lines) + "capture: {tables: [thing]}\n")
    yield path
    await postgres.drop_database(shadow)
    await execute(database, f"DROP OWNED BY {role}", f'ALTER DATABASE "{name}" OWNER TO CURRENT_USER')
    await execute(postgres_dsn, f"DROP ROLE {role}")


def as_role(dsn: str, role: str) -> str:
    """The same database, as another role."""
    parts = urlsplit(dsn)
    return urlunsplit(parts._replace(netloc=f"{role}@{parts.netloc.rpartition('@')[2]}"))


async def test_role_without_superuser_clones_and_captures(config: Path) -> None:
    steps = (
        ("capture", "check", "--database", "live", "--apply"),
        ("align", "clone"),
        ("capture", "check", "--database", "shadow", "--apply"),
        ("capture", "check"),
        ("align", "verify"),
    )
    codes = [await asyncio.to_thread(main, [*words, "--config", str(config)]) for words in steps]
    assert codes == [0, 0, 0, 0, 0]
