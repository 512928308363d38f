"""The report of a replay: a value with a stable JSON form, a rendering as text, and rules by which it fails. Pure.

The JSON form is version 1: members are only ever added. Each name ends with the unit of its value.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

import msgspec
from msgspec import Struct

from comparator.stats.confidence import rate_interval
from proxy.recordings.counts import ReadCounts
from proxy.replay.errors import OptionError
from proxy.replay.tally import QUANTILES, LatencyHistogram, SideCounts, Tally, interval_shares, shows_quantile

VERSION: Final = 1
_RULE: Final = re.compile(r"\s*([a-z0-9-]+)\s*(>=|<=|>|<)\s*(\d+(?:\.\d+)?)\s*")


PLACES_SHOWN: Final = 4
"""Places of a cause that its line of text shows."""


class LatencyReport(Struct, frozen=True):
    """A distribution of latencies.

    Attributes:
        count: number of latencies.
        mean_ms: their mean.
        quantiles_ms: by share, e.g. "0.95".
        intervals_ms: for each of these shares the interval that contains the true quantile with probability 0.95; None where there
            are too few latencies for an upper end.
    """

    count: int
    mean_ms: float
    quantiles_ms: dict[str, float]
    intervals_ms: dict[str, tuple[float, float | None]] = {}

    def shown(self, share: str) -> float | None:
        """Return a quantile for people: None where there are too few latencies for it."""
        return self.quantiles_ms[share] if shows_quantile(self.count, float(share)) else None


class SideReport(Struct, frozen=True):
    """The results of one side.

    Attributes:
        sent: number of requests.
        statuses: responses by status.
        failures: requests without response, by cause.
        failed: requests without response, and responses with a status of 5xx.
        status_same: responses with the recorded status.
        status_other: responses with another one.
        latency: from the time a request was due.
        service: from the time it was sent.
        recorded: durations in the recording.
        without_credentials: responses by status to requests whose credentials are missing; not in the two counts above.
    """

    sent: int
    statuses: dict[str, int]
    failures: dict[str, int]
    failed: int
    status_same: int
    status_other: int
    latency: LatencyReport
    service: LatencyReport
    recorded: LatencyReport
    without_credentials: dict[str, int] = {}


class ReadReport(Struct, frozen=True):
    """The records of the recording by what they are (`proxy.recordings.counts`), and `text`, the same in one line."""

    requests: int = 0
    cut: int = 0
    cut_responses: int = 0
    not_http: dict[str, int] = {}
    skipped: dict[str, int] = {}
    malformed: int = 0
    text: str = ""


def read_report(counts: ReadCounts) -> ReadReport:
    """Return the counts of a recording for the report."""
    return ReadReport(
        counts.requests,
        counts.cut,
        counts.cut_responses,
        dict(counts.not_http),
        dict(counts.skipped),
        counts.malformed,
        str(counts),
    )


class Verdicts(Struct, frozen=True):
    """Comparisons by verdict."""

    compared: int = 0
    match: int = 0
    known: int = 0
    mismatch: int = 0
    transient: int = 0
    failed: int = 0

    @property
    def mismatch_rate(self) -> float:
        """The share of unexplained differences among those compared; 0 when nothing was compared."""
        return self.mismatch / self.compared if self.compared else 0.0


class FindingReport(Struct, frozen=True):
    """A cluster of like differences: its count, and the first example, of which `request` is method and path without the query."""

    id: str
    route: str
    kind: str
    place: str
    shape: str
    severity: str
    count: int
    exchange: str
    legacy: str
    candidate: str
    request: str = ""


class CauseReport(Struct, frozen=True):
    """A cause: what one fault makes differ. `always` and `sometimes` are places, `exchange` shows it with the fewest other causes."""

    id: str
    title: str
    severity: str
    exchanges: int
    always: tuple[str, ...]
    sometimes: tuple[str, ...]
    findings: tuple[str, ...]
    exchange: str
    provisional: bool = False


class ExchangeReport(Struct, frozen=True):
    """The exchanges of a replay to both sides, so that another run of the recording can be compared with it one by one.

    Attributes:
        total: number of exchanges that were sent to both sides.
        digest: of all their ids: equal for two runs that sent the same ones; "" where nothing was compared.
        by_cause: ids of the exchanges that differ, by the id of each of their causes.
        without_cause: ids of those that differ, and to which no cause is assigned.
        unjudged: ids of those that were not compared in full, so that nothing says that they match.
        complete: no id is left out for want of room.
    """

    total: int = 0
    digest: str = ""
    by_cause: dict[str, tuple[str, ...]] = {}
    without_cause: tuple[str, ...] = ()
    unjudged: tuple[str, ...] = ()
    complete: bool = True


class RouteReport(Struct, frozen=True):
    """The results for one route: of each side, and of their comparison."""

    route: str
    sides: dict[str, SideReport]
    verdicts: Verdicts = Verdicts()


class ReplayReport(Struct, frozen=True):
    """All results of a replay. `finished` is False for one that was interrupted: the figures are those so far. It failed by `violations`,
    and may have by `doubts`. `limits` are the options that it was judged by.

    `verdicts_digest` is equal for two replays with the same verdicts for the same exchanges.
    """

    v: int
    source: str
    to: str
    began: str
    duration_s: float
    finished: bool
    pace: str
    concurrency: int
    target_per_s: float
    achieved_per_s: float
    resumed_at: int
    sent: int
    left_out: dict[str, int]
    malformed: int
    credentials: dict[str, int]
    late_max_ms: float
    sides: dict[str, SideReport]
    routes: tuple[RouteReport, ...]
    verdicts: Verdicts
    findings: tuple[FindingReport, ...]
    verdicts_digest: str = ""
    causes: tuple[CauseReport, ...] = ()
    read: ReadReport = ReadReport()
    exchanges: ExchangeReport = ExchangeReport()
    violations: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()
    limits: tuple[str, ...] = ()

    @property
    def outcome(self) -> str:
        """PASS, FAIL, INCOMPLETE or DIFFERS.

        It is INCOMPLETE when it was interrupted, a side never responded, or both sides were to be compared and nothing was. It DIFFERS
        when mismatches were found and no option says how many are allowed.
        """
        if self.violations:
            return "FAIL"
        if not self.finished or self.silent_sides or (len(self.sides) > 1 and not self.verdicts.compared):
            return "INCOMPLETE"
        return "DIFFERS" if self.verdicts.mismatch and not self._limits_mismatches else "PASS"

    @property
    def reasons(self) -> tuple[str, ...]:
        """The reasons for the outcome, as far as there is more to say."""
        told = (*self.violations, *self.doubts)
        if self.outcome == "DIFFERS":
            return (
                *told,
                "no limit was given for mismatches (--fail-on 'mismatch-rate>0', --baseline with --fail-on-new)",
            )
        if self.outcome == "INCOMPLETE" and self.finished and not self.silent_sides:
            return (*told, "nothing was compared")
        return told

    @property
    def _limits_mismatches(self) -> bool:
        return any(limit.startswith(("mismatch-rate", "--fail-on-new", "--same-as")) for limit in self.limits)

    @property
    def silent_sides(self) -> tuple[str, ...]:
        """Sides that were sent requests and responded to none."""
        return tuple(name for name, side in self.sides.items() if side.sent and not side.statuses)


class ReplayFacts(Struct, frozen=True):
    """The values of a report besides the tally."""

    source: str
    to: str
    began: str
    duration_s: float
    finished: bool
    pace: str
    concurrency: int
    target_per_s: float
    resumed_at: int = 0
    read: ReadReport = ReadReport()
    verdicts: Mapping[str, Verdicts] = {}
    findings: tuple[FindingReport, ...] = ()
    verdicts_digest: str = ""
    causes: tuple[CauseReport, ...] = ()
    exchanges: ExchangeReport = ExchangeReport()


def build_report(tally: Tally, facts: ReplayFacts) -> ReplayReport:
    """Build the report."""
    sides = tally.sides()
    routes = tuple(
        RouteReport(
            route,
            {side: _side(tally.of(side, route)) for side in sides if (side, route) in tally.by_side_and_route},
            facts.verdicts.get(route, Verdicts()),
        )
        for route in tally.routes()
    )
    responses = tally.sent - sum(tally.of(side).failures.total() for side in sides)
    return ReplayReport(
        v=VERSION,
        source=facts.source,
        to=facts.to,
        began=facts.began,
        duration_s=round(facts.duration_s, 3),
        finished=facts.finished,
        pace=facts.pace,
        concurrency=facts.concurrency,
        target_per_s=round(facts.target_per_s, 3),
        achieved_per_s=round(responses / facts.duration_s, 3) if facts.duration_s else 0.0,
        resumed_at=facts.resumed_at,
        sent=tally.sent,
        left_out={reason.value: count for reason, count in tally.left_out.items()},
        malformed=facts.read.malformed,
        credentials=dict(tally.credentials),
        late_max_ms=round(tally.late_ns_max / 1e6, 3),
        sides={side: _side(tally.of(side)) for side in sides},
        routes=routes,
        verdicts=_sum(facts.verdicts.values()),
        findings=facts.findings,
        verdicts_digest=facts.verdicts_digest,
        causes=facts.causes,
        read=facts.read,
        exchanges=facts.exchanges,
    )


def parse_report(text: bytes) -> ReplayReport:
    """Parse the JSON form of a report.

    Raises:
        OptionError: it is not a report.
    """
    try:
        return msgspec.json.decode(text, type=ReplayReport)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise OptionError(f"not the report of a replay: {error}") from error


def render_json(report: ReplayReport) -> bytes:
    """Return the report's stable JSON form."""
    return msgspec.json.format(msgspec.json.encode(report), indent=2)


def _sum(counts: Iterable[Verdicts]) -> Verdicts:
    counts = tuple(counts)
    return Verdicts(
        **{name: sum(getattr(verdicts, name) for verdicts in counts) for name in Verdicts.__struct_fields__}
    )


def latency_report(latency: LatencyHistogram) -> LatencyReport:
    """Return the quantiles of a histogram and their intervals."""
    ends = {share: interval_shares(latency.count, share) for share in QUANTILES if share < 1}
    shares = {share for pair in ends.values() for share in pair if share is not None}
    values = latency.quantiles_ms((*QUANTILES, *shares))

    def at(share: float | None) -> float | None:
        return None if share is None else min(values.items(), key=lambda item: abs(item[0] - share))[1]

    return LatencyReport(
        latency.count,
        latency.mean_ms,
        {f"{share:g}": at(share) or 0.0 for share in QUANTILES},
        {f"{share:g}": (at(low) or 0.0, at(high)) for share, (low, high) in ends.items()},
    )


def _side(counts: SideCounts) -> SideReport:
    return SideReport(
        sent=counts.sent,
        statuses={str(status): count for status, count in sorted(counts.statuses.items())},
        failures=dict(sorted(counts.failures.items())),
        failed=counts.failed,
        status_same=counts.status_same,
        status_other=counts.status_other,
        latency=latency_report(counts.latency),
        service=latency_report(counts.service),
        recorded=latency_report(counts.recorded),
        without_credentials={str(status): count for status, count in sorted(counts.without_credentials.items())},
    )


class Figure(Struct, frozen=True):
    """A figure of a report, and the interval that contains the true one with probability 0.95; an end of None is unknown."""

    value: float
    low: float | None
    high: float | None

    def __str__(self) -> str:
        if self.low == self.high:
            return f"{self.value:g}"
        ends = ("..." if end is None else f"{end:.3g}" for end in (self.low, self.high))
        return f"{self.value:.3g} ({' to '.join(ends)})"


class FailRule(Struct, frozen=True):
    """A threshold of `--fail-on`: the replay fails when `figure` `sign` `limit` certainly holds, by the interval of the figure."""

    figure: str
    sign: str
    limit: float

    def violation(self, report: ReplayReport) -> str | None:
        """Return a message when the replay fails by this rule, else None. A figure without data is a failure too."""
        figure = figure_of(report, self.figure)
        if figure is None:
            return f"{self.figure} is unknown: there are no data for it"
        nearest = figure.low if self.sign.startswith(">") else figure.high
        if nearest is None or not _SIGNS[self.sign](nearest, self.limit):
            return None
        return f"{self.figure} is {figure} {self.sign} {self.limit:g}"

    def doubt(self, report: ReplayReport) -> str | None:
        """Return a message when the rule holds for the figure, but not for all of its interval: more records would tell."""
        figure = figure_of(report, self.figure)
        if figure is None or self.violation(report) or not _SIGNS[self.sign](figure.value, self.limit):
            return None
        return f"{self.figure} is {figure}, which may be chance: replay more records to tell whether it is {self.sign} {self.limit:g}"


_SIGNS: Final[dict[str, Callable[[float, float], bool]]] = {
    ">": lambda value, limit: value > limit,
    "<": lambda value, limit: value < limit,
    ">=": lambda value, limit: value >= limit,
    "<=": lambda value, limit: value <= limit,
}
_SHARES: Final = {"p50": "0.5", "p75": "0.75", "p90": "0.9", "p95": "0.95", "p99": "0.99", "p999": "0.999", "max": "1"}
FIGURES: Final = ("mismatch-rate", "error-rate", "status-rate", "achieved-rate", "sent", "malformed")


def parse_fail_rules(text: str) -> tuple[FailRule, ...]:
    """Parse the option `--fail-on`, e.g. `mismatch-rate>0.001,p95-ratio>1.0`.

    Raises:
        OptionError: a rule is malformed.
    """
    rules: list[FailRule] = []
    for part in filter(None, text.split(",")):
        match = _RULE.fullmatch(part)
        if match is None or not _is_figure(match.group(1)):
            names = ", ".join((*FIGURES, "pNN-ms", "pNN-ratio"))
            raise OptionError(f"--fail-on {part.strip()!r}: write FIGURE>NUMBER, FIGURE one of {names}")
        rules.append(FailRule(match.group(1), match.group(2), float(match.group(3))))
    return tuple(rules)


def _is_figure(figure: str) -> bool:
    share, _, kind = figure.partition("-")
    return figure in FIGURES or (share in _SHARES and kind in ("ms", "ratio"))


def figure_of(report: ReplayReport, figure: str) -> Figure | None:
    """Return a figure of the report by its name; None when there are no data for it.

    `pNN-ms` is the latency of the slowest side; `pNN-ratio` is the candidate's service time divided by the legacy's or, with one
    side, by the recorded one.
    """
    share, _, kind = figure.partition("-")
    if share in _SHARES and kind == "ms":
        values = [_quantile(side.latency, _SHARES[share]) for side in report.sides.values() if side.latency.count]
        return max(values, key=lambda one: one.value, default=None)
    if share in _SHARES:
        return _ratio(report, _SHARES[share])
    responses = sum(side.status_same + side.status_other for side in report.sides.values())
    rates: dict[str, tuple[int, int]] = {
        "mismatch-rate": (report.verdicts.mismatch, report.verdicts.compared),
        "error-rate": (
            sum(side.failed for side in report.sides.values()),
            sum(side.sent for side in report.sides.values()),
        ),
        "status-rate": (sum(side.status_other for side in report.sides.values()), responses),
    }
    if figure in rates:
        hits, trials = rates[figure]
        interval = rate_interval(hits, trials) if trials else None
        return Figure(interval.estimate, interval.low, interval.high) if interval else None
    counts = {"achieved-rate": report.achieved_per_s, "sent": report.sent, "malformed": report.malformed}
    return Figure(counts[figure], counts[figure], counts[figure])


def _quantile(latency: LatencyReport, share: str) -> Figure:
    value = latency.quantiles_ms[share]
    low, high = latency.intervals_ms.get(share, (value, value))
    return Figure(value, low, high)


def _ratio(report: ReplayReport, share: str) -> Figure | None:
    if {"candidate", "legacy"} <= set(report.sides):
        return _quotient(report.sides["candidate"].service, report.sides["legacy"].service, share)
    for side in report.sides.values():
        return _quotient(side.service, side.recorded, share)
    return None


def _quotient(above: LatencyReport, below: LatencyReport, share: str) -> Figure | None:
    numerator, denominator = _quantile(above, share), _quantile(below, share)
    if not denominator.value:
        return None
    low = numerator.low / denominator.high if numerator.low is not None and denominator.high else None
    high = numerator.high / denominator.low if numerator.high is not None and denominator.low else None
    return Figure(numerator.value / denominator.value, low, high)


def render_text(report: ReplayReport, compared: Sequence[str] = ()) -> str:
    """Return the report as text, with the lines of a comparison with another run."""
    end = "" if report.finished else ", interrupted"
    lines = [
        f"{report.source} to {report.to} at {report.pace}: {report.sent} requests in {report.duration_s:.1f} s{end}",
        "  " + ", ".join(pace_summary(report)),
    ]
    for title, counts in (("left out", report.left_out), ("credentials", report.credentials)):
        if any(counts.values()):
            lines.append(
                f"  {title}: " + ", ".join(f"{count} {name}" for name, count in sorted(counts.items()) if count)
            )
    if report.read.text:
        lines.append(f"  {report.read.text}")
    lines += [
        "",
        f"{'latency (ms)':<34} {'n':>8} " + " ".join(f"{name:>9}" for name in ("p50", "p90", "p95", "p99", "max")),
    ]
    for name, side in report.sides.items():
        lines += _latency_lines(name, side)
    lines += [f"  {name}: {_statuses(side)}" for name, side in report.sides.items()]
    if report.verdicts.compared or report.verdicts.failed:
        lines += ["", *_verdict_lines(report)]
    lines += ["", *compared] if compared else []
    lines += [f"FAILED: {reason}" for reason in report.violations]
    lines += [f"UNDECIDED: {reason}" for reason in report.doubts]
    return "\n".join(lines) + "\n"


def pace_summary(report: ReplayReport) -> list[str]:
    """Return target rate, achieved rate and delay. In a closed loop requests have no due times, so there is no delay."""
    achieved = f"achieved {report.achieved_per_s:.1f}/s"
    if not report.target_per_s:
        return ["as fast as responses arrived", achieved]
    return [f"target {report.target_per_s:.1f}/s", achieved, f"at most {report.late_max_ms:.1f} ms late"]


def latency_rows(side: SideReport) -> list[tuple[str, LatencyReport]]:
    """Return the titles and distributions of a side, without empty ones and repetitions."""
    rows = [("from due", side.latency), ("from sent", side.service), ("recorded", side.recorded)]
    if side.latency.quantiles_ms == side.service.quantiles_ms:
        rows = rows[1:]
    return [(title, row) for title, row in rows if row.count]


def _latency_lines(name: str, side: SideReport) -> list[str]:
    return [
        f"  {name + ', ' + title:<32} {row.count:>8} "
        + " ".join(f"{quantile_text(row, share):>9}" for share in ("0.5", "0.9", "0.95", "0.99", "1"))
        for title, row in latency_rows(side)
    ]


def quantile_text(row: LatencyReport, share: str) -> str:
    """Return a quantile in milliseconds; "-" where there are too few latencies for it."""
    value = row.shown(share)
    return "-" if value is None else f"{value:.2f}"


def _statuses(side: SideReport) -> str:
    parts = [f"{status} x{count}" for status, count in side.statuses.items()]
    parts += [f"{cause} x{count}" for cause, count in side.failures.items()]
    lacking = ", ".join(f"{status} x{count}" for status, count in side.without_credentials.items())
    other = f"; {side.status_other} with another status than recorded" if side.status_other else ""
    return ", ".join(parts) + other + (f"; sent without credentials: {lacking}" if lacking else "")


def _verdict_lines(report: ReplayReport) -> list[str]:
    lines = [f"{'route':<24} {'compared':>9} {'match':>9} {'known':>7} {'mismatch':>9} {'failed':>7}"]
    rows = [(route.route or "-", route.verdicts) for route in report.routes]
    for name, counts in [*rows, ("all", report.verdicts)]:
        lines.append(
            f"{name:<24} {counts.compared:>9} {counts.match:>9} {counts.known:>7} {counts.mismatch:>9} {counts.failed:>7}"
        )
    if report.causes:
        lines += ["", "causes"]
    for cause in report.causes:
        note = ", provisional" if cause.provisional else ""
        lines.append(
            f"  {cause.exchanges:>6}x {cause.severity:<8} {cause.id} {cause.title} (e.g. {cause.exchange}){note}"
        )
        others = [*cause.always, *(f"sometimes {place}" for place in cause.sometimes)]
        if others:
            rest = f" and {len(others) - PLACES_SHOWN} more" if len(others) > PLACES_SHOWN else ""
            lines.append(f"          with {', '.join(others[:PLACES_SHOWN])}{rest}")
    if report.findings:
        lines += ["", "findings"]
    for finding in report.findings:
        lines.append(
            f"  {finding.count:>6}x {finding.severity:<8} {finding.route} {finding.place}: {finding.kind}, {finding.shape}"
        )
        lines.append(f"          candidate {finding.candidate[:100] or 'nothing'}")
        lines.append(f"          legacy    {finding.legacy[:100] or 'nothing'}")
    return lines
