"""Compares the reports of two replays without the values that a clock measured. Pure."""

import datetime as dt
import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from comparator.exchanges.redacted_text import REDACTED_VALUE
from proxy.replay.report import LatencyReport, ReplayReport, SideReport

MEASURED: Final = ("began", "duration_s", "achieved_per_s", "late_max_ms")
"""Members of a report that a clock determines, besides latencies and the times in examples."""
JUDGED: Final = ("violations", "doubts", "limits")
"""Members of a report that the options of its run determine."""
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d(?::?\d\d)?)?")
_SLACK: Final = dt.timedelta(minutes=1)


def without_times(report: ReplayReport) -> ReplayReport:
    """Return the report without measured values: equal for two replays with the same results.

    In examples of findings these are the times at which rows were written: the ones within the replay. Digests of redacted values
    go too, since their key may be a random one of the replay.
    """
    zeros: dict[str, Any] = {name: type(getattr(report, name))() for name in (*MEASURED, *JUDGED)}
    began = dt.datetime.fromisoformat(report.began)
    until = began + dt.timedelta(seconds=report.duration_s)

    def without_time(match: re.Match[str]) -> str:
        return "<time>" if _is_within(match.group(), began - _SLACK, until + _SLACK) else match.group()

    def masked(text: str) -> str:
        return REDACTED_VALUE.sub("<redacted>", _TIME.sub(without_time, text))

    findings = tuple(
        msgspec.structs.replace(finding, legacy=masked(finding.legacy), candidate=masked(finding.candidate))
        for finding in report.findings
    )
    return msgspec.structs.replace(
        report,
        **zeros,
        findings=findings,
        sides=_without_latencies(report.sides),
        routes=tuple(msgspec.structs.replace(route, sides=_without_latencies(route.sides)) for route in report.routes),
    )


def _is_within(text: str, first: dt.datetime, last: dt.datetime) -> bool:
    """Return whether an ISO 8601 time lies between two; one without a zone is UTC."""
    try:
        time = dt.datetime.fromisoformat(text)
    except ValueError:
        return False
    return first <= (time if time.tzinfo else time.replace(tzinfo=dt.UTC)) <= last


def differing_members(left: ReplayReport, right: ReplayReport) -> list[str]:
    """Return the names of the members in which two reports differ, except times."""
    left, right = without_times(left), without_times(right)
    return [name for name in ReplayReport.__struct_fields__ if getattr(left, name) != getattr(right, name)]


def _without_latencies(sides: Mapping[str, SideReport]) -> dict[str, SideReport]:
    return {
        name: msgspec.structs.replace(
            side,
            **{kind: LatencyReport(getattr(side, kind).count, 0.0, {}) for kind in ("latency", "service", "recorded")},
        )
        for name, side in sides.items()
    }
