"""Visit every shape on every driver and PostgreSQL version.

Shapes share laboratories, as the tables of one application share a database. When one of a group does not keep its promise, each shape of
the group is visited once more, alone.
"""

import argparse
import asyncio
import sys
import time
from collections.abc import Iterator, Sequence

from comparator.capture.settings import Driver
from tests.zoo.clusters import available, cluster, versions
from tests.zoo.inventory import SHAPES
from tests.zoo.lab import keep_promise, visit_shapes
from tests.zoo.oracle import Problem
from tests.zoo.shape import Shape

DRIVERS = (Driver.STREAM, Driver.SQL, Driver.TRIGGERS)
GROUP = 15


def main() -> int:
    """Visit; print every shape that does not keep its promise."""
    parser = argparse.ArgumentParser(prog="python -m tests.zoo", description=__doc__)
    parser.add_argument("--shape", action="append", default=[], help="part of the names of the shapes (default: all)")
    parser.add_argument("--driver", action="append", choices=[d.value for d in DRIVERS], help="default: all")
    parser.add_argument("--version", action="append", type=int, help="major version (default: all that are here)")
    parser.add_argument("--group", type=int, default=GROUP, help="shapes of one laboratory (default: %(default)s)")
    arguments = parser.parse_args()
    chosen = [s for s in SHAPES if not arguments.shape or any(part in s.name for part in arguments.shape)]
    drivers = [Driver(name) for name in arguments.driver or DRIVERS]
    visited = wrong = 0
    for version in arguments.version or versions():
        with cluster(version) as dsn:
            shapes = asyncio.run(available(dsn, version, chosen))
            for driver in drivers:
                for shape, problems, seconds in visit_in_groups(dsn, shapes, driver, arguments.group):
                    visited, wrong = visited + 1, wrong + bool(problems)
                    print(
                        f"{version} {driver:8} {'WRONG' if problems else 'kept':5} {seconds:5.1f} s  {shape.name}",
                        flush=True,
                    )
                    for problem in problems:
                        print(f"      {str(problem)[:700]}", flush=True)
    print(f"{visited} visits, {wrong} wrong")
    return 1 if wrong else 0


def visit_in_groups(
    dsn: str, shapes: Sequence[Shape], driver: Driver, size: int
) -> Iterator[tuple[Shape, list[Problem], float]]:
    """Yield each shape with its problems, and the seconds that it took."""
    sound = [shape for shape in shapes if not shape.refused and not shape.broken]
    alone = [shape for shape in shapes if shape.refused or shape.broken]
    for first in range(0, len(sound), size):
        group = sound[first : first + size]
        started = time.monotonic()
        if size > 1 and not asyncio.run(visit_shapes(dsn, group, driver)):
            yield from ((shape, [], (time.monotonic() - started) / len(group)) for shape in group)
        else:
            alone += group
    for shape in alone:
        started = time.monotonic()
        yield shape, asyncio.run(keep_promise(dsn, shape, driver)), time.monotonic() - started


if __name__ == "__main__":
    sys.exit(main())
