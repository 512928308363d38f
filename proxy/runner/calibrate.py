"""Runs one side against itself: each journaled request twice, from the same state, and everything that differs is noise.

The shadow database is put back after every run, so the second starts from what the first started from. Nothing is learned: what is
found is proposed as rules, with the evidence, for a person to accept.
"""

import datetime as dt
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from comparator.capture.attribution_keys import Keys
from comparator.exchanges.model import Effects, Exchange, Observation, Role, Side
from comparator.findings.calibration import Proposal, propose
from comparator.findings.clustering import Clusterer
from comparator.verdict import Comparator, Comparison, Verdict
from proxy.runner.mirror import RequestSender, changes_of
from proxy.runner.row_targets import RowTarget, targets
from proxy.runner.row_writer import WrittenRows
from proxy.runner.shadow_attribution import ShadowAttribution


@dataclass(frozen=True, slots=True)
class Calibration:
    """What a calibration found: how many pairs were equal, how many differed, how many said nothing; and what it proposes."""

    equal: int
    different: int
    failed: int
    proposals: tuple[Proposal, ...]


@dataclass(frozen=True, slots=True)
class Calibrator:
    """Does the runs.

    Attributes:
        sender: reaches the side's shadow instance.
        side: the side that is compared with itself.
        tagged: whether it names the request in its transactions.
        shadow, fence, write: as the mirror's; the shadow database is the only one that is touched.
        primary_keys: of the captured tables.
        comparator: the rules whose gaps are looked for.
        route_keys: the attribution key of an exchange.
    """

    sender: RequestSender
    side: Side
    tagged: bool
    shadow: ShadowAttribution
    fence: Callable[[], Awaitable[None]]
    write: Callable[[Sequence[RowTarget]], Awaitable[WrittenRows]]
    primary_keys: Mapping[str, Sequence[str]]
    comparator: Comparator
    route_keys: Callable[[Exchange], Keys]

    async def compare(self, exchanges: Iterable[Exchange]) -> AsyncIterator[tuple[str, Comparison]]:
        """Run each exchange twice and compare the runs."""
        for exchange in exchanges:
            first = await self._run(exchange, Role.SERVED)
            second = await self._run(exchange, Role.MIRRORED)
            now = dt.datetime.now(dt.UTC)
            yield exchange.route, self.comparator.compare(exchange.route, first, second, now=now)

    async def _run(self, exchange: Exchange, role: Role) -> Observation:
        self.shadow.open(exchange.id, self.route_keys(exchange), tagged=self.tagged)
        try:
            sent = await self.sender.send(exchange, self.side)
            await self.fence()
        finally:
            claim = self.shadow.collect(exchange.id)
        effects = Effects(claim.outcome, tuple(keyed.transaction for keyed in claim.transactions))
        await self.write(targets((), changes_of(effects), self.primary_keys))
        return Observation(self.side, role, sent.outcome, sent.duration_ns, effects)


def summed_up(compared: Sequence[tuple[str, Comparison]], clusterer: Clusterer, *, seen_min: int) -> Calibration:
    """Count the pairs and propose rules; what failed is no noise."""
    by_verdict = [comparison.verdict for _, comparison in compared]
    usable = [(route, c) for route, c in compared if c.verdict is not Verdict.FAILED]
    return Calibration(
        equal=sum(v in {Verdict.MATCH, Verdict.KNOWN} for v in by_verdict),
        different=by_verdict.count(Verdict.MISMATCH),
        failed=by_verdict.count(Verdict.FAILED),
        proposals=propose(usable, clusterer, seen_min=seen_min),
    )
