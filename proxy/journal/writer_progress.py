"""Follow the progress of a reader with what every writer was offered, by the numbers that writers leave in shared memory.

The number and the time in a writer's mark are looked at from time to time. Once a reader has returned the exchange of that number, it has
returned every exchange that ended before it looked, and of every request that began before that time:

    12:00:00.000    the mark of w0 says 4711, and that all requests that began before 11:59:59.970 have ended
    12:00:00.120    the reader has returned 4709
    12:00:00.210    the reader has returned 4712: it is complete up to 12:00:00.000, and settled up to 11:59:59.970

A writer that does not get what it was offered onto its disk is awaited for LATE_US. Then the reader goes on without it, and says since when
its exchanges are missing.
"""

import time
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from proxy.journal.driver import UnjournaledPeriod
from proxy.journal.offer_mark import offered
from proxy.journal.segments import LOCK, is_locked

SAMPLE_S: Final = 0.05
LATE_US: Final = 2_000_000
SAMPLES_MAX: Final = 1_000
EVER_US: Final = 2**62


@dataclass(frozen=True, slots=True)
class _Sample:
    """A mark at a moment: the number of the last exchange offered, and the two times that hold once it has been returned."""

    number: int
    complete_us: int
    settled_us: int


@dataclass(slots=True)
class _Awaited:
    """A writer that runs and whose mark can be read.

    Attributes:
        waiting: samples whose exchanges have not all been returned, oldest first.
        complete_us, settled_us: those of the last sample whose exchanges have; or the end of the last exchange returned, if that is later.
        is_late: its exchanges are not awaited any more.
    """

    waiting: deque[_Sample] = field(default_factory=deque[_Sample])
    complete_us: int = 0
    settled_us: int = 0
    is_late: bool = False


def _now_us() -> int:
    return time.time_ns() // 1_000


class WriterProgress:
    """The progress of a reader with the writers of a journal that run.

    Args:
        directory: of the journal.
        clock: returns the time in Unix microseconds.

    Attributes:
        sampled_s: monotonic time at which the marks were looked at.
    """

    def __init__(self, directory: Path, *, clock: Callable[[], int] = _now_us) -> None:
        self._directory = directory
        self._clock = clock
        self._writers: dict[str, _Awaited] = {}
        self._unmarked = False
        self.sampled_s = 0.0

    def sample(self, names: Sequence[str]) -> None:
        """Look at the marks of the writers that run, at most every SAMPLE_S."""
        now_s = time.monotonic()
        if now_s - self.sampled_s < SAMPLE_S:
            return
        self.sampled_s = now_s
        running = {name for name in names if is_locked(self._directory / name / LOCK)}
        for name in self._writers.keys() - running:
            del self._writers[name]
        self._unmarked = False
        for name in running:
            self._sample(name)

    def _sample(self, name: str) -> None:
        now_us = self._clock()
        # Twice: the number has to be the newer one. What was offered before the time was written is then among them.
        first, second = offered(self._directory / name), offered(self._directory / name)
        if first is None or second is None:
            self._unmarked = True
            self._writers.pop(name, None)
            return
        writer = self._writers.setdefault(name, _Awaited())
        # Those that an earlier process was offered and did not write are lost: they are not awaited.
        number = second.last if second.last > second.earlier else 0
        # (a proxy whose clock is ahead knows nothing of requests that are still to come)
        settled_us = first.settled_ns // 1_000 if first.settled_ns // 1_000 <= now_us else 0
        if len(writer.waiting) < SAMPLES_MAX:
            writer.waiting.append(_Sample(number, now_us, settled_us))

    def advance(self, returned: Mapping[str, int], ended_us: Mapping[str, int], here: Collection[str]) -> None:
        """Note what has been returned.

        Args:
            returned: number of the last exchange of each writer that was returned or lost.
            ended_us: when it ended, Unix microseconds.
            here: writers of which more could be returned.
        """
        now_us = self._clock()
        for name, writer in self._writers.items():
            while writer.waiting and writer.waiting[0].number <= returned.get(name, 0):
                sample = writer.waiting.popleft()
                writer.complete_us, writer.settled_us = sample.complete_us, sample.settled_us
            # (the exchanges of a writer are in the order in which they ended, unless its clock was ahead and is not any more)
            if (last_us := ended_us.get(name, 0)) <= now_us:
                writer.complete_us = max(writer.complete_us, last_us)
            behind = bool(writer.waiting) and writer.waiting[0].complete_us < now_us - LATE_US
            writer.is_late = behind and name not in here

    def complete_us(self) -> int:
        """Return the time before which every exchange that ended, of the writers that are awaited, has been returned."""
        return min((writer.complete_us for writer in self._writers.values() if not writer.is_late), default=EVER_US)

    def settled_us(self) -> int:
        """Return the time before which every request that began has been returned; 0 where it is not known."""
        if self._unmarked:
            return 0
        return min((writer.settled_us for writer in self._writers.values()), default=0)

    def late(self) -> list[UnjournaledPeriod]:
        """Return the times since which writers do not get their exchanges onto the disk."""
        now_us = self._clock()
        return [UnjournaledPeriod(writer.complete_us, now_us) for writer in self._writers.values() if writer.is_late]
