"""A migrated database a test, cloned from one template, and an app on it."""

import asyncio
from collections.abc import Iterator
from urllib.parse import urlsplit

import asyncpg
import pytest
from aiohttp.test_utils import TestClient, TestServer

from scorer.app import build
from scorer.db import migrate
from scorer.settings import Settings
from tests.support import postgres, scoring


@pytest.fixture(scope="session")
def migrated_template(postgres_dsn: str) -> Iterator[str]:
    """Name of a database with all migrations applied."""

    async def make() -> str:
        dsn = await postgres.create_database(postgres_dsn)
        conn = await asyncpg.connect(dsn)
        try:
            await migrate.migrate(conn)
        finally:
            await conn.close()
        return dsn

    dsn = asyncio.run(make())
    yield urlsplit(dsn).path.lstrip("/")
    asyncio.run(postgres.drop_database(dsn))


@pytest.fixture
async def migrated(postgres_dsn: str, migrated_template: str):
    """DSN of a migrated database of this test's own."""
    async with postgres.temporary_database(postgres_dsn, template=migrated_template) as dsn:
        yield dsn


@pytest.fixture
async def world(migrated: str):
    """A populated database."""
    conn = await asyncpg.connect(migrated)
    made = scoring.World(conn)
    await made.populate()
    yield made
    await conn.close()


@pytest.fixture
async def serve():
    """Start an app with given settings; stopped after the test."""
    clients: list[TestClient] = []

    async def start(settings: Settings, **parts) -> TestClient:
        client = TestClient(TestServer(build(settings, **parts)))
        await client.start_server()
        clients.append(client)
        return client

    yield start
    for client in clients:
        await client.close()


@pytest.fixture
async def client(migrated: str, world: scoring.World, serve):
    """The app on the populated database."""
    return await serve(scoring.settings(migrated))
