"""The figure that a gate judges, with its interval and its limit, beside the words for it. Pure.

42 of 340 differ       share 0.1235, low 0.065, high 0.205, limit 0.001, hits 42, trials 340
340 of 1,000 compared  count 340, limit 1,000, at_least
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum


class MeasureUnit(StrEnum):
    """Units of figures."""

    COUNT = "count"
    SHARE = "share"
    SECONDS = "seconds"
    RATIO = "ratio"
    BYTES = "bytes"


@dataclass(frozen=True, slots=True)
class Measure:
    """A figure.

    Attributes:
        unit: of all figures here; a share is between -1 and 1.
        value: the estimate, or the count.
        limit: what it is compared with.
        at_least: the limit is a minimum; else it is a maximum.
        low: lower end of its interval; None where it is counted and not estimated.
        high: upper end of its interval.
        hits: numerator of a share.
        trials: denominator of a share.
        parts: hits and trials of a share by what they rest on, `with_rows` and `response_only`; they add up to those above. Empty for
            a share that is of one kind.
    """

    unit: MeasureUnit
    value: float
    limit: float | None = None
    at_least: bool = False
    low: float | None = None
    high: float | None = None
    hits: int | None = None
    trials: int | None = None
    parts: Mapping[str, tuple[int, int]] = field(default_factory=dict[str, tuple[int, int]])

    def document(self) -> dict[str, object]:
        """Return it as JSON values."""
        return {**asdict(self), "unit": self.unit.value}
