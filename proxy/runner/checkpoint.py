"""How far the journal and the log of live may be let go, so that a runner that is killed and started again can compare what it missed.

Pure. A persistent slot delivers again what is not confirmed, and the journal gives again what is not committed. Both are let go at one
place of live's commits: everything up to it is on the shadow, no exchange without an outcome began before it, and every exchange that
may own a later change is read again. What had its outcome already is compared again then; the store keeps the first.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from proxy.journal.reader import JournalEntry, Position
from proxy.runner.ledger import Place

NS_PER_US = 1_000


@dataclass(slots=True)
class Checkpoints:
    """The exchanges that are read and not let go, in the order of the journal.

    Attributes:
        clock_skew_us: how far the proxy's clock and the database's may differ.
        post_response_wait_us: how long after its response a service may still write for the request.
    """

    clock_skew_us: int
    post_response_wait_us: int = 0
    _kept: "OrderedDict[int, tuple[Position, int, int]]" = field(
        default_factory=OrderedDict[int, tuple[Position, int, int]]
    )
    _done: int = 0

    def begin(self, entry: JournalEntry) -> None:
        """An exchange was read."""
        exchange = entry.exchange
        times = exchange.started_ns // NS_PER_US, exchange.ended_ns // NS_PER_US
        self._kept[entry.sequence] = (entry.position, *times)

    def done(self, position: Position) -> None:
        """Every exchange up to here has its outcome, and it is kept."""
        self._done = sum(sequence for _, sequence in position.sequences)

    def horizon_us(self, known_us: int) -> int:
        """Live commits before this time are of exchanges that have their outcome, when all that began before `known_us` are read."""
        begun = (started for sequence, (_, started, _) in self._kept.items() if sequence > self._done)
        return min(known_us, *begun, known_us) - self.clock_skew_us

    def let_go(self, place: Place) -> Position | None:
        """The last position before which no exchange can own a commit behind `place`; None when that is no further."""
        slack_us = 2 * self.clock_skew_us + self.post_response_wait_us
        position = None
        for sequence, (reached, _, ended_us) in list(self._kept.items()):
            if sequence > self._done or ended_us + slack_us >= place[0]:
                break
            position = reached
            del self._kept[sequence]
        return position


@dataclass(slots=True)
class CheckpointCommitter:
    """Lets go of both, the journal first: a kill in between only repeats.

    Attributes:
        checkpoints: of the exchanges.
        begun_at: the place (Unix microseconds) of the last checkpoint of the run before, 0 for none.
        place: the last live transaction before a time up to which all is on the shadow.
        commit: stores the journal position (None: the one before) with the time of the place.
        confirm: lets the log go up to a place; None: no place was found.
    """

    checkpoints: Checkpoints
    begun_at: int
    place: Callable[[int], Place | None]
    commit: Callable[[Position | None, int], None]
    confirm: Callable[[Place | None], None]
    _last: Place | None = None

    def checkpoint(self, known_us: int) -> None:
        """Let go of what can be.

        Args:
            known_us: every exchange that began before it, and did not take too long, has been read.

        Raises:
            OSError: the position could not be stored; nothing was let go.
        """
        place = self.place(self.checkpoints.horizon_us(known_us))
        if place is not None and place != self._last:
            self.commit(self.checkpoints.let_go(place), place[0])
            self._last = place
        self.confirm(place)
