"""PostgreSQL servers of the versions that this machine has: 18 and 16 from the wheel, and Debian's."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg

from proxy.demo.embedded_postgres import PARAMETERS, EmbeddedPostgres
from tests.zoo.shape import Shape

DEBIAN = Path("/usr/lib/postgresql")
WHEEL_VERSIONS = (18, 16)
TUNED = {
    "max_prepared_transactions": "20",
    "max_replication_slots": "60",
    "max_wal_senders": "60",
    "max_connections": "300",
    "autovacuum": "off",
}
RELAXED = {"fsync": "off", "full_page_writes": "off"}


def versions() -> tuple[int, ...]:
    """Return the major versions that can be started here, the newest first."""
    debian = [int(path.name) for path in DEBIAN.glob("*") if path.name.isdigit() and (path / "bin/initdb").exists()]
    return tuple(sorted({*WHEEL_VERSIONS, *debian}, reverse=True))


@contextmanager
def cluster(version: int) -> Iterator[str]:
    """Run a server of this major version; yield the DSN of its superuser."""
    folder = Path(tempfile.mkdtemp(prefix="zoo-pg-"))
    try:
        if version in WHEEL_VERSIONS:
            server = EmbeddedPostgres(folder / "data", version=version, parameters=TUNED)
            try:
                server.start()
                yield server.dsn()
            finally:
                server.stop(mode="immediate")
        else:
            with _debian(version, folder) as dsn:
                yield dsn
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _debian(version: int, folder: Path) -> Iterator[str]:
    programs, data = DEBIAN / str(version) / "bin", folder / "data"
    user = "postgres" if os.geteuid() == 0 else None
    if user:
        os.chown(folder, pwd.getpwnam(user).pw_uid, -1)

    def run(program: str, *arguments: str) -> None:
        subprocess.run(
            [str(programs / program), "-D", str(data), *arguments],
            check=True,
            user=user,
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=90,
        )

    run("initdb", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync")
    parameters = {**PARAMETERS, **RELAXED, **TUNED, "unix_socket_directories": str(folder)}
    with (data / "postgresql.auto.conf").open("a") as file:
        file.writelines(f"{name} = '{value}'\n" for name, value in parameters.items())
    try:
        run("pg_ctl", "-w", "-t", "60", "-l", str(folder / "log"), "start")
        yield f"postgresql://postgres@/postgres?host={folder}"
    finally:
        run("pg_ctl", "-w", "-t", "60", "-m", "immediate", "stop")


async def available(dsn: str, version: int, shapes: Iterable[Shape]) -> list[Shape]:
    """Return the shapes that this server can have."""
    conn = await asyncpg.connect(dsn)
    try:
        return [shape for shape in shapes if shape.since <= version and await _runs(conn, shape.requires)]
    finally:
        await conn.close()


async def _runs(conn: asyncpg.Connection, statement: str) -> bool:
    if not statement:
        return True
    transaction = conn.transaction()
    await transaction.start()
    try:
        await conn.execute(statement)
    except asyncpg.PostgresError:
        return False
    finally:
        await transaction.rollback()
    return True
