"""Writes a comparison, findings and a summary as plain text, for a terminal of 120 columns and for log files.

Pure. Whoever prints decides about colours.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from comparator.exchanges.json_values import shortened
from comparator.exchanges.model import Side
from comparator.findings.cases import Case
from comparator.stats.confidence import Interval, VerdictCounts, rate_interval
from comparator.store.comparison_detail import DifferenceText, difference_text
from comparator.store.deepdiff_rendering import render
from comparator.store.rows import Finding, KnownTotal, RouteLatency
from comparator.verdict import Comparison, places_by_rule

LINE_CHARS = 160


def render_comparison(comparison: Comparison, *, in_detail: bool = False) -> str:
    """A comparison: verdict, what differs, what is known to differ, what could not be compared.

    Args:
        comparison: what was found.
        in_detail: also how containers differ inside (deepdiff), which takes milliseconds.
    """
    lines = [_headline(comparison)]
    for difference in comparison.differences:
        lines.append(_difference_line(difference_text(difference)))
        inside = render(difference) if in_detail else ""
        lines += [f"      {line}" for line in inside.splitlines()]
    lines += [f"  known  {k.difference.place}: {k.reason} [{k.ticket}] ({k.declaration})" for k in comparison.known]
    lines += [f"  expired rule {touch.rule} no longer hides {touch.place}" for touch in comparison.expired]
    if comparison.effects_note:
        lines.append(f"  effects not compared ({comparison.effects_note})")
    if comparison.undescribed:
        lines.append(f"  tables without description: {', '.join(comparison.undescribed)}")
    return "\n".join(lines)


def _headline(comparison: Comparison) -> str:
    words = {True: ", confirmed", False: ", did not reproduce", None: ""}[comparison.confirmed]
    cause = "" if comparison.cause is None else f" ({comparison.cause})"
    rows = (
        f"; rows written: served {comparison.rows[0]}, mirrored {comparison.rows[1]}"
        if comparison.effects_compared
        else ""
    )
    return f"{comparison.verdict}{cause}{words}; served by {comparison.served_by}{rows}"


def _difference_line(words: DifferenceText) -> str:
    row = f" of {words.key}" if words.key else ""
    served, mirrored = (shortened(value, LINE_CHARS) or "nothing" for value in (words.served, words.mirrored))
    return f"  {words.kind:<14} {words.place}{row}\n      served   {served}\n      mirrored {mirrored}"


def render_rule_hits(touches: Mapping[str, Sequence[str]]) -> str:
    """Which rule touched which places."""
    if not touches:
        return "no rule was touched"
    lines: list[str] = []
    for rule, places in touches.items():
        lines.append(f"{rule}  ({len(places)} {'place' if len(places) == 1 else 'places'})")
        lines += [f"  {place}" for place in places[:20]]
        if len(places) > 20:
            lines.append(f"  and {len(places) - 20} more")
    return "\n".join(lines)


def explain(comparison: Comparison) -> str:
    """Which rule touched which places of a comparison."""
    return render_rule_hits(places_by_rule(comparison))


def render_finding(finding: Finding, cases: Iterable[Case] = ()) -> str:
    """One finding in full."""
    share = f"{finding.keys} of {finding.route_keys} keys" if finding.route_keys else f"{finding.keys} keys"
    lines = [
        f"{finding.id}  {finding.severity}  {finding.state}  {finding.route}",
        f"  {finding.place}: {_what(finding)} (legacy → candidate)",
        f"  seen {finding.count} times, {share}, from {finding.first_seen:%Y-%m-%d %H:%M} to {finding.last_seen:%Y-%m-%d %H:%M}",
        f"  e.g. {finding.example}",
    ]
    if finding.state_by:
        lines.append(f"  {finding.state} by {finding.state_by}: {finding.state_reason}")
    examples = [f"  example {case.exchange}: {case.request.method} {case.request.target}" for case in cases]
    if examples:
        lines += [
            *examples,
            f"an example in full: shadow findings export {finding.id} --to case.json && shadow compare case.json",
        ]
    return "\n".join(lines)


def render_findings(findings: Sequence[Finding]) -> str:
    """A list of findings below a heading, one line each and an example."""
    if not findings:
        return "no findings"
    heading = f"{'id':<12}  {'severity':<8} {'state':<12} {'seen':>8}  route  place  what (legacy → candidate)\n"
    return heading + "\n".join(
        f"{f.id}  {f.severity:<8} {f.state:<12} {f.count:>8}  {f.route}  {f.place}  {_what(f)}\n"
        f"              {shortened(f.example, LINE_CHARS)}"
        for f in findings
    )


def _what(finding: Finding) -> str:
    """The kind and the shape, which says nothing more for some kinds."""
    return finding.kind if finding.shape == finding.kind else f"{finding.kind}: {finding.shape}"


@dataclass(frozen=True, slots=True)
class Summary:
    """What a status or a run's end shows."""

    by_route: Mapping[str, VerdictCounts]
    findings: Sequence[Finding] = ()
    known: Sequence[KnownTotal] = ()
    latency: Sequence[RouteLatency] = ()


def render_summary(summary: Summary) -> str:
    """Counts and match rate by route with denominators, known differences, top findings, latency of both sides."""
    lines = [
        f"{'route':<24} {'compared':>9} {'match':>9} {'known':>7} {'mismatch':>9} {'transient':>9} {'failed':>7}  match rate"
    ]
    for route, counts in sorted(summary.by_route.items()):
        lines.append(
            f"{route:<24} {counts.compared:>9} {counts.match:>9} {counts.known:>7} {counts.mismatch:>9} "
            f"{counts.transient:>9} {counts.failed:>7}  {rate_in_words(counts)}"
        )
    if summary.known:
        lines += ["", "known differences"]
        lines += [f"  {k.count:>8}  {k.route}  {k.reason} [{k.ticket}]" for k in summary.known]
    lines += ["", "findings", render_findings(summary.findings)]
    if summary.latency:
        lines += ["", "latency (ms)"]
        lines += [line for latency in summary.latency for line in _latency_lines(latency)]
    return "\n".join(lines)


def rate_in_words(counts: VerdictCounts) -> str:
    """The match rate with its denominator and its always-valid 95 % interval."""
    if counts.compared == 0:
        return "nothing compared"
    interval: Interval = rate_interval(counts.good, counts.compared)
    return f"{counts.good}/{counts.compared} = {interval.estimate:.3%} ({interval.low:.3%}-{interval.high:.3%})"


def _latency_lines(latency: "RouteLatency") -> list[str]:
    names = [f"p{share * 100:g}" for share in latency.quantiles]
    served, mirrored = latency.served_by, Side(latency.served_by).other
    rows = ((f"served by {served}", latency.served_us), (f"mirrored by {mirrored}", latency.mirrored_us))
    return [
        f"  {latency.route} {role:<21} (n={latency.count}): "
        + "  ".join(f"{name} {value / 1000:.1f}" for name, value in zip(names, values, strict=True))
        for role, values in rows
    ]
