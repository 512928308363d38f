"""Keep the latest value of something that takes time to read: one reading at a time, however many people look.

A page is never called empty before the answer is there, and never waits for a slow part:

    first look    waits a moment; then it is shown as `reading`, with the seconds
    later looks   get the value of the last reading with its age; one that is too old is read again meanwhile
    failure       the last value stays, with its age and the reason of the failure
"""

import asyncio
import datetime as dt
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

T = TypeVar("T")
logger = logging.getLogger(__name__)
KEPT_MAX: Final = 200


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


class Latest(Generic[T]):
    """The latest value of one thing.

    Args:
        read: reads it; an exception is the reason of a failure.
        fresh_s: age at which it is read again.
        tasks: runs the readings.
    """

    def __init__(self, read: Callable[[], Awaitable[T]], *, fresh_s: float, tasks: asyncio.TaskGroup) -> None:
        self._read = read
        self._fresh_s = fresh_s
        self._tasks = tasks
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
            reason = str(error) or type(error).__name__
            logger.warning("reading_failed", extra={"error": reason})
            self._held = LatestValue(self._held.value, self._held.at, reason, failure=error)
        else:
            self._held = LatestValue(value, dt.datetime.now(dt.UTC))
        finally:
            self._held_since = asyncio.get_running_loop().time()
            self._task = None


class LatestByKey(Generic[T]):
    """The latest values of many things; those that were not looked at for longest are forgotten.

    Args:
        fresh_s: age at which one is read again.
        tasks: runs the readings.
    """

    def __init__(self, *, fresh_s: float, tasks: asyncio.TaskGroup) -> None:
        self._fresh_s = fresh_s
        self._tasks = tasks
        self._by_key: OrderedDict[str, Latest[T]] = OrderedDict()

    def of(self, key: str, read: Callable[[], Awaitable[T]]) -> Latest[T]:
        """Return that of a key; `read` reads it where it is new."""
        held = self._by_key.pop(key, None) or Latest(read, fresh_s=self._fresh_s, tasks=self._tasks)
        self._by_key[key] = held
        if len(self._by_key) > KEPT_MAX:
            self._by_key.popitem(last=False)
        return held

    def close(self) -> None:
        """End all readings."""
        for held in self._by_key.values():
            held.close()
