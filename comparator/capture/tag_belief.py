"""Decide whether a side that is configured as naming its requests does so. Pure.

A side is not believed until it has named a request in a transaction (`confirmed`): a candidate that was deployed without the message
would have none of its rows attributed, and every write of it would be called missing. A write without a name in the time and on the
key of one of its requests is the evidence (`missed`): conclusive while no name was ever seen, and otherwise after MISSED_MAX requests in
a row, because another writer may have made a single one.

    missed, missed              untagged    since the first
    named, missed, missed       believed    another writer may have made both
    named, missed x 5           untagged    it stopped, e.g. with its last deployment
    .. named                    believed
"""

from dataclasses import dataclass
from typing import Final

MISSED_MAX: Final = 5
"""Requests in a row without a name after which a side that has named its requests before is called untagged."""


@dataclass(slots=True)
class TagBelief:
    """The evidence about one side.

    Attributes:
        confirmed: it has named a request, and has not been found untagged since.
        missed: requests in a row on whose keys something was written in their time, without any name.
    """

    confirmed: bool = False
    missed: int = 0

    @property
    def untagged(self) -> bool:
        """True if its writes are known to carry no name."""
        return self.missed > 0 and not self.confirmed

    def add_named(self) -> None:
        """Note a request that was named in a transaction."""
        self.confirmed, self.missed = True, 0

    def add_missed(self) -> None:
        """Note a request that wrote, or beside which something was written, without its name."""
        self.missed += 1
        if self.missed >= MISSED_MAX:
            self.confirmed = False
