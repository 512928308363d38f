"""Fixtures every test may ask for."""

import sys
from collections.abc import AsyncIterator, Iterator

import pytest

# eth-account raises the recursion limit when it is loaded. A test run shares one process with code that never loads it, and
# that relies on RecursionError coming before the stack is full.
LIMIT = sys.getrecursionlimit()
import eth_account  # noqa: E402, F401

sys.setrecursionlimit(LIMIT)

from tests.support import postgres  # noqa: E402


@pytest.fixture(scope="session")
def postgres_dsn() -> Iterator[str]:
    """DSN of a running cluster with logical decoding (superuser)."""
    yield from postgres.session_cluster()


@pytest.fixture
async def database(postgres_dsn: str) -> AsyncIterator[str]:
    """DSN of an empty database of this test's own."""
    async with postgres.temporary_database(postgres_dsn) as dsn:
        yield dsn
