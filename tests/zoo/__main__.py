"""Visit every shape on every driver and PostgreSQL version; or, with --schemas, work on so many generated schemas.

Shapes share laboratories, as the tables of one application share a database. When one of a group does not keep its promise, it is
tried once more, alone; when the group as a whole does not, each of it is.
"""

import argparse
import asyncio
import sys
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from functools import partial
from itertools import chain
from operator import attrgetter
from typing import TypeVar

from comparator.capture.settings import Driver
from tests.zoo.clusters import available, cluster, versions
from tests.zoo.generated_run import generate, run_schemas
from tests.zoo.generated_schema import GeneratedSchema
from tests.zoo.inventory import SHAPES
from tests.zoo.lab import keep_promise, visit_shapes
from tests.zoo.oracle import Problem

DRIVERS = (Driver.STREAM, Driver.SQL, Driver.TRIGGERS)
GROUP = 15

T = TypeVar("T")
Tried = tuple[T, list[Problem], float]


def main() -> int:
    """Try what the arguments name; print whatever does not keep its promise."""
    parser = argparse.ArgumentParser(prog="python -m tests.zoo", description=__doc__)
    parser.add_argument("--shape", action="append", default=[], help="part of the names of the shapes (default: all)")
    parser.add_argument("--driver", action="append", choices=[d.value for d in DRIVERS], help="default: all")
    parser.add_argument("--version", action="append", type=int, help="major version (default: all that are here)")
    parser.add_argument("--group", type=int, default=GROUP, help="shapes of one laboratory (default: %(default)s)")
    parser.add_argument("--schemas", type=int, default=0, help="number of generated schemas, instead of the shapes")
    parser.add_argument("--seed", type=int, default=0, help="of the generated schemas (default: 0)")
    parser.add_argument("--migrations", action="store_true", help="change generated schemas between the requests")
    arguments = parser.parse_args()
    tried = wrong = 0
    for line, problems in _generated(arguments) if arguments.schemas else _shapes(arguments):
        tried, wrong = tried + 1, wrong + bool(problems)
        print(f"{'WRONG' if problems else 'kept':5} {line}", flush=True)
        for problem in problems:
            print(f"      {str(problem)[:2000]}", flush=True)
    print(f"{tried} tried, {wrong} wrong")
    return 1 if wrong else 0


def _shapes(arguments: argparse.Namespace) -> Iterator[tuple[str, list[Problem]]]:
    chosen = [s for s in SHAPES if not arguments.shape or any(part in s.name for part in arguments.shape)]
    for version in arguments.version or versions():
        with cluster(version) as dsn:
            shapes = asyncio.run(available(dsn, version, chosen))
            sound = [shape for shape in shapes if not (shape.refused or shape.broken or shape.heavy)]
            others = [shape for shape in shapes if shape.refused or shape.broken or shape.heavy]
            for driver in [Driver(name) for name in arguments.driver or DRIVERS]:
                visit, keep = partial(visit_shapes, dsn, driver=driver), partial(keep_promise, dsn, driver=driver)
                tried = chain(
                    in_groups(sound, visit, keep, arguments.group, name=attrgetter("name")),
                    in_groups(others, None, keep, 1, name=attrgetter("name")),
                )
                for shape, problems, seconds in tried:
                    yield f"{version} {driver:8} {seconds:5.1f} s  {shape.name}", problems


def _generated(arguments: argparse.Namespace) -> Iterator[tuple[str, list[Problem]]]:
    """Work on generated schemas; drivers and versions take turns from one laboratory to the next."""
    made = generate(arguments.schemas, number=arguments.seed, migrated=arguments.migrations)
    drivers, chosen = [Driver(name) for name in arguments.driver or DRIVERS], arguments.version or versions()
    for turn, version in enumerate(chosen):
        own = made[turn :: len(chosen)]
        with cluster(version) as dsn:
            for number, driver in enumerate(drivers):
                together = partial(run_schemas, dsn, driver=driver)
                alone = partial(_alone, dsn, driver=driver)
                for schema, problems, seconds in in_groups(
                    own[number :: len(drivers)], together, alone, arguments.group, name=attrgetter("shape.name")
                ):
                    text = "\n" + schema.script() if problems else ""
                    yield f"{version} {driver:8} {seconds:5.1f} s  {schema.shape.name}{text}", problems


async def _alone(dsn: str, schema: GeneratedSchema, driver: Driver) -> list[Problem]:
    return await run_schemas(dsn, [schema], driver)


def in_groups(
    items: Sequence[T],
    together: Callable[[Sequence[T]], Coroutine[object, object, list[Problem]]] | None,
    alone: Callable[[T], Coroutine[object, object, list[Problem]]],
    size: int,
    *,
    name: Callable[[T], str],
) -> Iterator[Tried[T]]:
    """Yield each item with its problems, in a group and then alone, and the seconds that it took. A problem of a whole group is its first's."""
    for first in range(0, len(items), size):
        group = items[first : first + size]
        found: list[Problem] = []
        suspects = {name(item) for item in group}
        started = time.monotonic()
        if together is not None and size > 1:
            found = asyncio.run(together(group))
            named = suspects & {problem.shape for problem in found}
            suspects = named if found and named else suspects if found else set[str]()
        seconds = (time.monotonic() - started) / len(group)
        general = [problem for problem in found if problem.shape not in {name(item) for item in group}]
        for item in group:
            own = [*general, *(problem for problem in found if problem.shape == name(item))]
            general = []
            started = time.monotonic()
            if name(item) in suspects:
                own += asyncio.run(alone(item))
            yield item, own, seconds + time.monotonic() - started


if __name__ == "__main__":
    sys.exit(main())
