"""Every shape once, on one driver each; `make zoo` visits all of them on all drivers and versions."""

from collections.abc import Iterator

import pytest

from comparator.capture.settings import Driver
from tests.zoo.clusters import available, cluster
from tests.zoo.inventory import SHAPES
from tests.zoo.lab import keep_promise, visit_shapes
from tests.zoo.shape import Shape
from tests.zoo.visits import short_visits

VERSION = 18
DRIVERS = (Driver.STREAM, Driver.SQL, Driver.TRIGGERS)
EXACT = [shape for shape in SHAPES if not (shape.refused or shape.broken or shape.heavy)]


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with cluster(VERSION) as dsn:
        yield dsn


@pytest.mark.parametrize("number", range(len(DRIVERS)))
async def test_rows_are_compared_and_aligned_exactly(server: str, number: int) -> None:
    shapes = await available(server, VERSION, EXACT[number :: len(DRIVERS)])
    assert await visit_shapes(server, shapes, DRIVERS[number], short_visits) == []


@pytest.mark.parametrize("shape", [shape for shape in SHAPES if shape.refused], ids=lambda shape: shape.name)
async def test_tables_are_refused_by_name(server: str, shape: Shape) -> None:
    for fitting in await available(server, VERSION, [shape]):
        assert await keep_promise(server, fitting, DRIVERS[len(shape.name) % len(DRIVERS)]) == []


def test_names_are_unique() -> None:
    tables = [table for shape in SHAPES for table in shape.tables]
    assert len(tables) == len(set(tables))
    assert len({shape.name for shape in SHAPES}) == len(SHAPES)


def test_shapes_that_are_compared_have_deviations() -> None:
    assert [shape.name for shape in SHAPES if not shape.refused and not {"changed", "lost"} & shape.faults.keys()] == []
