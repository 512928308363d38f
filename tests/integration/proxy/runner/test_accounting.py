"""An exchange that is lost at a hand-over is named by writer and number: proxy to journal, journal to runner, runner to store."""

import asyncio
import random
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from comparator.settings import StoreSettings
from comparator.store.ended import EndedAs, EndedBatch, EndedExchanges, ended_totals
from comparator.store.store import Store
from proxy.config.journal import JournalSettings
from proxy.journal.driver import UnreadRange
from proxy.journal.keys import load_keys
from proxy.journal.reconciliation import RunnerState, WriterAccount
from proxy.journal.registry import read_writer_states
from proxy.journal.segment_reader import SegmentReader
from proxy.journal.segment_writer import SegmentWriter
from proxy.journal.segments import segments
from proxy.runner.accountant import Accountant
from proxy.runner.checkpoint import CommitOnSave
from proxy.runner.lease import RunnerLease
from proxy.runner.metrics import RunnerMetrics
from proxy.runner.result_buffer import Outcome, ResultBuffer
from proxy.runner.skip_causes import RunnerSkip
from tests.support.exchanges import exchange
from tests.support.paths import ROOT

RUNNER = "mirror"
WAIT_S = 60


@pytest.fixture
async def store(database: str) -> AsyncIterator[Store]:
    async with Store(database, StoreSettings(timeout_s=10), random.Random(7)) as opened:
        yield opened


def write(directory: Path, count: int) -> None:
    """Write exchanges, one in each frame, and stop."""
    writer = SegmentWriter(JournalSettings(directory=str(directory), flush_ms=0.2), environ={})
    writer.start()
    for number in range(count):
        assert writer.append(exchange(f"id-{number}"))
        while writer.counts.queued:
            pass
    writer.close()


async def run(directory: Path, store: Store, *, lose: Sequence[int] = ()) -> tuple[WriterAccount, ...]:
    """Read everything and save its outcomes, but for those of these numbers; return the accounts."""
    with SegmentReader(directory, RUNNER, keys=load_keys(directory, {}), skip_undecodable=True) as reader:

        async def save(batch: Sequence[Outcome], unread: Sequence[UnreadRange]) -> None:
            ended = [
                EndedExchanges(one.entry.writer, one.entry.number, one.entry.number, EndedAs.SKIPPED, "slow")
                for one in batch
                if one.entry.number not in lose
            ]
            ended += [
                EndedExchanges(one.writer, one.first, one.last, EndedAs.UNREAD, one.cause.value) for one in unread
            ]
            await store.add([], ended=EndedBatch(RUNNER, ended, reader.begun_numbers()))

        buffer = ResultBuffer(save, progress=CommitOnSave(reader.commit, lambda: None, lambda _: None))
        entries = reader.take(100)
        for entry in entries:
            buffer.begin(entry)
        for unread in reader.take_unread():
            buffer.add_unread(unread)
        for entry in entries:
            await buffer.add(entry, None, RunnerSkip.SLOW)
        buffer.close()
        async with asyncio.timeout(WAIT_S):
            await buffer.run()
        accountant = Accountant(
            store,
            RUNNER,
            lambda: read_writer_states(JournalSettings(directory=str(directory))),
            buffer.read_state,
            RunnerMetrics(CollectorRegistry()),
        )
        return await accountant.reconcile()


async def test_nothing_is_missing_where_nothing_was_lost(tmp_path: Path, store: Store) -> None:
    write(tmp_path, 5)
    (account,) = await run(tmp_path, store)
    assert (account.ended, account.in_flight, account.unread, account.queued) == (5, 0, 0, 0)
    assert not account.missing
    assert not account.unwritten


async def test_exchange_lost_between_runner_and_store_is_named(tmp_path: Path, store: Store) -> None:
    write(tmp_path, 5)
    (account,) = await run(tmp_path, store, lose=[3])
    assert str(account.missing) == "3"


async def test_exchange_lost_in_the_journal_is_named_as_unread(tmp_path: Path, store: Store) -> None:
    write(tmp_path, 5)
    (path,) = segments(tmp_path / "w0")
    data = bytearray(path.read_bytes())
    damaged = data.index(b"\xa5FRM", data.index(b"\xa5FRM", data.index(b"\xa5FRM") + 4) + 4)
    data[damaged + 60] ^= 0xFF
    path.write_bytes(bytes(data))
    (account,) = await run(tmp_path, store)
    assert not account.missing
    async with store.connection() as conn:
        totals = {(total.outcome.value, total.cause): total.count for total in await ended_totals(conn, RUNNER)}
    assert totals == {("skipped", "slow"): 4, ("unread", "journal"): 1}


async def test_reader_without_a_runner_is_away(tmp_path: Path, store: Store) -> None:
    metrics = RunnerMetrics(CollectorRegistry())
    lease = RunnerLease(store, "mirror.a")
    assert await lease.take() is None
    settings = JournalSettings(directory=str(tmp_path))
    accountant = Accountant(
        store,
        "mirror.a",
        lambda: read_writer_states(settings),
        lambda: RunnerState({}, {}),
        metrics,
        readers=("mirror.a", "mirror.never_started"),
    )
    await accountant.reconcile()
    samples = {sample.labels["reader"]: sample.value for sample in next(iter(metrics.reader_away.collect())).samples}
    assert samples == {"mirror.a": 0, "mirror.never_started": 1}


KILLED = """
import sys
from proxy.config.journal import JournalSettings
from proxy.journal.segment_writer import SegmentWriter
from tests.support.exchanges import exchange
from tests.support.paths import ROOT

writer = SegmentWriter(JournalSettings(directory=sys.argv[1], flush_ms=60_000), environ={})
writer.start()
for number in range(3):
    assert writer.append(exchange(f"killed-{number}"))
print("served", flush=True)
sys.stdin.read()
"""


async def test_exchanges_lost_with_the_memory_of_a_killed_proxy_are_named(tmp_path: Path, store: Store) -> None:
    command = [sys.executable, "-c", KILLED, str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"served\n"
        process.kill()
    (account,) = await run(tmp_path, store)
    assert str(account.unwritten) == "1 to 3"
    write(tmp_path, 1)
    (account,) = await run(tmp_path, store)
    assert account.ended == 4
    assert not account.missing
    assert not account.unwritten
