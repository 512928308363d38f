"""The one who appends. `append` only puts the exchange on a bounded queue; a thread redacts, encodes, writes and rotates.

Whatever happens to the disk, `append` returns at once and what could not be written is counted by its cause. After a failed
write the segment is cut back to its last whole frame, and for a while everything is dropped without trying again.
"""

import contextlib
import errno
import fcntl
import logging
import os
import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from comparator.exchanges.model import Exchange
from proxy.config.journal import Durability, JournalSettings
from proxy.errors import JournalFormatError, JournalKeyError
from proxy.journal import retention
from proxy.journal.batch import EncodedBatch, Entry, compressor_of, encoded
from proxy.journal.fast_encoder import FastEncoder
from proxy.journal.format import Record, encode_frame, record_of, segment_header
from proxy.journal.keys import load_keys, share_key
from proxy.journal.queue import WriteQueue
from proxy.journal.redaction import rules_of
from proxy.journal.segments import LOCK, first_sequence_of, furthest, next_sequence, repair, segment_path, segments
from proxy.journal.served_exchange import ServedExchange

logger = logging.getLogger(__name__)

RETRY_S = 0.5
RETENTION_S = 5.0
CLOSE_S = 10.0
WRITERS_MAX = 256


class LossCause(StrEnum):
    """Why an exchange was served but not journaled."""

    QUEUE_FULL = "queue_full"
    DISK_FULL = "disk_full"
    DISK_ERROR = "disk_error"
    ENCODING = "encoding"
    CLOSED = "closed"


BY_THREAD = (LossCause.DISK_FULL, LossCause.DISK_ERROR, LossCause.ENCODING)


@dataclass(slots=True)
class WriterCounts:
    """What became of the exchanges given to a writer: `offered = written + sum(dropped) + queued`."""

    offered: int = 0
    written: int = 0
    written_bytes: int = 0
    frames: int = 0
    segments_deleted: int = 0
    unread_deleted: int = 0
    torn_bytes: int = 0
    dropped: Counter[LossCause] = field(default_factory=Counter[LossCause])

    @property
    def queued(self) -> int:
        """Exchanges accepted and neither written nor dropped yet."""
        return self.offered - self.written - self.dropped.total()

    def losses(self) -> dict[LossCause, int]:
        """Dropped exchanges by cause, every cause named."""
        return {cause: self.dropped[cause] for cause in LossCause}


class SegmentWriter:
    """Appends exchanges under `<directory>/<name>/`, where the name is the first of w0, w1, ... that no live process holds.

    `start` begins the thread, which repairs what a crash left; `close` writes what is queued.
    `append` is for one thread (the event loop's). Counts are written by both threads and read by any: each field has one writer,
    except `dropped`, whose causes have one each. With `key_of` the folder gets the key of the journal there.
    """

    def __init__(self, settings: JournalSettings, *, environ: Mapping[str, str], key_of: Path | None = None) -> None:
        self.counts = WriterCounts()
        self._settings = settings
        self._directory = Path(settings.directory)
        self._folder = self._directory / "w0"
        self._environ = environ
        self._key_of = key_of
        self._packer: FastEncoder | None = None
        self._rules = rules_of(settings.redaction)
        self._waiting = WriteQueue(settings)
        self._woken = threading.Event()
        self._closing = threading.Event()
        self._closed = False
        """The same, asked for each exchange."""
        self._thread: threading.Thread | None = None
        self._lock_file: int | None = None
        self._file: int | None = None
        self._path: Path | None = None
        self._size = 0
        self._opened_at = self._synced_at = self._retained_at = 0.0
        self._broken_until = 0.0
        self._broken_cause = LossCause.DISK_ERROR
        self._sequence = 1
        self._compressor = compressor_of(settings)

    def start(self) -> None:
        """Take a name, repair its last segment, begin to write. A disk that fails here is tried again later.

        Raises:
            JournalKeyError: SHADOW_JOURNAL_KEY, or the key file, is no key.
        """
        try:
            self._open_folder()
        except OSError as error:
            self._break(error)
        self._thread = threading.Thread(target=self._run, name="journal-writer", daemon=True)
        self._thread.start()

    def append(self, exchange: Exchange) -> bool:
        """Queue an exchange; never waits. False when it was dropped (and counted)."""
        return self.append_record(record_of(exchange))

    def append_record(self, record: Record) -> bool:
        """`append` for who has the record."""
        bodies = len(record.request_body) + len(record.response_body)
        if not self._has_room(bodies):
            return False
        self._waiting.add(record, bodies)
        if not self._woken.is_set():
            self._woken.set()
        return True

    def append_served(self, draft: ServedExchange) -> bool:
        """`append` for what was just served."""
        bodies = draft.request_body.size + draft.response_body.size
        if not self._has_room(bodies):
            return False
        packer = self._packer
        if packer is None:
            self._waiting.add(draft, bodies)
            self._woken.set()
        elif self._waiting.add_served(draft, bodies, packer):
            self._woken.set()
        return True

    def _has_room(self, bodies: int) -> bool:
        """Count one more exchange, and why it is dropped if it is."""
        counts = self.counts
        counts.offered += 1
        if not self._waiting.has_room(bodies):
            counts.dropped[LossCause.QUEUE_FULL] += 1
            return False
        if self._closed:
            counts.dropped[LossCause.CLOSED] += 1
            return False
        return True

    def close(self) -> None:
        """Write what is queued, at most for CLOSE_S, and let the name go. Idempotent."""
        self._closed = True
        self._closing.set()
        self._woken.set()
        if self._thread:
            self._thread.join(CLOSE_S)
            self._thread = None
        self._close_segment()
        if self._lock_file is not None:
            os.close(self._lock_file)
            self._lock_file = None

    @property
    def healthy(self) -> bool:
        """Whether the last write, if any, went well."""
        return self._broken_until == 0.0

    def _open_folder(self) -> None:
        """Have keys and a folder of our own; both may have to be made again when somebody removed them."""
        if self._key_of:
            share_key(self._key_of, self._directory, self._environ)
        keys = load_keys(self._directory, self._environ, create=True)
        if self._packer is None or self._packer.keys.digest != keys.digest:
            self._packer = FastEncoder(self._rules, keys)
        if self._lock_file is not None:
            os.close(self._lock_file)
            self._lock_file = None
        for number in range(WRITERS_MAX):
            folder = self._directory / f"w{number}"
            self._lock_file = _locked(folder)
            if self._lock_file is not None:
                self._folder = folder
                self._recover()
                return
        raise OSError(errno.EBUSY, f"{WRITERS_MAX} processes write to {self._directory}")

    def _recover(self) -> None:
        """Continue after the last whole frame; the sequence never goes back, even when the last segment is unreadable."""
        files = segments(self._folder)
        if not files:
            # Readers that already went further would take a new beginning for something they have read.
            self._sequence = max(self._sequence, furthest(self._directory, self._folder.name) + 1)
            return
        try:
            torn = repair(files[-1])
        except JournalFormatError as error:
            logger.error("journal_segment_unreadable", extra={"path": str(files[-1]), "error": str(error)})
            # Another version's segment is not written over: its name is passed by.
            self._sequence = max(self._sequence, first_sequence_of(files[-1]) + 1)
            return
        if torn:
            self.counts.torn_bytes += torn.lost_bytes
            logger.warning(
                "journal_torn_tail_cut",
                extra={"path": str(torn.path), "kept_bytes": torn.kept_bytes, "lost_bytes": torn.lost_bytes},
            )
        self._sequence = max(self._sequence, next_sequence(files[-1]))
        if files[-1].stat().st_size == 0:
            files[-1].unlink()

    def _run(self) -> None:
        linger_s = self._settings.flush_ms / 1000
        while True:
            self._woken.wait(self._settings.fsync_ms / 1000 if self._sync_owed else RETENTION_S)
            if not self._closing.is_set():
                self._closing.wait(linger_s)
            self._woken.clear()
            try:
                while self._waiting:
                    self._write_batch()
                self._tidy()
            except Exception:  # (a task's outermost loop: whatever it is, the journal goes on)
                logger.exception("journal_writer_failed")
                dropped = self.counts.dropped
                settled = self.counts.written + sum([dropped[cause] for cause in BY_THREAD])
                self._drop(LossCause.DISK_ERROR, self._waiting.taken - settled)
                self._broken_until = time.monotonic() + RETRY_S
            if self._closing.is_set() and not self._waiting:
                return

    def _write_batch(self) -> None:
        taken = self._waiting.take()
        count = sum([one.count if isinstance(one, EncodedBatch) else 1 for one in taken])
        if time.monotonic() < self._broken_until:
            self._drop(self._broken_cause, count)
            return
        try:
            self._ensure_segment()
        except (OSError, JournalKeyError) as error:
            self._break(error)
            self._drop(self._broken_cause, count)
            return
        bundles = self._bundles(taken)
        frames: list[bytes] = []
        following = self._sequence
        for one in bundles:
            ended_ns = one.last_ended_ns
            frames.append(encode_frame(one.payload, count=one.count, first_sequence=following, last_ended_ns=ended_ns))
            following += one.count
        if not frames:
            return
        try:
            # (at once: after each write the thread has to wait for the loop)
            self._write(b"".join(frames))
        except OSError as error:
            self._break(error)
            self._drop(self._broken_cause, following - self._sequence)
            return
        self.counts.written += following - self._sequence
        self.counts.written_bytes += sum(map(len, frames))
        self.counts.frames += len(frames)
        self._sequence = following
        if self._broken_until:
            self._broken_until = 0.0
            logger.info("journal_recovered", extra={"path": str(self._path)})

    def _bundles(self, taken: list[EncodedBatch] | list[Entry]) -> list[EncodedBatch]:
        """What was taken, as it is written."""
        assert self._packer is not None
        entries = [one for one in taken if not isinstance(one, EncodedBatch)]
        bundles = [one for one in taken if isinstance(one, EncodedBatch)]
        if entries:
            bundle, failed = encoded(entries, self._packer, compressor=self._compressor)
            self._drop(LossCause.ENCODING, failed)
            bundles = [bundle] if bundle else []
        # Where the folder was made anew, it has another key: nobody could open what was sealed with the one before.
        self._drop(LossCause.DISK_ERROR, sum([one.count for one in bundles if one.packer is not self._packer]))
        return [one for one in bundles if one.packer is self._packer]

    def _ensure_segment(self) -> None:
        """Have an open segment with room; a segment whose file was removed by hand is given up for a new one."""
        if self._file is not None:
            too_old = time.monotonic() - self._opened_at > self._settings.segment_max_s
            removed = os.fstat(self._file).st_nlink == 0
            if not (removed or too_old or self._size >= self._settings.segment_max_bytes):
                return
            self._close_segment()
            if removed:
                logger.warning("journal_segment_removed", extra={"path": str(self._path)})
        if self._lock_file is None or not (self._folder / LOCK).exists():
            self._open_folder()
        self._path = segment_path(self._folder, self._sequence)
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
        self._file = descriptor
        self._size = 0
        self._opened_at = time.monotonic()
        self._write(segment_header(time.time_ns()))

    def _write(self, data: bytes) -> None:
        """Write all of it or nothing.

        Raises:
            OSError: nothing of it is left in the segment, or the segment was given up.
        """
        assert self._file is not None
        view = memoryview(data)
        while view:
            view = view[os.write(self._file, view) :]
        if self._settings.durability is Durability.BATCH:
            os.fdatasync(self._file)
        self._size += len(data)

    def _break(self, error: OSError | JournalKeyError) -> None:
        """Cut the half-written frame, say so once, and leave the disk alone for a while."""
        full = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        self._broken_cause = LossCause.DISK_FULL if full else LossCause.DISK_ERROR
        if not self._broken_until:
            logger.error("journal_write_failed", extra={"path": str(self._path or self._folder), "error": str(error)})
        self._broken_until = time.monotonic() + RETRY_S
        if self._file is None:
            return
        # Where even this fails, readers skip the torn frame; the next write begins a new segment.
        with contextlib.suppress(OSError):
            os.ftruncate(self._file, self._size)
        self._close_segment()

    def _close_segment(self) -> None:
        if self._file is None:
            return
        descriptor, self._file = self._file, None
        try:
            if self._settings.durability is not Durability.NONE:
                os.fdatasync(descriptor)
        except OSError as error:
            logger.error("journal_sync_failed", extra={"path": str(self._path), "error": str(error)})
        finally:
            os.close(descriptor)

    @property
    def _sync_owed(self) -> bool:
        return self._settings.durability is Durability.INTERVAL and self._file is not None

    def _tidy(self) -> None:
        """Flush to the disk and delete old segments, each in its own rhythm."""
        now = time.monotonic()
        if self._sync_owed and self._file is not None and now - self._synced_at >= self._settings.fsync_ms / 1000:
            self._synced_at = now
            try:
                os.fdatasync(self._file)
            except OSError as error:
                self._break(error)
        if now - self._retained_at < RETENTION_S:
            return
        self._retained_at = now
        try:
            pruned = retention.prune(
                self._directory, self._settings.retention, now_s=time.time(), open_segment=self._path
            )
        except (OSError, JournalFormatError) as error:
            logger.error("journal_retention_failed", extra={"error": str(error)})
            return
        self.counts.segments_deleted += len(pruned.deleted)
        self.counts.unread_deleted += pruned.unread

    def _drop(self, cause: LossCause, count: int) -> None:
        if count:
            self.counts.dropped[cause] += count


def _locked(folder: Path) -> int | None:
    """The descriptor of a writer's lock, None when another process has it."""
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor
