"""Fixtures every test may ask for."""

from collections.abc import AsyncIterator, Iterator

import pytest

from tests.support import postgres


@pytest.fixture(scope="session")
def postgres_dsn() -> Iterator[str]:
    """DSN of a running cluster with logical decoding (superuser)."""
    yield from postgres.session_cluster()


@pytest.fixture
async def database(postgres_dsn: str) -> AsyncIterator[str]:
    """DSN of an empty database of this test's own."""
    async with postgres.temporary_database(postgres_dsn) as dsn:
        yield dsn
