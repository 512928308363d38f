"""Tell a finding that was lost from a fault that does not make it. Pure.

A comparison may lack a finding that its fault makes: the change was not captured, or came too late. Such exchanges look like a rarer fault
of their own, often by the loss of what tells most:

    940  {row stamp, column score, field score}
     20  {row stamp, column score}                 a share of 0.02 lacks one token: the rate of loss
     19  {column score, field score}               no fault of its own, but 20 of 1,000 that lost the row
     60  {field score}                             a fault of its own: 1,000 * 0.02 ** 2 would have lost both

The rate is measured on tokens that come nearly always. Where nothing is lost they come always, the rate is 0, and nothing is changed.
"""

import math
from collections.abc import Iterable
from typing import Final

LOSS_MIN: Final = 0.002
"""Rate from which findings count as lost at all."""
ABSENCE_MAX: Final = 0.1
"""Share of a cause's exchanges in which a token that it nearly always shows may be absent."""
EXCHANGES_MIN: Final = 20
"""Exchanges of a cause from which its shares say something."""


def loss_rate(absences: Iterable[tuple[float, int]]) -> float:
    """Return the share of findings that are lost: the median of the shares, each counted as often as its exchanges. 0 for none.

    Args:
        absences: for each token that a cause nearly always shows, the share (0..1) of the cause's exchanges that lack it, and the number
            of these exchanges.
    """
    ordered = sorted(absences)
    half, passed = sum(exchanges for _, exchanges in ordered) / 2, 0
    for share, exchanges in ordered:
        passed += exchanges
        if passed >= half:
            return share
    return 0.0


def may_be_loss(count: int, whole: int, lost: int, rate: float) -> bool:
    """Return whether `count` exchanges are no more than `whole` ones would leave that lost the same `lost` findings each.

    The limit is three standard deviations (Poisson) above the expected number, and one.
    """
    expected = whole * rate**lost
    return count <= expected + 3 * math.sqrt(expected) + 1


def is_nearly_always(seen: int, visible: int, rate: float) -> bool:
    """Return whether a token that shows in `seen` of `visible` exchanges shows in all but for losses."""
    return visible > 0 and visible - seen <= visible * max(3 * rate, rate + 3 * math.sqrt(rate / visible))
