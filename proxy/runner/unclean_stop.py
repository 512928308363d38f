"""Tell whether the runner before this one left requests running, so that they are waited for.

A runner that stops ends its mirrored requests first, but for those that had no response in time. One that is killed leaves all of them to
the shadow instances, which go on writing, and most services write no name with their rows. The runner that starts next would take such
rows for those of its own request:

    runner 1     mirrors x --- killed
    instance           x: insert event ............ insert score
    runner 2                        starts, resyncs, mirrors x again: its rows, and the late score

So the next one waits, before anything else, for as long as a request without a connection is waited for (`runner.unsettled_s_max`): no
connection is left on which the response could come. What is written meanwhile, the resync at the start takes back. A transaction that is
still open then had its id before any request of the new runner, which tells it from theirs (`RequestWindow.after_xid`).
"""

import logging
import os
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from proxy.private_file import write_private

logger = logging.getLogger(__name__)

SUFFIX: Final = ".running"


@contextmanager
def running_mark(folder: Path, name: str, is_finished: Callable[[], bool]) -> Generator[bool, None, None]:
    """Mark a runner as running until the end of the block; yield whether the one before left requests running.

    The mark stays when the process is killed, or when the block ends with an error, after which requests may be running as well. A mark
    that cannot be written is reported and makes no difference now: the next start then waits for nothing.

    Args:
        folder: of the offsets, which only one runner of this name uses at a time.
        name: of the runner.
        is_finished: called at the end of the block; returns whether no request is running any more. Otherwise the mark stays.
    """
    path = folder / f"{name}{SUFFIX}"
    was_killed = path.exists()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_private(path, f"{os.getpid()}\n".encode())
    except OSError as error:
        logger.warning("runner_mark_failed", extra={"path": str(path), "error": str(error)})
    yield was_killed
    if not is_finished():
        logger.warning("runner_leaves_requests", extra={"do": "none: the next start waits for them"})
        return
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        logger.warning("runner_mark_failed", extra={"path": str(path), "error": str(error)})
