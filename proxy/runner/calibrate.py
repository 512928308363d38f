"""Compare one side with itself: two runs of a request from the same state, so that everything that differs is noise.

`observe_noise` (`app`) follows live traffic in place of the runner. There the shadow is in the state that each request started from, and the
two runs are of two processes where the side itself served the request:

    served by the side      its live instance on live       and its shadow instance on the shadow
    served by the other     its shadow instance twice, the first run undone; the second run goes to another process if there is one

`Calibrator` runs recorded requests twice from the state of the shadow as it is, which may be another one than they started from: a pair with
another status than the recorded one says nothing.
"""

import asyncio
import datetime as dt
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from comparator.capture.attribution_keys import Keys
from comparator.exchanges.model import EffectsOutcome, Exchange, Failed, Observation, Response, Role, Side
from comparator.exchanges.table_schema import Schemas
from comparator.findings.calibration import RouteMethod, RunPair
from comparator.rules.run_times import row_times
from comparator.verdict import Comparator
from proxy.journal.driver import JournalPosition, UnreadRange
from proxy.runner.clock import now_us
from proxy.runner.ledger import MirrorRun
from proxy.runner.mirror import (
    INCOMPARABLE,
    Align,
    Mirror,
    MirroredEffects,
    MirrorResult,
    RequestSender,
    changes_of,
    effects_of,
    served_observation,
)
from proxy.runner.mirror_client import MirroredResponse
from proxy.runner.result_buffer import Outcome
from proxy.runner.row_targets import Alignment, alignment
from proxy.runner.row_writer import WrittenRows


class NothingCommitted:
    """Stands in for the checkpoints of a runner: the journal keeps its position, and live's log is not held."""

    resumed_us = 0

    def begin(self, sequence: int, position: JournalPosition, *, started_us: int, ended_us: int) -> None:
        """Do nothing."""

    def saving(self, position: JournalPosition) -> None:
        """Do nothing."""

    def saved(self, sequence: int, position: JournalPosition) -> None:
        """Do nothing."""

    def start(self, from_us: int) -> None:
        """Do nothing."""

    def checkpoint(self, known_us: int) -> None:
        """Do nothing."""


@dataclass(slots=True)
class NoiseCollector:
    """Collects pairs of runs of live traffic.

    Attributes:
        side: the side that is compared with itself.
        wanted: pairs after which there are enough.
        since_ns: exchanges that began before this time (Unix nanoseconds) are not counted as traffic.
        second_url: URL of another process of the side on the shadow database, "" for none.
        pairs: the pairs.
        traffic: exchanges by route and method.
        left_out: exchanges without a pair, by route, method and cause.
        enough: set when there are `wanted` pairs.
    """

    side: Side
    wanted: int
    since_ns: int
    second_url: str = ""
    pairs: list[RunPair] = field(default_factory=list[RunPair])
    traffic: Counter[RouteMethod] = field(default_factory=Counter[RouteMethod])
    left_out: Counter[tuple[RouteMethod, str]] = field(default_factory=Counter[tuple[RouteMethod, str]])
    enough: asyncio.Event = field(default_factory=asyncio.Event)

    async def save(self, batch: Sequence[Outcome], unread: Sequence[UnreadRange] = ()) -> None:
        """Count the outcomes of exchanges."""
        del unread
        for outcome in batch:
            exchange = outcome.entry.exchange
            if exchange.started_ns < self.since_ns:
                continue
            at = RouteMethod(exchange.route, exchange.request.method)
            self.traffic[at] += 1
            if outcome.cause is not None and outcome.mirrored is None:
                self.left_out[at, outcome.cause.value] += 1

    def add(self, pair: RunPair) -> None:
        """Add a pair of runs."""
        self.pairs.append(pair)
        if len(self.pairs) >= self.wanted:
            self.enough.set()


@dataclass(slots=True)
class PairedRuns:
    """Runs a side against itself in place of the mirror; each request from the state that its served side started from.

    Attributes:
        mirror: sends, collects row changes, compares and aligns.
        noise: gets the pairs.
        second: sends to another process of the side on the shadow database; None where there is none.
    """

    mirror: Mirror
    noise: NoiseCollector
    second: RequestSender | None

    async def run(self, run: MirrorRun, align: Align, *, delivered_us: int = 0) -> MirrorResult:
        """Run the request for its second observation, or for both, compare the two and align."""
        del delivered_us
        exchange, side, mirror = run.exchange, self.noise.side, self.mirror
        served = served_observation(exchange, run.claim, mirror.schemas)
        began_us = now_us()
        first, last = served, mirror
        if exchange.served_by is not side:
            attempt = await mirror.attempt(run, side, began_us)
            first = replace(attempt.observation, role=Role.SERVED)
            undo = alignment((), changes_of(first.effects), mirror.primary_keys)
            if attempt.may_write:
                # A second run would begin while the side still writes for this one; its keys are unsettled from now on.
                await mirror.write(align, changes_of(served.effects), changes_of(first.effects))
                self.noise.left_out[RouteMethod(exchange.route, exchange.request.method), "no response"] += 1
                uncertain = replace(first, effects=replace(first.effects, outcome=EffectsOutcome.INTERFERED))
                return MirrorResult(uncertain, uncertain, None)
            if undo:
                await align(undo)
            last = mirror if self.second is None else replace(mirror, client=self.second)
        second = (await last.attempt(run, side, began_us)).observation
        comparison = None if is_no_evidence(first) else await mirror.compare(run, first, second)
        await mirror.write(align, changes_of(served.effects), changes_of(second.effects))
        self.noise.add(
            RunPair(
                RouteMethod(exchange.route, exchange.request.method),
                statuses=(status_of(first), status_of(second)),
                served_status=status_of(served),
                comparison=comparison,
                runs=row_times(first, second),
                two_processes=first is served or self.second is not None,
            )
        )
        # (without a comparison, the run that failed is passed on: the cause of the skip is taken from it)
        return MirrorResult(first, first if is_no_evidence(first) else second, comparison)


def is_no_evidence(observation: Observation) -> bool:
    """Return whether the rows of a run were lost, or are not surely its own; its response may rest on another's then."""
    return observation.effects.outcome in INCOMPARABLE


def status_of(observation: Observation) -> int:
    """Return the status of an observation's response, 0 for none."""
    return observation.outcome.status if isinstance(observation.outcome, Response) else 0


@dataclass(frozen=True, slots=True)
class Calibrator:
    """Runs recorded requests twice on one side, from the state of the shadow as it is.

    Attributes:
        client: sends requests to the side's shadow instance.
        second: sends the second run, to another process of the side where there is one.
        side: the side that is compared with itself.
        tagged: whether it names the request in its transactions.
        effects: collects the shadow's transactions.
        fence: returns when everything committed on the shadow before has been delivered.
        interruptions: returns the number of times that transactions may have been lost.
        write: makes changes on the shadow, the only database that is written.
        primary_keys: of the captured tables.
        schemas: of the captured tables, for the comparison of their rows.
        comparator: with the rules whose gaps are looked for.
        route_keys: returns the attribution key of an exchange.
        unsettled_s_max: longest time that a request without a response is waited for, seconds; see `runner.unsettled_s_max`.
    """

    client: RequestSender
    second: RequestSender | None
    side: Side
    tagged: bool
    effects: MirroredEffects
    fence: Callable[[], Awaitable[None]]
    interruptions: Callable[[], int]
    write: Callable[[Alignment], Awaitable[WrittenRows]]
    primary_keys: Mapping[str, Sequence[str]]
    schemas: Schemas
    comparator: Comparator
    route_keys: Callable[[Exchange], Keys]
    unsettled_s_max: float

    async def pairs(self, exchanges: Iterable[Exchange]) -> AsyncIterator[RunPair]:
        """Run each exchange twice; the shadow is put back after every run, so both start from the same state."""
        for exchange in exchanges:
            first = await self._run(exchange, Role.SERVED, self.client)
            second = await self._run(exchange, Role.MIRRORED, self.second or self.client)
            comparison = self.comparator.compare(
                exchange.route,
                first,
                second,
                now=dt.datetime.now(dt.UTC),
                request=exchange.request,
                key=exchange.key,
            )
            yield RunPair(
                RouteMethod(exchange.route, exchange.request.method),
                statuses=(status_of(first), status_of(second)),
                served_status=exchange.outcome.status if isinstance(exchange.outcome, Response) else 0,
                comparison=None if is_no_evidence(first) or is_no_evidence(second) else comparison,
                runs=row_times(first, second),
                two_processes=self.second is not None,
            )

    async def _run(self, exchange: Exchange, role: Role, client: RequestSender) -> Observation:
        keys, interruptions = self.route_keys(exchange), self.interruptions()
        self.effects.open(exchange.id, keys, tagged=self.tagged, now_us=now_us(), side=self.side)
        started_ns = time.time_ns()
        try:
            sent = await client.send(exchange, self.side)
            is_over = await self._is_over(sent)
            await self.fence()
        finally:
            claim = self.effects.collect(exchange.id)
        effects = effects_of(claim, self.schemas)
        if self.interruptions() != interruptions or not is_over:
            effects = replace(effects, outcome=EffectsOutcome.LOST)
        await self.write(alignment((), changes_of(effects), self.primary_keys))
        return Observation(self.side, role, sent.outcome, sent.duration_ns, effects, started_ns)

    async def _is_over(self, sent: MirroredResponse) -> bool:
        """Wait until the side has ended with a request that failed; return False where that is not known.

        What it commits until then is its own, and is put back with the rest before the next run begins.
        """
        if not isinstance(sent.outcome, Failed) or not sent.sent:
            return True
        wait_until = asyncio.get_running_loop().time() + self.unsettled_s_max
        if sent.late is not None and await sent.late.wait(self.unsettled_s_max):
            return True
        # No connection is left on which the response could come.
        await asyncio.sleep(max(0.0, wait_until - asyncio.get_running_loop().time()))
        return False
