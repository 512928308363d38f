"""Keeps the runner away while somebody else uses the shadow database: each would take back what the other writes there."""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from proxy.config.settings import Settings
from proxy.errors import JournalBusyError, RunnerUpError
from proxy.journal.reader import SegmentReader


@contextmanager
def runner_stopped(settings: Settings) -> Generator[None]:
    """Hold the runner's name in the journal for the block. Without a journal there is no runner on this machine.

    Raises:
        RunnerUpError: the runner is up.
    """
    directory = Path(settings.journal.directory)
    if not directory.is_dir():
        yield
        return
    try:
        reader = SegmentReader(directory, settings.runner.name)
    except JournalBusyError as error:
        raise RunnerUpError("the runner is up; stop it first: both would write into the shadow database") from error
    with reader:
        yield
