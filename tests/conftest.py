"""Fixtures and options for all tests."""

import sys
from collections.abc import AsyncIterator, Iterator

import pytest

# eth-account raises the recursion limit at import. The processes that never import it rely on RecursionError being raised before the
# stack overflows, and their tests share this process: so import it here and restore the limit.
RECURSION_LIMIT = sys.getrecursionlimit()
import eth_account  # noqa: E402, F401

sys.setrecursionlimit(RECURSION_LIMIT)

from hypothesis import settings  # noqa: E402

from tests.support import postgres  # noqa: E402
from tests.support.matrix import FULL  # noqa: E402

# `make test` tries the same 40 examples of a property each time, `make test-matrix` 400 that are new. There is no deadline, because the
# duration of an example depends on the load of the machine.
settings.register_profile("suite", deadline=None, max_examples=400 if FULL else 40, derandomize=not FULL)
settings.load_profile("suite")


@pytest.fixture(scope="session")
def postgres_dsn() -> Iterator[str]:
    """Provide the superuser DSN of a running cluster with logical decoding."""
    yield from postgres.session_cluster()


@pytest.fixture
async def database(postgres_dsn: str) -> AsyncIterator[str]:
    """Provide the DSN of an empty database that only this test uses."""
    async with postgres.temporary_database(postgres_dsn) as dsn:
        yield dsn


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add an option for more rounds than a usual run has time for."""
    parser.addoption(
        "--crash-rounds", type=int, default=4, help="kills of the journal's writer process, per durability setting"
    )


@pytest.fixture
def crash_rounds(pytestconfig: pytest.Config) -> int:
    """Return how many times each crash test kills its process."""
    return int(pytestconfig.getoption("--crash-rounds") or 0)
