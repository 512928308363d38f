"""Keep the latest value of something that takes time to read: one reading at a time, however many people look.

A page is never called empty before the answer is there, and never waits for a slow part:

    first look    waits a moment; then it is shown as `reading`, with the seconds
    later looks   get the value of the last reading with its age; one that is too old is read again meanwhile
    failure       the last value stays, with its age and the reason of the failure
"""

import asyncio
import datetime as dt
import logging
import traceback
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

T = TypeVar("T")
logger = logging.getLogger(__name__)
KEPT_MAX: Final = 200
LOGGED_AGAIN_S: Final = 3_600.0
"""A kind of failure that goes on is logged again after this time."""


# (without slots: a frozen class with slots cannot be called by its subscripted name, `LatestValue[int]()`, in Python 3.11)
@dataclass(frozen=True)
class LatestValue(Generic[T]):
    """A value, and how current it is.

    Attributes:
        value: of the last reading that succeeded; None before.
        at: when it was read.
        error: why the last reading failed; "" if it did not.
        failure: the exception of the last reading; None if it succeeded.
        reading_s: for how long the present reading has been running; None while none runs.
    """

    value: T | None = None
    at: dt.datetime | None = None
    error: str = ""
    reading_s: float | None = None
    failure: Exception | None = None


class FailureLog:
    """Logs failures of readings with their tracebacks: a kind once an hour, although a page that is open reads every few seconds.

    Two failures are of one kind if exceptions of one class come from the same line.

    Args:
        expected: classes that say what a URL asks for in vain, e.g. an id that does not exist; they are not logged.
    """

    def __init__(self, *expected: type[Exception]) -> None:
        self._expected = expected
        self._logged_at: dict[tuple[type[Exception], str, int], float] = {}

    def note(self, error: Exception, now_s: float) -> None:
        """Log a failure if its kind has not been logged within LOGGED_AGAIN_S.

        Args:
            error: what was raised.
            now_s: the time of a clock that never goes back, in seconds.
        """
        if isinstance(error, self._expected):
            return
        frames = traceback.extract_tb(error.__traceback__)
        kind = (type(error), frames[-1].filename, frames[-1].lineno or 0) if frames else (type(error), "", 0)
        if now_s - self._logged_at.get(kind, float("-inf")) >= LOGGED_AGAIN_S:
            self._logged_at[kind] = now_s
            logger.warning("reading_failed", extra={"error": reason_of(error)}, exc_info=error)


def reason_of(error: Exception) -> str:
    """Return why a reading failed, as the page says it."""
    return str(error) or type(error).__name__


class Latest(Generic[T]):
    """The latest value of one thing.

    Args:
        read: reads it; an exception is the reason of a failure.
        fresh_s: age at which it is read again.
        tasks: runs the readings.
        failures: logs those that fail.
    """

    def __init__(
        self, read: Callable[[], Awaitable[T]], *, fresh_s: float, tasks: asyncio.TaskGroup, failures: FailureLog
    ) -> None:
        self._read = read
        self._fresh_s = fresh_s
        self._tasks = tasks
        self._failures = failures
        self._held: LatestValue[T] = LatestValue()
        self._held_since = float("-inf")
        self._task: asyncio.Task[None] | None = None
        self._began = 0.0

    async def look(self, wait_s: float, *, fresh: bool = False) -> LatestValue[T]:
        """Return the latest reading, after a new one if there is a need and it ends within `wait_s`.

        Args:
            wait_s: time to wait for a new reading.
            fresh: read again, whatever the age: after a change.
        """
        loop = asyncio.get_running_loop()
        if self._task is None and (fresh or loop.time() - self._held_since >= self._fresh_s):
            self._began = loop.time()
            self._task = self._tasks.create_task(self._reread(), name="ui-reading")
        task = self._task
        if task is not None:
            await asyncio.wait({task}, timeout=wait_s)
        if self._task is None:
            return self._held
        held = self._held
        return LatestValue(held.value, held.at, held.error, loop.time() - self._began, held.failure)

    def close(self) -> None:
        """End the present reading."""
        if self._task is not None:
            self._task.cancel()

    async def _reread(self) -> None:
        try:
            value = await self._read()
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 (the outermost function of a task: the page says why)
            self._failures.note(error, asyncio.get_running_loop().time())
            self._held = LatestValue(self._held.value, self._held.at, reason_of(error), failure=error)
        else:
            self._held = LatestValue(value, dt.datetime.now(dt.UTC))
        finally:
            self._held_since = asyncio.get_running_loop().time()
            self._task = None


class LatestByKey(Generic[T]):
    """The latest values of many things; those that were not looked at for longest are forgotten.

    Args:
        tasks: runs the readings.
        failures: logs those that fail.
    """

    def __init__(self, *, tasks: asyncio.TaskGroup, failures: FailureLog) -> None:
        self._tasks = tasks
        self._failures = failures
        self._by_key: OrderedDict[str, Latest[T]] = OrderedDict()

    def of(self, key: str, read: Callable[[], Awaitable[T]], *, fresh_s: float) -> Latest[T]:
        """Return that of a key; where it is new, `read` reads it, and again at an age of `fresh_s`."""
        held = self._by_key.pop(key, None) or Latest(read, fresh_s=fresh_s, tasks=self._tasks, failures=self._failures)
        self._by_key[key] = held
        if len(self._by_key) > KEPT_MAX:
            self._by_key.popitem(last=False)
        return held

    def close(self) -> None:
        """End all readings."""
        for held in self._by_key.values():
            held.close()
