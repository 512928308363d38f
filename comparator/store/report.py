"""Write comparisons, causes, findings and summaries as plain text without colours, for terminals of 120 columns and for log files. Pure."""

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from comparator.exchanges.comparison import Comparison, not_compared_text, places_by_rule
from comparator.exchanges.difference import MIRRORED_KINDS, Kind
from comparator.exchanges.json_values import shortened
from comparator.exchanges.model import EffectsOutcome, Role, Side
from comparator.findings.cases import Case
from comparator.findings.causes import CauseChange
from comparator.stats.confidence import Interval, VerdictCounts, rate_interval
from comparator.store.comparison_detail import DifferenceText, difference_text
from comparator.store.deepdiff_rendering import render
from comparator.store.rows import CauseList, CauseRow, Finding, KnownTotal, LeftOutTables, RouteLatency

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
        lines.append(_difference_line(difference_text(difference), comparison.served_by))
        inside = render(difference) if in_detail else ""
        lines += [f"      {line}" for line in inside.splitlines()]
    lines += [
        f"  known  {k.difference.place}: {k.reason}{_ticket(k.ticket)} ({k.declaration})" for k in comparison.known
    ]
    lines += [f"  expired rule {hit.rule} no longer hides {hit.place}" for hit in comparison.expired]
    if comparison.effects_note:
        lines.append(f"  effects not compared ({comparison.effects_note})")
    lines += [f"  rows of {table} not compared: {reason.text}" for table, reason in comparison.left_out.items()]
    if comparison.undescribed:
        lines.append(f"  tables without description: {', '.join(comparison.undescribed)}")
    return "\n".join(lines)


def _example_lines(cases: Iterable[Case]) -> list[str]:
    """Write one line for each example: its request, and what could not be compared in it."""
    return [
        f"  example {case.exchange}: {case.request.method} {case.request.target}{f' ({gap})' if gap else ''}"
        for case in cases
        for gap in [_gap_of(case)]
    ]


def _gap_of(case: Case) -> str:
    sides = case.served, case.mirrored
    return not_compared_text(
        rows_compared=all(side.effects_outcome is EffectsOutcome.ATTRIBUTED for side in sides),
        left_out={table for side in sides for table in side.left_out},
    )


def _ticket(ticket: str) -> str:
    return f" [{ticket}]" if ticket else ""


def _headline(comparison: Comparison) -> str:
    confirmed = {True: ", confirmed", False: ", did not reproduce", None: ""}[comparison.confirmed]
    cause = "" if comparison.cause is None else f" ({comparison.cause})"
    rows = dict(zip(_sides(comparison.served_by), comparison.rows, strict=True))
    written = (
        f"; rows written: candidate {rows[Side.CANDIDATE]}, legacy {rows[Side.LEGACY]}"
        if comparison.effects_compared
        else ""
    )
    left_out = f", {not_compared_text(rows_compared=True, left_out=comparison.left_out)}" if comparison.partial else ""
    return f"{comparison.verdict}{cause}{left_out}{confirmed}; served by the {comparison.served_by}{written}"


def _sides(served_by: Side) -> tuple[Side, Side]:
    """Return the serving and the mirrored side."""
    return served_by, served_by.other


def _difference_line(text: DifferenceText, served_by: Side) -> str:
    row = f" of {text.key}" if text.key else ""
    values = [shortened(value, LINE_CHARS) or "nothing" for value in (text.served, text.mirrored)]
    by_side = {side: (role, value) for side, role, value in zip(_sides(served_by), Role, values, strict=True)}
    lines = [f"      {f'{side} ({by_side[side][0]})':<20} {by_side[side][1]}" for side in Side]
    return "\n".join([f"  {oriented_kind(text.kind, served_by):<14} {text.place}{row}", *lines])


def oriented_kind(kind: str, served_by: Side) -> Kind:
    """Return the kind of a stored difference as the candidate's relative to the legacy's."""
    stored = Kind(kind)
    return stored if served_by is Side.LEGACY else MIRRORED_KINDS.get(stored, stored)


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
        f"  {finding.where}: {finding.what}",
        f"  seen {finding.count} times, {share}, from {finding.first_seen:%Y-%m-%d %H:%M} to {finding.last_seen:%Y-%m-%d %H:%M}",
        f"  e.g. {finding.example}",
    ]
    lines += _release_lines(finding)
    if finding.causes:
        lines.append(f"  shown by {_counted('cause', finding.causes)} {', '.join(finding.causes)}")
    if finding.state_by:
        lines.append(f"  {finding.state} by {finding.state_by}: {finding.state_reason}")
    examples = _example_lines(cases)
    if examples:
        lines += [
            *examples,
            f"an example in full: shadow findings export {finding.id} --to case.json && shadow compare case.json",
        ]
    return "\n".join(lines)


def _end_of(cause: CauseRow) -> str:
    """Write the owner and the end of an acknowledgement."""
    parts = [f"owner {cause.owner}"] if cause.owner else []
    parts += [f"until it has had {cause.until_exchanges} exchanges"] if cause.until_exchanges is not None else []
    parts += [f"until {cause.until_day}"] if cause.until_day is not None else []
    return f" ({', '.join(parts)})" if parts else ""


def _counted(noun: str, items: Sequence[object]) -> str:
    return noun if len(items) == 1 else f"{noun}s"


def _release_lines(seen: Finding | CauseRow) -> list[str]:
    """Write the releases of a finding or cause, candidate and legacy, if a side reports one."""
    parts = [f"{seen.first_release} to {seen.last_release}"] if seen.last_release else []
    parts += [f"fixed in {seen.fixed_in}"] if seen.fixed_in else []
    parts += [f"regressed in {seen.regressed_in}"] if seen.regressed_in else []
    if isinstance(seen, CauseRow) and seen.gone_in:
        parts.append(f"not seen since {seen.gone_in}")
    return [f"  releases (candidate / legacy): {', '.join(parts)}"] if parts else []


def render_findings(findings: Sequence[Finding]) -> str:
    """Write findings as a table with a heading: one line and an example for each."""
    if not findings:
        return "no findings"
    heading = f"{'id':<12}  {'severity':<8} {'state':<12} {'seen':>8}  route  place  what\n"
    return heading + "\n".join(
        f"{f.id}  {f.severity:<8} {f.state:<12} {f.count:>8}  {f.route}  {f.where}  {f.what}\n"
        f"              {shortened(f.example, LINE_CHARS)}"
        for f in findings
    )


PLACES_SHOWN = 3
"""Places that the list of causes shows of each, besides the most telling one."""


def render_causes(listed: CauseList) -> str:
    """Write causes as a table with a heading: the most telling place of each, and what else it shows."""
    heading = f"{'id':<12}  {'severity':<8} {'state':<12} {'exchanges':>9} {'keys':>7}  most telling place\n"
    lines = [line for cause in listed.causes for line in _cause_lines(cause)]
    total = f"{_number(len(listed.causes), 'cause')} of {_number(listed.mismatches, 'mismatching exchange')}"
    if listed.unattributed:
        at = f"at {listed.solved_at:%H:%M:%S}" if listed.solved_at else "never"
        total += f", {listed.unattributed} of them not attributed yet (causes were solved {at})"
    return f"{heading}{chr(10).join(lines)}\n{total}" if lines else total


def _number(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _cause_lines(cause: CauseRow) -> list[str]:
    state = "provisional" if cause.provisional else cause.state
    lines = [
        f"{cause.id}  {cause.severity:<8} {state:<12} {cause.exchanges:>9} {cause.keys:>7}  {cause.title}",
    ]
    also = [f"{shown.token.where}" for shown in cause.body.always[1:]]
    sometimes = [f"{shown.token.where} {shown.share:.0%}" for shown in cause.body.sometimes]
    parts = [f"{word} {_few(places)}" for word, places in (("always", also), ("sometimes", sometimes)) if places]
    if cause.joined:
        parts.append(f"{_number(cause.joined, 'finding')} joined since it was {cause.state}")
    return [*lines, *([f"              {'; '.join(parts)}"] if parts else [])]


def _few(places: Sequence[str]) -> str:
    unique = list(dict.fromkeys(places))
    rest = len(unique) - PLACES_SHOWN
    return ", ".join(unique[:PLACES_SHOWN]) + (f" and {rest} more" if rest > 0 else "")


def render_cause(cause: CauseRow, findings: Sequence[Finding] = (), cases: Iterable[Case] = ()) -> str:
    """Write one cause in full: what it shows always and sometimes, its findings and examples."""
    state = f"{cause.state}, provisional" if cause.provisional else cause.state
    span = f"from {cause.first_seen:%Y-%m-%d %H:%M} to {cause.last_seen:%Y-%m-%d %H:%M}"
    lines = [
        f"{cause.id}  {cause.severity}  {state}  {', '.join(cause.routes)}",
        f"  {cause.title}",
        f"  {_number(cause.exchanges, 'exchange')}, {_number(cause.keys, 'key')}, {span}",
        *_release_lines(cause),
    ]
    if cause.state_by:
        lines.append(f"  {cause.state} by {cause.state_by}: {cause.state_reason}{_end_of(cause)}")
    if cause.former_ids:
        lines.append(f"  was also known as {', '.join(cause.former_ids)}")
    for word, tokens in (("always", cause.body.always), ("sometimes", cause.body.sometimes)):
        lines += [f"  {word}"] if tokens else []
        lines += [f"    {shown.share:>6.1%}  {shown.token.where}: {shown.token.what}" for shown in tokens]
    if findings:
        lines.append("  findings")
        lines += [
            f"    {f.id}  {f.state:<12} {f.count:>8}  {f.route}  {f.where}: {f.what}\n"
            f"                  {shortened(f.example, LINE_CHARS)}"
            for f in findings
        ]
    examples = _example_lines(cases)
    if examples:
        lines += [
            *examples,
            f"the clearest example in full: shadow causes export {cause.id} --to case.json && shadow compare case.json",
        ]
    return "\n".join(lines)


def render_cause_changes(changes: Sequence[CauseChange], names: tuple[str, str]) -> str:
    """Write how often each cause occurred on two days or in two runs."""
    if not changes:
        return "no causes"
    heading = f"{'id':<12}  {'':<4} {names[0]:>12} {names[1]:>12}  most telling place"
    return "\n".join([heading, *(f"{c.id}  {c.outcome:<4} {c.before:>12} {c.after:>12}  {c.title}" for c in changes)])


@dataclass(frozen=True, slots=True)
class Summary:
    """The summary that a status or the end of a run shows.

    Attributes:
        by_route: counts of all comparisons.
        response_only: those of them that rest on the responses alone, by route and reason.
        partial: those of them that rest on rows except those of some tables, by route and the tables with their reasons.
        latency_since: the first day of the latencies, None for all days.
    """

    by_route: Mapping[str, VerdictCounts]
    response_only: Mapping[str, Mapping[str, VerdictCounts]] = field(
        default_factory=dict[str, Mapping[str, VerdictCounts]]
    )
    partial: Mapping[str, Mapping[LeftOutTables, VerdictCounts]] = field(
        default_factory=dict[str, Mapping[LeftOutTables, VerdictCounts]]
    )
    causes: CauseList = field(default_factory=CauseList)
    known: Sequence[KnownTotal] = ()
    latency: Sequence[RouteLatency] = ()
    latency_since: dt.date | None = None


def render_summary(summary: Summary) -> str:
    """Write counts and match rate by route, known differences, causes, and latencies of both sides."""
    lines = [
        f"{'route':<24} {'compared':>9} {'match':>9} {'known':>7} {'mismatch':>9} {'transient':>9} {'failed':>7}  match rate"
    ]
    for route, counts in sorted(summary.by_route.items()):
        by_reason, by_tables = summary.response_only.get(route, {}), summary.partial.get(route, {})
        with_rows = counts - sum((*by_reason.values(), *by_tables.values()), VerdictCounts())
        if with_rows.compared or with_rows.failed or not (by_reason or by_tables):
            lines.append(_counts_line(route, with_rows))
        for tables, part in by_tables.items():
            lines.append(_counts_line(f"{route}, in part", part))
            lines += [f"{'':<24} rows of {table} were left out ({reason}: {reason.text})" for table, reason in tables]
        # A response that is equal says nothing of the rows, so these have a rate of their own.
        for reason, part in by_reason.items():
            lines.append(_counts_line(f"{route}, response only", part))
            lines.append(f"{'':<24} rows were not compared ({reason or 'unknown'})")
    if summary.known:
        lines += ["", "known differences"]
        lines += [f"  {k.count:>8}  {k.route}  {k.reason}{_ticket(k.ticket)}" for k in summary.known]
    lines += ["", "causes", render_causes(summary.causes)]
    if summary.latency:
        lines += ["", f"latency{f' since {summary.latency_since}' if summary.latency_since else ''} (ms)"]
        lines += [line for latency in summary.latency for line in _latency_lines(latency)]
    return "\n".join(lines)


def _counts_line(label: str, counts: VerdictCounts) -> str:
    return (
        f"{label:<24} {counts.compared:>9} {counts.match:>9} {counts.known:>7} {counts.mismatch:>9} "
        f"{counts.transient:>9} {counts.failed:>7}  {rate_in_words(counts)}"
    )


def rate_in_words(counts: VerdictCounts) -> str:
    """Write the match rate with its denominator and its 95 % confidence sequence."""
    if counts.compared == 0:
        return "nothing compared"
    interval: Interval = rate_interval(counts.good, counts.compared)
    return f"{counts.good}/{counts.compared} = {interval.estimate:.3%} ({interval.low:.3%}-{interval.high:.3%})"


def _latency_lines(latency: RouteLatency) -> list[str]:
    names = [f"p{share * 100:g}" for share in latency.quantiles]
    roles = zip(_sides(Side(latency.served_by)), Role, (latency.served_us, latency.mirrored_us), strict=True)
    by_side = {side: (role, values) for side, role, values in roles}
    return [
        f"  {latency.route} {f'{side} ({by_side[side][0]})':<21} (n={latency.count}): "
        + "  ".join(f"{name} {value / 1000:.1f}" for name, value in zip(names, by_side[side][1], strict=True))
        for side in Side
    ]
