"""A real PostgreSQL for the tests: one cluster a session, one database a test, cloned from a template.

`SHADOW_TEST_DSN` names an own server (superuser, wal_level=logical) to use instead of the embedded one.
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
    own = os.environ.get("SHADOW_TEST_DSN", "")
    if own:
        yield own
        return
    with own_cluster() as server:
        yield server.dsn()


@contextmanager
def own_cluster(*, version: int = 18) -> Iterator[EmbeddedPostgres]:
    """A running embedded server of one's own, which may be stopped and started.

    Not below pytest's folder, which PostgreSQL's user may not enter.
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
    """The same server, another database."""
    parts = urlsplit(dsn)
    return urlunsplit(parts._replace(path=f"/{name}"))


async def create_database(dsn: str, *, template: str = "template0") -> str:
    """Create a database with a unique name on the server of `dsn`; return its DSN."""
    name = f"t_{uuid.uuid4().hex[:12]}"
    conn = await asyncpg.connect(dsn)
    try:
        await conn.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
    finally:
        await conn.close()
    return with_database(dsn, name)


async def drop_database(dsn: str) -> None:
    """Drop the database that `dsn` names, connections and all."""
    name = urlsplit(dsn).path.lstrip("/")
    conn = await asyncpg.connect(with_database(dsn, "postgres"))
    try:
        await conn.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
    finally:
        await conn.close()


@asynccontextmanager
async def temporary_database(dsn: str, *, template: str = "template0") -> AsyncIterator[str]:
    """A fresh database for the life of the block."""
    fresh = await create_database(dsn, template=template)
    try:
        yield fresh
    finally:
        await drop_database(fresh)
