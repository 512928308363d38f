"""The interface of a journal: what its writer and its readers offer, whatever stores the exchanges.

The serving path appends through a `JournalWriter`; the shadow runner and the commands follow through a `JournalReader`.
`proxy.journal.registry` opens both from the settings, and is the only module that knows the drivers.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

from comparator.exchanges.model import Exchange
from proxy.journal.format import Record

if TYPE_CHECKING:
    from proxy.journal.served_exchange import ServedExchange


class LossCause(StrEnum):
    """Reasons for the loss of an exchange that was served but not journaled."""

    QUEUE_FULL = "queue_full"
    DISK_FULL = "disk_full"
    DISK_ERROR = "disk_error"
    ENCODING = "encoding"
    CLOSED = "closed"


@dataclass(slots=True)
class WriterCounts:
    """Outcomes of the exchanges offered to a writer: `offered = written + sum(dropped) + queued`.

    Attributes:
        offered: exchanges given to the writer.
        written: exchanges stored.
        written_bytes: their size as stored: encoded, compressed and sealed.
        batches: writes that these exchanges were grouped into.
        unread_deleted: exchanges that retention deleted before every reader had committed them.
        torn_bytes: bytes of a half-written batch that were discarded at start, after a crash.
        dropped: exchanges that were not stored, by cause.
        dropped_of: the same by route and cause, of those whose route is known.
    """

    offered: int = 0
    written: int = 0
    written_bytes: int = 0
    batches: int = 0
    unread_deleted: int = 0
    torn_bytes: int = 0
    dropped: Counter[LossCause] = field(default_factory=Counter[LossCause])
    dropped_of: Counter[tuple[str, LossCause]] = field(default_factory=Counter[tuple[str, LossCause]])

    @property
    def queued(self) -> int:
        """Exchanges accepted and neither written nor dropped yet."""
        return self.offered - self.written - self.dropped.total()

    def losses(self) -> dict[LossCause, int]:
        """Return dropped exchanges by cause, with 0 for causes that did not occur."""
        return {cause: self.dropped[cause] for cause in LossCause}

    def losses_by_route(self) -> dict[str, int]:
        """Return dropped exchanges by route, of routes that have some."""
        by_route: dict[str, int] = {}
        # Both threads add to it, and copying is one step.
        for (route, _), count in self.dropped_of.copy().items():
            by_route[route] = by_route.get(route, 0) + count
        return by_route


class JournalWriter(Protocol):
    """Append exchanges to a journal without ever making the serving path wait.

    `start` comes first and `close` last. The three `append` methods are for one thread (the event loop's). Each returns False
    when the exchange was dropped; the cause is counted in `counts`.
    """

    @property
    def counts(self) -> WriterCounts:
        """Counts so far; safe to read from any thread."""
        ...

    @property
    def healthy(self) -> bool:
        """True when the last write, if any, succeeded."""
        ...

    def start(self) -> None:
        """Begin to write. A store that fails now is retried later.

        Raises:
            JournalKeyError: the key is missing or too short.
        """
        ...

    def append_served(self, exchange: "ServedExchange") -> bool:
        """Queue an exchange that this proxy has just served."""
        ...

    def append(self, exchange: Exchange) -> bool:
        """Queue an exchange that comes from elsewhere, such as an imported recording."""
        ...

    def append_record(self, record: Record) -> bool:
        """Queue an exchange in its stored form, such as `JournalEntry.record` of another journal."""
        ...

    def note_in_flight(self, count: int, *, settled_ns: int) -> None:
        """Note the requests in flight, for readers: those that began before `settled_ns` (Unix nanoseconds) have ended, and were offered.

        A writer that is closed while there are some is one that crashed: they are in no journal.
        """
        ...

    def close(self) -> None:
        """Write what is queued, within a time limit, and release the journal. Idempotent."""
        ...


class JournalPosition(Protocol):
    """A place in a reader's order. Only the reader that made it knows what it consists of."""

    @property
    def sequence(self) -> int:
        """Number of exchanges appended up to this place, by all writers together."""
        ...


class UnreadCause(StrEnum):
    """Reasons for which a reader cannot return an exchange."""

    LOST = "journal"
    """It is not in the journal: its writer dropped it or was killed, or it was deleted or damaged."""
    UNDECODABLE = "undecodable"
    """It is there and cannot be decoded, for example because it was sealed with a key that is gone."""


@dataclass(frozen=True, slots=True)
class UnjournaledPeriod:
    """A time in which requests may have ended that are in no journal, or are not in it yet; Unix microseconds of their proxy's clock."""

    from_us: int
    until_us: int


@dataclass(frozen=True, slots=True)
class UnreadRange:
    """Exchanges of one writer, `first` to `last` by its own numbers, that a reader could not return.

    They ended in `period`; None where that is not known.
    """

    writer: str
    first: int
    last: int
    cause: UnreadCause
    period: UnjournaledPeriod | None = None

    @property
    def count(self) -> int:
        """The number of exchanges."""
        return self.last - self.first + 1


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """One exchange read.

    Attributes:
        position: to commit once this exchange and all before it are done.
        sequence: `position.sequence`.
        exchange: as it was served, but for the digests of mode `digest`.
        record: the same as a record; None for an exchange that no journal has stored.
        writer: name of the writer, unique over all journals; "" for an exchange that no journal has stored.
        number: of the exchange among those of its writer, from 1 on.
    """

    position: JournalPosition
    sequence: int
    exchange: Exchange
    record: Record | None = None
    writer: str = ""
    number: int = 0


class JournalReader(Protocol):
    """Read a journal as a named consumer with a committed position.

    Exchanges of all writers are merged by the time at which they ended. One process at a time reads under a name; after a
    crash it continues behind its last commit. Use as a context manager, or call `close`.
    """

    @property
    def lost(self) -> int:
        """Exchanges that could not be read: deleted before, or damaged in storage."""
        ...

    def take_unread(self) -> list[UnreadRange]:
        """Return what could not be read since the last call, each range before an exchange behind it was returned."""
        ...

    def begun_numbers(self) -> dict[str, int]:
        """Return the number behind which this reader began to read, by writer."""
        ...

    def complete_us(self, read_from_us: int) -> int:
        """Return the time before which every exchange that ended has been returned, Unix microseconds.

        Args:
            read_from_us: time at which the last reading began; the result is not later.
        """
        ...

    def settled_us(self) -> int:
        """Return the time before which every request that began has been returned, Unix microseconds; 0 where it is not known."""
        ...

    def has_several_writers(self) -> bool:
        """Return whether several processes write: none of them sees that a request overlaps one of another's."""
        ...

    def unjournaled(self, ended_us: int) -> Sequence[UnjournaledPeriod]:
        """Return the times in which requests ran that are in no journal, or are late: a process was killed, or its disk hangs.

        Args:
            ended_us: every process that was gone then has to be known; when the last of the exchanges ended that are decided on, in Unix
                microseconds. A client may have sent its request once more, with the same id, when its connection broke.
        """
        ...

    @property
    def live_us(self) -> int:
        """The `live_us` of the last commit, also of an earlier process; 0 for none."""
        ...

    @property
    def committed_sequence(self) -> int:
        """Number of exchanges, of all ever appended, that this consumer has committed or lost."""
        ...

    async def read(self, max_items: int, wait_s: float) -> list[JournalEntry]:
        """Return the next entries, oldest first; an empty list when none arrived within `wait_s`."""
        ...

    def commit(self, position: JournalPosition | None, live_us: int = 0) -> None:
        """Store that everything up to `position` is done; it is not read again under this name.

        Args:
            position: of an entry of this reader; None keeps the committed one.
            live_us: Unix microseconds up to which the live database's commits are dealt with too; 0 for unknown.

        Raises:
            OSError: the position could not be stored.
        """
        ...

    def tail_sequence(self) -> int:
        """Return how many exchanges were ever appended; less `committed_sequence`, this is the consumer's backlog."""
        ...

    def close(self) -> None:
        """Release the name. Idempotent."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
