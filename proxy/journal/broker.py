"""The interface of a shared journal's broker: an ordered log for each writer, between the spools of the proxies and the runner.

    w0-3f2a1b2c   32, 64, 71, ...      each entry is one frame of the spool, named by the number of its last exchange
    w1-90c4d7e0   18, 40, ...

An entry is appended once, whatever is repeated: its name must be larger than that of the entry before. It is deleted when every reader
has committed it, and never for another reason; a broker that loses its memory gets again from the spools what is not committed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import msgspec

from proxy.journal.driver import UnjournaledPeriod
from proxy.journal.reconciliation import WriterState


@dataclass(frozen=True, slots=True)
class Bundle:
    """One frame of a spool on its way: exchanges that were written together, sealed as they are on the disk.

    Attributes:
        last: number of its last exchange, which names it.
        frame: header and payload (`proxy.journal.format`).
    """

    last: int
    frame: bytes


class WriterReport(msgspec.Struct, frozen=True):
    """The state of one writer, as the shipper on its machine tells it.

    Attributes:
        writer: its name, unique over all machines.
        host: name of its machine.
        at_ns: time of the report, by the machine's clock, Unix nanoseconds.
        clock_ahead_ns: how far this clock is ahead of the broker's.
        offered: number of the last exchange that the writer was offered; None where it is not known.
        written: number of the last exchange in the spool.
        running: whether a process writes.
        earlier: number of the last exchange that earlier processes were offered.
        base: exchanges up to this number are not shipped again: every reader has committed them, or they were there before shipping began.
        shipped: number of the last exchange that the broker was given.
        known_ns: every exchange that ended before this time, by the machine's clock, has a number up to `shipped`.
        spool_bytes: size of the writer's segments.
        oldest_ns: end of the oldest exchange in the spool that is not shipped; 0 for none.
        pause: why nothing is shipped at present; "" where it is.
        closed: whether the proxy has ended, and everything is shipped.
        unjournaled: times of the last requests of its processes that were killed.
    """

    writer: str
    host: str
    at_ns: int
    clock_ahead_ns: int
    offered: int | None
    written: int
    running: bool
    earlier: int
    base: int
    shipped: int
    known_ns: int
    spool_bytes: int
    oldest_ns: int = 0
    pause: str = ""
    closed: bool = False
    unjournaled: tuple[UnjournaledPeriod, ...] = ()

    @property
    def state(self) -> WriterState:
        """The numbers for the accounting."""
        return WriterState(self.writer, self.offered, self.written, running=self.running, earlier=self.earlier)


class Broker(Protocol):
    """An ordered log for each writer. Every method raises BrokerUnavailableError where the broker does not answer."""

    async def append(self, writer: str, bundles: Sequence[Bundle], *, begins: bool) -> None:
        """Append bundles, all or none of them. Those that are there already stay as they are.

        Args:
            writer: whose log.
            bundles: in ascending order.
            begins: whether the log may be made; otherwise it has to exist.

        Raises:
            StreamGoneError: the log does not exist: the broker was emptied.
            BrokerFullError: it has no memory for them.
        """
        ...

    async def read(
        self, after: Mapping[str, int], *, bundles_max: int, wait_s: float
    ) -> Mapping[str, Sequence[Bundle]]:
        """Return the next bundles of each writer, none where none arrive within `wait_s`.

        Args:
            after: by writer, the number of the last exchange that was read.
            bundles_max: for each writer.
            wait_s: seconds.
        """
        ...

    async def trim(self, writer: str, through: int) -> None:
        """Delete the bundles that end with this number or before; the log itself stays."""
        ...

    async def tails(self, writers: Sequence[str]) -> Mapping[str, int]:
        """Return the name of the last bundle ever appended, by writer; a writer without a log is left out."""
        ...

    async def report(self, reports: Sequence[WriterReport]) -> None:
        """Publish the states of writers."""
        ...

    async def reports(self) -> Sequence[WriterReport]:
        """Return the last published state of every writer."""
        ...

    async def acknowledge(self, committed: Mapping[str, int]) -> None:
        """Publish up to which number every reader has committed, by writer."""
        ...

    async def acknowledged(self) -> Mapping[str, int]:
        """Return what was published last of each writer."""
        ...

    async def clock_ns(self) -> int:
        """Return the time of the broker's clock, Unix nanoseconds."""
        ...

    async def warnings(self) -> Sequence[str]:
        """Return what is wrong with the broker's settings; each text says what to do."""
        ...

    async def forget(self, writer: str) -> None:
        """Delete everything of a writer that is gone for good."""
        ...

    async def close(self) -> None:
        """Close the connections. Idempotent."""
        ...
