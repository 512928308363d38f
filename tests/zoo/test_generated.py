"""A fixed slice of the generated schemas; `make zoo ARGS="--schemas 500"` works on more."""

from collections.abc import Iterator

import pytest

from comparator.capture.settings import Driver
from tests.zoo.clusters import cluster
from tests.zoo.generated_run import generate, run_schemas

SCHEMAS = 10
SEED = 5


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with cluster(18) as dsn:
        yield dsn


@pytest.mark.parametrize(("turn", "driver"), [(0, Driver.STREAM), (1, Driver.TRIGGERS)])
async def test_random_work_on_random_schemas_is_judged_as_it_is(server: str, turn: int, driver: Driver) -> None:
    assert await run_schemas(server, generate(SCHEMAS, number=SEED)[turn::2], driver) == []


def test_same_seed_gives_the_same_schemas() -> None:
    assert generate(SCHEMAS, number=SEED) == generate(SCHEMAS, number=SEED)
