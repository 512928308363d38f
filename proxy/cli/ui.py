"""`shadow ui`: serve the web UI until it is stopped."""

import argparse
import asyncio

import uvloop

from proxy.cli.exit_codes import Exit
from proxy.cli.output import add_config_option, print_line
from proxy.cli.signals import stop_on_signals
from proxy.config.checks import check_ui_access
from proxy.config.loader import read_settings
from proxy.config.settings import Settings
from proxy.errors import ListenError
from proxy.exception_groups import first_error
from proxy.logging_json import configure as configure_logs
from proxy.ui.app import serve


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    add_config_option(parser)


def run(args: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT.

    Raises:
        SettingsError: the configuration is wrong, or everyone could reach the UI.
        ListenError: the port cannot be listened on.
    """
    settings = read_settings(args.config)
    check_ui_access(settings)
    configure_logs()
    try:
        uvloop.run(_serve(settings))
    except ExceptionGroup as group:
        error = first_error(group)
        if isinstance(error, OSError):
            raise ListenError(f"ui.port {settings.ui.port}: cannot listen: {error}") from group
        raise error from group
    return Exit.DONE


async def _serve(settings: Settings) -> None:
    stop = asyncio.Event()
    stop_on_signals(stop)
    await serve(settings, stop, lambda url: print_line(f"the web UI: {url}"))
