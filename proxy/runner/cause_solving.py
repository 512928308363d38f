"""Solve causes from the stored findings at intervals, and show their numbers in the metrics."""

import asyncio
import datetime as dt
import logging
from typing import Final

from comparator.errors import StoreUnavailableError
from comparator.metrics import ComparatorMetrics
from comparator.store.causes import causes_by_state, refresh_causes
from comparator.store.store import Store

logger = logging.getLogger(__name__)

LOOK_S: Final = 5.0


async def solve_causes(store: Store | None, metrics: ComparatorMetrics, *, look_s: float = LOOK_S) -> None:
    """Look every `look_s` seconds whether causes are to be solved again, until cancelled.

    Of several runners one solves; all of them show the numbers.
    """
    while store is not None:
        await asyncio.sleep(look_s)
        try:
            async with store.connection() as conn:
                await refresh_causes(conn, now=dt.datetime.now(dt.UTC))
                metrics.set_causes(await causes_by_state(conn))
        except StoreUnavailableError as error:
            logger.warning("causes_not_solved", extra={"error": str(error)})
