"""Hold each result of a mirrored run until the definitions of the tables are known to have been the same until its end.

A change of a table that no row shows, e.g. a table that was dropped and created again outside of the publication, would turn "no rows on
either side" into a match, and a column that one side lacks into a mismatch:

    run of x ---- result: match ----+  held       a check of both databases that began after the run: nothing changed -> match
    run of y ---- result: mismatch -+  held                                                      score has changed    -> schema_differs

All results that wait share one check, and the run's keys are free meanwhile: only the outcome waits, for a fraction of a second.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Final

from comparator.capture.attribution_keys import Keys
from comparator.exchanges.comparison import Comparison
from comparator.exchanges.model import Exchange, Observation
from proxy.journal.driver import JournalEntry
from proxy.runner.metrics import ErrorPlace
from proxy.runner.mirror import MirrorResult
from proxy.runner.outcomes import Outcomes
from proxy.runner.skip_causes import RunnerSkip
from proxy.runner.survival import ends_the_runner, survived

STOP_S: Final = 5.0
"""Time for the last check when the runner stops."""

RefusesVerdict = Callable[[Exchange, Keys, Observation, Observation, Comparison], bool]


@dataclass(slots=True)
class VerdictQueue:
    """The results that wait for a check.

    Attributes:
        outcomes: gets each result.
        confirmed: returns when a check that began after its call has been made.
        refuses: whether a verdict may be due to a table that was not defined alike.
    """

    outcomes: Outcomes
    confirmed: Callable[[], Awaitable[None]]
    refuses: RefusesVerdict
    _held: list[tuple[JournalEntry, Keys, MirrorResult]] = field(
        default_factory=list[tuple[JournalEntry, Keys, MirrorResult]]
    )
    _filled: asyncio.Event = field(default_factory=asyncio.Event)
    _ending: asyncio.Lock = field(default_factory=asyncio.Lock)

    def add(self, entry: JournalEntry, keys: Keys, result: MirrorResult) -> None:
        """Hold a result that has a comparison."""
        self._held.append((entry, keys, result))
        self._filled.set()

    async def run(self) -> None:
        """Give outcomes until cancelled."""
        while True:
            await self._filled.wait()
            await self._end_held()

    async def drain(self) -> None:
        """Give the outcomes that are left, when no run is left; without a check within STOP_S there is no verdict."""
        try:
            async with asyncio.timeout(STOP_S):
                await self._end_held()
        except TimeoutError:
            held, self._held = self._held, []
            for entry, _, result in held:
                await self.outcomes.end(entry, replace(result, comparison=None), RunnerSkip.CAPTURE_LOST)

    async def _end_held(self) -> None:
        async with self._ending:
            count = len(self._held)
            self._filled.clear()
            if not count:
                return
            await self.confirmed()
            checked, self._held = self._held[:count], self._held[count:]
            for entry, keys, result in checked:
                await self._end_or_skip(entry, keys, result)

    async def _end_or_skip(self, entry: JournalEntry, keys: Keys, result: MirrorResult) -> None:
        """Give an outcome; one that breaks this takes none of the others along."""
        try:
            await self._end(entry, keys, result)
        except Exception as error:
            if ends_the_runner(error):
                raise
            survived(ErrorPlace.VERDICT, self.outcomes.metrics)
            await self.outcomes.end(entry, replace(result, comparison=None), RunnerSkip.INTERNAL)

    async def _end(self, entry: JournalEntry, keys: Keys, result: MirrorResult) -> None:
        comparison = result.comparison
        assert comparison is not None, "only results with a comparison are held"
        if self.refuses(entry.exchange, keys, result.served, result.mirrored, comparison):
            await self.outcomes.end(entry, replace(result, comparison=None), RunnerSkip.SCHEMA_DIFFERS)
        else:
            await self.outcomes.end(entry, result, None)
