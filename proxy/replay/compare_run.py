"""Sends each request to both sides from one state of the shadow database, and compares their responses and effects.

For each request: the candidate serves it, its row changes are collected and undone; the legacy serves it, its row changes are
collected and undone; then both are compared. So every request starts from the state in which the replay started, and two replays
from one state have the same results. Nothing else may write to the shadow database meanwhile: stop the runner first.

Requests run one at a time, and so do the sides. Whatever is committed while a side runs is therefore its effect, even where neither
a key nor a transaction's name attributes it (the usage counter of an API key, for example), and no side sees rows of another request
that are about to be undone.
"""

import contextlib
import datetime as dt
import hashlib
import time
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus

import msgspec

from comparator.capture.settings import Driver
from comparator.capture.table_shape import TableShape
from comparator.effects.row_fold import RowKey
from comparator.exchanges.comparison import Comparison, Verdict
from comparator.exchanges.model import Effects, EffectsOutcome, Observation, Request, Response, Role, Side
from comparator.exchanges.row_changes import Row
from comparator.exchanges.table_schema import Schemas
from comparator.findings.causes import Cause, FindingSet, find_causes
from comparator.findings.clustering import Clusterer, Signature
from comparator.findings.redaction import Redactor
from comparator.findings.tokens import token_of
from comparator.store.comparison_detail import difference_text
from comparator.verdict import Comparator
from proxy.config.settings import Settings
from proxy.recordings.model import RecordedExchange
from proxy.replay.errors import OptionError
from proxy.replay.report import CauseReport, ExchangeReport, FindingReport, Verdicts
from proxy.replay.schedule import ScheduledRequest
from proxy.replay.session import TargetSender, request_id
from proxy.replay.tally import LeftOut, Tally
from proxy.runner.databases import open_exclusive_shadow
from proxy.runner.mirror import changes_of
from proxy.runner.mirror_client import MirroredResponse
from proxy.runner.resync import LaterRows
from proxy.runner.row_targets import Alignment, alignment
from proxy.runner.row_writer import WrittenRows
from proxy.runner.shadow_attribution import ShadowAttribution

ORDER = (Side.CANDIDATE, Side.LEGACY)
FINDINGS_MAX = 200
SETS_MAX = 2_000
IDS_MAX = 200_000
"""Exchanges that differ, or were not compared in full, whose ids a report holds."""


_NO_TIME = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
"""Time of all exchanges of a replay: causes of two replays do not differ by when they ran."""


@dataclass(frozen=True, slots=True)
class ReplayShadow:
    """The shadow database under change data capture.

    Attributes:
        changes: holds captured transactions until they are taken.
        fence: waits until everything committed is captured.
        interruptions: number of times that transactions may have been lost.
        write: makes changes.
        read: returns those of the rows that exist.
        read_later: returns rows that were inserted behind others.
        primary_keys: of the captured tables.
        shapes: of the captured tables.
        schemas: of the captured tables, for the comparison of their rows.
    """

    changes: ShadowAttribution
    fence: Callable[[], Awaitable[None]]
    interruptions: Callable[[], int]
    write: Callable[[Alignment], Awaitable[WrittenRows]]
    read: Callable[[Iterable[RowKey]], Awaitable[Mapping[RowKey, Row]]]
    read_later: Callable[[Iterable[LaterRows]], Awaitable[Mapping[RowKey, Row]]]
    primary_keys: Mapping[str, Sequence[str]]
    shapes: Mapping[str, TableShape]
    schemas: Schemas

    async def run(self, side: Side, send: Callable[[], Awaitable[MirroredResponse]]) -> Observation:
        """Send a request to a side, collect its effects and undo them."""
        interruptions = self.interruptions()
        started_ns = time.time_ns()
        sent = await send()
        await self.fence()
        lost = self.interruptions() != interruptions
        transactions = tuple(keyed.transaction for keyed in self.changes.take_unclaimed())
        effects = Effects(EffectsOutcome.LOST if lost else EffectsOutcome.ATTRIBUTED, transactions, self.schemas)
        await self._undo(effects)
        role = Role.SERVED if side is Side.LEGACY else Role.MIRRORED
        return Observation(side, role, sent.outcome, sent.duration_ns, effects, started_ns)

    async def undo_strays(self) -> int:
        """Undo transactions that were committed after the last run; return their number. They belong to no request."""
        strays = self.changes.take_unclaimed()
        await self._undo(Effects(EffectsOutcome.ATTRIBUTED, tuple(keyed.transaction for keyed in strays)))
        return len(strays)

    async def _undo(self, effects: Effects) -> None:
        work = alignment((), changes_of(effects), self.primary_keys)
        if work:
            await self.write(work)


@dataclass(slots=True)
class ExchangeIds:
    """The ids of a replay's exchanges, as far as its report needs them.

    Attributes:
        total: number of exchanges.
        without_set: those that differ, and are in no set of findings.
        unjudged: those that were not compared in full.
        held: number of ids that are held here, and by sets of findings.
        complete: no id was left out for want of room.
    """

    total: int = 0
    without_set: list[str] = field(default_factory=list[str])
    unjudged: list[str] = field(default_factory=list[str])
    held: int = 0
    complete: bool = True
    _sum: int = 0

    def add(self, run_id: str, *, judged: bool) -> None:
        """Add an exchange."""
        self.total += 1
        digest = hashlib.sha256(run_id.encode("utf-8", "surrogatepass")).digest()
        self._sum = (self._sum + int.from_bytes(digest)) % 2**256
        if not judged:
            self.hold(self.unjudged, run_id)

    def hold(self, ids: list[str], run_id: str) -> None:
        """Append an id where there is room for one."""
        if self.held < IDS_MAX:
            self.held += 1
            ids.append(run_id)
        else:
            self.complete = False

    def digest(self) -> str:
        """Return a digest of all ids, whatever their order; "" for none."""
        return f"{self._sum:064x}" if self.total else ""


@dataclass(slots=True)
class FoundTogether:
    """Findings that occurred together: the first exchange, how many there are, and the ids of those for which there is room."""

    first: str
    count: int = 0
    ids: list[str] = field(default_factory=list[str])


@dataclass(slots=True)
class ReplayVerdicts:
    """The results of all comparisons of a replay.

    Attributes:
        clusterer: groups differences to findings.
        redactor: takes secrets out of the examples.
        by_route: verdicts.
        by_signature: findings, at most FINDINGS_MAX.
        sets: the sets of findings that occurred together, at most SETS_MAX, with their exchanges.
        exchanges: the ids of all exchanges.
        uncertain: comparisons that are incomplete, by reason.
        lines: one for each comparison, for the digest.
    """

    clusterer: Clusterer
    redactor: Redactor
    by_route: dict[str, Counter[Verdict]] = field(default_factory=dict[str, Counter[Verdict]])
    by_signature: dict[Signature, FindingReport] = field(default_factory=dict[Signature, FindingReport])
    sets: dict[frozenset[Signature], FoundTogether] = field(default_factory=dict[frozenset[Signature], FoundTogether])
    exchanges: ExchangeIds = field(default_factory=ExchangeIds)
    uncertain: Counter[LeftOut] = field(default_factory=Counter[LeftOut])
    lines: list[str] = field(default_factory=list[str])

    def add(self, route: str, run_id: str, comparison: Comparison, request: Request | None = None) -> None:
        """Add one comparison, in which the legacy side was `served`."""
        self.exchanges.add(
            run_id, judged=not comparison.effects_note and comparison.verdict not in (Verdict.FAILED, Verdict.TRANSIENT)
        )
        if comparison.effects_note:
            self.uncertain[LeftOut.EFFECTS_NOT_COMPARED] += 1
        if not comparison.effects_note or comparison.differences:
            self.by_route.setdefault(route, Counter())[comparison.verdict] += 1
        shapes = sorted(f"{d.kind} {d.place} {d.natural_key}" for d in comparison.differences)
        self.lines.append(f"{run_id} {comparison.verdict} {comparison.cause_label} {'; '.join(shapes)}")
        occurrences = self.clusterer.occurrences(route, comparison)
        together = frozenset(occurrence.signature for occurrence in occurrences)
        if together and (together in self.sets or len(self.sets) < SETS_MAX):
            found = self.sets.setdefault(together, FoundTogether(run_id))
            found.count += 1
            self.exchanges.hold(found.ids, run_id)
        elif comparison.verdict is Verdict.MISMATCH:
            self.exchanges.hold(self.exchanges.without_set, run_id)
        for occurrence in occurrences:
            earlier = self.by_signature.get(occurrence.signature)
            if earlier is not None:
                self.by_signature[occurrence.signature] = msgspec.structs.replace(
                    earlier, count=earlier.count + occurrence.count
                )
            elif len(self.by_signature) < FINDINGS_MAX:
                text = difference_text(self.redactor.difference(occurrence.example))
                signature = occurrence.signature
                self.by_signature[signature] = FindingReport(
                    id=signature.id,
                    route=route,
                    kind=signature.kind.value,
                    place=signature.place,
                    shape=signature.shape,
                    severity=signature.severity.value,
                    count=occurrence.count,
                    exchange=run_id,
                    legacy=text.served,
                    candidate=text.mirrored,
                    request=self._request_text(request),
                )

    def count_strays(self, count: int) -> None:
        """Count transactions that were committed after the response to their request."""
        if count:
            self.uncertain[LeftOut.LATE_TRANSACTIONS] += count

    def verdicts(self) -> Mapping[str, Verdicts]:
        """Return the verdicts by route."""
        return {route: _verdicts(counts) for route, counts in self.by_route.items()}

    def findings(self) -> Sequence[FindingReport]:
        """Return the findings, the most frequent first."""
        return sorted(self.by_signature.values(), key=lambda finding: (-finding.count, finding.id))

    def _request_text(self, request: Request | None) -> str:
        if request is None:
            return ""
        return f"{request.method} {self.redactor.target(request.target.partition('?')[0])}"

    def _solved(self) -> Sequence[Cause]:
        sets = [
            FindingSet(
                id=found.first,
                route=next(iter(together)).route,
                findings={signature.id: token_of(signature) for signature in together},
                count=found.count,
                first_seen=_NO_TIME,
                last_seen=_NO_TIME,
            )
            for together, found in self.sets.items()
        ]
        return find_causes(sets).causes

    def exchange_report(self) -> ExchangeReport:
        """Return the ids of the exchanges that differ, by cause."""
        ids = {found.first: found.ids for found in self.sets.values()}
        causes = self._solved()
        unassigned = ids.keys() - frozenset[str]().union(*(cause.sets for cause in causes))
        return ExchangeReport(
            total=self.exchanges.total,
            digest=self.exchanges.digest(),
            by_cause={cause.id: tuple(one for first in sorted(cause.sets) for one in ids[first]) for cause in causes},
            without_cause=(*self.exchanges.without_set, *(one for first in sorted(unassigned) for one in ids[first])),
            unjudged=tuple(self.exchanges.unjudged),
            complete=self.exchanges.complete,
        )

    def causes(self) -> Sequence[CauseReport]:
        """Return the causes of the mismatches, the largest first."""
        return [
            CauseReport(
                id=cause.id,
                title=f"{cause.body.title.where}: {cause.body.title.what}",
                severity=cause.severity.value,
                exchanges=cause.exchanges,
                always=tuple(shown.token.where for shown in cause.body.always[1:]),
                sometimes=tuple(shown.token.where for shown in cause.body.sometimes),
                findings=tuple(sorted(cause.findings)),
                exchange=cause.body.exemplar,
                provisional=cause.provisional,
            )
            for cause in self._solved()
        ]

    def digest(self) -> str:
        """Return a digest of all verdicts and the places of differences, whatever their order. Values are not part of it."""
        return hashlib.sha256("\n".join(sorted(self.lines)).encode("utf-8", "surrogatepass")).hexdigest()


def _verdicts(counts: Counter[Verdict]) -> Verdicts:
    return Verdicts(
        compared=counts.total() - counts[Verdict.FAILED],
        match=counts[Verdict.MATCH],
        known=counts[Verdict.KNOWN],
        mismatch=counts[Verdict.MISMATCH],
        transient=counts[Verdict.TRANSIENT],
        failed=counts[Verdict.FAILED],
    )


@dataclass(slots=True)
class BothSides:
    """Send each request to both sides, and compare. `tables` has those that a route declares to read or write, by its name."""

    targets: Mapping[Side, TargetSender]
    shadow: ReplayShadow
    comparator: Comparator
    tally: Tally
    results: ReplayVerdicts
    tables: Mapping[str, Collection[str]] = field(default_factory=dict[str, Collection[str]])

    async def handle(
        self, request: ScheduledRequest, recorded: RecordedExchange, due_ns: int | None, *, credentials_missing: bool
    ) -> None:
        """Run both sides, one after the other, and compare them."""
        if not self.shadow.schemas.keys() >= set(self.tables.get(recorded.route, ())):
            self.results.uncertain[LeftOut.NOT_CAPTURABLE] += 1
            return
        run_id = request_id(request) or f"replay-{request.number}"
        observations: dict[Side, Observation] = {}
        for side in ORDER:
            self.results.count_strays(await self.shadow.undo_strays())
            started_ns = time.perf_counter_ns()
            send = _sender(self.targets[side], recorded.request, run_id)
            observation = observations[side] = await self.shadow.run(side, send)
            wait_ns = max(0, started_ns - due_ns) if due_ns is not None and side is ORDER[0] else 0
            self.tally.add(
                side,
                recorded,
                observation.outcome,
                wait_ns=wait_ns,
                service_ns=observation.duration_ns,
                credentials_missing=credentials_missing,
            )
        if credentials_missing and all(_refuses_credentials(observation) for observation in observations.values()):
            self.tally.left_out[LeftOut.CREDENTIALS_MISSING] += 1
            return
        now = dt.datetime.now(dt.UTC)
        legacy, candidate = observations[Side.LEGACY], observations[Side.CANDIDATE]
        comparison = self.comparator.compare(
            recorded.route, legacy, candidate, now=now, request=recorded.request, key=recorded.key
        )
        self.results.add(recorded.route, run_id, comparison, recorded.request)

    def verdicts(self) -> Mapping[str, Verdicts]:
        """Return the verdicts by route."""
        return self.results.verdicts()

    def findings(self) -> Sequence[FindingReport]:
        """Return the findings, the most frequent first."""
        self.tally.left_out.update(self.results.uncertain)
        self.results.uncertain.clear()
        return self.results.findings()

    def causes(self) -> Sequence[CauseReport]:
        """Return the causes of the mismatches, the largest first."""
        return self.results.causes()

    def exchanges(self) -> ExchangeReport:
        """Return the ids of the exchanges that differ, by cause."""
        return self.results.exchange_report()

    def digest(self) -> str:
        """Return a digest of all verdicts."""
        return self.results.digest()


def _refuses_credentials(observation: Observation) -> bool:
    outcome = observation.outcome
    return isinstance(outcome, Response) and outcome.status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)


def _sender(target: TargetSender, request: Request, run_id: str) -> Callable[[], Awaitable[MirroredResponse]]:
    return lambda: target.request(request, request_id=run_id)


@contextlib.asynccontextmanager
async def open_shadow(settings: Settings) -> AsyncGenerator[ReplayShadow]:
    """Open the shadow database of the configuration, with change data capture, for the block.

    Raises:
        OptionError: change data capture is off.
        RunnerRunningError: the runner is running.
        SettingsError, CaptureError: a database cannot be used; the message says what to do.
    """
    if settings.capture.driver is Driver.OFF:
        raise OptionError(
            "comparing both sides undoes what they write, and needs change data capture for that: set capture.driver"
        )
    async with open_exclusive_shadow(
        settings.databases, settings.capture, settings.compare, settings.journal, settings.runner
    ) as shadow:
        yield ReplayShadow(
            changes=shadow.attribution,
            fence=shadow.feed.fence,
            interruptions=lambda: shadow.feed.interruptions,
            write=shadow.write,
            read=shadow.read,
            read_later=shadow.read_later,
            primary_keys=shadow.primary_keys,
            shapes=shadow.writer.catalog.tables,
            schemas=shadow.schemas,
        )
