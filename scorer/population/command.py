"""`python -m scorer populate`: write a synthetic population into a migrated, empty database and list the requests for it."""

import argparse
import asyncio
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scorer.errors import SettingsError

_CONNECT_TIMEOUT_S = 10.0


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--database-url", default=os.environ.get("DATABASE_URL", ""), help="default: DATABASE_URL")
    parser.add_argument("--addresses", type=int, default=300, help="how many people (default 300)")
    parser.add_argument("--seed", type=int, default=1, help="the same seed makes the same people (default 1)")
    parser.add_argument("--targets", type=Path, help="write the requests here, one JSON object a line")
    parser.add_argument(
        "--known-differences",
        action="store_true",
        help="include people whom the new scorer scores otherwise on purpose",
    )


def run(options: argparse.Namespace) -> int:
    """Populate; prints one JSON object: how many people, rows and targets, and the issuers to trust.

    Raises:
        ScorerError: no database is named, or it is not empty.
    """
    if not options.database_url:
        raise SettingsError("no database: give --database-url or DATABASE_URL")
    # Signing is loaded here: the other commands of the scorer never need it.
    from scorer.population import people, rows, targets  # noqa: PLC0415

    population = list(people.people(options.seed, options.addresses, known_differences=options.known_differences))
    written = asyncio.run(_write(options.database_url, rows.rows(population)))
    listed = list(targets.targets(population))
    if options.targets:
        options.targets.write_bytes(targets.lines(listed))
    summary = {
        "people": len(population),
        "rows": written,
        "targets": len(listed),
        "trusted_issuers": [people.Issuers.of(options.seed).trusted.did],
    }
    sys.stdout.write(json.dumps(summary) + "\n")
    return 0


async def _write(dsn: str, found: Mapping[str, list[tuple[Any, ...]]]) -> int:
    import asyncpg  # noqa: PLC0415

    from scorer.population import writing  # noqa: PLC0415

    conn = await asyncpg.connect(dsn, timeout=_CONNECT_TIMEOUT_S)
    try:
        return await writing.write(conn, found)
    finally:
        await conn.close()
