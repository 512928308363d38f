"""Fixtures and options of the golden tests: `pytest tests/golden --golden-dir DIR`, one test per scenario."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.golden import known
from tests.golden.known import KnownDifferences
from tests.golden.replay import Stage, stage
from tests.golden.scenario import paths_of
from tests.support.redis import RedisServer, running_redis

SCENARIOS = Path(__file__).parent / "scenarios"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add options for the folder of scenarios and for a part of their names."""
    parser.addoption("--golden-dir", type=Path, default=SCENARIOS, help="a folder of golden scenarios")
    parser.addoption("--golden-only", default="", help="only scenarios whose name contains this text")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Generate one test per scenario file."""
    if "scenario_path" not in metafunc.fixturenames:
        return
    config = metafunc.config
    folder = config.getoption("--golden-dir", None) or SCENARIOS
    paths = paths_of(folder, config.getoption("--golden-only", None) or "")
    metafunc.parametrize("scenario_path", paths, ids=[path.stem for path in paths])


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """Run a real Redis for the session."""
    with running_redis() as server:
        yield server


@pytest.fixture(scope="session")
def declared() -> KnownDifferences:
    """Provide the declared differences; they record which of them applied in the session."""
    return known.load()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def golden_stage(postgres_dsn: str, redis_server: RedisServer) -> AsyncIterator[Stage]:
    """Provide the database and the services that all scenarios share."""
    async with stage(postgres_dsn, redis_server) as on:
        yield on
