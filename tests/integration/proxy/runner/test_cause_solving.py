import asyncio
import random

from prometheus_client import CollectorRegistry

from comparator.exchanges.difference import Difference, Kind
from comparator.metrics import ComparatorMetrics
from comparator.settings import StoreSettings
from comparator.store import causes
from comparator.store.store import Store
from proxy.runner.cause_solving import solve_causes
from tests.support.comparisons import NOW, exchange_with

SCORE = Difference(Kind.CHANGED, ("score",), "2.5", "1.0")
LIMIT_S = 30


async def test_causes_are_solved_and_counted_while_exchanges_are_stored(database: str) -> None:
    registry = CollectorRegistry()
    metrics = ComparatorMetrics(registry, ["v2_score"])
    async with Store(database, StoreSettings(timeout_s=10), random.Random(7)) as store:
        await store.maintain(NOW)
        async with asyncio.timeout(LIMIT_S), asyncio.TaskGroup() as tasks:
            solving = tasks.create_task(solve_causes(store, metrics, look_s=0.05), name="causes")
            await store.add([exchange_with(str(key), SCORE, key=key) for key in range(5)])
            while registry.get_sample_value("shadow_causes", {"state": "new"}) != 1:
                await asyncio.sleep(0.05)
            solving.cancel()
        async with store.connection() as conn:
            (cause,) = (await causes.causes(conn)).causes
    assert (cause.exchanges, cause.body.title.place) == (5, "score")


async def test_without_a_store_nothing_is_solved() -> None:
    await solve_causes(None, ComparatorMetrics(CollectorRegistry(), []))
