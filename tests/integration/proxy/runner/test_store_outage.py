"""A store that refuses, hangs or is away loses no verdict: nothing is committed or counted until the store has it."""

import asyncio
import datetime as dt
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import asyncpg
import pytest
import pytest_asyncio
from prometheus_client import CollectorRegistry

from comparator.metrics import ComparatorMetrics
from comparator.settings import CompareSettings, StoreSettings
from comparator.store import queries
from comparator.store.ended import EndedBatch, EndedExchanges, ended_numbers
from comparator.store.store import Store
from proxy.config.backends import BackendsSettings
from proxy.config.journal import RedactionSettings
from proxy.journal.delivery import MergedPosition
from proxy.journal.driver import JournalEntry, JournalPosition
from proxy.runner.checkpoint import CommitOnSave
from proxy.runner.mirror import MirrorResult
from proxy.runner.releases import ReleaseReader
from proxy.runner.result_buffer import ResultBuffer
from proxy.runner.result_sink import ResultSink, redactor_of
from tests.support import postgres
from tests.support.comparisons import NOW, mismatch
from tests.support.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="module")

END_SESSIONS = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1 AND pid <> pg_backend_pid()"
ALTERED = {
    "read only": ("SET default_transaction_read_only = on", "RESET default_transaction_read_only"),
    "not accepting connections": ("ALLOW_CONNECTIONS false", "ALLOW_CONNECTIONS true"),
    "without the right to write": ("SET role = pg_monitor", "RESET role"),
    "locked": ("SET lock_timeout = '50ms'", "RESET lock_timeout"),
}
"""By fault, what ALTER DATABASE is given to cause it and to end it."""
RENAMED = ("ALTER TABLE shadow.comparison RENAME TO away", "ALTER TABLE shadow.away RENAME TO comparison")
KINDS = (*ALTERED, "without a table")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def store(postgres_dsn: str) -> AsyncIterator[tuple[Store, str]]:
    async with (
        postgres.temporary_database(postgres_dsn) as dsn,
        Store(dsn, StoreSettings(timeout_s=30), random.Random(7)) as opened,
    ):
        await opened.maintain(NOW)
        yield opened, dsn


@asynccontextmanager
async def fault(kind: str, dsn: str) -> AsyncIterator[None]:
    """Break the store until the end of the block."""
    name = dsn.partition("@/")[2].partition("?")[0]
    admin = await asyncpg.connect(postgres.with_database(dsn, "postgres"))
    begin, end = ALTERED.get(kind, ("", ""))
    inside: asyncpg.Connection | None = None
    try:
        if begin:
            await admin.execute(f'ALTER DATABASE "{name}" {begin}')
            await admin.execute(END_SESSIONS, name)
        if kind in {"without a table", "locked"}:
            inside = await asyncpg.connect(dsn)
            await inside.execute(RENAMED[0] if kind == "without a table" else "BEGIN; LOCK TABLE shadow.comparison")
        yield
    finally:
        if inside is not None:
            await inside.execute(RENAMED[1] if kind == "without a table" else "ROLLBACK")
            await inside.close()
        if end:
            await admin.execute(f'ALTER DATABASE "{name}" {end}')
            await admin.execute(END_SESSIONS, name)
        await admin.close()


def metrics_total(metrics: ComparatorMetrics) -> float:
    """Return the number of differences that were counted."""
    return sum(s.value for family in metrics.differences.collect() for s in family.samples if s.name.endswith("_total"))


@pytest.mark.parametrize("kind", KINDS)
async def test_no_verdict_is_lost_or_committed_while_the_store_takes_none(store: tuple[Store, str], kind: str) -> None:
    opened, dsn = store
    metrics = ComparatorMetrics(CollectorRegistry(), ["v2_score"])
    committed: list[JournalPosition] = []
    retries: list[None] = []

    def ended(exchanges: Sequence[EndedExchanges]) -> EndedBatch:
        return EndedBatch(kind, exchanges, {})

    compare = CompareSettings()
    sink = ResultSink(
        opened,
        compare,
        redactor_of(compare, RedactionSettings(), b"salt"),
        b"salt",
        metrics=metrics,
        releases=ReleaseReader.of(BackendsSettings()),
        ended=ended,
    )
    buffer = ResultBuffer(
        sink.save,
        save_bare=sink.save_bare,
        progress=CommitOnSave(committed.append, lambda: None, lambda _: None),
        on_retry=lambda: retries.append(None),
    )

    async def end(numbers: Sequence[int]) -> None:
        for number in numbers:
            compared = mismatch(f"{kind} {number}")
            entry = JournalEntry(
                MergedPosition((("w0", number),)), number, compared.exchange, writer="w0", number=number
            )
            buffer.begin(entry)
            result = MirrorResult(compared.served, compared.mirrored, compared.comparison)
            await buffer.add(entry, result, None)

    async def stored() -> tuple[str, int]:
        async with opened.connection() as conn:
            numbers = (await ended_numbers(conn, kind)).get("w0")
            rows = await queries.comparisons(conn, since=NOW - dt.timedelta(days=1), limit=500)
        own = [row for row in rows if row.exchange_id.startswith(f"{kind} ") and row.detail.differences]
        return str(numbers.all if numbers else ""), len(own)

    async with asyncio.TaskGroup() as tasks:
        saving = tasks.create_task(buffer.run(), name="saving")
        await end([1, 2])
        await until(lambda: not buffer.unsaved)
        async with fault(kind, dsn):
            await end([3, 4, 5])
            await until(lambda: bool(retries))
            before, counted = committed[-1], metrics_total(metrics)
        await end([6])
        await until(lambda: not buffer.unsaved)
        buffer.close()
        await saving
    assert (before, counted) == (MergedPosition((("w0", 2),)), 2)
    assert committed[-1] == MergedPosition((("w0", 6),))
    assert (await stored(), metrics_total(metrics)) == (("1 to 6", 6), 6)
