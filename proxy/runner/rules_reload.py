"""New rules without a restart: the configuration file is looked at every second; what makes no sense is refused and counted."""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping

from comparator.live_rules import LiveRules
from comparator.metrics import ComparatorMetrics
from proxy.config.settings import Settings
from proxy.errors import SettingsError

logger = logging.getLogger(__name__)

LOOK_S = 1.0


async def watch_rules(rules: LiveRules, look: Callable[[], Settings | None], metrics: ComparatorMetrics) -> None:
    """Offer changed rules; runs until cancelled."""
    metrics.rules_loaded.set(time.time())
    while True:
        await asyncio.sleep(LOOK_S)
        try:
            changed = look()
            problem = rules.offer(changed.compare) if changed is not None else None
        except SettingsError as error:
            problem = str(error)
        _tell(problem, metrics)


def _tell(problem: str | None, metrics: ComparatorMetrics) -> None:
    if problem is None:
        return
    metrics.rules_reloads.labels("refused" if problem else "taken").inc()
    extra: Mapping[str, str] = {"problem": problem} if problem else {}
    if problem:
        logger.warning("rules_refused", extra=extra)
    else:
        metrics.rules_loaded.set(time.time())
        logger.info("rules_taken")
