"""Functions that build PromQL expressions. Pure: text in, text out.

Selectors come from `dashboards.metric_catalog`, which knows the labels of each metric. Every aggregate keeps the label `installation`,
so that two installations in one Prometheus are never added up.
"""

from typing import Final

INSTALLATION: Final = "installation"

PANEL_WINDOW: Final = "$__rate_interval"
"""Grafana's variable for at least four scrape intervals, so that no rate is computed from a single sample."""


def rate(selector: str, window: str = PANEL_WINDOW) -> str:
    """Return the per-second rate of a counter."""
    return f"rate({selector}[{window}])"


def increase(selector: str, window: str) -> str:
    """Return the increase of a counter within a window."""
    return f"increase({selector}[{window}])"


def sum_by(expression: str, *labels: str) -> str:
    """Return the sum for each combination of labels; without labels, one sum of each installation."""
    return _aggregate("sum", expression, labels)


def max_by(expression: str, *labels: str) -> str:
    """Return the maximum for each combination of labels; without labels, one maximum of each installation."""
    return _aggregate("max", expression, labels)


def min_by(expression: str, *labels: str) -> str:
    """Return the minimum for each combination of labels; without labels, one minimum of each installation."""
    return _aggregate("min", expression, labels)


def spread_by(expression: str, *labels: str) -> str:
    """Return the difference of maximum and minimum: 0 where all processes agree."""
    return f"{max_by(expression, *labels)} - {min_by(expression, *labels)}"


def per_installation(comparison: str) -> str:
    """Return the operator of a comparison of many series with the one value of their installation: `> on (installation) group_left ()`."""
    return f"{comparison} on ({INSTALLATION}) group_left ()"


def ratio(part: str, whole: str) -> str:
    """Return a share from 0 to 1, and no series, rather than NaN, where the whole is 0."""
    return f"{part} / ({whole} > 0)"


def shares(parts: str, whole: str) -> str:
    """Return the share of each part in the one whole of its installation."""
    return f"{parts} {per_installation('/')} ({whole} > 0)"


def or_zero(part: str, whole: str) -> str:
    """Return the part, or 0 where only the whole exists: a series of errors does not exist before the first error."""
    return f"({part} or 0 * {whole})"


def quantile(share: float, buckets: str) -> str:
    """Return a quantile of a histogram, and no series, rather than NaN, where nothing was observed.

    Args:
        share: 0.95 for the 95th percentile.
        buckets: rates of the buckets, with the label `le` kept.
    """
    return f"histogram_quantile({share:g}, {buckets}) >= 0"


def increased(selector: str, window: str) -> str:
    """Return the counters that grew within the window, including those that did not exist before it.

    `increase` needs two samples: it does not see a labelled counter whose first sample is already 1, as after the first mismatch.
    """
    return f"(increase({selector}[{window}]) > 0 or ({selector} > 0 unless {selector} offset {window}))"


def _aggregate(function: str, expression: str, labels: tuple[str, ...]) -> str:
    return f"{function} by ({', '.join((INSTALLATION, *labels))}) ({expression})"
