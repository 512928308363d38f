"""`shadow runner`: mirror journaled exchanges on the shadow database, and compare both sides."""

import argparse
import asyncio
import os
from pathlib import Path

import uvloop

from proxy.cli.exit_codes import Exit
from proxy.cli.output import add_config_option
from proxy.cli.signals import stop_on_signals
from proxy.config.loader import read_settings, when_changed
from proxy.config.settings import Settings
from proxy.logging_json import configure as configure_logs
from proxy.runner.app import serve


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    add_config_option(parser)


def run(args: argparse.Namespace) -> int:
    """Run until SIGTERM or SIGINT."""
    settings = read_settings(args.config)
    configure_logs()
    uvloop.run(_serve(settings, args.config))
    return Exit.DONE


async def _serve(settings: Settings, path: Path) -> None:
    stop = asyncio.Event()
    stop_on_signals(stop)
    await serve(settings, os.environ, stop=stop, reload=when_changed(path))
