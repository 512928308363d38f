"""Prometheus' recording rules, precomputed for dashboards and alerts: rates, errors, latencies, match rates and the accounting.

Names follow Prometheus' convention `level:metric:operations`; the level is the label that is kept, or `shadow` for none. Each rule keeps
the label `installation` besides, so that it never adds up two installations, and each but that of two jobs keeps `job`.
Sides are compared within one role, because served and mirrored requests run under different conditions.
"""

from dataclasses import dataclass
from typing import Final

from dashboards import metric_catalog as metrics
from dashboards.errors import UnknownLabelError
from dashboards.promql import increase, or_zero, quantile, rate, ratio, sum_by

WINDOW: Final = "5m"
LONG_WINDOW: Final = "1h"
BY_INSTALLATION: Final = frozenset({"installation"})
BY_JOB: Final = BY_INSTALLATION | {"job"}
BY_SIDE: Final = BY_JOB | {"side"}
BY_ROUTE: Final = BY_JOB | {"route"}
BY_INSTANCE: Final = BY_JOB | {"instance"}


@dataclass(frozen=True, slots=True)
class RecordingRule:
    """A series that Prometheus computes from an expression; `labels` are the labels that the expression keeps."""

    name: str
    expression: str
    labels: frozenset[str] = BY_JOB

    def select(self, **labels: str) -> str:
        """Return the selector of the series whose labels have these values.

        Raises:
            UnknownLabelError: the series does not have such a label.
        """
        if unknown := labels.keys() - self.labels:
            raise UnknownLabelError(f"{self.name} has no label {', '.join(sorted(unknown))}")
        matchers = ",".join(f'{name}="{value}"' for name, value in labels.items())
        return f"{self.name}{{{matchers}}}" if matchers else self.name


REQUEST_RATE = RecordingRule(
    "side:shadow_requests:rate5m", sum_by(rate(metrics.REQUESTS.select(), WINDOW), "job", "side"), BY_SIDE
)
ERROR_RATE = RecordingRule(
    "side:shadow_errors:rate5m",
    or_zero(sum_by(rate(metrics.REQUESTS.select(status="=~5.."), WINDOW), "job", "side"), REQUEST_RATE.select()),
    BY_SIDE,
)
ERROR_RATIO = RecordingRule("side:shadow_errors:ratio5m", ratio(ERROR_RATE.select(), REQUEST_RATE.select()), BY_SIDE)

SERVED_P95 = RecordingRule(
    "side:shadow_request_duration_seconds:p95_5m",
    quantile(0.95, sum_by(rate(metrics.SERVED_SECONDS.bucket(), WINDOW), "job", "side", "le")),
    BY_SIDE,
)
MIRRORED_P95 = RecordingRule(
    "side:shadow_mirrored_duration_seconds:p95_5m",
    quantile(0.95, sum_by(rate(metrics.MIRRORED_SECONDS.bucket(), WINDOW), "job", "side", "le")),
    BY_SIDE,
)
SERVED_COUNT = RecordingRule(
    "side:shadow_request_duration_seconds:increase5m",
    sum_by(increase(metrics.SERVED_SECONDS.count(), WINDOW), "job", "side"),
    BY_SIDE,
)
MIRRORED_COUNT = RecordingRule(
    "side:shadow_mirrored_duration_seconds:increase5m",
    sum_by(increase(metrics.MIRRORED_SECONDS.count(), WINDOW), "job", "side"),
    BY_SIDE,
)

COMPARED = RecordingRule("shadow:compared:increase1h", sum_by(increase(metrics.COMPARED.select(), LONG_WINDOW), "job"))
COMPARED_BY_ROUTE = RecordingRule(
    "route:shadow_compared:increase1h",
    sum_by(increase(metrics.COMPARED.select(), LONG_WINDOW), "job", "route"),
    BY_ROUTE,
)
_MISMATCHES: Final = increase(metrics.COMPARED.select(verdict="mismatch"), LONG_WINDOW)
MATCH_RATE = RecordingRule(
    "shadow:match:ratio1h", f"1 - {ratio(or_zero(sum_by(_MISMATCHES, 'job'), COMPARED.select()), COMPARED.select())}"
)
MATCH_RATE_BY_ROUTE = RecordingRule(
    "route:shadow_match:ratio1h",
    f"1 - {ratio(or_zero(sum_by(_MISMATCHES, 'job', 'route'), COMPARED_BY_ROUTE.select()), COMPARED_BY_ROUTE.select())}",
    BY_ROUTE,
)


def _sum_or_zero(metric: metrics.Metric) -> str:
    """Return the sum of a metric, or 0 while its processes are up and have not counted any yet."""
    return f"({sum_by(metric.select())} or 0 * {sum_by(metrics.up(metric.job).select())})"


def _outcomes() -> str:
    return " + ".join(
        _sum_or_zero(metric) for metric in (metrics.COMPARED, metrics.RUNNER_SKIPPED, metrics.FAILED, metrics.DROPPED)
    )


PROXY_GAP = RecordingRule(
    "instance:shadow_accounting:gap",
    " - ".join(
        sum_by(metric.select(), "job", "instance")
        for metric in (
            metrics.SERVED,
            metrics.JOURNAL_WRITTEN,
            metrics.JOURNAL_QUEUED,
            metrics.JOURNAL_DROPPED,
            metrics.PROXY_SKIPPED,
        )
    ),
    BY_INSTANCE,
)
"""Exchanges that a proxy served and did not account for.

A scrape reads all counts at once, so this is exactly 0, or for a moment off by the one exchange that is being written."""

JOURNAL_RUNNER_GAP = RecordingRule(
    "shadow:journal_runner:gap",
    f"{sum_by(metrics.JOURNAL_WRITTEN.select())} - ({_outcomes()} + {sum_by(metrics.RUNNER_IN_FLIGHT.select())})",
    BY_INSTALLATION,
)
"""Exchanges that the proxies wrote to the journal, minus those that the runners have read.

Each process counts from its own start, so only a change of this difference has a meaning: it is constant while no process restarts.
One runner for each journal is assumed."""

_READ: Final = sum_by(increase(metrics.READ.select(), LONG_WINDOW), "job")
_EXCLUDED: Final = sum_by(increase(metrics.RUNNER_SKIPPED.select(cause="=~policy|write"), LONG_WINDOW), "job")
COMPARED_RATIO = RecordingRule(
    "shadow:compared:ratio1h",
    ratio(
        sum_by(increase(metrics.COMPARED.select(), LONG_WINDOW), "job"),
        f"({_READ} - {or_zero(_EXCLUDED, _READ)})",
    ),
)
"""The share of the exchanges read by the runners that was compared; those that a policy excludes are not counted."""

RECORDING_RULES: Final = (
    REQUEST_RATE,
    ERROR_RATE,
    ERROR_RATIO,
    SERVED_P95,
    MIRRORED_P95,
    SERVED_COUNT,
    MIRRORED_COUNT,
    COMPARED,
    COMPARED_BY_ROUTE,
    MATCH_RATE,
    MATCH_RATE_BY_ROUTE,
    PROXY_GAP,
    JOURNAL_RUNNER_GAP,
    COMPARED_RATIO,
)
"""All rules in order of evaluation: a rule stands after the rules that it reads."""
