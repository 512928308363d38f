"""`python -m scorer populate`: write a synthetic population into a migrated database and list requests for it."""

import argparse
import asyncio
import json
import os
import stat
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from scorer.errors import ScorerSettingsError

if TYPE_CHECKING:
    from scorer.population.people import Person
    from scorer.population.profile import Profile
    from scorer.population.rows import Rows

DEMO_SECRET = "demo"  # noqa: S105 (signs the demo's tokens if SECRET_KEY is not set)
_CONNECT_TIMEOUT_S = 10.0


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("--database-url", default=os.environ.get("DATABASE_URL", ""), help="default: DATABASE_URL")
    parser.add_argument("--addresses", type=int, default=300, help="how many people (default 300)")
    parser.add_argument("--seed", type=int, default=1, help="equal seeds give equal people (default 1)")
    parser.add_argument("--targets", type=Path, help="write the requests to this file, one JSON object a line")
    parser.add_argument(
        "--sql", type=Path, help="write the rows to this file, as a script for psql, instead of into a database"
    )
    parser.add_argument(
        "--no-rows", action="store_true", help="write no rows: the database already contains this population"
    )
    parser.add_argument("--profile", default="", help="the mix of people and requests: a built-in name or a YAML file")
    parser.add_argument(
        "--requests", type=int, default=0, help="how many requests, with --profile (default: one for each person)"
    )
    parser.add_argument(
        "--known-differences",
        action="store_true",
        help="include people whom the new scorer deliberately scores otherwise",
    )


def run(options: argparse.Namespace) -> int:
    """Populate, and print one JSON object: the numbers of people, rows and targets, and the issuers to trust.

    Raises:
        ScorerError: no database is given, it is not empty, or the profile is unusable.
    """
    if options.addresses < 1 or options.requests < 0:
        raise ScorerSettingsError("--addresses must be at least 1, and --requests at least 0")
    if not (options.database_url or options.sql or options.no_rows):
        raise ScorerSettingsError("no database: set --database-url or DATABASE_URL, or a file with --sql")
    # Imported here: the scorer's other commands do not need signing.
    from scorer.population import people, profile, rows  # noqa: PLC0415

    mix = profile.load(options.profile) if options.profile else None
    population = list(_people(options, mix))
    written = 0
    if not options.no_rows:
        written = _write_rows(options, rows.rows(population))
    listed = _write_targets(options, mix, population)
    summary = {
        "people": len(population),
        "rows": written,
        "targets": listed,
        "trusted_issuers": [people.Issuers.of(options.seed).trusted.did],
    }
    sys.stdout.write(json.dumps(summary) + "\n")
    return 0


def _people(options: argparse.Namespace, profile: "Profile | None") -> "Iterator[Person]":
    from scorer.population import people, traffic  # noqa: PLC0415

    known = options.known_differences
    if profile is None:
        return people.people(options.seed, options.addresses, known_differences=known)
    signed = not options.no_rows or traffic.needs_credentials(profile)
    deal = people.deal_of(profile.people)
    return people.people(options.seed, options.addresses, known_differences=known, deal=deal, signed=signed)


def _write_rows(options: argparse.Namespace, table_rows: "Rows") -> int:
    """Write the rows into the database or the script; return their number."""
    from scorer.population import sql  # noqa: PLC0415

    if options.sql is None:
        return asyncio.run(_write(options.database_url, table_rows))
    with _open_private(options.sql) as file:
        file.writelines(sql.script(table_rows))
    return sum(map(len, table_rows.values()))


def _write_targets(options: argparse.Namespace, profile: "Profile | None", population: "Sequence[Person]") -> int:
    """Write the requests to the targets file, if there is one; return their number."""
    from scorer.population import targets, traffic  # noqa: PLC0415

    if profile is None:
        requests = list(targets.targets(population))
    else:
        secrets = traffic.Secrets(
            os.environ.get("SECRET_KEY") or DEMO_SECRET, os.environ.get("CGRANTS_API_TOKEN", "abc")
        )
        count = options.requests or len(population)
        requests = list(traffic.traffic(population, profile, seed=options.seed, count=count, secrets=secrets))
    if options.targets:
        with _open_private(options.targets) as file:
            file.write(targets.lines(requests).decode())
    return len(requests)


def _open_private(path: Path) -> TextIO:
    """Open a file for writing that only its owner may read: it has API keys and signed credentials."""

    def opener(name: str, flags: int) -> int:
        descriptor = os.open(name, flags, 0o600)
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.fchmod(descriptor, 0o600)
        return descriptor

    return open(path, "w", encoding="utf-8", opener=opener)


async def _write(dsn: str, table_rows: Mapping[str, list[tuple[Any, ...]]]) -> int:
    import asyncpg  # noqa: PLC0415

    from scorer.population import writing  # noqa: PLC0415

    conn = await asyncpg.connect(dsn, timeout=_CONNECT_TIMEOUT_S)
    try:
        return await writing.write(conn, table_rows)
    finally:
        await conn.close()
