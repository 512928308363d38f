"""One exchange mirrored: the other side does it from the state the served side started from, both are compared, a mismatch is
confirmed by a second run of the mirrored side alone, and the shadow is made equal to live again.
"""

import asyncio
import datetime as dt
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

from comparator.capture.attribution import Claim
from comparator.capture.errors import CaptureError
from comparator.exchanges.model import Effects, EffectsOutcome, Exchange, Observation, Response, Role, Side
from comparator.exchanges.row_changes import RowChange
from comparator.verdict import Comparison, Lookups, Verdict, confirm
from proxy.runner.ledger import MirrorRun
from proxy.runner.mirror_client import MirroredResponse
from proxy.runner.row_targets import RowTarget, targets
from proxy.runner.row_writer import NOTHING_TO_ALIGN, WrittenRows
from proxy.runner.shadow_attribution import ShadowAttribution, now_us

logger = logging.getLogger(__name__)

COMPARED_IN_PLACE_MAX_BYTES = 65_536
"""Responses beyond this are compared in a thread: the hand-over costs less than what the others would wait."""

Align = Callable[[Sequence[RowTarget]], Awaitable[WrittenRows]]


class ExchangeComparator(Protocol):
    """Compares what both sides did."""

    def compare(
        self, route: str, served: Observation, mirrored: Observation, *, now: dt.datetime, lookups: Lookups
    ) -> Comparison:
        """Pure; no side is called."""
        ...


class Judge(Protocol):
    """Holds the rules in force, which may change between two comparisons."""

    @property
    def comparator(self) -> ExchangeComparator:
        """The rules in force."""
        ...


class RequestSender(Protocol):
    """Lets a side do a request against the shadow."""

    async def send(self, exchange: Exchange, side: Side) -> MirroredResponse:
        """A failure is a value."""
        ...


@dataclass(frozen=True, slots=True)
class MirrorResult:
    """What came of a run. `comparison` is None when the shadow's effects were lost."""

    served: Observation
    mirrored: Observation
    comparison: Comparison | None
    compare_s: float = 0.0
    aligned: WrittenRows = NOTHING_TO_ALIGN


@dataclass(slots=True)
class ConfirmBudget:
    """How many second runs may start: a token bucket of one second's worth. `now_s` is any monotonic clock's reading."""

    per_s_max: float
    _tokens: float = 1.0
    _at_s: float = 0.0

    def take(self, now_s: float) -> bool:
        """Whether one more may start now."""
        refilled = self._tokens + (now_s - self._at_s) * self.per_s_max
        self._tokens = min(max(1.0, self.per_s_max), refilled)
        self._at_s = now_s
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True


def served_observation(exchange: Exchange, claim: Claim) -> Observation:
    """What the served side did."""
    effects = Effects(claim.outcome, tuple(keyed.transaction for keyed in claim.transactions))
    return Observation(
        exchange.served_by, Role.SERVED, exchange.outcome, exchange.ended_ns - exchange.started_ns, effects
    )


def _body_bytes(observation: Observation) -> int:
    return len(observation.outcome.body) if isinstance(observation.outcome, Response) else 0


def changes_of(effects: Effects) -> list[RowChange]:
    """All row changes, in commit order."""
    return [change for transaction in effects.transactions for change in transaction.changes]


@dataclass(slots=True)
class Mirror:
    """Carries out runs.

    Attributes:
        sender: reaches the shadow instances.
        shadow: attributes shadow transactions; None without capture.
        fence: waits until the shadow's transactions are in.
        interruptions: how often the capture of the shadow may have lost transactions.
        primary_keys: of the captured tables.
        judge: compares.
        lookups: natural keys of parent rows that the effects do not carry.
        tagged_sides: sides that name the request in their transactions.
        may_confirm: asked before each second run.
    """

    sender: RequestSender
    shadow: ShadowAttribution | None
    fence: Callable[[], Awaitable[None]]
    interruptions: Callable[[], int]
    primary_keys: Mapping[str, Sequence[str]]
    judge: Judge
    lookups: Lookups
    tagged_sides: frozenset[Side]
    may_confirm: Callable[[], bool]

    async def carry_out(self, run: MirrorRun, align: Align) -> MirrorResult:
        """Mirror, compare, confirm, align; `align` must not return before the rows are written."""
        served = served_observation(run.exchange, run.claim)
        live = changes_of(served.effects)
        began_us = now_us()
        mirrored = await self._attempt(run)
        compared_from = time.perf_counter()
        comparison = await self._compare(run, served, mirrored, began_us)
        compare_s = time.perf_counter() - compared_from
        if comparison is not None and comparison.verdict is Verdict.MISMATCH:
            comparison, mirrored = await self._confirm(run, align, served, mirrored, comparison)
        aligned = await self._write(align, live, changes_of(mirrored.effects))
        return MirrorResult(served, mirrored, comparison, compare_s, aligned)

    async def _confirm(
        self, run: MirrorRun, align: Align, served: Observation, first: Observation, comparison: Comparison
    ) -> tuple[Comparison, Observation]:
        """Run again from the state before; return the verdict and the observation whose effects are still to be undone."""
        if not self.may_confirm():
            return comparison, first
        await self._write(align, (), changes_of(first.effects))
        began_us = now_us()
        second = await self._attempt(run)
        again = await self._compare(run, served, second, began_us)
        return (comparison if again is None else confirm(comparison, again)), second

    async def _attempt(self, run: MirrorRun) -> Observation:
        side = run.exchange.served_by.other
        if self.shadow is None:
            sent = await self.sender.send(run.exchange, side)
            return Observation(side, Role.MIRRORED, sent.outcome, sent.duration_ns)
        self.shadow.open(run.exchange.id, run.claim.keys, tagged=side in self.tagged_sides)
        interruptions, fenced = self.interruptions(), False
        try:
            sent = await self.sender.send(run.exchange, side)
            fenced = await self._fenced(run)
        finally:
            claim = self.shadow.collect(run.exchange.id)
        # A shadow whose capture was cut may have been away for the mirrored side too: neither response nor rows are evidence.
        lost = not fenced or self.interruptions() != interruptions
        outcome = EffectsOutcome.LOST if lost else claim.outcome
        effects = Effects(outcome, tuple(keyed.transaction for keyed in claim.transactions))
        return Observation(side, Role.MIRRORED, sent.outcome, sent.duration_ns, effects)

    async def _fenced(self, run: MirrorRun) -> bool:
        try:
            await self.fence()
        except CaptureError as error:
            logger.warning("shadow_fence_failed", extra={"request_id": run.exchange.id, "error": str(error)})
            return False
        return True

    async def _compare(
        self, run: MirrorRun, served: Observation, mirrored: Observation, began_us: int
    ) -> Comparison | None:
        if mirrored.effects.outcome is EffectsOutcome.LOST:
            return None
        # Each side writes its own clock's now, and the mirrored one runs later by the lag.
        lookups = replace(self.lookups, delay=dt.timedelta(microseconds=began_us - run.exchange.started_ns // 1_000))
        compare = partial(
            self.judge.comparator.compare,
            run.exchange.route,
            served,
            mirrored,
            now=dt.datetime.now(dt.UTC),
            lookups=lookups,
        )
        if max(_body_bytes(served), _body_bytes(mirrored)) <= COMPARED_IN_PLACE_MAX_BYTES:
            return compare()
        # A large body that differs takes seconds; everything else goes on meanwhile.
        return await asyncio.to_thread(compare)

    async def _write(self, align: Align, live: Iterable[RowChange], shadow: Iterable[RowChange]) -> WrittenRows:
        wanted = targets(live, shadow, self.primary_keys)
        return await align(wanted) if wanted else NOTHING_TO_ALIGN
