"""Apply migrations/NNNN_name.sql in order, each in its own transaction, and record them.

A database created by the legacy already has the tables of 0001: that migration is then recorded as adopted and not run.
"""

import hashlib
import re
from dataclasses import dataclass
from importlib import resources

from scorer.db.pool import Connection
from scorer.errors import MigrationError

_FILE = re.compile(r"(\d{4})_\w+\.sql")
_LEGACY_TABLES = "0001_legacy_tables.sql"
# An advisory lock that serializes concurrent runs; the number is arbitrary.
_LOCK = 7_203_118_442

CREATE_RECORD = """
CREATE TABLE IF NOT EXISTS scorer_migrations (
    name text PRIMARY KEY,
    digest text NOT NULL,
    adopted boolean NOT NULL,
    applied_at timestamptz NOT NULL
)
"""


@dataclass(frozen=True, slots=True)
class Migration:
    """One file."""

    name: str
    sql: str

    @property
    def digest(self) -> str:
        """SHA-256 of the text."""
        return hashlib.sha256(self.sql.encode()).hexdigest()


def available() -> list[Migration]:
    """List the migrations of this version, in order."""
    folder = resources.files("scorer.db") / "migrations"
    names = sorted(entry.name for entry in folder.iterdir() if _FILE.fullmatch(entry.name))
    return [Migration(name, (folder / name).read_text(encoding="utf-8")) for name in names]


async def migrate(conn: Connection) -> list[str]:
    """Apply the missing migrations and return the names of those applied or adopted now.

    Raises:
        MigrationError: the file of an applied migration has changed since.
    """
    await conn.execute("SELECT pg_advisory_lock($1)", _LOCK)
    try:
        await conn.execute(CREATE_RECORD)
        applied = await _applied(conn)
        done: list[str] = []
        for migration in available():
            known = applied.get(migration.name)
            if known is None:
                await _apply(conn, migration)
                done.append(migration.name)
            elif known != migration.digest:
                raise MigrationError(f"{migration.name} has changed since it was applied")
        return done
    finally:
        await conn.execute("SELECT pg_advisory_unlock($1)", _LOCK)


APPLIED = "SELECT name, digest FROM scorer_migrations"


async def _applied(conn: Connection) -> dict[str, str]:
    return {row["name"]: row["digest"] for row in await conn.fetch(APPLIED)}


HAS_LEGACY_TABLES = "SELECT to_regclass('registry_score') IS NOT NULL"
RECORD = "INSERT INTO scorer_migrations (name, digest, adopted, applied_at) VALUES ($1, $2, $3, now())"


async def _apply(conn: Connection, migration: Migration) -> None:
    adopted = migration.name == _LEGACY_TABLES and bool(await conn.fetchval(HAS_LEGACY_TABLES))
    async with conn.transaction():
        if not adopted:
            await conn.execute(migration.sql)
        await conn.execute(RECORD, migration.name, migration.digest, adopted)
