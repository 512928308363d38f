"""Commit the journal, and confirm live's log, as far as nothing of them is needed again.

Pure. Where live's changes are captured without a persistent slot, a restarted runner cannot get them again: it resyncs by whole tables,
and `CommitOnSave` commits each journal position as soon as its outcome is saved. A persistent slot delivers again what was not confirmed.
`CommitWithLog` then moves journal and log together, so that a runner that is killed and started again compares what it missed.

Both move to one commit of live, the checkpoint: everything up to it is on the shadow, no exchange without an outcome began before it, and
every exchange that may own a later change is read again. An exchange that is read again and had its outcome is compared again; the store
keeps the first outcome. Example, times in ms, with 5 ms of clock skew, and exchange 3 still without an outcome:

    exchange   1: 1000-1500   2: 2000-2500   3: 3000-3500
    horizon    2995: a commit before it belongs to 1, 2 or no exchange at all
    live       commits at 1400, 2400, 2600 and 3200, all of them on the shadow
    checkpoint the commit at 2600: the last before the horizon
    journal    committed up to 2: it ended more than twice the skew before 2600, so it cannot own a commit behind the checkpoint
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Generic, TypeVar

from proxy.runner.ledger import LiveCommit

P = TypeVar("P")
"""A position of the journal's reader."""


@dataclass(slots=True)
class CommitOnSave(Generic[P]):
    """Commit each position when its outcome is saved; confirm the log by what is on the shadow.

    Attributes:
        commit: stores the journal position, when the disk takes it.
        applied_lsn: the LSN of live up to which the shadow has everything; None for everything that was delivered.
        confirm: lets live's server drop its log up to an LSN; None for everything that was delivered.
        stage: stores the journal position with the outcomes that are saved next, where the store keeps it.
        resumed_us: 0: a run never resumes where an earlier one ended.
    """

    commit: Callable[[P], None]
    applied_lsn: Callable[[], int | None]
    confirm: Callable[[int | None], None]
    stage: Callable[[P], None] = lambda _: None
    resumed_us: int = 0

    def begin(self, sequence: int, position: P, *, started_us: int, ended_us: int) -> None:
        """Do nothing: what was read and not saved is not committed."""

    def saving(self, position: P) -> None:
        """Have the position stored in the transaction of the outcomes."""
        self.stage(position)

    def saved(self, sequence: int, position: P) -> None:
        """Commit the position."""
        del sequence
        self.commit(position)

    def start(self, from_us: int) -> None:
        """Do nothing: there is no checkpoint of an earlier run to replace."""

    def checkpoint(self, known_us: int) -> None:
        """Confirm the log."""
        del known_us
        self.confirm(self.applied_lsn())


@dataclass(slots=True)
class OpenExchanges(Generic[P]):
    """The exchanges that were read and are not committed, in the order of the journal.

    Attributes:
        clock_skew_us: how far the clocks of proxy and database may differ.
        post_response_wait_us: time after its response in which a service may still write for a request.
    """

    clock_skew_us: int
    post_response_wait_us: int = 0
    _open: "OrderedDict[int, tuple[P, int, int]]" = field(default_factory=OrderedDict[int, tuple[P, int, int]])
    _saved: int = 0

    def begin(self, sequence: int, position: P, *, started_us: int, ended_us: int) -> None:
        """Add an exchange that was read."""
        self._open[sequence] = (position, started_us, ended_us)

    def saved(self, sequence: int) -> None:
        """Note that the outcome of every exchange up to this one is saved."""
        self._saved = sequence

    def horizon_us(self, known_us: int) -> int:
        """Return the time before which every commit of live belongs to exchanges with a saved outcome, or to none.

        Args:
            known_us: all exchanges that began before it have been read.
        """
        began = (started_us for sequence, (_, started_us, _) in self._open.items() if sequence > self._saved)
        return min(known_us, *began, known_us) - self.clock_skew_us

    def take_before(self, checkpoint: LiveCommit) -> P | None:
        """Remove the exchanges that own no commit behind the checkpoint; return the last one's position, None without any."""
        slack_us = 2 * self.clock_skew_us + self.post_response_wait_us
        result = None
        for sequence, (position, _, ended_us) in list(self._open.items()):
            if sequence > self._saved or ended_us + slack_us >= checkpoint.latest_us:
                break
            result = position
            del self._open[sequence]
        return result


@dataclass(slots=True)
class CommitWithLog(Generic[P]):
    """Commit journal and log together; the journal first, so that a kill in between only repeats exchanges.

    Attributes:
        exchanges: those that were read and are not committed.
        resumed_us: time of the last checkpoint of the run before; 0 for none.
        applied_commit: the last commit of live before a time, up to which everything is on the shadow.
        commit: stores the journal position (None: the one before) together with the time of the checkpoint, when the disk takes it, and
            calls the function with True once it is stored, with False if it could not be.
        confirm: lets live's server drop its log up to a checkpoint; None: there is no commit to go by.
    """

    exchanges: OpenExchanges[P]
    resumed_us: int
    applied_commit: Callable[[int], LiveCommit | None]
    commit: Callable[[P | None, int, Callable[[bool], None]], None]
    confirm: Callable[[LiveCommit | None], None]
    _last: LiveCommit | None = None
    _stored: LiveCommit | None = None

    def begin(self, sequence: int, position: P, *, started_us: int, ended_us: int) -> None:
        """Add an exchange that was read."""
        self.exchanges.begin(sequence, position, started_us=started_us, ended_us=ended_us)

    def saving(self, position: P) -> None:
        """Do nothing: what is committed depends on live's log too."""

    def saved(self, sequence: int, position: P) -> None:
        """Note that the outcome of every exchange up to this one is saved; `checkpoint` commits it."""
        del position
        self.exchanges.saved(sequence)

    def start(self, from_us: int) -> None:
        """Replace the checkpoint of an earlier run, which this one does not resume: the slot keeps everything from now on."""
        self.commit(None, from_us, lambda _: None)

    def checkpoint(self, known_us: int) -> None:
        """Commit what is not needed again, and confirm it once that is stored.

        Args:
            known_us: every exchange that began before it, and did not take longer than `claim_wait_ms`, has been read.
        """
        checkpoint = self.applied_commit(self.exchanges.horizon_us(known_us))
        if checkpoint is None or checkpoint == self._stored:
            self.confirm(checkpoint)
        elif checkpoint != self._last:
            self._last = checkpoint
            self.commit(self.exchanges.take_before(checkpoint), checkpoint.latest_us, partial(self._ended, checkpoint))

    def _ended(self, checkpoint: LiveCommit, stored: bool) -> None:
        if stored:
            self._stored = checkpoint
            self.confirm(checkpoint)
        elif self._last == checkpoint:
            # (the next call commits it again)
            self._last = None
