"""A migrated database, empty at the start of each test, and an app on it."""

import asyncio
from collections.abc import Iterator

import asyncpg
import pytest
from aiohttp.test_utils import TestClient, TestServer

from scorer.app import build
from scorer.db import migrate
from scorer.settings import ScorerSettings
from tests.support import postgres, scoring

TABLES = """
SELECT format('SELECT %L WHERE EXISTS (SELECT FROM %I)', relname, relname) FROM pg_class
WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND relname <> 'scorer_migrations'
"""


@pytest.fixture(scope="session")
def migrated_once(postgres_dsn: str) -> Iterator[str]:
    """DSN of a database with all migrations applied, the same for the whole session."""

    async def make() -> str:
        dsn = await postgres.create_database(postgres_dsn)
        conn = await asyncpg.connect(dsn)
        try:
            await migrate.migrate(conn)
        finally:
            await conn.close()
        return dsn

    dsn = asyncio.run(make())
    yield dsn
    asyncio.run(postgres.drop_database(dsn))


@pytest.fixture
async def migrated(migrated_once: str):
    """DSN of a migrated database that is empty again after the test: far cheaper than a database a test."""
    yield migrated_once
    conn = await asyncpg.connect(migrated_once)
    look = " UNION ALL ".join(row[0] for row in await conn.fetch(TABLES))
    filled = [row[0] for row in await conn.fetch(look)]
    if filled:
        await conn.execute(f"TRUNCATE {', '.join(filled)} RESTART IDENTITY CASCADE")
    await conn.close()


@pytest.fixture
async def world(migrated: str):
    """Populate the database."""
    conn = await asyncpg.connect(migrated)
    made = scoring.World(conn)
    await made.populate()
    yield made
    await conn.close()


@pytest.fixture
async def serve():
    """Start an app with given settings; stopped after the test."""
    clients: list[TestClient] = []

    async def start(settings: ScorerSettings, **parts) -> TestClient:
        client = TestClient(TestServer(build(settings, **parts)))
        await client.start_server()
        clients.append(client)
        return client

    yield start
    for client in clients:
        await client.close()


@pytest.fixture
async def client(migrated: str, world: scoring.World, serve):
    """Serve the app on the populated database."""
    return await serve(scoring.settings(migrated))
