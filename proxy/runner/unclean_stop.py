"""Tell whether the runner before this one was killed, so that the requests which it left running are waited for.

A runner that stops ends its mirrored requests first. One that is killed leaves them to the shadow instances, which go on writing, and
most services write no name with their rows. The runner that starts next would take such rows for those of its own request:

    runner 1     mirrors x --- killed
    instance           x: insert event ............ insert score
    runner 2                        starts, resyncs, mirrors x again: its rows, and the late score

So after a kill the next one waits, before anything else, for as long as a mirrored request may take (`runner.timeout_s`). What is
written meanwhile, the resync at the start takes back.
"""

import logging
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from proxy.private_file import write_private

logger = logging.getLogger(__name__)

SUFFIX: Final = ".running"


@contextmanager
def running_mark(folder: Path, name: str) -> Generator[bool, None, None]:
    """Mark a runner as running until the end of the block; yield whether the one before was killed.

    The mark stays when the process is killed, or when the block ends with an error, after which requests may be running as well. A mark
    that cannot be written is reported and makes no difference now: the next start then waits for nothing.

    Args:
        folder: of the offsets, which only one runner of this name uses at a time.
        name: of the runner.
    """
    path = folder / f"{name}{SUFFIX}"
    was_killed = path.exists()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_private(path, f"{os.getpid()}\n".encode())
    except OSError as error:
        logger.warning("runner_mark_failed", extra={"path": str(path), "error": str(error)})
    yield was_killed
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        logger.warning("runner_mark_failed", extra={"path": str(path), "error": str(error)})
