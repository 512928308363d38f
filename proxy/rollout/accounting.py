"""Scrape metrics pages and account for every served exchange: the one place where counts of proxies and runners are added up.

A proxy appends each served exchange to the journal, a runner gives each exchange in the journal one outcome. So two sums hold at
every moment, for example with 20 exchanges served:

    proxy    20 served  = 16 written + 1 queued + 2 dropped + 1 skipped
    runner   16 written = 10 compared + 2 skipped + 1 failed + 0 dropped + 3 in flight

and together: 20 served = 10 compared + 3 skipped + 2 dropped + 1 failed + 4 in flight. A difference in the
first sum is an exchange that the proxy lost, or counted twice, without a trace. The second one cannot show a loss, because the exchanges in
flight are its remainder: `proxy.runner.accountant` holds the numbers of the writers against the outcomes in the store instead.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, TypeAlias

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from comparator.exchanges.skip import Skip
from proxy.config.settings import Settings
from proxy.rollout.admin_client import endpoints_of
from proxy.rollout.evidence import AccountingTotals

# The names are those of proxy.serving.metrics and proxy.runner.metrics, which lie above this package; a test holds them equal.
SERVED: Final = "shadow_served_total"
JOURNAL_WRITTEN: Final = "shadow_journal_written_total"
JOURNAL_QUEUED: Final = "shadow_journal_queued"
JOURNAL_DROPPED: Final = "shadow_journal_dropped_total"
ROUTE_DROPPED: Final = "shadow_route_dropped_total"
REQUEST_DURATION: Final = "shadow_request_duration_seconds"
COMPARED: Final = "shadow_compared_total"
RESPONSE_ONLY: Final = "shadow_response_only_total"
IN_PART: Final = "shadow_compared_in_part_total"
SKIPPED: Final = "shadow_skipped_total"
FAILED: Final = "shadow_failed_total"
DROPPED: Final = "shadow_dropped_total"
IN_FLIGHT: Final = "shadow_in_flight"
MISSING: Final = "shadow_exchanges_missing"
LAG: Final = "shadow_lag_seconds"
MIRRORED_DURATION: Final = "shadow_mirrored_duration_seconds"
RESIDENT_MEMORY: Final = "process_resident_memory_bytes"

OUTCOMES: Final = (COMPARED, SKIPPED, FAILED, DROPPED)
"""The runner's counters: an exchange read from the journal ends in one of them."""
POLICY_CAUSES: Final = frozenset({Skip.POLICY, Skip.WRITE, Skip.RATE_LIMITED})
"""Causes of skips that the configuration asks for; they are not a lack of coverage."""

TIMEOUT_S: Final = 5.0

Labels: TypeAlias = tuple[tuple[str, str], ...]
Samples: TypeAlias = Mapping[str, Mapping[Labels, float]]
"""The samples of one page: values by the name of the sample and its labels, which are sorted by name."""


# Scraping.


@dataclass(frozen=True, slots=True)
class MetricsPages:
    """URLs of the metrics pages of all processes, by kind of process, and the time for each page."""

    proxies: tuple[str, ...]
    runners: tuple[str, ...]
    candidates: tuple[str, ...]
    timeout_s: float

    @classmethod
    def of(cls, settings: Settings) -> "MetricsPages":
        """Pick the URLs from `rollout.sources`; by default those of this installation and of its peers."""
        sources, runner = settings.rollout.sources, settings.runner
        endpoints = endpoints_of(settings.admin, settings.listen.workers, settings.rollout.peers)
        return cls(
            proxies=sources.proxies or tuple(f"{endpoint.url}/metrics" for endpoint in endpoints),
            runners=sources.runners or tuple(f"{url}/metrics" for url in runner.urls),
            candidates=sources.candidates,
            timeout_s=sources.timeout_s,
        )


@dataclass(frozen=True, slots=True)
class ScrapedPages:
    """The pages that were read, with their URLs, and `url: reason` of each that was not."""

    read: tuple[Samples, ...]
    unavailable: tuple[str, ...]
    urls: tuple[str, ...] = ()


async def scrape(session: aiohttp.ClientSession, url: str, *, timeout_s: float = TIMEOUT_S) -> Samples:
    """Read one page.

    Raises:
        aiohttp.ClientError, TimeoutError: the process did not answer, or not with 2xx.
        ValueError: the page is not in Prometheus' text format.
    """
    async with session.get(url, timeout=aiohttp.ClientTimeout(total=timeout_s)) as response:
        response.raise_for_status()
        text = await response.text()
    # A page of a busy process is a megabyte: not on the loop that serves clients.
    return await asyncio.to_thread(parse, text)


async def scrape_all(urls: Sequence[str], *, timeout_s: float) -> ScrapedPages:
    """Read all pages at the same time; the ones that do not answer within `timeout_s` are named with the reason."""
    async with aiohttp.ClientSession() as session:
        pages = await asyncio.gather(*(_scrape_or_reason(session, url, timeout_s) for url in urls))
    return ScrapedPages(
        tuple(page for page in pages if not isinstance(page, str)),
        tuple(page for page in pages if isinstance(page, str)),
        tuple(url for url, page in zip(urls, pages, strict=True) if not isinstance(page, str)),
    )


async def _scrape_or_reason(session: aiohttp.ClientSession, url: str, timeout_s: float) -> Samples | str:
    try:
        return await scrape(session, url, timeout_s=timeout_s)
    except TimeoutError:
        return f"{url}: no response within {timeout_s:.1f} s"
    except (aiohttp.ClientError, OSError, ValueError) as error:
        return f"{url}: {type(error).__name__}"


def parse(text: str) -> Samples:
    """Parse a page in Prometheus' text format.

    Raises:
        ValueError: the text is in another format.
    """
    samples: dict[str, dict[Labels, float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            samples.setdefault(sample.name, {})[tuple(sorted(sample.labels.items()))] = sample.value
    return samples


# Sums over samples.


def total(samples: Samples, name: str, **labels: str) -> float:
    """Sum the samples of one name that carry these labels; 0 where there are none."""
    return sum(value for own, value in samples.get(name, {}).items() if labels.items() <= dict(own).items())


def by_label(samples: Samples, name: str, label: str) -> dict[str, int]:
    """Sum the samples of one name by the value of one label, leaving out those that are 0."""
    sums: dict[str, int] = {}
    for labels, value in samples.get(name, {}).items():
        if value:
            key = dict(labels).get(label, "")
            sums[key] = sums.get(key, 0) + int(value)
    return sums


def quantile_s(buckets: Iterable[tuple[float, float]], share: float) -> float:
    """Estimate a quantile of a histogram by linear interpolation within a bucket, as Prometheus does.

    Args:
        buckets: upper bound and cumulative count of each bucket.
        share: 0 to 1.

    Returns:
        A value in the unit of the bounds; 0 for an empty histogram, the last finite bound where the quantile is beyond it.
    """
    ordered = sorted(buckets)
    rank = ordered[-1][1] * share if ordered else 0.0
    lower = below = 0.0
    for bound, count in ordered:
        if count >= rank and count > below:
            return lower if bound == float("inf") else lower + (bound - lower) * (rank - below) / (count - below)
        lower, below = bound, count
    return 0.0


def _median_and_p99_ms(samples: Samples, name: str) -> tuple[float, float]:
    sums: dict[float, float] = {}
    for labels, count in samples.get(f"{name}_bucket", {}).items():
        bound = float(dict(labels)["le"])
        sums[bound] = sums.get(bound, 0.0) + count
    return quantile_s(sums.items(), 0.5) * 1e3, quantile_s(sums.items(), 0.99) * 1e3


# Accounting of one proxy and one runner, by cause: for people.


@dataclass(frozen=True, slots=True)
class Accounting:
    """The outcome of every served exchange, by verdict or cause.

    Attributes:
        response_only: of those compared, the ones whose rows were not compared, by verdict.
        in_part: of those compared, the ones whose rows were compared except those of some tables, by verdict.
    """

    served: int = 0
    compared: Mapping[str, int] = field(default_factory=dict[str, int])
    skipped: Mapping[str, int] = field(default_factory=dict[str, int])
    dropped: Mapping[str, int] = field(default_factory=dict[str, int])
    failed: Mapping[str, int] = field(default_factory=dict[str, int])
    in_flight: int = 0
    response_only: Mapping[str, int] = field(default_factory=dict[str, int])
    in_part: Mapping[str, int] = field(default_factory=dict[str, int])

    def gaps(self, verdict: str = "") -> str:
        """Say how many of the comparisons with a verdict, or of all, rest on the responses alone or on some tables only; "" for none."""
        alone, part = (
            sum(count for name, count in counts.items() if verdict in {"", name})
            for counts in (self.response_only, self.in_part)
        )
        texts = [f"{alone} by the responses alone"] if alone else []
        texts += [f"{part} without some tables"] if part else []
        return ", ".join(texts)

    @property
    def balance(self) -> int:
        """Served exchanges that no count of the proxy includes: 0 while nothing moves, unless something is wrong.

        It says nothing of the runner: in flight is all that has no outcome yet. `proxy.runner.accountant` finds what is missing there.
        """
        ended = sum(sum(part.values()) for part in (self.compared, self.skipped, self.dropped, self.failed))
        return self.served - ended - self.in_flight


@dataclass(frozen=True, slots=True)
class Reading:
    """The accounting of proxies and runners at one moment, with the lag and the durations (median and p99).

    Attributes:
        silent: `url: reason` of each proxy that did not answer; what it served is in no count.
        away: `url: reason` of each runner that did not answer, while others did; what it compared is in no count.
    """

    accounting: Accounting = Accounting()
    lag_s: float = 0.0
    served_ms: tuple[float, float] = (0.0, 0.0)
    mirrored_ms: tuple[float, float] = (0.0, 0.0)
    silent: tuple[str, ...] = ()
    away: tuple[str, ...] = ()


async def read(session: aiohttp.ClientSession, proxy_url: str, runner_url: str) -> Reading:
    """Scrape a proxy and its runner.

    Args:
        session: an HTTP client.
        proxy_url: base URL of the proxy's admin port.
        runner_url: base URL of the runner's port.

    Raises:
        aiohttp.ClientError, TimeoutError: one of them did not answer.
    """
    # The runner is read first: everything that it counts, the proxy has counted before.
    mirrored = await scrape(session, f"{runner_url}/metrics")
    served = await scrape(session, f"{proxy_url}/metrics")
    return reading_of(served, mirrored)


async def read_all(pages: MetricsPages, *, timeout_s: float) -> Reading:
    """Scrape all processes of an installation; every process that answers within `timeout_s` counts.

    Raises:
        ConnectionError: no runner answered.
    """
    runners = await scrape_all(pages.runners, timeout_s=timeout_s)
    if not runners.read:
        raise ConnectionError(", ".join(runners.unavailable))
    proxies = await scrape_all(pages.proxies, timeout_s=timeout_s)
    reading = reading_of(merged(proxies.read), merged(runners.read))
    lag_s = max(total(page, LAG) for page in runners.read)
    return replace(reading, lag_s=lag_s, silent=proxies.unavailable, away=runners.unavailable)


def merged(pages: Iterable[Samples]) -> Samples:
    """Add up the samples of several processes."""
    sums: dict[str, dict[Labels, float]] = {}
    for page in pages:
        for name, samples in page.items():
            own = sums.setdefault(name, {})
            for labels, value in samples.items():
                own[labels] = own.get(labels, 0.0) + value
    return sums


def reading_of(served: Samples, mirrored: Samples) -> Reading:
    """Combine the pages of a proxy and its runner."""
    return Reading(
        accounting=accounting_of(served, mirrored),
        lag_s=total(mirrored, LAG),
        served_ms=_median_and_p99_ms(served, REQUEST_DURATION),
        mirrored_ms=_median_and_p99_ms(mirrored, MIRRORED_DURATION),
    )


def accounting_of(served: Samples, mirrored: Samples) -> Accounting:
    """Combine the counts of a proxy and its runner.

    In flight are the exchanges that the proxy has not written yet, and those written that have no outcome yet.
    """
    compared = by_label(mirrored, COMPARED, "verdict")
    skipped = by_label(mirrored, SKIPPED, "cause")
    failed = by_label(mirrored, FAILED, "cause")
    dropped = by_label(mirrored, DROPPED, "cause")
    dropped_by_proxy = by_label(served, JOURNAL_DROPPED, "cause")
    # A reader notes what the proxy dropped once more, as a gap in the numbers: it counts once.
    lost = max(0, sum(dropped.values()) - sum(dropped_by_proxy.values()))
    ended = sum(sum(part.values()) for part in (compared, skipped, failed)) + lost
    return Accounting(
        served=int(total(served, SERVED)),
        compared=compared,
        skipped=_added(skipped, by_label(served, SKIPPED, "cause")),
        dropped=_added({"journal": lost} if lost else {}, dropped_by_proxy),
        failed=failed,
        response_only=by_label(mirrored, RESPONSE_ONLY, "verdict"),
        in_part=by_label(mirrored, IN_PART, "verdict"),
        in_flight=int(total(served, JOURNAL_QUEUED) + total(served, JOURNAL_WRITTEN)) - ended,
    )


def _added(left: Mapping[str, int], right: Mapping[str, int]) -> dict[str, int]:
    return {name: left.get(name, 0) + right.get(name, 0) for name in sorted({*left, *right})}


# Accounting of all processes: for the gates.


def totals_of(proxies: ScrapedPages, runners: ScrapedPages) -> AccountingTotals | None:
    """Add up the accounting of all processes, each by its own sum, so that a restart of one breaks none of the others.

    A proxy: served = written + queued + dropped + skipped. A runner counts no exchange twice: its `in flight` is never below 0; and it
    names those that are missing, by holding the numbers of the writers against the outcomes in the store.

    Returns:
        None when a page is missing.
    """
    if proxies.unavailable or runners.unavailable or not proxies.read or not runners.read:
        return None

    def count(pages: Sequence[Samples], *names: str) -> int:
        return int(sum(total(samples, name) for samples in pages for name in names))

    missing = count(runners.read, MISSING)
    counted_twice = sum(min(0, int(total(samples, IN_FLIGHT))) for samples in runners.read)
    return AccountingTotals(
        served=count(proxies.read, SERVED),
        accounted=count(proxies.read, JOURNAL_WRITTEN, JOURNAL_DROPPED, SKIPPED) - counted_twice - missing,
        in_flight=count(proxies.read, JOURNAL_QUEUED),
    )


def drops_of(proxies: ScrapedPages) -> Mapping[str, Mapping[str, int]] | None:
    """Return the exchanges that each proxy has served and dropped since it started, by URL and route; None when a page is missing.

    Those whose route is not known are at "".
    """
    if proxies.unavailable or not proxies.read:
        return None
    drops: dict[str, Mapping[str, int]] = {}
    for url, samples in zip(proxies.urls, proxies.read, strict=True):
        by_route = by_label(samples, ROUTE_DROPPED, "route")
        drops[url] = {**by_route, "": max(0, int(total(samples, JOURNAL_DROPPED)) - sum(by_route.values()))}
    return drops


def rss_of(candidates: ScrapedPages) -> int | None:
    """Return the largest resident memory of a candidate process in bytes; None when a page, or the figure on it, is missing."""
    sizes = [total(samples, RESIDENT_MEMORY) for samples in candidates.read]
    return int(max(sizes)) if sizes and all(sizes) and not candidates.unavailable else None
