"""The overview: who serves, how much of it matches, whether every exchange is accounted for, what differs, and how fast both sides are."""

import asyncio
import datetime as dt
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar, cast

from comparator.exchanges.comparison import Verdict
from comparator.postgres import Connection
from comparator.stats.confidence import Interval, VerdictCounts, rate_interval
from comparator.store import causes, queries, series
from comparator.store.cause_activity import cause_activity
from comparator.store.ended import EndedAs
from comparator.store.rollups import SLOT
from comparator.store.rows import CauseRow, RouteLatency
from proxy.config.rollout import RolloutSettings
from proxy.errors import ProxyError
from proxy.journal.reconciliation import WriterAccount
from proxy.rollout import store as rollout_store
from proxy.rollout.audit import AuditEvent, ChainLink
from proxy.rollout.group_state import ALL
from proxy.ui.frame import proxy_line
from proxy.ui.gate_tiles import outcomes_of, tiles_of
from proxy.ui.parts import ExchangeAccounts, PartAnswer, ProxyPart, StorePart, asked
from proxy.ui.rollout import AuditLine, audit_line, newest_rollout, share_of
from proxy.ui.screens import SPANS, ScreenRequest

BINS_MAX: Final = 90
BIN_LENGTHS_S: Final = (10, 30, 60, 120, 300, 600, 1_800, 3_600, 10_800)
ALPHA: Final = 0.01
CAUSES_SHOWN: Final = 5
CAUSES_READ_MAX: Final = 1_000
ENTRIES_READ_MAX: Final = 200
OPEN_STATES: Final = ("regressed", "new")
ACCOUNTING_TIMEOUT_S: Final = 8.0
MINUTES_OF_DURATIONS_MAX_S: Final = 120
"""Longest bin of the durations that is read from counts by minute."""
LATENCY_QUANTILES: Final = (0.5, 0.95, 0.99)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class MatchBin:
    """One bin of the match rate; `interval` holds at all times at once."""

    begins: dt.datetime
    compared: int
    mismatches: int
    interval: Interval


@dataclass(frozen=True, slots=True)
class MatchRate:
    """The match rate over the time range.

    Attributes:
        begins: begin of the chart: of the time range, or of the first comparison in it.
        rows_compared: comparisons of the rows of all tables.
        rows_in_part: comparisons without the rows of some tables; the others are of responses alone.
        known: comparisons with declared known differences only, which count as matches.
        transient: comparisons whose difference did not reproduce, which count as matches.
        failed: comparisons that could not be made, which do not count.
    """

    begins: dt.datetime
    until: dt.datetime
    bin_s: int
    compared: int
    matched: int
    interval: Interval
    rows_compared: int
    rows_in_part: int
    known: int
    transient: int
    failed: int
    bins: tuple[MatchBin, ...]


@dataclass(frozen=True, slots=True)
class AccountLine:
    """The account of one writer, in numbers of exchanges."""

    writer: str
    offered: int
    ended: int
    in_flight: int
    lost: int
    numbers: str


@dataclass(frozen=True, slots=True)
class AccountPart:
    """One part of the bar: `skipped: not_captured 210`."""

    name: str
    tone: str
    count: int
    causes: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class AccountingPanel:
    """Every exchange by number.

    Attributes:
        served: exchanges that the writers of the journal were offered, and those that the proxies left out by policy.
        parts: what became of them.
        lost: exchanges without a trace.
    """

    served: int
    parts: tuple[AccountPart, ...]
    lost: int
    writers: tuple[AccountLine, ...]

    @property
    def sum(self) -> int:
        """The sum of the parts."""
        return sum(part.count for part in self.parts)

    @property
    def closes(self) -> bool:
        """True when every exchange has one outcome, or is in flight."""
        return not self.lost and self.sum == self.served


@dataclass(frozen=True, slots=True)
class CauseLine:
    """One open cause, with its exchanges over the time range."""

    id: str
    state: str
    severity: str
    where: str
    what: str
    places: int
    exchanges: int
    keys: int
    bins: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class OpenCauses:
    """The open causes: `hidden` are acknowledged, fixed or provisional ones."""

    causes: tuple[CauseLine, ...]
    open: int
    hidden: int
    findings: int
    exchanges: int
    bin_s: int


@dataclass(frozen=True, slots=True)
class LatencyPanel:
    """p95 of both sides over the time range, and quantiles of today by route."""

    bins: tuple[series.DurationBin, ...]
    begins: dt.datetime
    until: dt.datetime
    bin_s: int
    routes: tuple[RouteLatency, ...]


@dataclass(frozen=True, slots=True)
class ServingLine:
    """One proxy: the share that is set, and what it has served since it started."""

    name: str
    address: str
    share: float | None
    rolled_back: bool
    error: str
    served: int
    in_flight: int


@dataclass(frozen=True, slots=True)
class RunnerLine:
    """The runner: its state in words, how far it is behind, and the exchanges that ended since it started."""

    state: str
    tone: str
    lag_s: float
    ended: int


@dataclass(frozen=True, slots=True)
class GroupLine:
    """One group of the rollout: its step, counted from 0, and the number of its steps."""

    name: str
    phase: str
    step: int
    steps: int


@dataclass(frozen=True, slots=True)
class RolloutLine:
    """The rollout: its groups, and how many gates fail, have not enough evidence, and pass, as tone and text."""

    enabled: bool
    groups: tuple[GroupLine, ...]
    outcomes: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class StagePiece:
    """The candidate's share in percent from `begins` to `ends`."""

    begins: dt.datetime
    ends: dt.datetime
    percent: float
    rolled_back: bool


@dataclass(frozen=True, slots=True)
class OverviewDocument:
    """The overview."""

    proxies: tuple[ServingLine, ...]
    runner: PartAnswer[RunnerLine]
    store: PartAnswer[StorePart]
    rollout: RolloutLine
    last_change: PartAnswer[AuditLine | None]
    stages: PartAnswer[tuple[StagePiece, ...]]
    match: PartAnswer[MatchRate]
    accounting: PartAnswer[AccountingPanel]
    causes: PartAnswer[OpenCauses]
    latency: PartAnswer[LatencyPanel]


def bin_length_s(span: dt.timedelta) -> int:
    """Return the length of bins with which a span has at most BINS_MAX of them."""
    return next((length for length in BIN_LENGTHS_S if span.total_seconds() / length <= BINS_MAX), BIN_LENGTHS_S[-1])


async def read(request: ScreenRequest) -> OverviewDocument:
    """Read all panels at the same time, each on its own."""
    match, accounting, open_causes, latency, entries = await asyncio.gather(
        _of_store(request, _match),
        asked(lambda: _accounting(request), ACCOUNTING_TIMEOUT_S),
        _of_store(request, _causes),
        _of_store(request, _latency),
        _of_store(request, _entries),
    )
    stages: PartAnswer[tuple[StagePiece, ...]] = PartAnswer(error=entries.error or match.error)
    if entries.value is not None and match.value is not None:
        settings = request.settings.rollout
        stages = PartAnswer(stages_of(entries.value, settings, match.value.begins, match.value.until))
    changes = [link for link in entries.value or () if link.entry.event is not AuditEvent.GATE_FAILED]
    return OverviewDocument(
        proxies=tuple(_serving_line(proxy) for proxy in request.parts.proxies),
        runner=_runner_line(request.parts.runner),
        store=request.parts.store,
        rollout=_rollout_line(newest_rollout(request)[1], request.settings.rollout),
        last_change=PartAnswer(audit_line(changes[-1], request.settings.rollout) if changes else None, entries.error),
        stages=stages,
        match=match,
        accounting=accounting,
        causes=open_causes,
        latency=latency,
    )


def _serving_line(proxy: ProxyPart) -> ServingLine:
    line, status = proxy_line(proxy), proxy.status or {}
    served, in_flight = int(status.get("served", 0)), int(status.get("in_flight", 0))
    return ServingLine(line.name, line.address, line.share, line.rolled_back, line.error, served, in_flight)


def _runner_line(runner: PartAnswer[Mapping[str, Any]]) -> PartAnswer[RunnerLine]:
    if runner.value is None:
        return PartAnswer(error=runner.error)
    status = runner.value
    shadow = cast("Mapping[str, Any]", status.get("shadow") or {})
    state, tone = "shadow aligned", "good"
    if status.get("capture") == "off":
        state, tone = "responses only", "few"
    if shadow.get("needs_clone"):
        state, tone = "needs a clone", "bad"
    elif shadow.get("resyncing"):
        state, tone = "resyncing", "few"
    elif not status.get("ready"):
        state, tone = "not ready", "few"
    return PartAnswer(RunnerLine(state, tone, float(status.get("lag_s") or 0.0), int(status.get("ended") or 0)))


def _rollout_line(document: Mapping[str, Any], settings: RolloutSettings) -> RolloutLine:
    groups = cast("Sequence[Mapping[str, Any]]", document.get("groups") or ())
    tiles = [
        tile for group in groups for tile in tiles_of(cast("Mapping[str, Any]", group.get("gates") or {}), settings)
    ]
    return RolloutLine(
        bool(document.get("enabled")),
        tuple(
            GroupLine(str(group["group"]), str(group["phase"]), int(group["step"]), len(group["steps"]))
            for group in groups
        ),
        outcomes_of(tiles),
    )


async def _entries(conn: Connection, _request: ScreenRequest) -> tuple[ChainLink, ...]:
    return await rollout_store.read_links(conn, limit=ENTRIES_READ_MAX)


def stages_of(
    links: Sequence[ChainLink], settings: RolloutSettings, begins: dt.datetime, until: dt.datetime
) -> tuple[StagePiece, ...]:
    """Return the candidate's share over a time range, by the audit log of the group `all`; none without a rollout."""
    changes: list[tuple[dt.datetime, float, bool]] = []
    for entry in (link.entry for link in links):
        share = share_of(entry.after, settings)
        if entry.group not in ("", ALL) or share is None or entry.event is AuditEvent.GATE_FAILED:
            continue
        if not changes:
            changes.append((begins, share_of(entry.before, settings) or 0.0, False))
        changes.append((entry.at, share, entry.event is AuditEvent.ROLL_BACK))
    # (a change before the time range is the share at its begin)
    ends = [at for at, _, _ in changes[1:]] + [until]
    pieces = [
        StagePiece(max(begins, at), end, share, rolled_back)
        for (at, share, rolled_back), end in zip(changes, ends[: len(changes)], strict=True)
        if end > begins
    ]
    merged: list[StagePiece] = []
    for piece in pieces:
        if merged and not piece.rolled_back and merged[-1].percent == piece.percent:
            piece = replace(merged.pop(), ends=piece.ends)  # noqa: PLW2901 (the piece before goes on)
        merged.append(piece)
    return tuple(merged)


async def _of_store(
    request: ScreenRequest, panel: Callable[[Connection, ScreenRequest], Awaitable[T]]
) -> PartAnswer[T]:
    async def ask() -> T:
        async with request.reader.store.connection() as conn:
            return await panel(conn, request)

    return await asked(ask, request.settings.ui.store_timeout_s + 1.0)


@dataclass(frozen=True, slots=True)
class Bins:
    """The bins of a chart: the first begins at `begins`, the last ends at `until`, each is `length_s` long."""

    begins: dt.datetime
    until: dt.datetime
    length_s: int

    @property
    def count(self) -> int:
        """The number of bins."""
        return round((self.until - self.begins).total_seconds() / self.length_s)

    def index(self, begins: dt.datetime) -> int:
        """Return the index of the bin with a begin."""
        return round((begins - self.begins).total_seconds() / self.length_s)


async def _bins(conn: Connection, request: ScreenRequest) -> Bins:
    """Return the bins of a time range; where nothing was compared in its first part, they begin with the first comparison."""
    length_s = bin_length_s(SPANS[request.span_name])
    if not await series.is_fine(conn, since=request.since, until=request.now):
        length_s = max(length_s, int(series.MINUTE.total_seconds()))
    until = _up(request.now, length_s)
    since = max(request.since, until - dt.timedelta(seconds=length_s * BINS_MAX))
    first = await series.oldest_minute(conn, since=since.replace(second=0, microsecond=0))
    return Bins(_down(max(since, first) if first else since, length_s), until, length_s)


def _down(at: dt.datetime, length_s: int) -> dt.datetime:
    """Return the begin of the bin that a time lies in. Bins of minutes and more begin at whole minutes, as the stored counts do."""
    return dt.datetime.fromtimestamp(at.timestamp() // length_s * length_s, dt.UTC)


def _up(at: dt.datetime, length_s: int) -> dt.datetime:
    return _down(at, length_s) + dt.timedelta(seconds=length_s)


async def _match(conn: Connection, request: ScreenRequest) -> MatchRate:
    bins = await _bins(conn, request)
    counted = await series.counts_over_time(conn, since=bins.begins, until=bins.until, bin_s=bins.length_s)
    counts = sum((one.counts for one in counted), VerdictCounts())
    return MatchRate(
        begins=bins.begins,
        until=bins.until,
        bin_s=bins.length_s,
        compared=counts.compared,
        matched=counts.good,
        interval=rate_interval(counts.good, counts.compared, alpha=ALPHA),
        rows_compared=sum(one.rows_compared for one in counted),
        rows_in_part=sum(one.rows_in_part for one in counted),
        known=counts.known,
        transient=counts.transient,
        failed=counts.failed,
        bins=tuple(
            MatchBin(
                one.begins,
                one.counts.compared,
                one.counts.mismatch,
                rate_interval(one.counts.good, one.counts.compared, alpha=ALPHA),
            )
            for one in counted
        ),
    )


async def _causes(conn: Connection, request: ScreenRequest) -> OpenCauses:
    bins = await _bins(conn, request)
    listed = await causes.causes(conn, all_causes=True, limit=CAUSES_READ_MAX)
    length = dt.timedelta(seconds=bins.length_s)
    activity = await cause_activity(conn, since=bins.begins, until=bins.until, bin_length=length)
    is_open = [cause for cause in listed.causes if cause.state in OPEN_STATES and not cause.provisional]
    lines = [_cause_line(cause, activity[cause.id].bins if cause.id in activity else {}, bins) for cause in is_open]
    lines.sort(key=lambda line: (OPEN_STATES.index(line.state), -line.exchanges, line.id))
    return OpenCauses(
        tuple(lines[:CAUSES_SHOWN]),
        len(lines),
        len(listed.causes) - len(lines),
        len({finding for cause in is_open for finding in cause.findings}),
        listed.mismatches,
        bins.length_s,
    )


def _cause_line(cause: CauseRow, counts: Mapping[dt.datetime, int], bins: Bins) -> CauseLine:
    heights = [0] * bins.count
    for begins, count in counts.items():
        index = bins.index(begins)
        if 0 <= index < len(heights):
            heights[index] += count
    title = cause.body.title
    return CauseLine(
        cause.id,
        cause.state,
        cause.severity,
        title.where,
        title.what,
        len(cause.findings),
        sum(counts.values()),
        cause.keys,
        tuple(heights),
    )


async def _latency(conn: Connection, request: ScreenRequest) -> LatencyPanel:
    bins = await _bins(conn, request)
    slot_s = int(SLOT.total_seconds())
    if MINUTES_OF_DURATIONS_MAX_S < bins.length_s < slot_s:
        # (durations of hours are read from counts by ten minutes: those by minute are ten times as many)
        bins = Bins(_down(bins.begins, slot_s), _up(request.now, slot_s), slot_s)
    over_time = await series.durations_over_time(conn, since=bins.begins, until=bins.until, bin_s=bins.length_s)
    today = await queries.latency(conn, since=request.now.date(), quantiles=LATENCY_QUANTILES)
    busiest = sorted(today, key=lambda route: -route.count)
    return LatencyPanel(over_time, bins.begins, bins.until, bins.length_s, tuple(busiest))


# Accounting.


async def _accounting(request: ScreenRequest) -> AccountingPanel:
    accounts = await request.reader.accounts()
    silent = [proxy.name for proxy in request.parts.proxies if proxy.status is None]
    if silent:
        raise ProxyError(
            f"{', '.join(silent)} did not answer, and may have served exchanges that no count here includes"
        )
    left_out: dict[str, int] = {}
    for proxy in request.parts.proxies:
        for cause, count in cast("Mapping[str, int]", (proxy.status or {}).get("skipped") or {}).items():
            left_out[cause] = left_out.get(cause, 0) + count
    return accounting_of(accounts, left_out)


def accounting_of(accounts: ExchangeAccounts, left_out: Mapping[str, int]) -> AccountingPanel:
    """Account for every exchange.

    Args:
        accounts: exchanges by number.
        left_out: exchanges that the proxies served and, by policy, did not journal, by cause.
    """
    lines = tuple(_account_line(one) for one in accounts.writers)
    by_outcome: dict[EndedAs, dict[str, int]] = {outcome: {} for outcome in EndedAs}
    for total in accounts.ended:
        by_cause = by_outcome[total.outcome]
        by_cause[total.cause] = by_cause.get(total.cause, 0) + total.count
    compared = by_outcome[EndedAs.COMPARED]
    mismatches = compared.pop(Verdict.MISMATCH, 0)
    skipped = dict(by_outcome[EndedAs.SKIPPED])
    for cause, count in left_out.items():
        skipped[cause] = skipped.get(cause, 0) + count
    in_flight = sum(line.in_flight for line in lines)
    parts = (
        AccountPart("match", "good", sum(compared.values()), compared),
        AccountPart("mismatch", "bad", mismatches, {}),
        AccountPart("skipped", "sup", sum(skipped.values()), skipped),
        AccountPart("dropped", "few", sum(by_outcome[EndedAs.UNREAD].values()), by_outcome[EndedAs.UNREAD]),
        AccountPart("failed", "few", sum(by_outcome[EndedAs.FAILED].values()), by_outcome[EndedAs.FAILED]),
        AccountPart("in flight", "neutral", in_flight, {}),
    )
    served = sum(line.offered for line in lines) + sum(left_out.values())
    return AccountingPanel(served, parts, sum(line.lost for line in lines), lines)


def _account_line(one: WriterAccount) -> AccountLine:
    in_flight = one.in_flight + one.unread + one.queued
    lost = len(one.missing) + len(one.unwritten)
    numbers = ", ".join(str(ranges) for ranges in (one.missing, one.unwritten) if ranges)
    return AccountLine(one.writer, one.ended + in_flight + lost, one.ended, in_flight, lost, numbers)
