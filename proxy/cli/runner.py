"""`shadow runner`: mirror journaled exchanges on the shadow database, and compare both sides."""

import argparse
import asyncio
import gc
import logging
import os
from pathlib import Path
from typing import Final

import uvloop

from proxy.cli.exit_codes import Exit
from proxy.cli.output import add_config_option, add_slice_option
from proxy.cli.signals import stop_on_signals
from proxy.config.journal import JournalSettings
from proxy.config.loader import read_settings, when_changed
from proxy.config.settings import Settings
from proxy.config.slices import slice_settings
from proxy.errors import JournalKeyMissingError, LeaseLostError
from proxy.exception_groups import first_error
from proxy.journal.registry import journal_keys
from proxy.logging_json import configure as configure_logs
from proxy.runner.app import serve
from proxy.serving.event_wait import wait_for_event

logger = logging.getLogger(__name__)

KEY_POLL_S = 0.5
COLLECTOR_THRESHOLDS: Final = (20_000, 20, 50)
"""Containers made before the garbage collector looks at the newest, and how many of these looks before the older ones. What a request
makes is released without it; by default it looks at all of that several times a request."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    add_config_option(parser)
    add_slice_option(parser)


def run(args: argparse.Namespace) -> int:
    """Run until SIGTERM or SIGINT."""
    settings = slice_settings(read_settings(args.config), args.slice)
    configure_logs()
    # What the imports made stays as long as the process.
    gc.freeze()
    gc.set_threshold(*COLLECTOR_THRESHOLDS)
    uvloop.run(_serve(settings, args.config, args.slice))
    return Exit.DONE


async def _serve(settings: Settings, path: Path, slice_name: str) -> None:
    changed = when_changed(path)

    def reload() -> Settings | None:
        read = changed()
        return slice_settings(read, slice_name) if read is not None else None

    stop = asyncio.Event()
    stop_on_signals(stop)
    if not await _wait_for_key(settings.journal, stop):
        return
    while not stop.is_set():
        lost = False
        try:
            await serve(settings, os.environ, stop=stop, reload=reload)
        except* LeaseLostError as errors:
            # Another runner has taken over; should that one end, this one is there.
            logger.error("lease_lost", extra={"error": str(first_error(errors))})
            lost = True
        if not lost:
            return


async def _wait_for_key(journal: JournalSettings, stop: asyncio.Event) -> bool:
    """Wait for the journal's key, which the proxy makes, so that both may start in any order; return False when stopped before."""
    waiting = False
    while not stop.is_set():
        try:
            journal_keys(journal, os.environ)
        except JournalKeyMissingError as error:
            if not waiting:
                detail = f"{error}; it is made when `shadow proxy` starts"
                logger.warning("runner_waits_for_journal_key", extra={"detail": detail})
            waiting = True
            await wait_for_event(stop, KEY_POLL_S)
        else:
            return True
    return False
