"""`python -m scorer serve|migrate|populate|sync-platforms`."""

import argparse
import asyncio
import gc
import logging
import os
import signal
import sys
from collections.abc import Sequence

from scorer import settings as settings_module
from scorer.errors import ScorerError
from scorer.population import command
from scorer.settings import Settings

logger = logging.getLogger("scorer")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit status."""
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
                return _serve(settings, options.host, options.port)
    except ScorerError as error:
        sys.stderr.write(f"scorer: {error}\n")
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="scorer", description="The Passport scorer.")
    commands = parser.add_subparsers(dest="command", required=True)
    serve = commands.add_parser("serve", help="answer requests until SIGTERM or SIGINT")
    serve.add_argument("--host", default="127.0.0.1")
    serve.add_argument("--port", type=int, default=8002, help="0 picks a free port, printed as the first line")
    commands.add_parser("migrate", help="create or adopt the tables")
    commands.add_parser("sync-platforms", help="take the platforms of stampMetadata.json into the database")
    command.configure(commands.add_parser("populate", help="fill an empty database with synthetic, really signed people"))
    return parser


async def _migrate(settings: Settings) -> int:
    import asyncpg  # noqa: PLC0415 (only this command needs it here)

    from scorer.db import migrate  # noqa: PLC0415

    conn = await asyncpg.connect(settings.database_url, timeout=settings.limits.acquire_timeout_s)
    try:
        for name in await migrate.migrate(conn):
            sys.stdout.write(f"{name}\n")
    finally:
        await conn.close()
    return 0


def _serve(settings: Settings, host: str, port: int) -> int:
    import uvloop  # noqa: PLC0415 (only this command needs it)

    from scorer import logs  # noqa: PLC0415

    logs.configure(settings.log_level)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_served(settings, host, port))


async def _served(settings: Settings, host: str, port: int) -> int:
    from aiohttp import web  # noqa: PLC0415

    from scorer import app as composition  # noqa: PLC0415

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    application = composition.build(settings)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=settings.limits.drain_s, handle_signals=False)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port, backlog=1024)
        await site.start()
        sys.stdout.write(f"listening on {runner.addresses[0]}\n")
        sys.stdout.flush()
        # What exists now lives as long as the process; the collector need not look at it again.
        gc.freeze()
        await stop.wait()
        logger.info("stopping")
    finally:
        await runner.cleanup()
    return 0


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    sys.stderr.flush()
    # didkit sometimes crashes while the interpreter exits, after all work is done; everything is closed by now.
    os._exit(status)
