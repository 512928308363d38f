"""The exchanges of all writers on their way out of a journal: opened, numbered, and noted where they cannot be read.

A reader of any driver takes frames from somewhere and puts them in order. Here is what all of them do with a frame and with an exchange:

    records    frame -> records, or Unopened ones where the key is missing
    Deliveries 7, 8, 11 of writer w0 -> entries 7, 8, 11, and the range 9 to 10 as lost
"""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from proxy.errors import JournalKeyError, SealedError
from proxy.journal.driver import JournalEntry, UnjournaledPeriod, UnreadCause, UnreadRange
from proxy.journal.format import FrameHeader, Record, exchange_of
from proxy.journal.sealing import JournalKeys, key_id_of, records_of, unseal

logger = logging.getLogger(__name__)

KEYS_POLL_S = 1.0


@dataclass(frozen=True, slots=True)
class MergedPosition:
    """A place in a reader's order: the number of the last exchange of each writer."""

    sequences: tuple[tuple[str, int], ...]

    @property
    def sequence(self) -> int:
        """Number of exchanges up to this place, over all writers."""
        return sum(sequence for _, sequence in self.sequences)


@dataclass(frozen=True, slots=True)
class Unopened:
    """An exchange of a frame whose key is not here."""

    ended_ns: int
    error: SealedError


class LoadedKeys:
    """The keys of a reader; loaded again when a frame needs another one, at most every KEYS_POLL_S.

    Args:
        known: those of the start.
        load: returns those of now.
    """

    def __init__(self, known: JournalKeys | None, load: Callable[[], JournalKeys] | None) -> None:
        self.known = known
        self._load = load
        self._loaded_at = -KEYS_POLL_S

    def for_payload(self, payload: bytes) -> JournalKeys | None:
        """Return the keys, the one of this payload among them if it can be found."""
        key_id = key_id_of(payload)
        missing = key_id is not None and (self.known is None or self.known.find(key_id) is None)
        now = time.monotonic()
        if missing and self._load and now - self._loaded_at >= KEYS_POLL_S:
            self._loaded_at = now
            try:
                self.known = self._load()
            except JournalKeyError as error:
                logger.error("journal_keys_not_loaded", extra={"key": key_id, "error": str(error)})
        return self.known

    def records(self, header: FrameHeader, payload: bytes, *, place: str) -> Sequence[Record | Unopened]:
        """Return the records of a frame; nothing, and the gap is found later, if they cannot be decoded.

        Args:
            header: of the frame.
            payload: of the frame.
            place: of the frame, for the log.
        """
        where = {"path": place, "first": header.first_sequence, "count": header.count}
        try:
            return records_of(header, payload, self.for_payload(payload))
        except SealedError as error:
            logger.error("journal_frame_sealed", extra={**where, "error": str(error)})
            return [Unopened(header.last_ended_ns, error)] * header.count
        except Exception as error:
            logger.exception("journal_frame_undecodable", extra={**where, "error": str(error)})
            return ()


class Deliveries:
    """The exchanges that a reader has returned, by writer, and those that it could not return.

    Args:
        committed: number of the last exchange that is done, by writer.
        keys: open what is sealed.
        skip_undecodable: note an exchange that cannot be decoded as unread and go on, instead of raising the error.

    Attributes:
        lost: exchanges that could not be read.
        numbers: of the last exchange that was returned or lost, by writer.
        begun: the numbers behind which this reader began.
        ended_us: when the last exchange that was returned, or could not be, ended, by writer; Unix microseconds.
    """

    def __init__(self, committed: Mapping[str, int], keys: LoadedKeys, *, skip_undecodable: bool) -> None:
        self.lost = 0
        self.numbers = dict(committed)
        self.begun = dict(committed)
        self._keys = keys
        self._skip_undecodable = skip_undecodable
        self._unread: list[UnreadRange] = []
        self.ended_us: dict[str, int] = {}

    def begin(self, writer: str, done: int) -> None:
        """Begin to read a writer behind this number."""
        self.numbers[writer] = self.begun[writer] = done

    def take_unread(self) -> list[UnreadRange]:
        """Return what could not be read since the last call."""
        unread, self._unread = self._unread, []
        return unread

    def entry(self, writer: str, sequence: int, record: Record | Unopened, *, name: str) -> JournalEntry | None:
        """Return the entry of the next exchange of a writer; None, and note it as unread, if it cannot be decoded.

        Args:
            writer: as in the committed numbers.
            sequence: number of the exchange.
            record: as of `LoadedKeys.records`.
            name: of the writer, unique over all journals.

        Raises:
            SealedError: there is no key, and `skip_undecodable` is not set.
        """
        ended_us = record.ended_ns // 1_000
        period = UnjournaledPeriod(self.ended_us.get(writer, 0), ended_us)
        self.ended_us[writer] = ended_us
        self._note_unread(name, self.numbers.get(writer, 0) + 1, sequence - 1, UnreadCause.LOST, period)
        self.numbers[writer] = sequence
        if isinstance(record, Unopened):
            if not self._skip_undecodable:
                raise record.error
            self._note_unread(name, sequence, sequence, UnreadCause.UNDECODABLE, period)
            return None
        try:
            record = unseal(record, self._keys.known) if self._keys.known else record
            exchange = exchange_of(record)
        except Exception as error:
            if not self._skip_undecodable:
                raise
            logger.exception("exchange_undecodable", extra={"writer": name, "number": sequence, "error": str(error)})
            self._note_unread(name, sequence, sequence, UnreadCause.UNDECODABLE, period)
            return None
        position = MergedPosition(tuple(self.numbers.items()))
        return JournalEntry(position, position.sequence, exchange, record, name, sequence)

    def _note_unread(self, writer: str, first: int, last: int, cause: UnreadCause, period: UnjournaledPeriod) -> None:
        if first > last:
            return
        self.lost += last - first + 1
        before = self._unread[-1] if self._unread else None
        if before and (before.writer, before.last, before.cause) == (writer, first - 1, cause):
            first = self._unread.pop().first
            if before.period is not None:
                period = UnjournaledPeriod(before.period.from_us, period.until_us)
        self._unread.append(UnreadRange(writer, first, last, cause, period))
