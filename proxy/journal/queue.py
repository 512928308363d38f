"""What waits to be written: the loop adds, the writer's thread takes, in the order of adding.

What the loop serves under load is packed and compressed there, PACKED_AT_ONCE exchanges at a time: that holds little memory, and a
thread that needs the interpreter for it would keep the loop waiting, and wait for the loop. What is left over while little is served,
and whatever is out of the ordinary, is for the thread.
"""

import threading
from collections import deque

from proxy.config.journal import JournalSettings
from proxy.journal.batch import EncodedBatch, Entry, compressor_of, packed
from proxy.journal.fast_encoder import FastEncoder
from proxy.journal.served_exchange import ServedExchange

PACKED_AT_ONCE = 32
BUNDLES_MAX = 32
"""That are written at once."""
LARGE_BYTES = 32 * 1024
"""An exchange with more bytes than this is not packed by the loop: that would keep clients waiting."""
BATCH_MAX_BYTES = 4 * 1024 * 1024
"""A reader has a whole frame in memory: large bodies make frames of few exchanges."""
RECORD_WEIGHT = 2000
"""About how many bytes an exchange holds in memory beside its bodies."""

Waits = tuple[Entry, int] | EncodedBatch


class WriteQueue:
    """A bounded queue of exchanges. `add` and `add_served` are for one thread, `take` for another."""

    def __init__(self, settings: JournalSettings) -> None:
        self._batch_max = settings.batch_max
        self._max, self._bytes_max = settings.queue_max, settings.queue_max_bytes
        self._queue: deque[Waits] = deque()
        self._fresh: list[tuple[ServedExchange, int]] = []
        """What was served last: newer than all that is in the queue."""
        self._swap = threading.Lock()
        self._compressor = compressor_of(settings)
        # (each is counted by one thread only)
        self._added = self._added_bytes = self._taken_bytes = 0
        self.taken = 0
        """Exchanges that `take` has given so far."""

    def __bool__(self) -> bool:
        return bool(self._queue or self._fresh)

    def has_room(self, bodies: int) -> bool:
        """Whether there is room for an exchange with so many bytes of bodies."""
        waiting_bytes = self._added_bytes - self._taken_bytes
        return self._added - self.taken < self._max and waiting_bytes + bodies + RECORD_WEIGHT <= self._bytes_max

    def add(self, entry: Entry, bodies: int) -> None:
        """Add one that the thread is to make ready."""
        weight = bodies + RECORD_WEIGHT
        self._added += 1
        self._added_bytes += weight
        self._release()
        self._queue.append((entry, weight))

    def add_served(self, draft: ServedExchange, bodies: int, packer: FastEncoder) -> bool:
        """Add what was just served. True where the thread may not know that there is something to take."""
        if bodies > LARGE_BYTES:
            self.add(draft, bodies)
            return True
        weight = bodies + RECORD_WEIGHT
        self._added += 1
        self._added_bytes += weight
        with self._swap:
            fresh = self._fresh
            fresh.append((draft, weight))
            count = len(fresh)
            if count < PACKED_AT_ONCE:
                return count == 1
            self._fresh = []
        size = sum([size for _, size in fresh])
        bundle = packed([draft for draft, _ in fresh], packer, size=size, compressor=self._compressor)
        if bundle is None:
            self._queue.extend(fresh)
        else:
            self._queue.append(bundle)
        return True

    def take(self) -> list[EncodedBatch] | list[Entry]:
        """The oldest: bundles that follow each other, or as many others as go into one frame; empty when nothing waits."""
        with self._swap:
            if not self._queue and self._fresh:
                self._queue.extend(self._fresh)
                self._fresh = []
        return self._take_bundles() or self._take_entries()

    def _take_bundles(self) -> list[EncodedBatch]:
        bundles: list[EncodedBatch] = []
        while self._queue and len(bundles) < BUNDLES_MAX and isinstance(bundle := self._queue[0], EncodedBatch):
            self._queue.popleft()
            bundles.append(bundle)
            self.taken += bundle.count
            self._taken_bytes += bundle.size
        return bundles

    def _take_entries(self) -> list[Entry]:
        entries: list[Entry] = []
        size_of_all = 0
        while self._queue and len(entries) < self._batch_max and size_of_all < BATCH_MAX_BYTES:
            first = self._queue[0]
            if isinstance(first, EncodedBatch):
                break
            self._queue.popleft()
            entries.append(first[0])
            size_of_all += first[1]
        self.taken += len(entries)
        self._taken_bytes += size_of_all
        return entries

    def _release(self) -> None:
        """What is fresh is older than what is added now."""
        if self._fresh:
            with self._swap:
                self._queue.extend(self._fresh)
                self._fresh = []
