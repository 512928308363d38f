"""Compare one side with itself: each journaled request twice, from the same state, so that everything that differs is noise.

The shadow is put back after every run, so the second run starts from what the first one started from. The result is a list of proposed
rules, with their evidence, for a person to accept.
"""

import datetime as dt
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from comparator.capture.attribution_keys import Keys
from comparator.exchanges.model import EffectsOutcome, Exchange, Observation, Role, Side
from comparator.exchanges.table_schema import Schemas
from comparator.findings.calibration import Proposal, propose
from comparator.findings.clustering import Clusterer
from comparator.verdict import Comparator, Comparison, Verdict
from proxy.runner.clock import now_us
from proxy.runner.mirror import INCOMPARABLE, MirroredEffects, RequestSender, changes_of, effects_of
from proxy.runner.row_targets import Alignment, alignment
from proxy.runner.row_writer import WrittenRows


@dataclass(frozen=True, slots=True)
class Calibration:
    """Result of a calibration.

    Attributes:
        equal: pairs of runs that were equal under the rules, rows included.
        different: pairs that differed.
        failed: pairs of which a run gave no response.
        uncertain: pairs that say nothing, because rows of a run were not surely its own, or that agree except for what was left out.
        proposals: rules under which the pairs that differed are equal.
    """

    equal: int
    different: int
    failed: int
    uncertain: int
    proposals: tuple[Proposal, ...]


@dataclass(frozen=True, slots=True)
class Calibrator:
    """Runs requests twice on one side.

    Attributes:
        client: sends requests to the side's shadow instance.
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
    """

    client: RequestSender
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

    async def compare(self, exchanges: Iterable[Exchange]) -> AsyncIterator[tuple[str, Comparison]]:
        """Run each exchange twice; yield its route and the comparison of both runs."""
        for exchange in exchanges:
            first = await self._run(exchange, Role.SERVED)
            second = await self._run(exchange, Role.MIRRORED)
            now = dt.datetime.now(dt.UTC)
            yield (
                exchange.route,
                self.comparator.compare(
                    exchange.route, first, second, now=now, request=exchange.request, key=exchange.key
                ),
            )

    async def _run(self, exchange: Exchange, role: Role) -> Observation:
        keys, interruptions = self.route_keys(exchange), self.interruptions()
        self.effects.open(exchange.id, keys, tagged=self.tagged, now_us=now_us(), side=self.side)
        try:
            sent = await self.client.send(exchange, self.side)
            await self.fence()
        finally:
            claim = self.effects.collect(exchange.id)
        effects = effects_of(claim, self.schemas)
        if self.interruptions() != interruptions:
            effects = replace(effects, outcome=EffectsOutcome.LOST)
        await self.write(alignment((), changes_of(effects), self.primary_keys))
        return Observation(self.side, role, sent.outcome, sent.duration_ns, effects)


def calibration_of(compared: Sequence[tuple[str, Comparison]], clusterer: Clusterer, *, seen_min: int) -> Calibration:
    """Count the pairs, and propose rules for what differed at least `seen_min` times in one place."""
    failed = sum(comparison.verdict is Verdict.FAILED for _, comparison in compared)
    usable = [
        (route, comparison)
        for route, comparison in compared
        if comparison.verdict is not Verdict.FAILED and INCOMPARABLE.isdisjoint(comparison.effects_outcomes or ())
    ]
    different = sum(comparison.verdict is Verdict.MISMATCH for _, comparison in usable)
    equal = sum(
        comparison.verdict in {Verdict.MATCH, Verdict.KNOWN} and comparison.is_complete for _, comparison in usable
    )
    return Calibration(
        equal=equal,
        different=different,
        failed=failed,
        uncertain=len(compared) - failed - different - equal,
        proposals=propose(usable, clusterer, seen_min=seen_min),
    )
