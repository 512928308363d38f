"""`python -m scorer populate`: write a synthetic population into a migrated, empty database and list the requests for it."""

import argparse
import asyncio
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scorer.errors import ScorerSettingsError

if TYPE_CHECKING:
    from scorer.population.people import Person
    from scorer.population.profile import Profile
    from scorer.population.rows import Rows

DEMO_SECRET = "demo"  # noqa: S105 (what the demo signs tokens with, where SECRET_KEY is not set)
_CONNECT_TIMEOUT_S = 10.0


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--database-url", default=os.environ.get("DATABASE_URL", ""), help="default: DATABASE_URL")
    parser.add_argument("--addresses", type=int, default=300, help="how many people (default 300)")
    parser.add_argument("--seed", type=int, default=1, help="the same seed makes the same people (default 1)")
    parser.add_argument("--targets", type=Path, help="write the requests here, one JSON object a line")
    parser.add_argument(
        "--sql", type=Path, help="write the rows here, as a script for psql, instead of into a database"
    )
    parser.add_argument(
        "--no-rows", action="store_true", help="write no rows anywhere: the database has this population already"
    )
    parser.add_argument("--profile", default="", help="who the people are and what is asked: a name or a YAML file")
    parser.add_argument(
        "--requests", type=int, default=0, help="how many requests, with --profile (default: one a person)"
    )
    parser.add_argument(
        "--known-differences",
        action="store_true",
        help="include people whom the new scorer scores otherwise on purpose",
    )


def run(options: argparse.Namespace) -> int:
    """Populate; prints one JSON object: how many people, rows and targets, and the issuers to trust.

    Raises:
        ScorerError: no database is named, it is not empty, or the profile cannot be used.
    """
    if options.addresses < 1 or options.requests < 0:
        raise ScorerSettingsError("--addresses is above 0, and --requests not below it")
    if not (options.database_url or options.sql or options.no_rows):
        raise ScorerSettingsError("no database: give --database-url or DATABASE_URL, or a file by --sql")
    # Signing is loaded here: the other commands of the scorer never need it.
    from scorer.population import people, profile, rows  # noqa: PLC0415

    wanted = profile.load(options.profile) if options.profile else None
    population = list(_people(options, wanted))
    written = 0
    if not options.no_rows:
        written = _keep(options, rows.rows(population))
    listed = _targets(options, wanted, population)
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
    deal = people.dealt(profile.people)
    return people.people(options.seed, options.addresses, known_differences=known, deal=deal, signed=signed)


def _keep(options: argparse.Namespace, found: "Rows") -> int:
    """Write the rows to where they are wanted; how many."""
    from scorer.population import sql  # noqa: PLC0415

    if options.sql is None:
        return asyncio.run(_write(options.database_url, found))
    with options.sql.open("w", encoding="utf-8") as file:
        file.writelines(sql.script(found))
    return sum(map(len, found.values()))


def _targets(options: argparse.Namespace, profile: "Profile | None", population: "Sequence[Person]") -> int:
    """Write the requests where they are wanted; how many there are."""
    from scorer.population import targets, traffic  # noqa: PLC0415

    if profile is None:
        made = list(targets.targets(population))
    else:
        secrets = traffic.Secrets(
            os.environ.get("SECRET_KEY") or DEMO_SECRET, os.environ.get("CGRANTS_API_TOKEN", "abc")
        )
        count = options.requests or len(population)
        made = list(traffic.traffic(population, profile, seed=options.seed, count=count, secrets=secrets))
    if options.targets:
        options.targets.write_bytes(targets.lines(made))
    return len(made)


async def _write(dsn: str, found: Mapping[str, list[tuple[Any, ...]]]) -> int:
    import asyncpg  # noqa: PLC0415

    from scorer.population import writing  # noqa: PLC0415

    conn = await asyncpg.connect(dsn, timeout=_CONNECT_TIMEOUT_S)
    try:
        return await writing.write(conn, found)
    finally:
        await conn.close()
