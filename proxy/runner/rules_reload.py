"""Reload the comparison rules without a restart: changed rules come into force, unusable ones are refused and counted."""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Protocol

from comparator.exchanges.table_schema import Schemas
from comparator.live_rules import LiveRules
from comparator.metrics import ComparatorMetrics
from comparator.settings import CompareSettings
from proxy.errors import SettingsError

logger = logging.getLogger(__name__)

INTERVAL_S = 1.0


class CapturedSchemas(Protocol):
    """The definitions of the captured tables, which change while the runner runs."""

    @property
    def version(self) -> int:
        """A number that grows with each change."""
        ...

    @property
    def schemas(self) -> Schemas | None:
        """The schemas by table name; None without change data capture."""
        ...

    def rules_changed(self) -> None:
        """Hold the tables against the rules that are in force now."""
        ...


async def reload_rules(
    rules: LiveRules,
    read_changed: Callable[[], CompareSettings | None],
    metrics: ComparatorMetrics,
    captured: CapturedSchemas,
) -> None:
    """Check for changed rules every INTERVAL_S seconds until cancelled.

    Rules that were refused are offered again when a definition has changed: a migration and the descriptions that belong to it may
    arrive in either order.

    Args:
        rules: those in force.
        read_changed: returns the section `compare` of the settings if it changed since the last call; raises SettingsError.
        metrics: count the reloads.
        captured: definitions of the captured tables.
    """
    metrics.rules_loaded.set(time.time())
    refused, seen_version = None, captured.version
    while True:
        await asyncio.sleep(INTERVAL_S)
        version = captured.version
        try:
            offered = read_changed() or (refused if version != seen_version else None)
            seen_version = version
            if offered is None:
                continue
            problem = rules.offer(offered, captured.schemas)
            refused = offered if problem else None
        except SettingsError as error:
            problem = str(error)
        if problem:
            metrics.rules_reloads.labels("refused").inc()
            logger.warning("rules_refused", extra={"problem": problem})
        else:
            captured.rules_changed()
            metrics.rules_reloads.labels("applied").inc()
            metrics.rules_loaded.set(time.time())
            logger.info("rules_loaded")
