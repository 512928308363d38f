"""Reload the comparison rules without a restart: changed rules come into force, unusable ones are refused and counted."""

import asyncio
import logging
import time
from collections.abc import Callable

from comparator.exchanges.table_schema import Schemas
from comparator.live_rules import LiveRules
from comparator.metrics import ComparatorMetrics
from comparator.settings import CompareSettings
from proxy.errors import SettingsError

logger = logging.getLogger(__name__)

INTERVAL_S = 1.0


async def reload_rules(
    rules: LiveRules,
    read_changed: Callable[[], CompareSettings | None],
    metrics: ComparatorMetrics,
    schemas: Schemas | None,
) -> None:
    """Check for changed rules every INTERVAL_S seconds until cancelled.

    Args:
        rules: those in force.
        read_changed: returns the section `compare` of the settings if it changed since the last call; raises SettingsError.
        metrics: count the reloads.
        schemas: of the captured tables; None without change data capture.
    """
    metrics.rules_loaded.set(time.time())
    while True:
        await asyncio.sleep(INTERVAL_S)
        try:
            changed = read_changed()
            if changed is None:
                continue
            problem = rules.offer(changed, schemas)
        except SettingsError as error:
            problem = str(error)
        if problem:
            metrics.rules_reloads.labels("refused").inc()
            logger.warning("rules_refused", extra={"problem": problem})
        else:
            metrics.rules_reloads.labels("applied").inc()
            metrics.rules_loaded.set(time.time())
            logger.info("rules_loaded")
