"""Keep a task alive through errors that nothing has foreseen: they are logged and counted by place, and the task goes on.

Only what an operator has to mend ends the process: an error that says what to do, of a family of the project's own. One that says that
something does not answer is repeated like any other.

    schema.run()   KeyError            -> logged with its traceback, shadow_errors_total{place="schema"}, again after PAUSE_S
    intake.run()   JournalFormatError  -> ends the runner: "..., written by another version"
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final, cast

from comparator.capture.errors import CaptureError, CaptureLostError, FenceTimeoutError, LockTimeoutError
from comparator.errors import ComparatorError, StoreUnavailableError
from proxy.errors import DatabaseUnreachableError, ProxyError
from proxy.runner.metrics import ErrorPlace, RunnerMetrics

logger = logging.getLogger(__name__)

PAUSE_S: Final = 1.0
OPERATORS: Final = (ProxyError, ComparatorError, CaptureError)
TRANSIENT: Final = (
    CaptureLostError,
    FenceTimeoutError,
    LockTimeoutError,
    DatabaseUnreachableError,
    StoreUnavailableError,
)


def ends_the_runner(error: Exception) -> bool:
    """Return whether an operator has to mend what an error says; of a group of errors, any of them."""
    if isinstance(error, ExceptionGroup):
        return any(ends_the_runner(inner) for inner in cast("ExceptionGroup[Exception]", error).exceptions)
    return isinstance(error, OPERATORS) and not isinstance(error, TRANSIENT)


async def surviving(
    work: Callable[[], Awaitable[None]],
    place: ErrorPlace,
    metrics: RunnerMetrics,
    *,
    on_error: Callable[[], None] = lambda: None,
    may_end: Callable[[Exception], bool] = ends_the_runner,
    pause_s: float = PAUSE_S,
) -> None:
    """Work until it returns, again after each error.

    Args:
        work: begins the work, once more after an error.
        place: label of the count.
        metrics: of the runner.
        on_error: called after each survived error, e.g. to request a resync.
        may_end: whether an error is raised instead.
        pause_s: before the work begins again.
    """
    while True:
        try:
            await work()
        except Exception as error:
            if may_end(error):
                raise
            survived(place, metrics)
            on_error()
            await asyncio.sleep(pause_s)
        else:
            return


def survived(place: ErrorPlace, metrics: RunnerMetrics) -> None:
    """Log the error that is being handled, and count it."""
    logger.exception("error_survived", extra={"place": place.value})  # noqa: LOG004 (its callers handle one)
    metrics.errors.labels(place).inc()
