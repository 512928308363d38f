"""One migrated database for the folder; every test settles its own people in it."""

from collections.abc import AsyncIterator

import asyncpg
import pytest
import pytest_asyncio

from scorer.db import migrate
from tests.golden import database
from tests.golden.serving import serving
from tests.integration.scorer_faults.world import World, environment
from tests.support.postgres import temporary_database

SESSION = {"timezone": "UTC", "datestyle": "ISO"}


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def faults_dsn(postgres_dsn: str) -> AsyncIterator[str]:
    """DSN of a database that the scorer's migrations made."""
    async with temporary_database(postgres_dsn) as dsn:
        conn = await asyncpg.connect(dsn)
        await migrate.migrate(conn)
        await conn.close()
        yield dsn


@pytest.fixture
async def quiet_world(faults_dsn: str) -> AsyncIterator[World]:
    """Provide the database alone; the test starts its scorer."""
    conn = await asyncpg.connect(faults_dsn, server_settings=SESSION)
    yield World(faults_dsn, conn, await database.recorded_tables(conn))
    await conn.close()


@pytest.fixture
async def world(quiet_world: World) -> AsyncIterator[World]:
    """Provide the database and a scorer on it."""
    async with serving(environment(quiet_world.dsn), registry=quiet_world.registry) as port:
        quiet_world.port = port
        yield quiet_world
