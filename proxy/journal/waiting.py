"""What waits to be written: the loop adds, the writer's thread takes, in the order of adding.

What the loop serves under load is packed and compressed there, PACKED_AT_ONCE exchanges at a time: a batch small enough to be still
in the processor's caches costs a fraction of what it costs later, and a thread that needs the interpreter is waited for by the loop
and waits for it. What is left over while little is served, and whatever is out of the ordinary, is for the thread.
"""

import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace

import zstandard

from proxy.drafts import Draft
from proxy.journal.model import Record, encode_payload
from proxy.journal.packing import Packed, Packer
from proxy.journal.settings import JournalSettings

PACKED_AT_ONCE = 32
LARGE_BYTES = 32 * 1024
"""An exchange with more bytes than this is not packed by the loop: that would keep callers waiting."""
BATCH_MAX_BYTES = 4 * 1024 * 1024
"""A reader has a whole frame in memory: large bodies make frames of few exchanges."""
RECORD_WEIGHT = 2000
"""About how many bytes an exchange holds in memory beside its bodies."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """Exchanges that are ready to be written as one frame.

    `size` is what they weighed before; `packer` is who packed them, if one did: their secrets are sealed with its key.
    """

    payload: bytes
    count: int
    last_ended_ns: int
    size: int = 0
    packer: Packer | None = None


Entry = Record | Draft
Waits = tuple[Entry, int] | Bundle


class Waiting:
    """A bounded queue of exchanges. `add` and `add_served` are for one thread, `take` for another."""

    def __init__(self, settings: JournalSettings) -> None:
        self._settings = settings
        self._queue: deque[Waits] = deque()
        self._fresh: list[tuple[Draft, int]] = []
        """What was served last: newer than all that is in the queue."""
        self._swap = threading.Lock()
        self._compressor = compressor_of(settings)
        # (each is counted by one thread only)
        self._added = self._added_bytes = self._taken = self._taken_bytes = 0

    def __bool__(self) -> bool:
        return bool(self._queue or self._fresh)

    def takes(self, bodies: int) -> bool:
        """Whether there is room for an exchange with so many bytes of bodies."""
        settings = self._settings
        waiting, waiting_bytes = self._added - self._taken, self._added_bytes - self._taken_bytes
        return waiting < settings.queue_max and waiting_bytes + bodies + RECORD_WEIGHT <= settings.queue_max_bytes

    def add(self, entry: Entry, bodies: int) -> None:
        """Add one that the thread is to make ready."""
        self._count(bodies)
        self._release()
        self._queue.append((entry, bodies + RECORD_WEIGHT))

    def add_served(self, draft: Draft, bodies: int, packer: Packer) -> None:
        """Add what was just served."""
        if bodies > LARGE_BYTES:
            self.add(draft, bodies)
            return
        self._count(bodies)
        with self._swap:
            fresh = self._fresh
            fresh.append((draft, bodies + RECORD_WEIGHT))
            if len(fresh) < PACKED_AT_ONCE:
                return
            self._fresh = []
        bundle = self._bundle(fresh, packer)
        if bundle is None:
            self._queue.extend(fresh)
        else:
            self._queue.append(bundle)

    def take(self) -> Bundle | list[Entry]:
        """The oldest, as many as go into one frame; empty when nothing waits."""
        with self._swap:
            if not self._queue and self._fresh:
                self._queue.extend(self._fresh)
                self._fresh = []
        if self._queue and isinstance(self._queue[0], Bundle):
            bundle = self._queue.popleft()
            assert isinstance(bundle, Bundle)
            self._taken += bundle.count
            self._taken_bytes += bundle.size
            return bundle
        entries: list[Entry] = []
        size_of_all = 0
        while self._queue and len(entries) < self._settings.batch_max and size_of_all < BATCH_MAX_BYTES:
            first = self._queue[0]
            if isinstance(first, Bundle):
                break
            self._queue.popleft()
            entries.append(first[0])
            size_of_all += first[1]
        self._taken += len(entries)
        self._taken_bytes += size_of_all
        return entries

    def _count(self, bodies: int) -> None:
        self._added += 1
        self._added_bytes += bodies + RECORD_WEIGHT

    def _release(self) -> None:
        """What is fresh is older than what is added now."""
        if self._fresh:
            with self._swap:
                self._queue.extend(self._fresh)
                self._fresh = []

    def _bundle(self, fresh: list[tuple[Draft, int]], packer: Packer) -> Bundle | None:
        """None when one of them is out of the ordinary."""
        records: list[Packed] = []
        try:
            for draft, _ in fresh:
                packed = packer.pack(draft)
                if packed is None:
                    return None
                records.append(packed)
            bundle = bundle_of(records, compressor=self._compressor)
        except (ValueError, TypeError):
            # The thread finds out which of them it is.
            return None
        return replace(bundle, size=sum([size for _, size in fresh]), packer=packer)


def bundle_of(records: Sequence[Packed | Record], *, compressor: zstandard.ZstdCompressor) -> Bundle:
    """These records, encoded.

    Raises:
        ValueError, TypeError: one of them cannot be encoded.
    """
    payload = encode_payload(records, compressor=compressor)
    return Bundle(payload, len(records), records[-1].ended_ns)


def compressor_of(settings: JournalSettings) -> zstandard.ZstdCompressor:
    """One for one thread."""
    return zstandard.ZstdCompressor(level=settings.compression_level, write_checksum=False)
