"""Counts what a replay did: by side and route, latency in HDR histograms.

The one module that imports the histogram's library. Two latencies are kept: from when a record was due (what a client would have
waited) and from when it was sent (what the side took).
"""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

from hdrh.histogram import HdrHistogram  # pyright: ignore[reportMissingTypeStubs]

from comparator.exchanges.model import Failed, Response
from proxy.recordings.model import RecordedExchange

HIGHEST_US: Final = 3_600_000_000
DIGITS: Final = 3
QUANTILES: Final = (0.5, 0.75, 0.9, 0.95, 0.99, 0.999, 1.0)


def _histogram() -> Any:
    return HdrHistogram(1, HIGHEST_US, DIGITS)


@dataclass(slots=True)
class LatencyHistogram:
    """A distribution of microseconds, to three digits. `histogram` is the library's, which has no types."""

    histogram: Any = field(default_factory=_histogram)

    @property
    def count(self) -> int:
        """How many were added."""
        return int(self.histogram.get_total_count())

    @property
    def mean_ms(self) -> float:
        """The mean, 0 when nothing was added."""
        return round(self.histogram.get_mean_value() / 1e3, 3) if self.count else 0.0

    def add(self, ns: int) -> None:
        """Add one; times below 1 µs and above an hour count as these."""
        self.histogram.record_value(min(max(1, ns // 1_000), HIGHEST_US))

    def merge(self, other: "LatencyHistogram") -> None:
        """Add all of another."""
        self.histogram.add(other.histogram)

    def quantile_ms(self, share: float) -> float:
        """The time within which `share` of all were done; 0 when nothing was added."""
        return round(self.histogram.get_value_at_percentile(share * 100) / 1e3, 3) if self.count else 0.0


@dataclass(slots=True)
class SideCounts:
    """What one side did with the records of one route."""

    sent: int = 0
    statuses: Counter[int] = field(default_factory=Counter[int])
    failures: Counter[str] = field(default_factory=Counter[str])
    latency: LatencyHistogram = field(default_factory=LatencyHistogram)
    service: LatencyHistogram = field(default_factory=LatencyHistogram)
    recorded: LatencyHistogram = field(default_factory=LatencyHistogram)
    status_same: int = 0
    status_other: int = 0

    @property
    def failed(self) -> int:
        """Requests without a response, and responses that say the side is broken (5xx)."""
        return self.failures.total() + sum(count for status, count in self.statuses.items() if status >= 500)

    def merge(self, other: "SideCounts") -> None:
        """Add all of another."""
        self.sent += other.sent
        self.statuses.update(other.statuses)
        self.failures.update(other.failures)
        for name in ("latency", "service", "recorded"):
            getattr(self, name).merge(getattr(other, name))
        self.status_same += other.status_same
        self.status_other += other.status_other


@dataclass(slots=True)
class Tally:
    """Everything counted so far; `left_out` says why records were not sent, or not compared in full."""

    by_place: dict[tuple[str, str], SideCounts] = field(default_factory=dict[tuple[str, str], SideCounts])
    left_out: Counter[str] = field(default_factory=Counter[str])
    credentials: Counter[str] = field(default_factory=Counter[str])
    late_ns_max: int = 0

    @property
    def sent(self) -> int:
        """Requests sent, to all sides."""
        return sum(counted.sent for counted in self.by_place.values())

    @property
    def failed(self) -> int:
        """Of them, those without a good response."""
        return sum(counted.failed for counted in self.by_place.values())

    def add(
        self, side: str, recorded: RecordedExchange, outcome: Response | Failed, *, waited_ns: int, took_ns: int
    ) -> None:
        """Count one answer: `waited_ns` from when it was due to when it was sent, `took_ns` from then to its answer."""
        counted = self.by_place.get((side, recorded.route))
        if counted is None:
            counted = self.by_place.setdefault((side, recorded.route), SideCounts())
        counted.sent += 1
        counted.latency.add(waited_ns + took_ns)
        counted.service.add(took_ns)
        self.late_ns_max = max(self.late_ns_max, waited_ns)
        if recorded.duration_ns:
            counted.recorded.add(recorded.duration_ns)
        if isinstance(outcome, Failed):
            counted.failures[outcome.cause.value] += 1
            return
        counted.statuses[outcome.status] += 1
        if isinstance(recorded.outcome, Response):
            same = recorded.outcome.status == outcome.status
            counted.status_same += same
            counted.status_other += not same

    def sides(self) -> list[str]:
        """The sides that were sent anything."""
        return sorted({side for side, _ in self.by_place})

    def routes(self) -> list[str]:
        """The routes that anything was sent for."""
        return sorted({route for _, route in self.by_place})

    def of(self, side: str, route: str | None = None) -> SideCounts:
        """One side's counts for one route, or for all."""
        total = SideCounts()
        for (its_side, its_route), counted in self.by_place.items():
            if its_side == side and route in (None, its_route):
                total.merge(counted)
        return total
