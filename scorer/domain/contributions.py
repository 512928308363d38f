"""Contribution statistics of an address: grants and protocol rounds, added and rounded.

Observed of the legacy: the protocol sum is first rounded to 3 decimals, then the sum of both parts to 2, both half-even on decimals:
0.005 -> 0.0, 0.015 -> 0.02.
"""

from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal

# Smaller protocol contributions do not count. The legacy compares with the float 0.95, whose exact value is a little less
# (0.94999999999999995559..), so an amount of 0.949999999999999956 counts.
PROTOCOL_AMOUNT_MIN = Decimal(0.95)  # noqa: RUF032 (the float's exact value is meant)
_MILLIS = Decimal("0.001")
_CENTS = Decimal("0.01")


@dataclass(frozen=True, slots=True)
class Contributions:
    """Distinct grants or projects, and the sum of the amounts."""

    count: int
    amount: Decimal


@dataclass(frozen=True, slots=True)
class ContributorStatistics:
    """The two numbers of the response, which are floats there."""

    num_grants_contribute_to: float
    total_contribution_amount: float


def combine(grants: Contributions, protocol: Contributions) -> ContributorStatistics:
    """Add the grants part and the protocol part."""
    protocol_amount = protocol.amount.quantize(_MILLIS, rounding=ROUND_HALF_EVEN)
    total = (grants.amount + protocol_amount).quantize(_CENTS, rounding=ROUND_HALF_EVEN)
    return ContributorStatistics(float(grants.count + protocol.count), float(total))
