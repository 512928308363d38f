"""Write comparisons, findings and summaries as plain text without colours, for terminals of 120 columns and for log files. Pure."""

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
"""Longest text of a value or example in one line, in characters."""


def render_comparison(comparison: Comparison, *, in_detail: bool = False) -> str:
    """Write a comparison: verdict, differences, known differences, expired rules, and what could not be compared.

    Args:
        comparison: the comparison.
        in_detail: also render how objects and arrays differ inside, which takes milliseconds.
    """
    lines = [_headline(comparison)]
    for difference in comparison.differences:
        lines.append(_difference_line(difference_text(difference)))
        inside = render(difference) if in_detail else ""
        lines += [f"      {line}" for line in inside.splitlines()]
    lines += [f"  known  {k.difference.place}: {k.reason} [{k.ticket}] ({k.declaration})" for k in comparison.known]
    lines += [f"  expired rule {hit.rule} no longer hides {hit.place}" for hit in comparison.expired]
    if comparison.effects_note:
        lines.append(f"  effects not compared ({comparison.effects_note})")
    if comparison.undescribed:
        lines.append(f"  tables without description: {', '.join(comparison.undescribed)}")
    return "\n".join(lines)


def _headline(comparison: Comparison) -> str:
    confirmed = {True: ", confirmed", False: ", did not reproduce", None: ""}[comparison.confirmed]
    cause = "" if comparison.cause is None else f" ({comparison.cause})"
    rows = (
        f"; rows written: served {comparison.rows[0]}, mirrored {comparison.rows[1]}"
        if comparison.effects_compared
        else ""
    )
    return f"{comparison.verdict}{cause}{confirmed}; served by {comparison.served_by}{rows}"


def _difference_line(text: DifferenceText) -> str:
    row = f" of {text.key}" if text.key else ""
    served, mirrored = (shortened(value, LINE_CHARS) or "nothing" for value in (text.served, text.mirrored))
    return f"  {text.kind:<14} {text.place}{row}\n      served   {served}\n      mirrored {mirrored}"


def render_rule_hits(places_of_rule: Mapping[str, Sequence[str]]) -> str:
    """Write the places that each rule matched."""
    if not places_of_rule:
        return "no rule matched"
    lines: list[str] = []
    for rule, places in places_of_rule.items():
        lines.append(f"{rule}  ({len(places)} {'place' if len(places) == 1 else 'places'})")
        lines += [f"  {place}" for place in places[:20]]
        if len(places) > 20:
            lines.append(f"  and {len(places) - 20} more")
    return "\n".join(lines)


def explain(comparison: Comparison) -> str:
    """Write the places of a comparison that each rule matched."""
    return render_rule_hits(places_by_rule(comparison))


def render_finding(finding: Finding, cases: Iterable[Case] = ()) -> str:
    """Write one finding in full, with its examples."""
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
    """Write findings as a table with a heading: one line and an example for each."""
    if not findings:
        return "no findings"
    heading = f"{'id':<12}  {'severity':<8} {'state':<12} {'seen':>8}  route  place  what (legacy → candidate)\n"
    return heading + "\n".join(
        f"{f.id}  {f.severity:<8} {f.state:<12} {f.count:>8}  {f.route}  {f.place}  {_what(f)}\n"
        f"              {shortened(f.example, LINE_CHARS)}"
        for f in findings
    )


def _what(finding: Finding) -> str:
    """Write kind and shape of a finding; for some kinds they are the same."""
    return finding.kind if finding.shape == finding.kind else f"{finding.kind}: {finding.shape}"


@dataclass(frozen=True, slots=True)
class Summary:
    """The summary that a status or the end of a run shows."""

    by_route: Mapping[str, VerdictCounts]
    findings: Sequence[Finding] = ()
    known: Sequence[KnownTotal] = ()
    latency: Sequence[RouteLatency] = ()


def render_summary(summary: Summary) -> str:
    """Write counts and match rate by route, known differences, findings, and latencies of both sides."""
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
    """Write the match rate with its denominator and its 95 % confidence sequence."""
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
