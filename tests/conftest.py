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


def pytest_addoption(parser: pytest.Parser) -> None:
    """More rounds than fit in the time of a usual run."""
    parser.addoption("--crash-rounds", type=int, default=4, help="how often journal processes are killed, a durability")


@pytest.fixture
def crash_rounds(pytestconfig: pytest.Config) -> int:
    """Rounds of killing."""
    return int(pytestconfig.getoption("--crash-rounds") or 0)
