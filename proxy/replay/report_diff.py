"""Whether two replays did and found the same: their reports, without what a clock measured. Pure."""

import datetime as dt
import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from comparator.exchanges.redacted_text import REDACTED_VALUE
from proxy.replay.report import LatencyReport, ReplayReport, SideReport

MEASURED: Final = ("began", "duration_s", "achieved_per_s", "late_max_ms")
"""Members of a report that a clock fills in, beside the latencies of the sides and the times in examples."""
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d(?::?\d\d)?)?")
_SLACK: Final = dt.timedelta(minutes=1)


def timeless(report: ReplayReport) -> ReplayReport:
    """The report without what a clock measured: equal for two replays that did and found the same.

    In the examples of findings that are the times at which the rows were written: those within the replay. What is redacted in
    them has the digest of a key that may be the replay's own, and is left out too.
    """
    plain: dict[str, Any] = {name: type(getattr(report, name))() for name in MEASURED}
    began = dt.datetime.fromisoformat(report.began)
    until = began + dt.timedelta(seconds=report.duration_s)

    def unclocked(found: re.Match[str]) -> str:
        return "<then>" if _within(found.group(), began - _SLACK, until + _SLACK) else found.group()

    def plainly(words: str) -> str:
        return REDACTED_VALUE.sub("<redacted>", _TIME.sub(unclocked, words))

    findings = tuple(
        msgspec.structs.replace(one, legacy=plainly(one.legacy), candidate=plainly(one.candidate))
        for one in report.findings
    )
    return msgspec.structs.replace(
        report,
        **plain,
        findings=findings,
        sides=_unmeasured(report.sides),
        routes=tuple(msgspec.structs.replace(route, sides=_unmeasured(route.sides)) for route in report.routes),
    )


def _within(text: str, first: dt.datetime, last: dt.datetime) -> bool:
    """Whether a time lies between two; one without a zone is UTC."""
    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError:
        return False
    return first <= (moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)) <= last


def differences(one: ReplayReport, other: ReplayReport) -> list[str]:
    """The members in which two reports differ, but for times."""
    first, second = timeless(one), timeless(other)
    return [name for name in ReplayReport.__struct_fields__ if getattr(first, name) != getattr(second, name)]


def _unmeasured(sides: Mapping[str, SideReport]) -> dict[str, SideReport]:
    return {
        name: msgspec.structs.replace(
            side,
            **{kind: LatencyReport(getattr(side, kind).count, 0.0, {}) for kind in ("latency", "service", "recorded")},
        )
        for name, side in sides.items()
    }
