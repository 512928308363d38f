"""What Prometheus computes once for all dashboards and alerts: rates, errors, latencies, match rates and the accounting.

Names follow Prometheus' convention `level:metric:operations`. Sides are compared within one role: a served and a mirrored request
run under different conditions.
"""

from dataclasses import dataclass
from typing import Final

from dashboards import sources as at
from dashboards.errors import UnknownLabelError
from dashboards.promql import increase, or_zero, quantile, rate, ratio, total

WINDOW: Final = "5m"
LONG_WINDOW: Final = "1h"


@dataclass(frozen=True, slots=True)
class Recorded:
    """A series that Prometheus computes. `labels` are those its expression leaves."""

    name: str
    expression: str
    labels: frozenset[str] = frozenset()

    def of(self, **labels: str) -> str:
        """The selector of this series."""
        if unknown := labels.keys() - self.labels:
            raise UnknownLabelError(f"{self.name} has no label {', '.join(sorted(unknown))}")
        matchers = ",".join(f'{name}="{value}"' for name, value in labels.items())
        return f"{self.name}{{{matchers}}}" if matchers else self.name


def _by(*labels: str) -> frozenset[str]:
    return frozenset(labels)


REQUEST_RATE = Recorded("side:shadow_requests:rate5m", total(rate(at.REQUESTS.of(), WINDOW), "side"), _by("side"))
ERROR_RATE = Recorded(
    "side:shadow_errors:rate5m",
    or_zero(total(rate(at.REQUESTS.of(status="=~5.."), WINDOW), "side"), REQUEST_RATE.of()),
    _by("side"),
)
ERROR_RATIO = Recorded("side:shadow_errors:ratio5m", ratio(ERROR_RATE.of(), REQUEST_RATE.of()), _by("side"))

SERVED_P95 = Recorded(
    "side:shadow_request_duration_seconds:p95_5m",
    quantile(0.95, total(rate(at.SERVED_SECONDS.bucket(), WINDOW), "side", "le")),
    _by("side"),
)
MIRRORED_P95 = Recorded(
    "side:shadow_mirrored_duration_seconds:p95_5m",
    quantile(0.95, total(rate(at.MIRRORED_SECONDS.bucket(), WINDOW), "side", "le")),
    _by("side"),
)
SERVED_COUNT = Recorded(
    "side:shadow_request_duration_seconds:increase5m",
    total(increase(at.SERVED_SECONDS.count(), WINDOW), "side"),
    _by("side"),
)
MIRRORED_COUNT = Recorded(
    "side:shadow_mirrored_duration_seconds:increase5m",
    total(increase(at.MIRRORED_SECONDS.count(), WINDOW), "side"),
    _by("side"),
)

COMPARED = Recorded("shadow:compared:increase1h", total(increase(at.COMPARED.of(), LONG_WINDOW)))
COMPARED_BY_ROUTE = Recorded(
    "route:shadow_compared:increase1h", total(increase(at.COMPARED.of(), LONG_WINDOW), "route"), _by("route")
)
_MISMATCHES: Final = increase(at.COMPARED.of(verdict="mismatch"), LONG_WINDOW)
MATCH_RATE = Recorded(
    "shadow:match:ratio1h", f"1 - {ratio(f'({total(_MISMATCHES)} or 0 * {COMPARED.of()})', COMPARED.of())}"
)
MATCH_RATE_BY_ROUTE = Recorded(
    "route:shadow_match:ratio1h",
    f"1 - {ratio(or_zero(total(_MISMATCHES, 'route'), COMPARED_BY_ROUTE.of()), COMPARED_BY_ROUTE.of())}",
    _by("route"),
)


def _sum(metric: at.Metric, *by: str) -> str:
    """A sum; 0 where the processes are up and have not counted any yet."""
    return f"({total(metric.of(), *by)} or 0 * {total(at.up(metric.job).of(), *by)})"


def _ended(*by: str) -> str:
    return " + ".join(_sum(metric, *by) for metric in (at.COMPARED, at.SKIPPED, at.FAILED, at.DROPPED))


PROXY_GAP = Recorded(
    "instance:shadow_accounting:gap",
    " - ".join(
        total(metric.of(), "instance")
        for metric in (at.SERVED, at.JOURNAL_WRITTEN, at.JOURNAL_QUEUED, at.JOURNAL_DROPPED, at.NOT_JOURNALED)
    ),
    _by("instance"),
)
"""What one proxy served and no count names. Its counts are read together, so this is exactly 0, or for a moment off by the
exchange that its journal is just writing."""

HANDED_OVER_GAP = Recorded(
    "shadow:accounting:handed_over",
    f"{total(at.JOURNAL_WRITTEN.of())} - ({_ended()} + {total(at.IN_FLIGHT.of())})",
)
"""What the proxies wrote, less what the runners know of: constant while no process restarts, as each side counts from its own
start. One journal reader a journal is assumed."""

COMPARED_SHARE = Recorded(
    "shadow:compared:share1h",
    ratio(
        total(increase(at.COMPARED.of(), LONG_WINDOW)),
        f"({total(increase(at.READ.of(), LONG_WINDOW))} - ("
        f"{total(increase(at.SKIPPED.of(cause='=~policy|write'), LONG_WINDOW))} or vector(0)))",
    ),
)
"""Of what the runners read, without what policy leaves out, the share that was compared."""

RECORDED: Final = (
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
    HANDED_OVER_GAP,
    COMPARED_SHARE,
)
"""In the order of evaluation: a rule stands after those it reads."""
