"""Named faults that can be injected, so that a comparison has real differences to find.

SHADOW_DIVERGENCES is a comma list of `name` or `name:share`; the share (0..1, default 1) selects addresses by a stable hash,
so that one address always diverges or never does.
"""

import hashlib
from dataclasses import dataclass
from enum import Enum

STEPS = 10_000


class Divergence(Enum):
    WRONG_WEIGHT = "wrong_weight"  # one counted stamp weighs a quarter more
    LOST_STAMP = "lost_stamp"  # the last kept stamp is not stored, hence not counted
    MISSING_EVENT = "missing_event"  # the score event is not written
    DOUBLED_EVENT = "doubled_event"  # the score event is written twice
    THRESHOLD_OFF_BY_ONE = "threshold_off_by_one"  # a score equal to the threshold does not pass
    SLOW_RESPONSE = "slow_response"  # correct, but SHADOW_SLOW_RESPONSE_S seconds late
    ERROR_500 = "error_500"  # an unhandled exception before anything is written
    THRESHOLD_HIGH = "threshold_high"  # the threshold is 1.5 higher
    NO_EXPIRY = "no_expiry"  # the score has no expiry date
    SCORE_TEXT = "score_text"  # the response has four decimal places in place of five
    LOST_FIELD = "lost_field"  # the response lacks possible_points_data
    EMPTY_ERROR = "empty_error"  # the response has "" in place of null as error
    EMPTY_STAMPS = "empty_stamps"  # the response lists no stamps
    EVENT_STATUS = "event_status"  # the score event has another status
    POINTS_LOST = "points_lost"  # no points are awarded
    LINKS_LOST = "links_lost"  # no hash links are written
    DEDUP_OFF = "dedup_off"  # stamps that another address holds are kept
    MISSING_DEDUP_EVENT = "missing_dedup_event"  # the event of a clashing stamp is not written


@dataclass(frozen=True, slots=True)
class Divergences:
    """The active faults, and the share of addresses that each affects."""

    shares: tuple[tuple[Divergence, float], ...]

    @classmethod
    def parse(cls, text: str) -> "Divergences":
        words = [word.strip().partition(":") for word in text.split(",") if word.strip()]
        return cls(tuple((Divergence(name), float(share or 1)) for name, _, share in words))

    def diverges(self, divergence: Divergence, address: str) -> bool:
        return any(name is divergence and selected(name, address, share) for name, share in self.shares)


def selected(divergence: Divergence, address: str, share: float) -> bool:
    """Return whether the address is selected: always the same ones, and more of them with a larger share."""
    digest = hashlib.sha256(f"{divergence.value}:{address}".encode()).digest()
    return int.from_bytes(digest[:4], "big") % STEPS < share * STEPS
