"""Words of PromQL. Pure: text in, text out; `dashboards.sources` makes the selectors and knows which labels exist."""

from typing import Final

PANEL_WINDOW: Final = "$__rate_interval"
"""Grafana puts at least four scrape intervals here, so that a rate never falls into a gap."""


def rate(selector: str, window: str = PANEL_WINDOW) -> str:
    """Additions a second of a counter."""
    return f"rate({selector}[{window}])"


def increase(selector: str, window: str) -> str:
    """Additions to a counter within a window."""
    return f"increase({selector}[{window}])"


def total(expression: str, *by: str) -> str:
    """The sum, by labels or of everything."""
    return _aggregate("sum", expression, by)


def largest(expression: str, *by: str) -> str:
    """The maximum, by labels or of everything."""
    return _aggregate("max", expression, by)


def ratio(part: str, whole: str) -> str:
    """A share from 0 to 1; nothing, instead of a division by zero, where the whole is 0."""
    return f"{part} / ({whole} > 0)"


def shares(parts: str, whole: str) -> str:
    """The share of each part, whatever its labels, in one whole."""
    return f"{parts} / on () group_left () ({whole} > 0)"


def or_zero(part: str, whole: str) -> str:
    """The part, 0 where only the whole is known: a series of errors does not exist before the first error."""
    return f"({part} or 0 * {whole})"


def quantile(share: float, buckets: str) -> str:
    """A quantile of rates of a histogram's buckets, which must still have `le`; nothing where nothing was observed."""
    return f"histogram_quantile({share:g}, {buckets}) >= 0"


def happened(selector: str, window: str) -> str:
    """Counters that grew within the window, the very first addition included.

    `increase` alone does not see a series that begins with 1, which is how each labelled counter begins.
    """
    return f"(increase({selector}[{window}]) > 0 or ({selector} > 0 unless {selector} offset {window}))"


def _aggregate(function: str, expression: str, by: tuple[str, ...]) -> str:
    return f"{function} by ({', '.join(by)}) ({expression})" if by else f"{function}({expression})"
