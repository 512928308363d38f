"""How far the journal is done, when exchanges end in another order than they were read.

Pure. The committable position is that of the last exchange before the first unfinished one, so that a killed runner reads again
what it had not finished, and nothing that it had.
"""

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Generic, TypeVar

P = TypeVar("P")


@dataclass(slots=True)
class OffsetTracker(Generic[P]):
    """Exchanges in the order they were read, by their sequence."""

    _open: "OrderedDict[int, tuple[P, bool]]" = field(default_factory=OrderedDict[int, tuple[P, bool]])
    _committable: P | None = None

    def begin(self, sequence: int, position: P) -> None:
        """An exchange was read."""
        self._open[sequence] = (position, False)

    def end(self, sequence: int) -> None:
        """An exchange has its outcome."""
        position, _ = self._open[sequence]
        self._open[sequence] = (position, True)
        while self._open:
            first = next(iter(self._open))
            position, ended = self._open[first]
            if not ended:
                return
            self._committable = position
            del self._open[first]

    def take_committable(self) -> P | None:
        """The position to commit, once; None when nothing new is done."""
        position, self._committable = self._committable, None
        return position
