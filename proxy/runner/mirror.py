"""Mirror one exchange: run it on the other side, compare both sides, confirm a mismatch, and align the shadow.

live     state A --- served ---> state B
shadow   state A --- mirrored -> state C     compared: the responses, and A->B with A->C
state A <-- undone ---- state C     only for a mismatch that may be confirmed
state A --- mirrored -> state C'    a mismatch that does not occur again is transient
state B <-- aligned --- state C'    live's rows, so that the next exchange on these keys starts from B
"""

import asyncio
import datetime as dt
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

from comparator.capture.attribution import Claim
from comparator.capture.attribution_keys import Keys, RowId
from comparator.capture.errors import CaptureError
from comparator.exchanges.comparison import Comparison, Verdict
from comparator.exchanges.model import (
    Effects,
    EffectsOutcome,
    Exchange,
    Failed,
    Observation,
    Request,
    Response,
    Role,
    Side,
)
from comparator.exchanges.row_changes import RowChange
from comparator.exchanges.table_schema import Schemas
from comparator.store.timeline import MirrorSteps, MirrorTimes
from comparator.verdict import Lookups, confirm
from proxy.runner.clock import now_us
from proxy.runner.ledger import MirrorRun
from proxy.runner.mirror_client import LateResponse, MirroredResponse
from proxy.runner.row_targets import Alignment, alignment
from proxy.runner.row_writer import NOTHING_WRITTEN, WrittenRows
from proxy.runner.shadow_state import Feed

logger = logging.getLogger(__name__)

COMPARED_IN_PLACE_MAX_BYTES = 65_536
"""Longer responses are compared in a thread: handing them over costs less than blocking the event loop."""
COMPARED_IN_PLACE_MAX_ROWS = 2_000
"""So are the effects of more rows: a capture whose reader does not answer for long is disconnected by the server."""

INCOMPARABLE = frozenset({EffectsOutcome.LOST, EffectsOutcome.UNTAGGED, EffectsOutcome.INTERFERED})
"""Outcomes after which the mirrored side's response is no evidence either: it may rest on rows that another request wrote."""

Align = Callable[[Alignment], Awaitable[WrittenRows]]


class ExchangeComparator(Protocol):
    """Compares the observations of both sides."""

    def compare(
        self,
        route: str,
        served: Observation,
        mirrored: Observation,
        *,
        now: dt.datetime,
        lookups: Lookups,
        request: Request | None,
        key: str,
    ) -> Comparison:
        """Compare, without calling a side."""
        ...


class RulesInForce(Protocol):
    """Holds the rules in force, which may change between two comparisons."""

    @property
    def comparator(self) -> ExchangeComparator:
        """The comparator with the rules in force."""
        ...


class RequestSender(Protocol):
    """Sends requests to the shadow instances."""

    async def send(self, exchange: Exchange, side: Side) -> MirroredResponse:
        """Send the exchange's request to `side`; a failure is a value."""
        ...


class MirroredEffects(Protocol):
    """The row changes that mirrored requests commit on the shadow."""

    def open(self, run_id: str, keys: Keys, *, tagged: bool, now_us: int, side: Side | None = None) -> None:
        """Open the window of a mirrored request that is about to be sent."""
        ...

    def collect(self, run_id: str, *, since_us: int | None = None) -> Claim:
        """Return the transactions of a request that began at `since_us`, and close its window."""
        ...

    def give_up(self, run_id: str, rows: Collection[RowId], *, now_us: int, late: LateResponse | None = None) -> Claim:
        """Return the transactions of a request without a response, and exclude its keys until its late ones are taken back."""
        ...


@dataclass(frozen=True, slots=True)
class MirrorResult:
    """Observations and comparison of a run.

    Attributes:
        served: the served side's.
        mirrored: the mirrored side's first run: a second one only says whether a difference reproduces.
        comparison: None when the shadow's row changes were lost, or not surely those of the run (INCOMPARABLE).
        compare_s: time that the first comparison took, in seconds.
        aligned: rows written to make the shadow equal to live.
        times: when each step happened, None where that is not known.
    """

    served: Observation
    mirrored: Observation
    comparison: Comparison | None
    compare_s: float = 0.0
    aligned: WrittenRows = NOTHING_WRITTEN
    times: MirrorTimes | None = None


def served_observation(exchange: Exchange, claim: Claim, schemas: Schemas) -> Observation:
    """Return the observation of the served side."""
    duration_ns = exchange.ended_ns - exchange.started_ns
    effects = effects_of(claim, schemas)
    return Observation(
        exchange.served_by, Role.SERVED, exchange.outcome, duration_ns, effects, started_ns=exchange.started_ns
    )


def effects_of(claim: Claim, schemas: Schemas) -> Effects:
    """Return a claim's transactions as effects."""
    # The mapping in force changes in place when a definition does; effects keep the schemas that their rows were written under.
    transactions = tuple(keyed.transaction for keyed in claim.transactions)
    return Effects(claim.outcome, transactions, dict(schemas), claim.left_out)


def changes_of(effects: Effects) -> list[RowChange]:
    """Return all row changes, in commit order."""
    return [change for transaction in effects.transactions for change in transaction.changes]


def _body_bytes(observation: Observation) -> int:
    return len(observation.outcome.body) if isinstance(observation.outcome, Response) else 0


def _row_count(observation: Observation) -> int:
    return sum(len(transaction.changes) for transaction in observation.effects.transactions)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One run of the mirrored side, and when it was sent, answered and its commits known, in Unix microseconds.

    Attributes:
        may_write: it gave no response, and the side may still be writing for it.
    """

    observation: Observation
    sent_us: int
    answered_us: int
    collected_us: int
    may_write: bool = False

    def steps(self) -> MirrorSteps:
        """Return its steps, with now as the time of the comparison."""
        return MirrorSteps(self.sent_us, self.answered_us, self.collected_us, now_us())


@dataclass(slots=True)
class Mirror:
    """Mirrors exchanges, each from the state that its served side started from.

    Attributes:
        client: sends requests to the shadow instances.
        effects: collects the shadow's transactions.
        feed: the shadow's transactions.
        primary_keys: of the captured tables.
        schemas: of the captured tables, for the comparison of their rows.
        rules: the rules in force.
        lookups: natural keys of parent rows that the effects do not carry.
        tagged_sides: sides that name the request in their transactions.
        may_confirm: whether one more second run may start now; called for each mismatch.
    """

    client: RequestSender
    effects: MirroredEffects
    feed: Feed
    primary_keys: Mapping[str, Sequence[str]]
    schemas: Schemas
    rules: RulesInForce
    lookups: Lookups
    tagged_sides: frozenset[Side]
    may_confirm: Callable[[], bool]

    async def run(self, run: MirrorRun, align: Align, *, delivered_us: int = 0) -> MirrorResult:
        """Mirror, compare, confirm and align.

        Args:
            run: the exchange, with the transactions of its served side.
            align: makes changes on the shadow; returns when they are made.
            delivered_us: when everything that the served side had committed was known, Unix microseconds.
        """
        served = served_observation(run.exchange, run.claim, self.schemas)
        live = changes_of(served.effects)
        began_us = now_us()
        attempt = await self.attempt(run, run.exchange.served_by.other, began_us)
        mirrored = last = attempt.observation
        compared_from = time.perf_counter()
        comparison = await self.compare(run, served, mirrored)
        compare_s = time.perf_counter() - compared_from
        first, second = attempt.steps(), None
        if comparison is not None and comparison.verdict is Verdict.MISMATCH:
            comparison, last, second = await self._confirm(
                run, align, served, mirrored, comparison, run_began_us=began_us
            )
        aligned = await self.write(align, live, changes_of(last.effects))
        times = MirrorTimes(delivered_us, first, second, now_us())
        return MirrorResult(served, mirrored, comparison, compare_s, aligned, times)

    async def _confirm(
        self,
        run: MirrorRun,
        align: Align,
        served: Observation,
        first: Observation,
        comparison: Comparison,
        *,
        run_began_us: int,
    ) -> tuple[Comparison, Observation, MirrorSteps | None]:
        """Run again from the state before.

        Returns:
            The verdict, the observation whose row changes are still to be undone, and the steps of the second run, None for none.
        """
        undo = alignment((), changes_of(first.effects), self.primary_keys)
        # A table that the mirrored run has emptied (TRUNCATE) cannot be put back from its changes.
        if undo.unknown or not self.may_confirm():
            return comparison, first, None
        if undo and not (await align(undo)).done:
            # What the first run wrote may still be there: a second one would not start from the state before.
            return comparison, first, None
        attempt = await self.attempt(run, run.exchange.served_by.other, run_began_us)
        second = attempt.observation
        again = await self.compare(run, served, second)
        return (comparison if again is None else confirm(comparison, again)), second, attempt.steps()

    async def attempt(self, run: MirrorRun, side: Side, began_us: int) -> Attempt:
        """Run the request once on a side's shadow instance; its row changes stay.

        Args:
            run: the exchange, with the transactions of its served side.
            side: the side.
            began_us: when the first run of this exchange began, in Unix microseconds.
        """
        run_id, sent_us = run.exchange.id, now_us()
        self.effects.open(run_id, run.claim.keys, tagged=side in self.tagged_sides, now_us=sent_us, side=side)
        interruptions, fenced, may_write, late = self.feed.interruptions, False, False, None
        try:
            sent = await self.client.send(run.exchange, side)
            answered_us = now_us()
            may_write, late = isinstance(sent.outcome, Failed) and sent.sent, sent.late
            fenced = await self._fence(run)
        finally:
            if may_write:
                rows = frozenset[RowId]().union(*(keyed.rows for keyed in run.claim.transactions))
                claim = self.effects.give_up(run_id, rows, now_us=now_us(), late=late)
            else:
                claim = self.effects.collect(run_id, since_us=began_us)
        effects = effects_of(claim, self.schemas)
        if not fenced or self.feed.interruptions != interruptions:
            # The database may have been unavailable to the mirrored side as well: neither response nor rows are evidence.
            effects = replace(effects, outcome=EffectsOutcome.LOST)
        observation = Observation(
            side, Role.MIRRORED, sent.outcome, sent.duration_ns, effects, started_ns=sent_us * 1_000
        )
        return Attempt(observation, sent_us, answered_us, now_us(), may_write)

    async def _fence(self, run: MirrorRun) -> bool:
        """Wait until everything that the request committed has been delivered; return whether that worked.

        The fence is set when the response is there. All that was committed until then is in front of it in the shadow's log, so it
        has been attributed when the fence itself is delivered:

            log      ... commit (request 1)   commit (request 2)   fence ...
            feed     ----- delivered in this order ------------------->|  collect request 1
        """
        try:
            await self.feed.fence()
        except CaptureError as error:
            logger.warning("shadow_fence_failed", extra={"request_id": run.exchange.id, "error": str(error)})
            return False
        return True

    async def compare(self, run: MirrorRun, served: Observation, mirrored: Observation) -> Comparison | None:
        """Compare two observations of an exchange; None if the mirrored one is no evidence (INCOMPARABLE).

        Args:
            run: the exchange.
            served: the served observation, or the first of two runs.
            mirrored: that of the mirrored run.
        """
        if mirrored.effects.outcome in INCOMPARABLE:
            return None
        compare = partial(
            self.rules.comparator.compare,
            run.exchange.route,
            served,
            mirrored,
            now=dt.datetime.now(dt.UTC),
            lookups=self.lookups,
            request=run.exchange.request,
            key=run.exchange.key,
        )
        if max(map(_body_bytes, (served, mirrored))) <= COMPARED_IN_PLACE_MAX_BYTES and (
            max(map(_row_count, (served, mirrored))) <= COMPARED_IN_PLACE_MAX_ROWS
        ):
            return compare()
        # Comparing large bodies that differ, or a hundred thousand rows, takes seconds.
        return await asyncio.to_thread(compare)

    async def write(self, align: Align, live: Iterable[RowChange], shadow: Iterable[RowChange]) -> WrittenRows:
        """Undo changes of the shadow and make those of live."""
        work = alignment(live, shadow, self.primary_keys)
        return await align(work) if work else NOTHING_WRITTEN
