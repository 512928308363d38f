"""Counts the results of a replay by side and route, latencies in HDR histograms. The only module that imports the histogram's library.

Two latencies are kept: from the time a request was due (`latency`: the wait of a client), and from the time it was sent (`service`: the
time the side took).
"""

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from hdrh.histogram import HdrHistogram  # pyright: ignore[reportMissingTypeStubs]

from comparator.exchanges.model import Failed, Response
from proxy.recordings.model import RecordedExchange

HIGHEST_US: Final = 3_600_000_000
DIGITS: Final = 3
LATENCIES_BEYOND_MIN: Final = 10
ROUTES_MAX: Final = 400
"""Limit of the pairs of side and route that are counted on their own; the others are one route, OTHER_ROUTES."""
OTHER_ROUTES: Final = "(others)"
NORMAL_95: Final = 1.96
QUANTILES: Final = (0.5, 0.75, 0.9, 0.95, 0.99, 0.999, 1.0)


def _histogram() -> Any:
    return HdrHistogram(1, HIGHEST_US, DIGITS)


@dataclass(slots=True)
class LatencyHistogram:
    """A distribution of latencies, in microseconds to three digits. `histogram` is the library's, which has no types."""

    histogram: Any = field(default_factory=_histogram)

    @property
    def count(self) -> int:
        """Number of latencies."""
        return int(self.histogram.get_total_count())

    @property
    def mean_ms(self) -> float:
        """The mean; 0 without latencies."""
        return round(self.histogram.get_mean_value() / 1e3, 3) if self.count else 0.0

    def add(self, ns: int) -> None:
        """Add one; times below 1 µs and above an hour count as these."""
        self.histogram.record_value(min(max(1, ns // 1_000), HIGHEST_US))

    def merge(self, other: "LatencyHistogram") -> None:
        """Add those of another."""
        self.histogram.add(other.histogram)

    def quantile_ms(self, share: float) -> float:
        """Return the latency that `share` of all do not exceed; 0 without latencies."""
        return round(self.histogram.get_value_at_percentile(share * 100) / 1e3, 3) if self.count else 0.0

    def quantiles_ms(self, shares: Iterable[float]) -> dict[float, float]:
        """Return several quantiles in one pass, by share; the histogram has ten thousands of bins."""
        percentiles = sorted({share * 100 for share in shares})
        values: dict[float, int] = self.histogram.get_percentile_to_value_dict(percentiles) if self.count else {}
        return {percentile / 100: round(values.get(percentile, 0) / 1e3, 3) for percentile in percentiles}


def interval_shares(count: int, share: float) -> tuple[float | None, float | None]:
    """Return the shares between whose quantiles the true one lies with probability 0.95.

    The number of latencies below the true quantile is binomial. Of 2,000 latencies and share 0.95 the ends are 0.9404 and 0.9596. An end
    is None where the sample does not tell it.
    """
    margin = NORMAL_95 * math.sqrt(share * (1 - share) / max(1, count))
    enough = shows_quantile(count, share) and share + margin < 1
    return (share - margin if share > margin else None), (share + margin if enough else None)


def shows_quantile(count: int, share: float) -> bool:
    """Return whether a sample tells a quantile: at least 10 latencies are expected beyond it. The maximum is what it is.

    The 99.9 % quantile of 276 latencies is their maximum, which is below the true one three times in four.
    """
    return share >= 1 or count * (1 - share) >= LATENCIES_BEYOND_MIN * (1 - 1e-9)


@dataclass(slots=True)
class SideCounts:
    """The results of one side for the records of one route.

    Attributes:
        sent: number of requests.
        statuses: responses by status.
        failures: requests without response, by cause.
        latency: from the time a request was due.
        service: from the time it was sent.
        recorded: durations in the recording.
        status_same: responses with the recorded status.
        status_other: responses with another one.
        without_credentials: responses by status to requests whose credentials are missing; these are in `statuses` too, and not in
            `status_same` and `status_other`.
    """

    sent: int = 0
    statuses: Counter[int] = field(default_factory=Counter[int])
    failures: Counter[str] = field(default_factory=Counter[str])
    latency: LatencyHistogram = field(default_factory=LatencyHistogram)
    service: LatencyHistogram = field(default_factory=LatencyHistogram)
    recorded: LatencyHistogram = field(default_factory=LatencyHistogram)
    status_same: int = 0
    status_other: int = 0
    without_credentials: Counter[int] = field(default_factory=Counter[int])

    @property
    def failed(self) -> int:
        """Requests without a response, and responses with a status of 5xx."""
        return self.failures.total() + sum(count for status, count in self.statuses.items() if status >= 500)

    def merge(self, other: "SideCounts") -> None:
        """Add those of another."""
        self.sent += other.sent
        self.statuses.update(other.statuses)
        self.failures.update(other.failures)
        for name in ("latency", "service", "recorded"):
            getattr(self, name).merge(getattr(other, name))
        self.status_same += other.status_same
        self.status_other += other.status_other
        self.without_credentials.update(other.without_credentials)


class LeftOut(StrEnum):
    """Reasons for which a record was not sent, or not compared in full."""

    CUT = "cut"
    """The recording has only a part of the request: not sent."""
    CREDENTIALS_MISSING = "credentials_missing"
    """Both sides refused the request (401 or 403), whose credentials are missing: not compared."""
    EFFECTS_NOT_COMPARED = "effects_not_compared"
    """Change data capture lost transactions: a difference of the responses counts, an agreement does not."""
    NOT_CAPTURABLE = "not_capturable"
    """The route lists a table whose rows are not captured (`routes[].tables`): not sent."""
    LATE_TRANSACTIONS = "late_transactions"
    """Transactions that were committed after the response to their request: undone, and not compared."""


@dataclass(slots=True)
class Tally:
    """All counts of a replay.

    Attributes:
        by_side_and_route: results.
        left_out: records that were not sent, or not compared in full, by reason.
        credentials: digests and tokens by what became of them (`RewrittenRequest`).
        late_ns_max: longest time from when a request was due to when it was sent.
    """

    by_side_and_route: dict[tuple[str, str], SideCounts] = field(default_factory=dict[tuple[str, str], SideCounts])
    left_out: Counter[LeftOut] = field(default_factory=Counter[LeftOut])
    credentials: Counter[str] = field(default_factory=Counter[str])
    late_ns_max: int = 0

    @property
    def sent(self) -> int:
        """Requests sent, to all sides together."""
        return sum(counts.sent for counts in self.by_side_and_route.values())

    @property
    def failed(self) -> int:
        """Those of them without a response or with a status of 5xx."""
        return sum(counts.failed for counts in self.by_side_and_route.values())

    def add(
        self,
        side: str,
        recorded: RecordedExchange,
        outcome: Response | Failed,
        *,
        wait_ns: int,
        service_ns: int,
        credentials_missing: bool = False,
    ) -> None:
        """Count one result.

        Args:
            side: that it was sent to.
            recorded: its record.
            outcome: its result.
            wait_ns: from when it was due until it was sent.
            service_ns: from then until its response.
            credentials_missing: it was sent without credentials.
        """
        counts = self.by_side_and_route.get((side, recorded.route))
        if counts is None:
            # Names of routes come from the recording, and each costs a megabyte of histograms.
            route = recorded.route if len(self.by_side_and_route) < ROUTES_MAX else OTHER_ROUTES
            counts = self.by_side_and_route.setdefault((side, route), SideCounts())
        counts.sent += 1
        counts.latency.add(wait_ns + service_ns)
        counts.service.add(service_ns)
        self.late_ns_max = max(self.late_ns_max, wait_ns)
        if recorded.duration_ns:
            counts.recorded.add(recorded.duration_ns)
        if isinstance(outcome, Failed):
            counts.failures[outcome.cause.value] += 1
            return
        counts.statuses[outcome.status] += 1
        if credentials_missing:
            counts.without_credentials[outcome.status] += 1
            return
        if isinstance(recorded.outcome, Response):
            same = recorded.outcome.status == outcome.status
            counts.status_same += same
            counts.status_other += not same

    def sides(self) -> list[str]:
        """Return the sides that requests were sent to, sorted."""
        return sorted({side for side, _ in self.by_side_and_route})

    def routes(self) -> list[str]:
        """Return the routes that requests were sent for, sorted."""
        return sorted({route for _, route in self.by_side_and_route})

    def of(self, side: str, route: str | None = None) -> SideCounts:
        """Return the counts of one side, for one route or for all."""
        total = SideCounts()
        for (counted_side, counted_route), counts in self.by_side_and_route.items():
            if counted_side == side and route in (None, counted_route):
                total.merge(counts)
        return total
