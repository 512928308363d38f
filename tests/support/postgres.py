"""A real PostgreSQL for the tests: one cluster per session, one database per test, cloned from a template.

`SHADOW_TEST_DSN` names a server (superuser, wal_level=logical) to use instead of the embedded one.
"""

import os
import shutil
import tempfile
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from proxy.demo.embedded_postgres import EmbeddedPostgres


def session_cluster() -> Iterator[str]:
    """Yield the DSN of a running cluster; the embedded one is removed afterwards."""
    configured = os.environ.get("SHADOW_TEST_DSN", "")
    if configured:
        yield configured
        return
    with own_cluster() as server:
        yield server.dsn()


@contextmanager
def own_cluster(*, version: int = 18) -> Iterator[EmbeddedPostgres]:
    """Run an embedded server that only the caller uses, so that it may be stopped and started.

    Its data is not below pytest's folder, which the user that PostgreSQL runs as cannot enter.
    """
    folder = Path(tempfile.mkdtemp(prefix="shadow-test-pg-"))
    server = EmbeddedPostgres(folder / "data", version=version)
    try:
        server.start()
        yield server
    finally:
        server.stop(mode="immediate")
        shutil.rmtree(folder, ignore_errors=True)


def with_database(dsn: str, name: str) -> str:
    """Return the DSN of another database on the same server."""
    parts = urlsplit(dsn)
    return urlunsplit(parts._replace(path=f"/{name}"))


async def create_database(dsn: str, *, template: str = "template0") -> str:
    """Create a database with a unique name on the server of `dsn`; return its DSN.

    Its files are copied: writing them to the log, which is the default, takes four times as much of the processor.
    """
    name = f"t_{uuid.uuid4().hex[:12]}"
    conn = await asyncpg.connect(dsn)
    try:
        await conn.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}" STRATEGY file_copy')
    finally:
        await conn.close()
    return with_database(dsn, name)


async def drop_database(dsn: str) -> None:
    """Drop the database that `dsn` names and terminate its connections."""
    name = urlsplit(dsn).path.lstrip("/")
    conn = await asyncpg.connect(with_database(dsn, "postgres"))
    try:
        await conn.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
    finally:
        await conn.close()


@asynccontextmanager
async def temporary_database(dsn: str, *, template: str = "template0") -> AsyncIterator[str]:
    """Create a database and drop it at the end of the block."""
    fresh = await create_database(dsn, template=template)
    try:
        yield fresh
    finally:
        await drop_database(fresh)
