"""The report as one self-contained HTML file: no script, no network; charts are inline SVG. Pure."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from difflib import SequenceMatcher
from html import escape
from typing import Final, NamedTuple, cast

from proxy.replay.report import (
    PLACES_SHOWN,
    FindingReport,
    ReplayReport,
    SideReport,
    Verdicts,
    latency_rows,
    pace_summary,
    quantile_text,
)
from proxy.replay.tally import QUANTILES

WIDTH: Final = 640
HEIGHT: Final = 260
LEFT: Final = 64
SIDES_LEFT: Final = 84
BOTTOM: Final = 34
BAR: Final = 26
COLORS: Final = {"candidate": "#2563eb", "legacy": "#d97706", "recorded": "#6b7280"}
STATUS_COLORS: Final = {"2": "#16a34a", "3": "#0891b2", "4": "#ca8a04", "5": "#dc2626", "0": "#7f1d1d", "1": "#6b7280"}
FINDINGS_MAX: Final = 50

STYLE: Final = """
:root{color-scheme:light dark}body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}
h1{font-size:1.5rem}h2{font-size:1.15rem;margin-top:2.2rem}table{border-collapse:collapse;width:100%}
td,th{padding:.25rem .6rem;text-align:right;border-bottom:1px solid #8884;font-variant-numeric:tabular-nums}
td:first-child,th:first-child{text-align:left}svg{max-width:100%;height:auto}svg text{fill:currentColor;font-size:12px}
.fail{color:#dc2626;font-weight:600}.pair{display:grid;grid-template-columns:1fr 1fr;gap:.6rem}
pre{white-space:pre-wrap;overflow-wrap:anywhere;background:#8882;padding:.5rem;border-radius:.3rem;margin:.2rem 0}
mark{background:#f59e0b44;color:inherit}
.axis{stroke:currentColor;stroke-opacity:.35}.grid{stroke:currentColor;stroke-opacity:.12}small{opacity:.75}
"""


def render_html(report: ReplayReport) -> str:
    """Return the whole file."""
    title = f"Replay of {report.source} to {report.to}"
    parts = [
        f"<h1>{report.outcome}</h1>",
        *(f'<p class="fail">{escape(reason)}</p>' for reason in report.violations),
        *(f"<p>Undecided: {escape(reason)}</p>" for reason in report.doubts),
        f"<p>{escape(title)}</p>",
        _summary(report),
        f"<h2>Latency{' from when a request was due' if report.target_per_s else ''}</h2>",
        _latency_chart(_curves(report)),
        _latency_table(report.sides),
        "<h2>Status</h2>",
        _status_chart(report.sides),
    ]
    if report.verdicts.compared or report.verdicts.failed:
        parts += ["<h2>Mismatch rate by route</h2>", _mismatch_chart(report)]
        if report.causes:
            parts += ["<h2>Causes</h2>", _causes(report)]
        parts += ["<h2>Findings</h2>", *(_finding(finding) for finding in report.findings[:FINDINGS_MAX])]
        if not report.findings:
            parts.append("<p>No unexplained difference.</p>")
    body = "\n".join(parts)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head><body>\n{body}\n</body></html>\n'
    )


def _summary(report: ReplayReport) -> str:
    end = "" if report.finished else " (interrupted)"
    lines = [
        f"{report.began}, {report.duration_s:.1f} s{end}, pace {escape(report.pace)}, concurrency {report.concurrency}",
        f"{report.sent} requests; {', '.join(pace_summary(report))}",
    ]
    lines += [f"left out: {count} {escape(cause)}" for cause, count in report.left_out.items() if count]
    lines += [escape(report.read.text)] if report.read.text else []
    lines += [f"credentials: {count} {escape(name)}" for name, count in report.credentials.items() if count]
    if report.verdicts.compared or report.verdicts.failed:
        counts = [f"{getattr(report.verdicts, name)} {name}" for name in Verdicts.__struct_fields__]
        lines.append(f"{', '.join(counts)}; digest of all verdicts {escape(report.verdicts_digest[:16])}")
    shown = "".join(f"<br/>{line}" for line in lines).removeprefix("<br/>")
    return f"<p>{shown}</p>"


def _curves(report: ReplayReport) -> dict[str, Mapping[str, float]]:
    curves: dict[str, Mapping[str, float]] = {}
    for name, side in report.sides.items():
        curves[name] = side.latency.quantiles_ms
        if side.recorded.count:
            curves["recorded"] = side.recorded.quantiles_ms
    return curves


def _latency_chart(curves: Mapping[str, Mapping[str, float]]) -> str:
    """Draw a line for each side: milliseconds on a logarithmic scale over quantiles, evenly spaced."""
    values = [value for curve in curves.values() for value in curve.values() if value > 0] or [1.0]
    scale = LogScale(math.floor(math.log10(min(values))), math.ceil(math.log10(max(values))))
    shares = [f"{share:g}" for share in QUANTILES]
    step = (WIDTH - LEFT - 20) / max(1, len(shares) - 1)
    parts = [_y_axis(scale, "ms")]
    for index, share in enumerate(shares):
        label = "max" if share == "1" else f"p{float(share) * 100:g}"
        parts.append(f'<text x="{LEFT + index * step:.0f}" y="{HEIGHT - 12}" text-anchor="middle">{label}</text>')
    for number, (name, curve) in enumerate(curves.items()):
        points = " ".join(f"{LEFT + i * step:.1f},{scale.y(value):.1f}" for i, value in enumerate(curve.values()))
        color = COLORS.get(name, "#7c3aed")
        parts.append(f'<polyline fill="none" stroke="{color}" stroke-width="2.5" points="{points}"/>')
        parts.append(_legend(number, name, color))
    return _svg(HEIGHT, parts, "latency quantiles")


class LogScale(NamedTuple):
    """A logarithmic scale between two powers of ten."""

    low: int
    high: int

    def y(self, value: float) -> float:
        """Return the height of a value on the chart; values below the scale are at its bottom."""
        span = max(1, self.high - self.low)
        share = (math.log10(value) - self.low) / span if value > 0 else 0.0
        return HEIGHT - BOTTOM - max(0.0, share) * (HEIGHT - BOTTOM - 30)


def _y_axis(scale: LogScale, unit: str) -> str:
    lines: list[str] = []
    for power in range(scale.low, max(scale.high, scale.low + 1) + 1):
        y = scale.y(10.0**power)
        lines.append(
            f'<line class="grid" x1="{LEFT}" x2="{WIDTH}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{_number_text(10.0**power)} {unit}</text>'
        )
    return "".join(lines) + f'<line class="axis" x1="{LEFT}" x2="{LEFT}" y1="20" y2="{HEIGHT - BOTTOM}"/>'


def _number_text(value: float) -> str:
    """Return a number with three significant digits, without an exponent."""
    return f"{value:,.0f}" if value >= 1_000 else f"{value:.3g}"


def _legend(number: int, name: str, color: str) -> str:
    x = LEFT + 10 + number * 120
    return f'<rect x="{x}" y="4" width="12" height="12" fill="{color}"/><text x="{x + 17}" y="14">{escape(name)}</text>'


def _latency_table(sides: Mapping[str, SideReport]) -> str:
    rows: list[Sequence[str]] = []
    for name, side in sides.items():
        for title, latency in latency_rows(side):
            values = [quantile_text(latency, share) for share in ("0.5", "0.9", "0.95", "0.99", "0.999", "1")]
            rows.append((f"{name}, {title}", str(latency.count), f"{latency.mean_ms:.2f}", *values))
    return _table(("ms", "n", "mean", "p50", "p90", "p95", "p99", "p99.9", "max"), rows)


def _status_chart(sides: Mapping[str, SideReport]) -> str:
    """Draw a bar for each side: the shares of its statuses, with failures in dark red."""
    parts: list[str] = []
    for number, (name, side) in enumerate(sides.items()):
        y = number * (BAR + 26)
        parts.append(f'<text x="{SIDES_LEFT - 6}" y="{y + 18}" text-anchor="end">{escape(name[:9])}</text>')
        x, counts = float(SIDES_LEFT), [*side.statuses.items(), *((f"0 {c}", n) for c, n in side.failures.items())]
        labels: list[str] = []
        for status, count in counts:
            width = count / max(1, side.sent) * (WIDTH - SIDES_LEFT)
            label = status.removeprefix("0 ")
            parts.append(
                f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="{BAR}" fill="{STATUS_COLORS.get(status[0], "#6b7280")}">'
                f"<title>{escape(label)}: {count}</title></rect>"
            )
            labels.append(f"{label}: {count}")
            x += width
        parts.append(f'<text x="{SIDES_LEFT}" y="{y + BAR + 15}">{escape(", ".join(labels))}</text>')
    return _svg(max(1, len(sides)) * (BAR + 26), parts, "statuses")


def _mismatch_chart(report: ReplayReport) -> str:
    """Draw a bar for each route."""
    compared = [route for route in report.routes if route.verdicts.compared]
    top = max((route.verdicts.mismatch_rate for route in compared), default=0.0) or 1.0
    parts: list[str] = []
    for number, route in enumerate(compared):
        y, rate = number * (BAR + 8), route.verdicts.mismatch_rate
        width = rate / top * (WIDTH - 330)
        parts.append(f'<text x="160" y="{y + 18}" text-anchor="end">{escape((route.route or "-")[:24])}</text>')
        parts.append(f'<rect x="168" y="{y}" width="{max(width, 1):.1f}" height="{BAR}" fill="#dc2626"/>')
        text = f"{rate:.2%} ({route.verdicts.mismatch} of {route.verdicts.compared})"
        parts.append(f'<text x="{174 + max(width, 1):.0f}" y="{y + 18}">{text}</text>')
    return _svg(max(1, len(compared)) * (BAR + 8), parts, "mismatch rate by route")


def _causes(report: ReplayReport) -> str:
    rows: list[Sequence[str]] = []
    for cause in report.causes:
        others = [*cause.always, *(f"sometimes {place}" for place in cause.sometimes)]
        rest = f" and {len(others) - PLACES_SHOWN} more" if len(others) > PLACES_SHOWN else ""
        state = f"{cause.severity}, provisional" if cause.provisional else cause.severity
        shown = ", ".join(others[:PLACES_SHOWN]) + rest
        rows.append((f"{cause.title} ({cause.id})", state, str(cause.exchanges), cause.exchange, shown))
    return _table(("most telling place", "severity", "exchanges", "clearest example", "with"), rows)


def _finding(finding: FindingReport) -> str:
    head = f"{finding.count} x {finding.severity}: {finding.route} {finding.place} ({finding.kind}, {finding.shape})"
    example = f"{finding.id}, first in {finding.exchange}" + (f": {finding.request}" if finding.request else "")
    candidate, legacy = _marked(_lines(finding.candidate), _lines(finding.legacy))
    return (
        f"<h3>{escape(head)}</h3><small>{escape(example)}</small>"
        f'<div class="pair"><div>candidate<pre>{candidate}</pre></div><div>legacy<pre>{legacy}</pre></div></div>'
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


def _marked(left: Sequence[str], right: Sequence[str]) -> tuple[str, str]:
    """Return both texts as HTML with differing lines marked. Where one is empty, it says `nothing`, and nothing is marked."""
    sides: tuple[list[str], list[str]] = ([], [])
    for tag, a, b, c, d in SequenceMatcher(None, left, right, autojunk=False).get_opcodes():
        for side, lines in ((sides[0], left[a:b]), (sides[1], right[c:d])):
            side += [
                escape(line) if tag == "equal" or not (left and right) else f"<mark>{escape(line)}</mark>"
                for line in lines
            ]
    first, second = ("\n".join(side) or "<small>nothing</small>" for side in sides)
    return first, second


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    top = "".join(f"<th>{escape(name)}</th>" for name in head)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"


def _svg(height: int, parts: Iterable[str], label: str) -> str:
    inside = "".join(parts)
    return f'<svg viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" role="img" aria-label="{label}">{inside}</svg>'
