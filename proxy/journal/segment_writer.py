"""Append exchanges to the journal: a bounded queue and one writer thread, which encodes, seals, writes and rotates segments.

Whatever happens to the disk, `append` returns at once, and exchanges that could not be written are counted by cause. After a failed
write the segment is truncated to its last whole frame, and for RETRY_S everything is dropped without touching the disk.
"""

import contextlib
import errno
import fcntl
import logging
import os
import threading
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from pathlib import Path

from comparator.exchanges.model import Exchange
from proxy.config.journal import Durability, JournalSettings, RedactionMode
from proxy.errors import JournalFormatError, JournalKeyError
from proxy.journal import retention
from proxy.journal.batch import EncodedBatch, QueueEntry, encode_entries, frame_compressor, route_of
from proxy.journal.driver import LossCause, WriterCounts
from proxy.journal.fast_encoder import FastEncoder
from proxy.journal.format import Record, encode_frame, record_of, segment_header
from proxy.journal.keys import load_keys, share_keys
from proxy.journal.offer_mark import OfferMark, folder_id
from proxy.journal.queue import WriteQueue
from proxy.journal.redaction import JournalRedactor
from proxy.journal.sealing import NONCE_BYTES, JournalKeys, seal_payload
from proxy.journal.segments import (
    LOCK,
    first_sequence_of,
    highest_committed,
    next_sequence,
    repair,
    segment_path,
    segments,
)
from proxy.journal.served_exchange import ServedExchange
from proxy.journal.writer_sessions import begin_session, end_session

logger = logging.getLogger(__name__)

SEGMENT_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC | os.O_NONBLOCK
"""Without O_NONBLOCK the thread would wait for a reader of a pipe that has the name of the segment."""
RETRY_S = 0.5
START_S = 2.0
"""Time that the start waits for the disk; one that takes longer is written to when it answers."""
RETENTION_S = 5.0
CLOSE_S = 10.0
HANGS_S = 2.0
"""Time after which a write that has not returned counts as a failure."""
WRITERS_MAX = 256
LOCK_TRIES = 3
LOCK_PAUSE_S = 0.005
SEQUENCES_MAX = 1 << 62
COUNTED_BY_THREAD = (LossCause.DISK_FULL, LossCause.DISK_ERROR, LossCause.ENCODING)


class SegmentWriter:
    """Write segments to `<directory>/<name>/`, where the name is the first of w0, w1, ... that no live process holds.

    `start` begins the thread, which repairs what a crash left behind; `close` writes what is queued. The `append` methods are for
    one thread. `counts` is written by both threads and read by any: each field has one writing thread, except what was dropped, of
    which each cause has one.

    Args:
        settings: the journal's.
        environ: for SHADOW_JOURNAL_KEY.
        keys_of: the folder of a journal whose keys this one shares.
    """

    def __init__(self, settings: JournalSettings, *, environ: Mapping[str, str], keys_of: Path | None = None) -> None:
        self.counts = WriterCounts()
        self._settings = settings
        self._directory = Path(settings.directory)
        self._folder = self._directory / "w0"
        self._environ = environ
        self._keys_of = keys_of
        digests_only = settings.redaction.mode is RedactionMode.DIGEST
        # What has to be searched for secrets is left to the thread.
        self._encoder = None if digests_only else FastEncoder()
        self._keys: JournalKeys | None = None
        self._redactor: JournalRedactor | None = None
        self._queue = WriteQueue(settings)
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._closed = False
        """The same as `_closing`, but free of a method call for each exchange."""
        self._thread: threading.Thread | None = None
        self._lock_file: int | None = None
        self._file: int | None = None
        self._path: Path | None = None
        self._size = 0
        self._opened_at = self._synced_at = self._retained_at = 0.0
        self._failed_until = 0.0
        self._at_disk_since = 0.0
        """Beginning of the thread's present work at the disk, on the monotonic clock; 0 while it waits."""
        self._failure = LossCause.DISK_ERROR
        self._sequence: int = 1
        self._numbered: int = 0
        """Exchanges of this process that have a sequence, or a gap instead of one."""
        self._refused = 0
        """Those of them that were not admitted to the queue."""
        self._opened = False
        self._mark = OfferMark(None, 0)
        self._in_flight = 0
        self._session_us = 0
        """Time at which this process took its folder, Unix microseconds; 0 before."""
        self._mark_base: int = 0
        """The sequence before that of the first exchange that this process was offered."""
        self._compressor = frame_compressor(settings.compression_level)

    def start(self) -> None:
        """Take a name, repair its last segment, begin to write. A disk that fails or hangs now is retried later.

        Raises:
            JournalKeyError: SHADOW_JOURNAL_KEY or the key file is too short.
        """
        opened: Future[None] = Future()
        self._at_disk_since = time.monotonic()
        self._thread = threading.Thread(target=self._open_and_run, args=(opened,), name="journal-writer", daemon=True)
        self._thread.start()
        try:
            opened.result(START_S)
        except TimeoutError:
            logger.error("journal_start_waits", extra={"path": str(self._directory), "waited_s": START_S})

    def _open_and_run(self, opened: "Future[None]") -> None:
        """Open the folder, where the disk may hang, then write. The thread's outermost function."""
        try:
            self._open_folder()
        except OSError as error:
            self._fail(error)
        except Exception as error:  # noqa: BLE001 (for the thread that starts this one)
            opened.set_exception(error)
            return
        opened.set_result(None)
        self._at_disk_since = 0.0
        self._run()

    def append(self, exchange: Exchange) -> bool:
        """Queue an exchange that comes from elsewhere; return False when it was dropped."""
        return self.append_record(record_of(exchange))

    def append_record(self, record: Record) -> bool:
        """Queue an exchange in its stored form; return False when it was dropped."""
        body_bytes = len(record.request_body) + len(record.response_body)
        if not self._admit(body_bytes, record.route):
            return False
        self._queue.add(record, body_bytes)
        if not self._wake.is_set():
            self._wake.set()
        return True

    def append_served(self, exchange: ServedExchange) -> bool:
        """Queue an exchange that was just served; return False when it was dropped."""
        body_bytes = exchange.request_body.size + exchange.response_body.size
        if not self._admit(body_bytes, exchange.route_name):
            return False
        encoder = self._encoder
        if encoder is None:
            self._queue.add(exchange, body_bytes)
            self._wake.set()
        elif self._queue.add_served(exchange, body_bytes, encoder):
            self._wake.set()
        return True

    def _admit(self, body_bytes: int, route: str) -> bool:
        """Count one more exchange, and its loss when it is not admitted."""
        counts = self.counts
        counts.offered += 1
        self._mark.count[0] = self._mark_base + counts.offered
        if not self._queue.has_room(body_bytes):
            counts.dropped[LossCause.QUEUE_FULL] += 1
            counts.dropped_of[route, LossCause.QUEUE_FULL] += 1
            return False
        if self._closed:
            counts.dropped[LossCause.CLOSED] += 1
            counts.dropped_of[route, LossCause.CLOSED] += 1
            return False
        return True

    def note_in_flight(self, count: int, *, settled_ns: int) -> None:
        """Note the requests in flight, and the time before which all that began have been offered."""
        self._in_flight = count
        self._mark.settled_ns[0] = settled_ns

    def close(self) -> None:
        """Write what is queued, within CLOSE_S, and release the name. Idempotent."""
        self._closed = True
        self._closing.set()
        self._wake.set()
        if self._thread:
            self._thread.join(CLOSE_S)
            if self._thread.is_alive():
                # It hangs in the disk, and so would this thread.
                logger.error("journal_not_closed", extra={"path": str(self._path), "queued": self.counts.queued})
                return
            self._thread = None
        self._close_segment()
        self._leave_folder()

    @property
    def healthy(self) -> bool:
        """True when the last write, if any, succeeded, and none hangs."""
        since = self._at_disk_since
        return self._failed_until == 0.0 and not (since and time.monotonic() - since > HANGS_S)

    def _open_folder(self) -> None:
        """Load the keys and take a folder. Both are made again when they were removed while the process runs.

        Raises:
            OSError: no folder can be locked, or it could not be prepared: then its lock is released, so that the next try starts afresh.
            JournalKeyError: the keys cannot be read.
        """
        self._load_keys()
        self._leave_folder()
        for number in range(WRITERS_MAX):
            folder = self._directory / f"w{number}"
            self._lock_file = _lock(folder)
            if self._lock_file is not None:
                self._folder = folder
                try:
                    self._recover()
                    self._open_mark()
                    self._begin_session()
                except BaseException:
                    self._leave_folder()
                    raise
                return
        raise OSError(errno.EBUSY, f"{WRITERS_MAX} processes write to {self._directory}")

    def _leave_folder(self) -> None:
        if self._lock_file is not None:
            os.close(self._lock_file)
            self._lock_file = None

    def _load_keys(self) -> None:
        """Take the keys as they are now: a key that was added seals from the next segment on.

        Raises:
            JournalKeyError: they cannot be read, and there are none from before.
        """
        try:
            if self._keys_of:
                share_keys(self._keys_of, self._directory, self._environ)
            keys = load_keys(self._directory, self._environ, create=True)
        except JournalKeyError as error:
            if self._keys is None:
                raise
            logger.error("journal_key_kept", extra={"key": self._keys.active.id, "error": str(error)})
            return
        if self._keys is not None and self._keys.active.id == keys.active.id:
            return
        if self._keys is not None:
            logger.info("journal_key_changed", extra={"key": keys.active.id, "before": self._keys.active.id})
        self._keys = keys
        if self._settings.redaction.mode is RedactionMode.DIGEST:
            self._redactor = JournalRedactor(self._settings.redaction, keys.active)

    def _open_mark(self) -> None:
        """Continue after everything that an earlier process was offered; what it did not write stays a gap."""
        mark = (
            OfferMark.open(self._folder, folder_id(self._folder))
            if self._sequence < SEQUENCES_MAX
            else OfferMark(None, 0)
        )
        if not self._opened:
            self._opened = True
            lost = mark.found + 1 - self._sequence
            if lost > 0:
                logger.warning(
                    "journal_exchanges_lost",
                    extra={"writer": self._folder.name, "first": self._sequence, "last": mark.found, "count": lost},
                )
                self._sequence = mark.found + 1
            # Those that were dropped before the disk could be reached.
            self._sequence += self._numbered
        self._mark_base = min(self._sequence, SEQUENCES_MAX) - 1 - self._numbered
        self._mark = mark
        mark.count[0] = self._mark_base + self.counts.offered

    def _recover(self) -> None:
        """Continue after the last whole frame. The sequence never goes back, even when the last segment is unreadable."""
        files = segments(self._folder)
        if not files:
            # A sequence that began at 1 again would repeat numbers that readers have committed, and they would skip its exchanges.
            self._sequence = max(self._sequence, highest_committed(self._directory, self._folder.name) + 1)
            return
        try:
            torn = repair(files[-1])
        except JournalFormatError as error:
            logger.error("journal_segment_skipped", extra={"path": str(files[-1]), "error": str(error)})
            # A damaged one, or one of another version, is not overwritten: the next one gets a later name, and numbers behind those of
            # its frames and behind those that readers have read from it.
            behind = (first_sequence_of(files[-1]) + 1, next_sequence(files[-1]))
            committed = highest_committed(self._directory, self._folder.name)
            self._sequence = max(self._sequence, *behind, committed + 1)
            return
        if torn:
            self.counts.torn_bytes += torn.lost_bytes
            logger.warning(
                "journal_tail_truncated",
                extra={"path": str(torn.path), "kept_bytes": torn.kept_bytes, "lost_bytes": torn.lost_bytes},
            )
        self._sequence = max(self._sequence, next_sequence(files[-1]))
        if files[-1].stat().st_size == 0:
            files[-1].unlink()

    def _run(self) -> None:
        linger_s = self._settings.flush_ms / 1000
        while True:
            self._wake.wait(self._settings.fsync_ms / 1000 if self._sync_owed else RETENTION_S)
            if not self._closing.is_set():
                self._closing.wait(linger_s)
            self._wake.clear()
            try:
                while self._queue:
                    self._at_disk_since = time.monotonic()
                    self._write_batch()
                    self._number_refused()
                self._at_disk_since = time.monotonic()
                self._maintain()
            except Exception:  # The thread's outermost loop: whatever fails, journaling goes on.
                logger.exception("journal_writer_failed")
                dropped = self.counts.dropped
                accounted = self.counts.written + sum([dropped[cause] for cause in COUNTED_BY_THREAD])
                # Of which routes they are is not known.
                self._drop(LossCause.DISK_ERROR, Counter({"": self._queue.taken - accounted}))
                self._failed_until = time.monotonic() + RETRY_S
            self._at_disk_since = 0.0
            if self._closing.is_set() and not self._queue:
                self._end_session()
                return

    def _begin_session(self) -> None:
        self._session_us = begin_session(self._folder, own_us=self._session_us)

    def _end_session(self) -> None:
        """Note that everything that was served is on disk, if it is."""
        if self._in_flight or not self._session_us:
            return
        try:
            end_session(self._folder)
        except OSError as error:
            logger.error("journal_session_not_ended", extra={"path": str(self._folder), "error": str(error)})

    def _write_batch(self) -> None:
        taken = self._queue.take()
        if time.monotonic() < self._failed_until:
            self._drop(self._failure, _routes_of(taken))
            return
        try:
            self._ensure_segment()
        except (OSError, JournalKeyError) as error:
            self._fail(error)
            self._drop(self._failure, _routes_of(taken))
            return
        frames: list[bytes] = []
        batches = self._batches(taken)
        sequence = self._sequence
        for batch in batches:
            frames.append(self._frame(batch, sequence))
            sequence += batch.count
        if not frames:
            return
        try:
            # One write for all: after each system call the thread waits until the event loop releases the interpreter.
            self._write(b"".join(frames))
        except OSError as error:
            self._fail(error)
            self._drop(self._failure, _routes_of(batches))
            return
        self.counts.written += sequence - self._sequence
        self.counts.written_bytes += sum(map(len, frames))
        self.counts.batches += len(frames)
        self._numbered += sequence - self._sequence
        self._sequence = sequence
        if self._failed_until:
            self._failed_until = 0.0
            logger.info("journal_recovered", extra={"path": str(self._path)})

    def _frame(self, batch: EncodedBatch, sequence: int) -> bytes:
        assert self._keys is not None
        payload = seal_payload(batch.payload, self._keys.active, nonce=os.urandom(NONCE_BYTES), first_sequence=sequence)
        return encode_frame(payload, count=batch.count, first_sequence=sequence, last_ended_ns=batch.last_ended_ns)

    def _batches(self, taken: list[EncodedBatch] | list[QueueEntry]) -> list[EncodedBatch]:
        """Encode what is not encoded yet."""
        entries = [item for item in taken if not isinstance(item, EncodedBatch)]
        batches = [item for item in taken if isinstance(item, EncodedBatch)]
        if entries:
            batch, failed = encode_entries(entries, self._redactor, compressor=self._compressor)
            self._drop(LossCause.ENCODING, failed)
            batches = [batch] if batch else []
        return batches

    def _ensure_segment(self) -> None:
        """Have an open segment with room. One whose file was removed by hand is abandoned for a new one."""
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
        else:
            self._load_keys()
            if not self._session_us:
                self._begin_session()
        self._path = segment_path(self._folder, self._sequence)
        descriptor = os.open(self._path, SEGMENT_FLAGS, 0o600)
        self._file = descriptor
        self._size = 0
        self._opened_at = time.monotonic()
        self._write(segment_header(time.time_ns()))

    def _write(self, data: bytes) -> None:
        """Write all of it, and sync where `durability` is `batch`.

        Raises:
            OSError: a part of it may be in the file, beyond `_size`; `_fail` cuts it off.
        """
        assert self._file is not None
        view = memoryview(data)
        while view:
            view = view[os.write(self._file, view) :]
        if self._settings.durability is Durability.BATCH:
            os.fdatasync(self._file)
        self._size += len(data)

    def _fail(self, error: OSError | JournalKeyError) -> None:
        """Cut off a half-written frame, log the first failure of a series, and leave the disk alone for RETRY_S."""
        full = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        self._failure = LossCause.DISK_FULL if full else LossCause.DISK_ERROR
        if not self._failed_until:
            logger.error("journal_write_failed", extra={"path": str(self._path or self._folder), "error": str(error)})
        self._failed_until = time.monotonic() + RETRY_S
        if self._file is None:
            return
        # Where even this fails, readers skip the torn frame; the next write begins a new segment.
        with contextlib.suppress(OSError):
            os.ftruncate(self._file, self._size)
            if not self._size and self._path is not None:
                self._path.unlink()
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

    def _maintain(self) -> None:
        """Sync the segment and delete old ones, each at its own interval."""
        now = time.monotonic()
        if self._sync_owed and self._file is not None and now - self._synced_at >= self._settings.fsync_ms / 1000:
            self._synced_at = now
            try:
                os.fdatasync(self._file)
            except OSError as error:
                self._fail(error)
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
        self.counts.unread_deleted += pruned.unread

    def _drop(self, cause: LossCause, routes: Counter[str]) -> None:
        """Count exchanges that were taken from the queue and are lost, by route ("" for unknown); their sequences stay a gap."""
        count = routes.total()
        if count:
            self.counts.dropped[cause] += count
            for route, number in routes.items():
                if route:
                    self.counts.dropped_of[route, cause] += number
            self._leave_out(count)

    def _number_refused(self) -> None:
        """Leave out as many sequences as exchanges were refused by the queue since the last batch."""
        dropped = self.counts.dropped
        refused = dropped[LossCause.QUEUE_FULL] + dropped[LossCause.CLOSED]
        self._leave_out(refused - self._refused)
        self._refused = refused

    def _leave_out(self, count: int) -> None:
        self._numbered += count
        if self._opened:
            self._sequence += count


def _routes_of(taken: Iterable[EncodedBatch | QueueEntry]) -> Counter[str]:
    """Count what was taken from the queue by route."""
    routes: Counter[str] = Counter()
    for item in taken:
        routes.update(item.routes if isinstance(item, EncodedBatch) else (route_of(item),))
    return routes


def _lock(folder: Path) -> int | None:
    """Return the descriptor of the writer's lock on a folder, None when another process holds it."""
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        for _ in range(LOCK_TRIES):
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                # (a reader that looks whether anybody writes holds it for a moment)
                time.sleep(LOCK_PAUSE_S)
            else:
                return descriptor
    except OSError:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None
