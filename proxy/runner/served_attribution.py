"""Attribute the transactions of live to the exchanges that were served, as the capture of live delivers them."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

from comparator.capture.attribution import Claim, RequestWindow
from comparator.exchanges.model import Exchange, Role
from comparator.exchanges.skip import SAFE_METHODS
from proxy.config.runner import RunnerSettings
from proxy.journal.driver import JournalEntry
from proxy.runner.ledger import Ledger
from proxy.runner.metrics import RetriedStep, RunnerMetrics
from proxy.runner.shadow_state import ShadowState
from proxy.runner.skip_causes import RunnerSkip


def is_safe(exchange: Exchange, safe_routes: frozenset[str]) -> bool:
    """Return whether the request changes nothing, by its method or by the declaration of its route."""
    return exchange.request.method in SAFE_METHODS or exchange.route in safe_routes


@dataclass(slots=True)
class ServedAttribution:
    """Claims for exchanges whose row changes are captured; `NoServedAttribution` stands in where none are."""

    settings: RunnerSettings
    ledger: Ledger
    state: ShadowState
    metrics: RunnerMetrics
    safe_routes: frozenset[str] = frozenset()
    """Routes declared `safe`: their requests without a key are compared by their responses, whatever the method."""

    async def wait_until_delivered(self, entries: Sequence[JournalEntry]) -> None:
        """Return when everything that these exchanges committed is in the ledger.

        The fence waits for what is committed when it is called. A service that writes after its response has
        `post_response_wait_ms` to commit before that:

            |-- request --| response |-- post_response_wait_ms --| fence |-- delivery --| claims
        """
        if self.settings.post_response_wait_ms:
            ended_s = max(entry.exchange.ended_ns for entry in entries) / 1e9
            await asyncio.sleep(max(0.0, ended_s + self.settings.post_response_wait_ms / 1e3 - time.time()))
        await self.state.retry(RetriedStep.SERVED_FENCE, self.state.feeds[Role.SERVED].fence)
        self.state.check_interruptions()

    def refusal(self, exchange: Exchange) -> RunnerSkip | None:
        """Return the cause for which the rows of this exchange cannot be compared, None when they can."""
        started_us = exchange.started_ns // 1_000
        if started_us < self.state.comparable_from_us:
            return RunnerSkip.REPEATED if started_us < self.state.resumed_from_us else RunnerSkip.NOT_CAPTURED
        if self._is_clock_ahead(exchange):
            return RunnerSkip.CLOCK
        if not exchange.key and not is_safe(exchange, self.safe_routes):
            return RunnerSkip.NO_KEY
        return None

    def _is_clock_ahead(self, exchange: Exchange) -> bool:
        """Return whether an exchange whose fence has been read ended later than the fence by its own times.

        (the fence was written after the exchange was read, which was after it ended)
        """
        clock_us = self.state.feeds[Role.SERVED].clock_us
        latest_us = max(exchange.started_ns, exchange.ended_ns) // 1_000
        return bool(clock_us) and latest_us > clock_us + self.settings.clock_skew_ms * 1_000

    def was_released(self, window: RequestWindow) -> bool:
        """Return whether changes of this window may have been released as background already."""
        return self.ledger.was_released(window)

    def open(self, exchange: Exchange, window: RequestWindow) -> None:
        """Open the window of an exchange that was read."""
        window.clock_ahead = self._is_clock_ahead(exchange)
        self.ledger.open(exchange, window)

    def claim(self, exchange: Exchange, window: RequestWindow, *, mirror: bool, complete: bool) -> Claim | None:
        """Claim the transactions of an exchange as `Ledger.claim` does.

        Without an ordering key nothing ties rows to an exchange of a side that does not name it in its transactions. So its
        changes are applied, and its response alone is compared.
        """
        if mirror and not exchange.key:
            self.ledger.claim(exchange, window, mirror=False)
            return self.ledger.add_response_run(exchange, frozenset(window.keys))
        claim = self.ledger.claim(exchange, window, mirror=mirror, complete=complete)
        if claim is not None:
            self.metrics.count_effects(Role.SERVED, claim.outcome)
        return claim
