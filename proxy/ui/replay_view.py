"""Decide what a report of a replay shows: latencies on a logarithmic scale, statuses, and the values of each finding side by side. Pure."""

import datetime as dt
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Final, cast

from comparator.exchanges.visible_text import visible
from comparator.stats.confidence import Interval, rate_interval
from proxy.replay.report import FindingReport, LatencyReport, ReplayReport, SideReport, latency_rows, pace_summary
from proxy.replay.tally import QUANTILES
from proxy.ui.charts import HEIGHT, WIDTH, Tick
from proxy.ui.marked_text import TextPart, cut

SHARES: Final = ("0.5", "0.95", "0.99", "1")
FINDINGS_MAX: Final = 50
VALUE_LINES_MAX: Final = 60
LINE_CHARS_MAX: Final = 200
RECORDED: Final = "recorded"


@dataclass(frozen=True, slots=True)
class ReplayLine:
    """One replay of the list.

    Attributes:
        name: its name in the folder.
        error: why its report cannot be read; "" where it can.
        began: time at which it began; None where it cannot be read.
        outcome: PASS, FAIL, INCOMPLETE or DIFFERS.
        differ: interval of the share of comparisons that differ; None where nothing was compared.
        baseline: name of the run before with the same exchanges; "" for none on this page.
    """

    name: str
    error: str = ""
    began: dt.datetime | None = None
    outcome: str = ""
    reasons: tuple[str, ...] = ()
    source: str = ""
    to: str = ""
    sent: int = 0
    duration_s: float = 0.0
    compared: int = 0
    mismatch: int = 0
    differ: Interval | None = None
    causes: int = 0
    baseline: str = ""


@dataclass(frozen=True, slots=True)
class LatencyLine:
    """The latencies of one side from one point: quantiles in ms, None where there are too few for one."""

    side: str
    title: str
    count: int
    quantiles_ms: tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class LatencyCurve:
    """The quantiles of one side as SVG points."""

    side: str
    points: str


@dataclass(frozen=True, slots=True)
class LatencyChart:
    """Milliseconds on a logarithmic scale over quantiles, which are evenly spaced; ticks are in percent of both axes."""

    curves: tuple[LatencyCurve, ...]
    heights: tuple[Tick, ...]
    quantiles: tuple[Tick, ...]


@dataclass(frozen=True, slots=True)
class StatusCount:
    """The responses of one side with a status, or its failures for one reason."""

    name: str
    tone: str
    count: int


@dataclass(frozen=True, slots=True)
class FindingView:
    """One finding; `candidate` and `legacy` are the lines of both values, those that differ marked, and none for nothing."""

    finding: FindingReport
    candidate: tuple[TextPart, ...]
    legacy: tuple[TextPart, ...]


@dataclass(frozen=True, slots=True)
class ReplayDocument:
    """One report; `line` is what the list says of it, `statuses` are by side, `pace` is in words."""

    name: str
    line: ReplayLine
    report: ReplayReport
    latencies: tuple[LatencyLine, ...]
    chart: LatencyChart | None
    statuses: Mapping[str, tuple[StatusCount, ...]]
    findings: tuple[FindingView, ...]
    pace: tuple[str, ...]


def replay_line(name: str, report: ReplayReport, baseline: str = "") -> ReplayLine:
    """Return the line of one report; `baseline` is the name of the run before with the same exchanges."""
    verdicts = report.verdicts
    return ReplayLine(
        name=name,
        began=dt.datetime.fromisoformat(report.began),
        outcome=report.outcome,
        reasons=report.reasons,
        source=report.source,
        to=report.to,
        sent=report.sent,
        duration_s=report.duration_s,
        compared=verdicts.compared,
        mismatch=verdicts.mismatch,
        differ=rate_interval(verdicts.mismatch, verdicts.compared) if verdicts.compared else None,
        causes=len(report.causes),
        baseline=baseline,
    )


def replay_document(name: str, report: ReplayReport) -> ReplayDocument:
    """Return what the page of a report shows."""
    return ReplayDocument(
        name,
        replay_line(name, report),
        report,
        latency_lines(report),
        latency_chart(report),
        {name: status_counts(side) for name, side in sorted(report.sides.items())},
        finding_views(report.findings),
        tuple(pace_summary(report)),
    )


def latency_lines(report: ReplayReport) -> tuple[LatencyLine, ...]:
    """Return the latencies of a report, the candidate's first."""
    return tuple(
        LatencyLine(side, title, latency.count, _shown(latency))
        for side, counts in sorted(report.sides.items())
        for title, latency in latency_rows(counts)
    )


def _shown(latency: LatencyReport) -> tuple[float | None, ...]:
    return tuple(latency.shown(share) if share in latency.quantiles_ms else None for share in SHARES)


def latency_chart(report: ReplayReport) -> LatencyChart | None:
    """Return the chart of all sides, and of the recording; None without a latency."""
    curves: dict[str, Mapping[str, float]] = {}
    for name, side in sorted(report.sides.items()):
        if side.latency.count:
            curves[name] = side.latency.quantiles_ms
        if side.recorded.count:
            curves[RECORDED] = side.recorded.quantiles_ms
    values = [value for curve in curves.values() for value in curve.values() if value > 0]
    if not values:
        return None
    low = math.floor(math.log10(min(values)))
    high = max(low + 1, math.ceil(math.log10(max(values))))

    def y(value: float) -> float:
        share = (math.log10(value) - low) / (high - low) if value > 0 else 0.0
        return HEIGHT * (1.0 - max(0.0, share))

    shares = [f"{share:g}" for share in QUANTILES]
    step = 1.0 / (len(shares) - 1)
    return LatencyChart(
        tuple(
            LatencyCurve(
                name,
                " ".join(
                    f"{WIDTH * step * index:.1f},{y(curve[share]):.1f}"
                    for index, share in enumerate(shares)
                    if share in curve
                ),
            )
            for name, curve in curves.items()
        ),
        tuple(Tick(y(10.0**power), _amount(10.0**power)) for power in range(low, high + 1)),
        tuple(
            Tick(100 * step * index, "max" if share == "1" else f"p{float(share) * 100:g}")
            for index, share in enumerate(shares)
        ),
    )


def _amount(value: float) -> str:
    """Write a power of ten in milliseconds, without an exponent."""
    return f"{value:,.0f} ms" if value >= 1 else f"{value:g} ms"


def status_counts(side: SideReport) -> tuple[StatusCount, ...]:
    """Return the statuses of a side, then its failures."""
    statuses = [
        StatusCount(status, "bad" if status.startswith("5") else "dot", n) for status, n in side.statuses.items()
    ]
    return (*statuses, *(StatusCount(cause, "bad", n) for cause, n in side.failures.items()))


def finding_views(findings: Iterable[FindingReport]) -> tuple[FindingView, ...]:
    """Return findings with their values side by side."""
    return tuple(
        FindingView(one, *_marked(_lines(one.candidate), _lines(one.legacy))) for one in list(findings)[:FINDINGS_MAX]
    )


def _lines(text: str) -> list[str]:
    """Return a value as lines: JSON is indented, and so are JSON texts inside it."""
    try:
        value = json.loads(text)
    except ValueError:
        return text.splitlines()
    return json.dumps(_with_json_texts(value), indent=2, ensure_ascii=False).splitlines()


def _with_json_texts(value: object) -> object:
    """Return the value with texts that hold JSON objects decoded."""
    if isinstance(value, dict):
        return {name: _with_json_texts(inner) for name, inner in cast("dict[str, object]", value).items()}
    if isinstance(value, str) and value.startswith("{"):
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value


def _marked(left: Sequence[str], right: Sequence[str]) -> tuple[tuple[TextPart, ...], tuple[TextPart, ...]]:
    """Return the lines of both values with those that differ marked; where one is empty, nothing is marked."""
    sides: tuple[list[TextPart], list[TextPart]] = ([], [])
    for tag, a, b, c, d in SequenceMatcher(None, left, right, autojunk=False).get_opcodes():
        changed = tag != "equal" and bool(left and right)
        for side, lines in ((sides[0], left[a:b]), (sides[1], right[c:d])):
            side += [TextPart(visible(cut(line, LINE_CHARS_MAX)), changed) for line in lines]
    first, second = (_bounded(side) for side in sides)
    return first, second


def _bounded(lines: Sequence[TextPart]) -> tuple[TextPart, ...]:
    if len(lines) <= VALUE_LINES_MAX:
        return tuple(lines)
    return (*lines[:VALUE_LINES_MAX], TextPart(f"… ({len(lines) - VALUE_LINES_MAX:,} more lines)"))
