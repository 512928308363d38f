"""Lets both sides do each record from one state of the shadow database, and compares their responses and their effects.

For each record: the candidate does it, its changes are collected and undone; the legacy does it, its changes are collected and
undone; then both are compared. So every record starts from the state the replay started from, whatever came before it, and
two replays from one state find the same. Nothing else may write to the shadow database meanwhile: stop the runner first.

One record after the other, and one side after the other. So whatever is committed while a side is at work is its work, also where
neither a key nor a name says so (the row of an API key); and no side sees rows of another record that are about to be undone.
"""

import contextlib
import datetime as dt
import hashlib
import time
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from comparator.capture.settings import Driver
from comparator.exchanges.model import Effects, EffectsOutcome, Observation, Request, Role, Side
from comparator.findings.clustering import Clusterer, Signature
from comparator.findings.redaction import Redactor
from comparator.store.comparison_detail import difference_text
from comparator.verdict import Comparator, Comparison, Verdict
from proxy.config.settings import Settings
from proxy.recordings.model import RecordedExchange
from proxy.replay.errors import OptionError
from proxy.replay.report import FindingReport, Verdicts
from proxy.replay.schedule import ScheduledRequest
from proxy.replay.session import TargetSender, request_id
from proxy.replay.tally import Tally
from proxy.runner.databases import open_exclusive_shadow
from proxy.runner.mirror import changes_of
from proxy.runner.mirror_client import MirroredResponse
from proxy.runner.row_targets import RowTarget, targets
from proxy.runner.row_writer import WrittenRows
from proxy.runner.shadow_attribution import ShadowAttribution

ORDER = (Side.CANDIDATE, Side.LEGACY)
FINDINGS_MAX = 200


@dataclass(frozen=True, slots=True)
class ReplayShadow:
    """The shadow database, captured.

    Attributes:
        changes: keeps its transactions until they are taken.
        fence: waits until everything committed is in.
        interruptions: how often transactions may have been lost.
        write: writes rows.
        primary_keys: of the captured tables.
    """

    changes: ShadowAttribution
    fence: Callable[[], Awaitable[None]]
    interruptions: Callable[[], int]
    write: Callable[[Sequence[RowTarget]], Awaitable[WrittenRows]]
    primary_keys: Mapping[str, Sequence[str]]

    async def run(self, side: Side, send: Callable[[], Awaitable[MirroredResponse]]) -> Observation:
        """Let a side do something, and undo what it did."""
        interruptions = self.interruptions()
        sent = await send()
        await self.fence()
        lost = self.interruptions() != interruptions
        own = tuple(keyed.transaction for keyed in self.changes.take_unclaimed())
        effects = Effects(EffectsOutcome.LOST if lost else EffectsOutcome.ATTRIBUTED, own)
        await self._undo(effects)
        role = Role.SERVED if side is Side.LEGACY else Role.MIRRORED
        return Observation(side, role, sent.outcome, sent.duration_ns, effects)

    async def settle(self) -> int:
        """Undo what was committed since the last run, which is nobody's; how many transactions that was."""
        late = self.changes.take_unclaimed()
        await self._undo(Effects(EffectsOutcome.ATTRIBUTED, tuple(keyed.transaction for keyed in late)))
        return len(late)

    async def _undo(self, effects: Effects) -> None:
        wanted = targets((), changes_of(effects), self.primary_keys)
        if wanted:
            await self.write(wanted)


@dataclass(slots=True)
class ReplayVerdicts:
    """What the comparisons of a replay add up to; `redactor` takes secrets out of the examples."""

    clusterer: Clusterer
    redactor: Redactor
    by_route: dict[str, Counter[Verdict]] = field(default_factory=dict[str, Counter[Verdict]])
    found: dict[Signature, FindingReport] = field(default_factory=dict[Signature, FindingReport])
    uncertain: Counter[str] = field(default_factory=Counter[str])
    lines: list[str] = field(default_factory=list[str])

    def add(self, route: str, run_id: str, comparison: Comparison) -> None:
        """Count one comparison; `served` is the legacy's."""
        self.by_route.setdefault(route, Counter())[comparison.verdict] += 1
        if comparison.effects_note:
            self.uncertain["effects_not_compared"] += 1
        shapes = sorted(f"{d.kind} {d.place} {d.natural_key}" for d in comparison.differences)
        self.lines.append(f"{run_id} {comparison.verdict} {comparison.cause} {'; '.join(shapes)}")
        for sighting in self.clusterer.occurrences(route, comparison):
            earlier = self.found.get(sighting.signature)
            if earlier is not None:
                self.found[sighting.signature] = msgspec.structs.replace(earlier, count=earlier.count + sighting.count)
            elif len(self.found) < FINDINGS_MAX:
                words = difference_text(self.redactor.difference(sighting.example))
                signature = sighting.signature
                self.found[signature] = FindingReport(
                    id=signature.id,
                    route=route,
                    kind=signature.kind.value,
                    place=signature.place,
                    shape=signature.shape,
                    severity=signature.severity.value,
                    count=sighting.count,
                    exchange=run_id,
                    legacy=words.served,
                    candidate=words.mirrored,
                )

    def late(self, count: int) -> None:
        """Count transactions that were committed after the response of whoever made them had come."""
        if count:
            self.uncertain["late_transactions"] += count

    def verdicts(self) -> Mapping[str, Verdicts]:
        """By route."""
        return {route: _verdicts(counts) for route, counts in self.by_route.items()}

    def findings(self) -> Sequence[FindingReport]:
        """The most frequent first."""
        return sorted(self.found.values(), key=lambda one: (-one.count, one.id))

    def digest(self) -> str:
        """Names all verdicts and what differed where, in no order: equal for two replays that found the same."""
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
    """Does each record on both sides."""

    sends: Mapping[Side, TargetSender]
    shadow: ReplayShadow
    comparator: Comparator
    tally: Tally
    judged: ReplayVerdicts

    async def do(self, one: ScheduledRequest, recorded: RecordedExchange, due_ns: int | None) -> None:
        """Both runs, one after the other, and the comparison."""
        run_id = request_id(one) or f"replay-{one.number}"
        seen: dict[Side, Observation] = {}
        for side in ORDER:
            self.judged.late(await self.shadow.settle())
            begun_ns = time.perf_counter_ns()
            send = _sending(self.sends[side], recorded.request, run_id)
            seen[side] = await self.shadow.run(side, send)
            waited_ns = max(0, begun_ns - due_ns) if due_ns is not None and side is ORDER[0] else 0
            observed = seen[side]
            self.tally.add(side, recorded, observed.outcome, waited_ns=waited_ns, took_ns=observed.duration_ns)
        now = dt.datetime.now(dt.UTC)
        comparison = self.comparator.compare(recorded.route, seen[Side.LEGACY], seen[Side.CANDIDATE], now=now)
        self.judged.add(recorded.route, run_id, comparison)

    def verdicts(self) -> Mapping[str, Verdicts]:
        """By route."""
        return self.judged.verdicts()

    def findings(self) -> Sequence[FindingReport]:
        """The most frequent first."""
        self.tally.left_out.update(self.judged.uncertain)
        self.judged.uncertain.clear()
        return self.judged.findings()

    def digest(self) -> str:
        """Names all verdicts."""
        return self.judged.digest()


def _sending(sends: TargetSender, request: Request, run_id: str) -> Callable[[], Awaitable[MirroredResponse]]:
    return lambda: sends.request(request, request_id=run_id)


@contextlib.asynccontextmanager
async def open_shadow(settings: Settings) -> AsyncGenerator[ReplayShadow]:
    """The shadow database of the configuration, captured, for the block.

    Raises:
        OptionError: the capture is off.
        RunnerRunningError: the runner is running.
        SettingsError, CaptureError: a database cannot be used; the message says what to do.
    """
    if settings.capture.driver is Driver.OFF:
        raise OptionError("--to both compares effects: capture.driver must not be off")
    async with open_exclusive_shadow(
        settings.databases, settings.capture, settings.compare, settings.journal, settings.runner
    ) as shadow:
        yield ReplayShadow(
            changes=shadow.attribution,
            fence=shadow.feed.fence,
            interruptions=lambda: shadow.feed.interruptions,
            write=shadow.writer.apply,
            primary_keys=shadow.primary_keys,
        )
