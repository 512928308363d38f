"""`python -m scorer serve|migrate|populate|sync-platforms`.

Exit codes: 0 done, 2 wrong usage or environment, 3 the database or a required service is unavailable or refuses.
"""

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence

import asyncpg

from scorer import settings as settings_module
from scorer.errors import ScorerError, UpstreamFailedError
from scorer.population import command
from scorer.settings import ScorerSettings

USAGE, UNAVAILABLE = 2, 3


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the exit status."""
    options = _parser().parse_args(arguments)
    try:
        if options.command == "populate":
            return command.run(options)
        settings = settings_module.load(os.environ)
        match options.command:
            case "migrate":
                return asyncio.run(_migrate(settings))
            case "sync-platforms":
                from scorer import platform_sync  # noqa: PLC0415 (only this command needs it)

                return asyncio.run(platform_sync.run(settings))
            case _:
                from scorer import serving  # noqa: PLC0415 (the other commands need no HTTP)

                serving.serve(settings, options.host, options.port)
                return 0
    except ScorerError as error:
        sys.stderr.write(f"scorer: {error}\n")
        return UNAVAILABLE if isinstance(error, UpstreamFailedError) else USAGE
    except (OSError, asyncpg.PostgresError) as error:
        sys.stderr.write(f"scorer: {type(error).__name__}: {error}\n")
        return UNAVAILABLE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="scorer", description="The Passport scorer.")
    commands = parser.add_subparsers(dest="command", required=True)
    serve = commands.add_parser(
        "serve",
        help="serve requests until SIGTERM or SIGINT",
        epilog="All other settings come from the environment, under the legacy's names: DATABASE_URL is required, "
        "SCORER_ADMIN_PORT opens the admin port (/metrics); scorer/settings.py lists all of them.",
    )
    serve.add_argument("--host", default="127.0.0.1")
    serve.add_argument(
        "--port", type=int, default=8001, help="default: %(default)s; 0 picks a free port, printed as the first line"
    )
    commands.add_parser("migrate", help="create or adopt the tables")
    commands.add_parser("sync-platforms", help="copy the platforms of stampMetadata.json into the database")
    command.configure(
        commands.add_parser(
            "populate", help="fill a database with synthetic people who hold validly signed credentials"
        )
    )
    return parser


async def _migrate(settings: ScorerSettings) -> int:
    from scorer.db import migrate  # noqa: PLC0415 (only this command needs it here)

    conn = await asyncpg.connect(settings.database_url, timeout=settings.limits.acquire_timeout_s)
    try:
        applied = await migrate.migrate(conn)
    finally:
        await conn.close()
    for name in applied:
        sys.stdout.write(f"{name}\n")
    if not applied:
        sys.stderr.write("nothing to apply: the schema is up to date\n")
    return 0


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    sys.stderr.flush()
    # didkit sometimes crashes during interpreter shutdown; everything is closed by now, so skip that shutdown.
    os._exit(status)
