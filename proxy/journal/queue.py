"""The queue of a journal writer: the event loop adds, the writer's thread takes, in the order of adding.

Under load the loop itself encodes and compresses what it has served, ENCODED_AT_ONCE exchanges at a time: an encoded batch holds
little memory, and a thread that did the work would compete with the loop for the interpreter. The remainder at low load, and
exchanges out of the ordinary, are left to the thread.

    add_served(x1) ... add_served(x32)   unpacked [x1 ... x32]  -> queue [EncodedBatch of 32]     -> take: one batch, ready to write
    add_served(y1), take()               unpacked [y1]          -> queue [(y1, size)]             -> take: [y1], for the thread
    add_served(y1), add(large)           unpacked [y1]          -> queue [(y1, size), (large, size)]
"""

import threading
from collections import deque

from proxy.config.journal import JournalSettings
from proxy.journal.batch import EncodedBatch, QueueEntry, encode_served, frame_compressor
from proxy.journal.fast_encoder import FastEncoder
from proxy.journal.served_exchange import ServedExchange

ENCODED_AT_ONCE = 32
BATCHES_PER_WRITE = 32
LOOP_ENCODED_MAX_BYTES = 32 * 1024
"""An exchange with larger bodies is not encoded by the loop: compressing it would delay other clients."""
FRAME_BODIES_MAX_BYTES = 4 * 1024 * 1024
"""Ends a batch: a reader holds a whole frame in memory."""
RECORD_OVERHEAD_BYTES = 2000
"""Estimated memory of a queued exchange besides its bodies."""

QueueItem = tuple[QueueEntry, int] | EncodedBatch
"""A batch, or an exchange with its size in memory."""


class WriteQueue:
    """A bounded queue of exchanges. `has_room`, `add` and `add_served` are for one thread, `take` is for another.

    Attributes:
        taken: number of exchanges that `take` has returned so far.
    """

    def __init__(self, settings: JournalSettings) -> None:
        self._batch_max = settings.batch_max
        self._max, self._max_bytes = settings.queue_max, settings.queue_max_bytes
        self._queue: deque[QueueItem] = deque()
        self._unpacked: list[tuple[ServedExchange, int]] = []
        """Served and not encoded yet; newer than everything in the queue."""
        self._swap = threading.Lock()
        self._compressor = frame_compressor(settings.compression_level)
        # Each count has one writing thread, so none needs a lock; their difference is what is queued.
        self._added = self._added_bytes = self._taken_bytes = 0
        self.taken = 0

    def __bool__(self) -> bool:
        return bool(self._queue or self._unpacked)

    def has_room(self, body_bytes: int) -> bool:
        """Return whether an exchange with bodies of this size fits."""
        queued_bytes = self._added_bytes - self._taken_bytes
        return (
            self._added - self.taken < self._max
            and queued_bytes + body_bytes + RECORD_OVERHEAD_BYTES <= self._max_bytes
        )

    def add(self, entry: QueueEntry, body_bytes: int) -> None:
        """Add an exchange that the thread will encode."""
        size = body_bytes + RECORD_OVERHEAD_BYTES
        self._added += 1
        self._added_bytes += size
        self._queue_unpacked()
        self._queue.append((entry, size))

    def add_served(self, exchange: ServedExchange, body_bytes: int, encoder: FastEncoder) -> bool:
        """Add an exchange that was just served.

        Returns:
            Whether the thread has to be woken.
        """
        if body_bytes > LOOP_ENCODED_MAX_BYTES:
            self.add(exchange, body_bytes)
            return True
        size = body_bytes + RECORD_OVERHEAD_BYTES
        self._added += 1
        self._added_bytes += size
        with self._swap:
            unpacked = self._unpacked
            unpacked.append((exchange, size))
            count = len(unpacked)
            if count < ENCODED_AT_ONCE:
                return count == 1
            self._unpacked = []
        size = sum([size for _, size in unpacked])
        exchanges = [exchange for exchange, _ in unpacked]
        batch = encode_served(exchanges, encoder, size=size, compressor=self._compressor)
        if batch is None:
            self._queue.extend(unpacked)
        else:
            self._queue.append(batch)
        return True

    def take(self) -> list[EncodedBatch] | list[QueueEntry]:
        """Remove and return the oldest: consecutive batches, or exchanges for one batch; an empty list when nothing is queued."""
        with self._swap:
            if not self._queue and self._unpacked:
                self._queue.extend(self._unpacked)
                self._unpacked = []
        return self._take_batches() or self._take_entries()

    def _take_batches(self) -> list[EncodedBatch]:
        batches: list[EncodedBatch] = []
        while self._queue and len(batches) < BATCHES_PER_WRITE and isinstance(batch := self._queue[0], EncodedBatch):
            self._queue.popleft()
            batches.append(batch)
            self.taken += batch.count
            self._taken_bytes += batch.size
        return batches

    def _take_entries(self) -> list[QueueEntry]:
        entries: list[QueueEntry] = []
        total_bytes = 0
        while self._queue and len(entries) < self._batch_max and total_bytes < FRAME_BODIES_MAX_BYTES:
            first = self._queue[0]
            if isinstance(first, EncodedBatch):
                break
            self._queue.popleft()
            entries.append(first[0])
            total_bytes += first[1]
        self.taken += len(entries)
        self._taken_bytes += total_bytes
        return entries

    def _queue_unpacked(self) -> None:
        """Move what is not encoded to the queue, before something newer is appended there."""
        if self._unpacked:
            with self._swap:
                self._queue.extend(self._unpacked)
                self._unpacked = []
