"""`shadow runner`: mirrors what the journal holds against the shadow database and compares."""

import argparse
import asyncio
import os
from pathlib import Path
from typing import cast

import uvloop

from comparator.capture.errors import CaptureError
from comparator.errors import ComparatorError
from proxy.errors import ProxyError
from proxy.logs import configure as configure_logs
from proxy.settings import Settings
from proxy.settings_file import read_settings, when_changed
from proxy.shadow.service import serve, stop_on_signals


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("--config", type=Path, default=Path("config.yaml"), help="default: %(default)s")


def run(args: argparse.Namespace) -> int:
    """Work until SIGTERM or SIGINT; exit code 0 then, 2 when it cannot begin."""
    settings = read_settings(args.config)
    configure_logs()
    try:
        uvloop.run(_serve(settings, args.config))
    except (CaptureError, ComparatorError) as error:
        raise ProxyError(str(error)) from error
    except ExceptionGroup as group:
        named, unnamed = group.split((ProxyError, CaptureError, ComparatorError))
        if named is None or unnamed is not None:
            raise
        raise ProxyError(str(_first(named))) from group
    return 0


def _first(error: Exception) -> Exception:
    """The first error of nested groups."""
    return (
        _first(cast("ExceptionGroup[Exception]", error).exceptions[0]) if isinstance(error, ExceptionGroup) else error
    )


async def _serve(settings: Settings, path: Path) -> None:
    stop = asyncio.Event()
    stop_on_signals(stop)
    await serve(settings, os.environ, stop=stop, reload=when_changed(path))
