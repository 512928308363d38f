"""Reads the numbers of a running installation from the metrics of the proxy and of the runner."""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from proxy.serving import metrics

_TIMEOUT = aiohttp.ClientTimeout(total=5)

Labels = tuple[tuple[str, str], ...]
Samples = Mapping[str, Mapping[Labels, float]]
"""Values by the name of the sample and its sorted labels."""


@dataclass(frozen=True, slots=True)
class Accounting:
    """Where every served exchange went. `balance` is what is not accounted for: 0 when nothing moves."""

    served: int = 0
    compared: Mapping[str, int] = field(default_factory=dict[str, int])
    skipped: Mapping[str, int] = field(default_factory=dict[str, int])
    dropped: Mapping[str, int] = field(default_factory=dict[str, int])
    failed: Mapping[str, int] = field(default_factory=dict[str, int])
    in_flight: int = 0

    @property
    def balance(self) -> int:
        """Served exchanges that no count names."""
        ended = sum(sum(part.values()) for part in (self.compared, self.skipped, self.dropped, self.failed))
        return self.served - ended - self.in_flight


@dataclass(frozen=True, slots=True)
class Reading:
    """One look at both processes."""

    accounting: Accounting = Accounting()
    lag_s: float = 0.0
    served_ms: tuple[float, float] = (0.0, 0.0)
    mirrored_ms: tuple[float, float] = (0.0, 0.0)


async def read(session: aiohttp.ClientSession, proxy_admin: str, runner: str) -> Reading:
    """Scrape both. The runner is read first, so that what it counts was surely counted by the proxy.

    Raises:
        aiohttp.ClientError: one of them did not answer.
    """
    mirrored = await scrape(session, f"{runner}/metrics")
    served = await scrape(session, f"{proxy_admin}/metrics")
    return reading_of(served, mirrored)


async def scrape(session: aiohttp.ClientSession, url: str) -> Samples:
    """All samples of one process."""
    async with session.get(url, timeout=_TIMEOUT) as response:
        response.raise_for_status()
        text = await response.text()
    return await asyncio.to_thread(parse, text)


def parse(text: str) -> Samples:
    """Samples in Prometheus text format."""
    found: dict[str, dict[Labels, float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sorted(sample.labels.items()))] = sample.value
    return found


def reading_of(served: Samples, mirrored: Samples) -> Reading:
    """What the two processes say together."""
    return Reading(
        accounting=accounting_of(served, mirrored),
        lag_s=total(mirrored, "shadow_lag_seconds"),
        served_ms=_quantiles_ms(served, metrics.DURATION),
        mirrored_ms=_quantiles_ms(mirrored, "shadow_mirrored_duration_seconds"),
    )


def accounting_of(served: Samples, mirrored: Samples) -> Accounting:
    """Put the proxy's and the runner's counts together.

    In flight are the exchanges that the proxy has not yet written and those written that have no outcome yet.
    """
    written = total(served, metrics.JOURNAL_WRITTEN)
    compared = by_label(mirrored, "shadow_compared_total", "verdict")
    skipped = by_label(mirrored, "shadow_skipped_total", "cause")
    failed = by_label(mirrored, "shadow_failed_total", "cause")
    lost = by_label(mirrored, "shadow_dropped_total", "cause")
    ended = sum(sum(part.values()) for part in (compared, skipped, failed, lost))
    return Accounting(
        served=int(total(served, metrics.SERVED)),
        compared=compared,
        skipped=_added(skipped, by_label(served, metrics.SKIPPED, "cause")),
        dropped=_added(lost, by_label(served, metrics.JOURNAL_DROPPED, "cause")),
        failed=failed,
        in_flight=int(total(served, metrics.JOURNAL_QUEUED) + written) - ended,
    )


def total(samples: Samples, name: str) -> float:
    """The sum over all labels."""
    return sum(samples.get(name, {}).values())


def by_label(samples: Samples, name: str, label: str) -> dict[str, int]:
    """Sums by the value of one label, without those that are 0."""
    found: dict[str, int] = {}
    for labels, value in samples.get(name, {}).items():
        if value:
            word = dict(labels).get(label, "")
            found[word] = found.get(word, 0) + int(value)
    return found


def quantile_s(buckets: Iterable[tuple[float, float]], share: float) -> float:
    """A quantile of a histogram's cumulative buckets (upper bound, count), by linear interpolation; 0 when it is empty."""
    ordered = sorted(buckets)
    wanted = ordered[-1][1] * share if ordered else 0.0
    lower = below = 0.0
    for bound, count in ordered:
        if count >= wanted and count > below:
            return lower if bound == float("inf") else lower + (bound - lower) * (wanted - below) / (count - below)
        lower, below = bound, count
    return 0.0


def _quantiles_ms(samples: Samples, name: str) -> tuple[float, float]:
    """Median and 99th percentile over all labels, in milliseconds."""
    sums: dict[float, float] = {}
    for labels, count in samples.get(f"{name}_bucket", {}).items():
        bound = float(dict(labels)["le"])
        sums[bound] = sums.get(bound, 0.0) + count
    return quantile_s(sums.items(), 0.5) * 1e3, quantile_s(sums.items(), 0.99) * 1e3


def _added(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    return {name: one.get(name, 0) + other.get(name, 0) for name in sorted({*one, *other})}
