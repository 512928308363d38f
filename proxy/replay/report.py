"""What a replay found, as a value with a stable JSON form, as text, and as an exit code. Pure.

The JSON form is version 1: members are only ever added. Times are milliseconds unless the name says otherwise.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

import msgspec
from msgspec import Struct

from proxy.replay.errors import OptionError
from proxy.replay.tally import QUANTILES, LatencyHistogram, SideCounts, Tally

VERSION: Final = 1
_RULE: Final = re.compile(r"\s*([a-z0-9-]+)\s*(>=|<=|>|<)\s*(\d+(?:\.\d+)?)\s*")


class LatencyReport(Struct, frozen=True):
    """A distribution: `quantiles_ms` by share, e.g. "0.95"."""

    count: int
    mean_ms: float
    quantiles_ms: dict[str, float]


class SideReport(Struct, frozen=True):
    """One side's counts. `latency` is from when a request was due, `service` from when it was sent.

    `failures` by cause are requests without a response; `status_other` counts responses whose status is not the recorded one.
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
        """Of those compared, the share that differs unexplained; 0 when nothing was compared."""
        return self.mismatch / self.compared if self.compared else 0.0


class FindingReport(Struct, frozen=True):
    """One kind of difference: how often, and the first example of it."""

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


class RouteReport(Struct, frozen=True):
    """One route: both sides, and their comparison."""

    route: str
    sides: dict[str, SideReport]
    verdicts: Verdicts = Verdicts()


class ReplayReport(Struct, frozen=True):
    """Everything a replay found. `finished` is False when it was interrupted: the figures are those so far."""

    v: int
    source: str
    to: str
    began: str
    duration_s: float
    finished: bool
    pace: str
    concurrency: int
    asked_per_s: float
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
    """Of all verdicts with their exchanges: equal for two replays that found the same."""

    @property
    def silent(self) -> tuple[str, ...]:
        """Sides that were sent requests and gave no response to any."""
        return tuple(name for name, side in self.sides.items() if side.sent and not side.statuses)


class ReplayFacts(Struct, frozen=True):
    """What a report needs beside the tally."""

    source: str
    to: str
    began: str
    duration_s: float
    finished: bool
    pace: str
    concurrency: int
    asked_per_s: float
    resumed_at: int = 0
    malformed: int = 0
    verdicts: Mapping[str, Verdicts] = {}
    findings: tuple[FindingReport, ...] = ()
    verdicts_digest: str = ""


def report_of(tally: Tally, facts: ReplayFacts) -> ReplayReport:
    """Put it together."""
    sides = tally.sides()
    routes = tuple(
        RouteReport(
            route,
            {side: _side(tally.of(side, route)) for side in sides if (side, route) in tally.by_place},
            facts.verdicts.get(route, Verdicts()),
        )
        for route in tally.routes()
    )
    answered = tally.sent - sum(tally.of(side).failures.total() for side in sides)
    return ReplayReport(
        v=VERSION,
        source=facts.source,
        to=facts.to,
        began=facts.began,
        duration_s=round(facts.duration_s, 3),
        finished=facts.finished,
        pace=facts.pace,
        concurrency=facts.concurrency,
        asked_per_s=round(facts.asked_per_s, 3),
        achieved_per_s=round(answered / facts.duration_s, 3) if facts.duration_s else 0.0,
        resumed_at=facts.resumed_at,
        sent=tally.sent,
        left_out=dict(tally.left_out),
        malformed=facts.malformed,
        credentials=dict(tally.credentials),
        late_max_ms=round(tally.late_ns_max / 1e6, 3),
        sides={side: _side(tally.of(side)) for side in sides},
        routes=routes,
        verdicts=_sum(facts.verdicts.values()),
        findings=facts.findings,
        verdicts_digest=facts.verdicts_digest,
    )


def as_json(report: ReplayReport) -> bytes:
    """The report's stable JSON form."""
    return msgspec.json.format(msgspec.json.encode(report), indent=2)


def _sum(counts: Iterable[Verdicts]) -> Verdicts:
    every = tuple(counts)
    return Verdicts(**{name: sum(getattr(one, name) for one in every) for name in Verdicts.__struct_fields__})


def _latency(latency: LatencyHistogram) -> LatencyReport:
    return LatencyReport(
        latency.count, latency.mean_ms, {f"{share:g}": latency.quantile_ms(share) for share in QUANTILES}
    )


def _side(counted: SideCounts) -> SideReport:
    return SideReport(
        sent=counted.sent,
        statuses={str(status): count for status, count in sorted(counted.statuses.items())},
        failures=dict(sorted(counted.failures.items())),
        failed=counted.failed,
        status_same=counted.status_same,
        status_other=counted.status_other,
        latency=_latency(counted.latency),
        service=_latency(counted.service),
        recorded=_latency(counted.recorded),
    )


class FailRule(Struct, frozen=True):
    """A threshold: the replay fails when `figure` `sign` `limit` holds."""

    figure: str
    sign: str
    limit: float

    def broken_by(self, report: ReplayReport) -> str:
        """What to say when the rule is broken, "" when it holds. A figure that there is no evidence for breaks it."""
        value = figure_of(report, self.figure)
        if value is None:
            return f"{self.figure} cannot be told: there is nothing to tell it from"
        return f"{self.figure} is {value:g} {self.sign} {self.limit:g}" if _SIGNS[self.sign](value, self.limit) else ""


_SIGNS: Final[dict[str, Callable[[float, float], bool]]] = {
    ">": lambda value, limit: value > limit,
    "<": lambda value, limit: value < limit,
    ">=": lambda value, limit: value >= limit,
    "<=": lambda value, limit: value <= limit,
}
_SHARES: Final = {"p50": "0.5", "p75": "0.75", "p90": "0.9", "p95": "0.95", "p99": "0.99", "p999": "0.999", "max": "1"}
FIGURES: Final = ("mismatch-rate", "error-rate", "status-rate", "achieved-rate", "sent", "malformed")


def parse_rules(text: str) -> tuple[FailRule, ...]:
    """The option `--fail-on`: `mismatch-rate>0.001,p95-ratio>1.0`.

    Raises:
        OptionError: a rule makes no sense.
    """
    rules: list[FailRule] = []
    for part in filter(None, text.split(",")):
        found = _RULE.fullmatch(part)
        if found is None or not _known(found.group(1)):
            names = ", ".join((*FIGURES, "pNN-ms", "pNN-ratio"))
            raise OptionError(f"--fail-on {part.strip()!r}: write FIGURE>NUMBER, FIGURE one of {names}")
        rules.append(FailRule(found.group(1), found.group(2), float(found.group(3))))
    return tuple(rules)


def _known(figure: str) -> bool:
    share, _, kind = figure.partition("-")
    return figure in FIGURES or (share in _SHARES and kind in ("ms", "ratio"))


def figure_of(report: ReplayReport, figure: str) -> float | None:
    """A figure of the report by its name; None when there is nothing to tell it from.

    `pNN-ms` is the slowest side's; `pNN-ratio` the candidate's service time against the legacy's, or, with one side, against
    the recorded one.
    """
    share, _, kind = figure.partition("-")
    if share in _SHARES and kind == "ms":
        values = [side.latency.quantiles_ms[_SHARES[share]] for side in report.sides.values()]
        return max(values, default=None)
    if share in _SHARES:
        return _ratio(report, _SHARES[share])
    responses = sum(side.status_same + side.status_other for side in report.sides.values())
    rates: dict[str, tuple[float, float]] = {
        "mismatch-rate": (report.verdicts.mismatch, report.verdicts.compared),
        "error-rate": (sum(side.failed for side in report.sides.values()), report.sent),
        "status-rate": (sum(side.status_other for side in report.sides.values()), responses),
        "achieved-rate": (report.achieved_per_s, 1),
        "sent": (report.sent, 1),
        "malformed": (report.malformed, 1),
    }
    above, below = rates[figure]
    return above / below if below else None


def _ratio(report: ReplayReport, share: str) -> float | None:
    if {"candidate", "legacy"} <= set(report.sides):
        above = report.sides["candidate"].service.quantiles_ms[share]
        below = report.sides["legacy"].service.quantiles_ms[share]
        return above / below if below else None
    for side in report.sides.values():
        below = side.recorded.quantiles_ms[share]
        return side.service.quantiles_ms[share] / below if below else None
    return None


def as_text(report: ReplayReport, broken: Sequence[str] = ()) -> str:
    """The report for a terminal."""
    end = "" if report.finished else ", interrupted"
    lines = [
        f"{report.source} to {report.to} at {report.pace}: {report.sent} requests in {report.duration_s:.1f} s{end}",
        "  " + ", ".join(paces(report)),
    ]
    for words, counts in (("left out", report.left_out), ("credentials", report.credentials)):
        if any(counts.values()):
            lines.append(
                f"  {words}: " + ", ".join(f"{count} {name}" for name, count in sorted(counts.items()) if count)
            )
    if report.malformed:
        lines.append(f"  {report.malformed} malformed records")
    lines += [
        "",
        f"{'latency (ms)':<34} {'n':>8} " + " ".join(f"{name:>9}" for name in ("p50", "p90", "p95", "p99", "max")),
    ]
    for name, side in report.sides.items():
        lines += _latency_lines(name, side)
    lines += [f"  {name}: {_statuses(side)}" for name, side in report.sides.items()]
    if report.verdicts.compared or report.verdicts.failed:
        lines += ["", *_verdict_lines(report)]
    lines += [f"FAILED: {reason}" for reason in broken]
    return "\n".join(lines) + "\n"


def paces(report: ReplayReport) -> list[str]:
    """How fast it was asked to be, was, and how late: at a pace of its own a replay has no due times to be late for."""
    answered = f"answered {report.achieved_per_s:.1f}/s"
    if not report.asked_per_s:
        return ["as fast as it could", answered]
    return [f"asked {report.asked_per_s:.1f}/s", answered, f"at most {report.late_max_ms:.1f} ms late"]


def latencies(side: SideReport) -> list[tuple[str, LatencyReport]]:
    """The side's distributions that say something of their own, with their names."""
    rows = [("from due", side.latency), ("from sent", side.service), ("recorded", side.recorded)]
    if side.latency.quantiles_ms == side.service.quantiles_ms:
        rows = rows[1:]
    return [(words, row) for words, row in rows if row.count]


def _latency_lines(name: str, side: SideReport) -> list[str]:
    return [
        f"  {name + ', ' + words:<32} {row.count:>8} "
        + " ".join(f"{row.quantiles_ms[share]:>9.2f}" for share in ("0.5", "0.9", "0.95", "0.99", "1"))
        for words, row in latencies(side)
    ]


def _statuses(side: SideReport) -> str:
    parts = [f"{status} x{count}" for status, count in side.statuses.items()]
    parts += [f"{cause} x{count}" for cause, count in side.failures.items()]
    other = f"; {side.status_other} with another status than recorded" if side.status_other else ""
    return ", ".join(parts) + other


def _verdict_lines(report: ReplayReport) -> list[str]:
    lines = [f"{'route':<24} {'compared':>9} {'match':>9} {'known':>7} {'mismatch':>9} {'failed':>7}"]
    rows = [(route.route or "-", route.verdicts) for route in report.routes]
    for name, one in [*rows, ("all", report.verdicts)]:
        lines.append(f"{name:<24} {one.compared:>9} {one.match:>9} {one.known:>7} {one.mismatch:>9} {one.failed:>7}")
    for finding in report.findings:
        lines.append(
            f"  {finding.count:>6}x {finding.severity:<8} {finding.route} {finding.place}: {finding.kind}, {finding.shape}"
        )
        lines.append(f"          legacy {finding.legacy[:100] or 'nothing'}")
        lines.append(f"          candidate {finding.candidate[:100] or 'nothing'}")
    return lines
