"""Visit every shape on every driver and PostgreSQL version: `python -m tests.zoo [--shape TEXT] [--driver D] [--version V]`."""

import argparse
import asyncio
import sys
import time

from comparator.capture.settings import Driver
from tests.zoo.clusters import cluster, versions
from tests.zoo.inventory import SHAPES
from tests.zoo.lab import visit_shapes

DRIVERS = (Driver.STREAM, Driver.SQL, Driver.TRIGGERS)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.zoo", description=__doc__)
    parser.add_argument("--shape", default="", help="part of the names of the shapes to visit (default: all)")
    parser.add_argument("--driver", action="append", choices=[d.value for d in DRIVERS], help="default: all")
    parser.add_argument("--version", action="append", type=int, help="major version (default: all that are here)")
    arguments = parser.parse_args()
    chosen = [shape for shape in SHAPES if arguments.shape in shape.name]
    wrong = count = 0
    for version in arguments.version or versions():
        with cluster(version) as dsn:
            for shape in chosen:
                if shape.since > version:
                    continue
                for driver in arguments.driver or DRIVERS:
                    started = time.monotonic()
                    problems = asyncio.run(visit_shapes(dsn, [shape], Driver(driver)))
                    count, wrong = count + 1, wrong + bool(problems)
                    text = "exact" if not problems else "BROKEN"
                    print(f"{version} {driver:8} {shape.name:40} {text} {time.monotonic() - started:.1f} s", flush=True)
                    for problem in problems:
                        print(f"      {str(problem)[:600]}", flush=True)
    print(f"{count} visits, {wrong} broken")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
