"""The shared journal over a real server: several spools, one reader, and a broker that goes away, comes back empty, hangs or is full."""

import asyncio
import os
import re
import signal
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import redis
from prometheus_client import CollectorRegistry

from comparator.errors import StoreUnavailableError
from proxy.errors import BrokerUnavailableError, JournalKeyError, SettingsError, StreamGoneError
from proxy.journal.broker import Bundle
from proxy.journal.driver import UnreadCause
from proxy.journal.registry import journal_keys, open_broker, read_writer_states
from proxy.journal.retention import prune
from proxy.journal.segments import segments
from proxy.journal.shared_reader import PassingOffsets
from proxy.journal.shipper import load_status
from proxy.runner.journal_access import show_writers
from proxy.runner.metrics import RunnerMetrics
from tests.support.paths import ROOT
from tests.support.redis import RedisServer, running_redis
from tests.support.shared_journal import (
    CountingOffsets,
    Machine,
    limited,
    machines,
    read_count,
    reading,
    shared_settings,
    shipped,
)
from tests.support.waiting import until


@pytest.fixture(scope="module")
def _server() -> Iterator[RedisServer]:
    with running_redis() as server:
        yield server


@pytest.fixture
def server(_server: RedisServer) -> Iterator[RedisServer]:
    yield _server
    with redis.Redis.from_url(_server.url) as client:
        client.config_set("maxmemory", 0)
        client.config_set("maxmemory-policy", "noeviction")
        client.flushall()


@pytest.fixture
def client(server: RedisServer) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(server.url) as opened:
        yield opened


async def test_two_machines_are_read_in_the_order_of_time(server: RedisServer, tmp_path: Path) -> None:
    async with machines(server.url, tmp_path, 2) as (one, two), reading(one.settings, CountingOffsets()) as reader:
        for _ in range(20):
            one.serve()
            two.serve(2)
        entries = await read_count(reader, 60)
    ids = [entry.exchange.id for entry in entries]
    assert [name for name in ids if name.startswith("m0")] == one.served
    assert [name for name in ids if name.startswith("m1")] == two.served
    ended = [entry.exchange.ended_ns for entry in entries]
    assert ended == sorted(ended)
    assert reader.lost == 0


async def test_committed_exchanges_leave_the_broker_and_the_spool(
    server: RedisServer, client: redis.Redis, tmp_path: Path
) -> None:
    async with machines(server.url, tmp_path, 1) as (one,), reading(one.settings, CountingOffsets()) as reader:
        one.serve(300)
        await read_count(reader, 300)
        await until(lambda: one.committed() == 300)
        (stream,) = client.scan_iter("*:stream:*")
        assert client.xlen(stream) == 0


class UnavailableOffsets(CountingOffsets):
    """Offsets in a store that does not answer until it is repaired."""

    available = False

    async def slowest(self) -> dict[str, int]:
        if not self.available:
            raise StoreUnavailableError("the store does not answer")
        return await super().slowest()


async def test_trimming_that_fails_is_counted_and_made_up_for(
    server: RedisServer, client: redis.Redis, tmp_path: Path
) -> None:
    offsets, metrics = UnavailableOffsets(), RunnerMetrics(CollectorRegistry())
    async with machines(server.url, tmp_path, 1) as (one,), reading(one.settings, offsets) as reader:
        showing = asyncio.ensure_future(show_writers(reader, metrics))
        one.serve(30)
        await read_count(reader, 30)
        counted = partial(metrics.registry.get_sample_value, "shadow_journal_trim_failures_total")
        await until(lambda: (counted() or 0) > 1)
        assert one.committed() == 0
        offsets.available = True
        await until(lambda: one.committed() == 30)
        showing.cancel()
    assert sum(client.xlen(name) for name in client.scan_iter(_type="stream")) == 0


async def test_nothing_leaves_the_broker_or_the_spool_before_it_is_committed(
    server: RedisServer, client: redis.Redis, tmp_path: Path
) -> None:
    async with machines(server.url, tmp_path, 1) as (one,), reading(one.settings, CountingOffsets()) as reader:
        one.serve(100)
        await read_count(reader, 100, commit=False)
        await until(lambda: client.hget("shadow:journal:reports", reader.reports[0].writer) is not None)
        assert one.committed() == 0
        async with reading(one.settings, PassingOffsets()) as other:
            assert len(await read_count(other, 100)) == 100


async def test_reader_continues_behind_its_commit(server: RedisServer, tmp_path: Path) -> None:
    offsets = PassingOffsets()
    async with machines(server.url, tmp_path, 2) as (one, two):
        async with reading(one.settings, offsets) as reader:
            one.serve(10)
            two.serve(10)
            first = await read_count(reader, 15)
        one.serve(5)
        async with reading(one.settings, offsets) as reader:
            second = await read_count(reader, 25 - len(first))
    ids = [entry.exchange.id for entry in (*first, *second)]
    assert sorted(ids) == sorted(one.served + two.served)


async def test_broker_that_comes_back_empty_costs_nothing(server: RedisServer, tmp_path: Path) -> None:
    async with machines(server.url, tmp_path, 2) as (one, two), reading(one.settings, CountingOffsets()) as reader:
        one.serve(50)
        two.serve(50)
        entries = await read_count(reader, 60)
        server.stop()
        one.serve(50)
        two.serve(50)
        await one.written()
        server.start()
        one.serve(10)
        entries += await read_count(reader, 210 - len(entries))
    assert sorted(entry.exchange.id for entry in entries) == sorted(one.served + two.served)
    assert reader.lost == 0


async def test_broker_that_is_emptied_while_it_runs_costs_nothing(
    server: RedisServer, client: redis.Redis, tmp_path: Path
) -> None:
    async with machines(server.url, tmp_path, 2) as (one, two), reading(one.settings, CountingOffsets()) as reader:
        one.serve(40)
        two.serve(40)
        entries = await read_count(reader, 20, commit=False)
        client.flushall()
        one.serve(40)
        entries += await read_count(reader, 120 - len(entries))
    assert sorted(entry.exchange.id for entry in entries) == sorted(one.served + two.served)
    assert reader.lost == 0


async def test_broker_that_hangs_is_waited_for(tmp_path: Path) -> None:
    with running_redis() as hanging:
        async with (
            machines(hanging.url, tmp_path, 1, timeout_s=0.3) as (one,),
            reading(one.settings, CountingOffsets()) as reader,
        ):
            one.serve(10)
            await read_count(reader, 10)
            os.kill(hanging.pid, signal.SIGSTOP)
            try:
                one.serve(10)
                await until(lambda: bool(reader.problem))
                status = load_status(Path(one.settings.directory))
                assert status is not None
                await until(lambda: "broker_unavailable" in _problem(one))
                assert one.writer.healthy
            finally:
                os.kill(hanging.pid, signal.SIGCONT)
            assert [entry.exchange.id for entry in await read_count(reader, 10)] == one.served[10:]


async def test_broker_without_memory_leaves_exchanges_in_the_spool(
    server: RedisServer, client: redis.Redis, tmp_path: Path
) -> None:
    async with machines(server.url, tmp_path, 1) as (one,), reading(one.settings, CountingOffsets()) as reader:
        one.serve(10)
        await read_count(reader, 10)
        client.config_set("maxmemory", 1)
        one.serve(100)
        await until(lambda: "broker_full" in _problem(one))
        client.config_set("maxmemory", 0)
        assert [entry.exchange.id for entry in await read_count(reader, 100)] == one.served[10:]


async def test_shipper_pauses_at_its_bound_and_goes_on_with_the_reader(
    server: RedisServer, client: redis.Redis, tmp_path: Path
) -> None:
    async with machines(server.url, tmp_path, 1, ahead_max_bytes=6_000) as (one,):
        for _ in range(30):
            one.serve(10)
            await one.written()
        await until(lambda: any(report.pause == "readers_behind" for report in _reports(one)))
        (stream,) = client.scan_iter("*:stream:*")
        held = client.xlen(stream)
        async with reading(one.settings, CountingOffsets()) as reader:
            entries = []
            while len(entries) < 300:
                entries += await read_count(reader, 10)
        assert 0 < held < 30
        assert [entry.exchange.id for entry in entries] == one.served


async def test_what_the_spool_drops_is_lost_by_number_and_writer(server: RedisServer, tmp_path: Path) -> None:
    settings = limited(shared_settings(server.url, tmp_path / "m0", ahead_max_bytes=1), 10_000)
    one = Machine(settings)
    one.open()
    offsets = CountingOffsets()
    async with shipped(one), reading(settings, offsets) as reader:
        one.serve(5)
        await one.written()
        await read_count(reader, 5)
        await until(lambda: one.committed() == 5)
    # Nobody reads: the bound holds shipping up, and the spool has to delete.
    async with shipped(one):
        for _ in range(100):
            one.serve(10)
            await one.written()
    deleted = prune(tmp_path / "m0", settings.retention, now_s=time.time()).unread + one.writer.counts.unread_deleted
    one.settings = shared_settings(server.url, tmp_path / "m0")
    async with shipped(one), reading(settings, offsets) as reader:
        entries = await read_count(reader, 1_000)
        unread = reader.take_unread()
    one.writer.close()
    assert {gap.cause for gap in unread} == {UnreadCause.LOST}
    lost = [number for gap in unread for number in range(gap.first, gap.last + 1)]
    assert 0 < len(lost) <= deleted
    assert sorted([*lost, *(entry.number for entry in entries)]) == list(range(6, 1_006))
    assert reader.lost_counts() == {unread[0].writer: len(lost)}


async def test_damaged_frame_of_a_spool_is_lost_by_number(server: RedisServer, tmp_path: Path) -> None:
    one = Machine(shared_settings(server.url, tmp_path / "m0"))
    one.open()
    for _ in range(5):
        one.serve()
        await one.written()
    one.writer.close()
    (path,) = segments(tmp_path / "m0" / "w0")
    data = bytearray(path.read_bytes())
    third = data.index(b"\xa5FRM", data.index(b"\xa5FRM", data.index(b"\xa5FRM") + 4) + 4)
    data[third + 60] ^= 0xFF
    path.write_bytes(bytes(data))
    async with shipped(one), reading(one.settings, CountingOffsets()) as reader:
        entries = await read_count(reader, 5)
        (unread,) = reader.take_unread()
    assert (unread.first, unread.last, unread.cause) == (3, 3, UnreadCause.LOST)
    assert [entry.number for entry in entries] == [1, 2, 4, 5]


async def test_restarted_shipper_ships_nothing_twice_and_leaves_nothing_out(
    server: RedisServer, client: redis.Redis, tmp_path: Path
) -> None:
    one = Machine(shared_settings(server.url, tmp_path / "m0"))
    one.open()
    for _ in range(3):
        async with shipped(one):
            one.serve(40)
            await one.written()
    one.writer.close()
    async with shipped(one), reading(one.settings, CountingOffsets()) as reader:
        entries = await read_count(reader, 120)
    assert [entry.exchange.id for entry in entries] == one.served


async def test_new_reader_begins_where_the_others_are(server: RedisServer, tmp_path: Path) -> None:
    async with machines(server.url, tmp_path, 1) as (one,):
        async with reading(one.settings, CountingOffsets()) as reader:
            one.serve(50)
            await read_count(reader, 50)
            await until(lambda: one.committed() == 50)
        one.serve(5)
        async with reading(one.settings, PassingOffsets()) as other:
            entries = await read_count(other, 5)
    assert [entry.exchange.id for entry in entries] == one.served[50:]
    assert other.lost == 0


async def test_writer_that_is_cut_off_is_not_awaited_for_ever(server: RedisServer, tmp_path: Path) -> None:
    one, two = (Machine(shared_settings(server.url, tmp_path / name, silent_max_s=0.5)) for name in ("m0", "m1"))
    one.open()
    two.open()
    async with shipped(one), reading(one.settings, CountingOffsets()) as reader:
        async with shipped(two):
            two.serve(3)
            await read_count(reader, 3)
        # (its shipper has ended while the proxy serves on)
        two.serve(2)
        await until(lambda: len(reader.silent_writers) == 1)
        one.serve(10)
        assert [entry.exchange.id for entry in await read_count(reader, 10)] == one.served
        async with shipped(two):
            assert [entry.exchange.id for entry in await read_count(reader, 2)] == two.served[3:]
            await until(lambda: not reader.silent_writers)
    one.writer.close()
    two.writer.close()


async def test_writers_of_all_machines_are_accounted_for(server: RedisServer, tmp_path: Path) -> None:
    async with machines(server.url, tmp_path, 2) as (one, two), reading(one.settings, CountingOffsets()) as reader:
        one.serve(7)
        two.serve(9)
        await read_count(reader, 16)
        await one.written()
        await until(lambda: reader.tail_sequence() == 16)
        states = await read_writer_states(one.settings)
        assert sorted((state.offered, state.written, state.running) for state in states) == [(7, 7, True), (9, 9, True)]


async def test_ended_proxy_is_reported_as_ended(server: RedisServer, tmp_path: Path) -> None:
    one = Machine(shared_settings(server.url, tmp_path / "m0"))
    one.open()
    async with shipped(one):
        one.serve(3)
        one.writer.close()
    async with open_broker(one.settings) as broker:
        (report,) = await broker.reports()
    assert (report.closed, report.shipped, report.running) == (True, 3, False)


async def test_killed_process_is_reported_to_the_readers_of_other_machines(server: RedisServer, tmp_path: Path) -> None:
    one = Machine(shared_settings(server.url, tmp_path / "m0"))
    one.open()
    began_us = time.time_ns() // 1_000
    async with shipped(one), reading(one.settings, CountingOffsets()) as reader:
        one.serve(3)
        await read_count(reader, 3)
        assert reader.unjournaled(began_us) == []
        # (what was in flight when the process ended is in no journal)
        one.writer.note_in_flight(1, settled_ns=time.time_ns())
        one.writer.close()
        await until(lambda: reader.unjournaled(began_us) != [])
        (period,) = reader.unjournaled(began_us)
        assert began_us <= period.from_us <= period.until_us <= time.time_ns() // 1_000


async def test_broker_that_may_evict_is_warned_of(server: RedisServer, client: redis.Redis, tmp_path: Path) -> None:
    client.config_set("maxmemory-policy", "allkeys-lru")
    async with machines(server.url, tmp_path, 1) as (one,):
        one.serve()
        await until(lambda: "noeviction" in "".join(_warnings(one)))


def documented_rights() -> list[str]:
    """Return the rights that docs/shared-journal.md names."""
    text = (ROOT / "docs/shared-journal.md").read_text()
    return [f"+{name}" for name in re.findall(r"\+([a-z]+)", text[text.index("The ACL user") :].split("\n")[0])]


async def test_acl_user_needs_the_documented_rights_and_the_password(
    server: RedisServer, client: redis.Redis, tmp_path: Path
) -> None:
    client.acl_setuser(
        "shipper", enabled=True, passwords=["+secret"], keys=["shadow:journal:*"], commands=documented_rights()
    )
    user = {"user": "shipper", "password": "secret"}
    async with (
        machines(server.url, tmp_path, 1, **user) as (one,),
        reading(one.settings, CountingOffsets()) as reader,
    ):
        one.serve(3)
        await read_count(reader, 3)
        await until(lambda: one.committed() == 3)
        async with open_broker(one.settings) as broker:
            await broker.forget(reader.reports[0].writer)
    refused = shared_settings(server.url, tmp_path, user="shipper", password="wrong")
    async with open_broker(refused) as broker:
        with pytest.raises(BrokerUnavailableError, match="invalid username-password"):
            await broker.tails(["w0-1"])


async def test_bundles_are_appended_once_and_in_order(server: RedisServer, tmp_path: Path) -> None:
    async with open_broker(shared_settings(server.url, tmp_path)) as broker:
        with pytest.raises(StreamGoneError):
            await broker.append("w0-1", [Bundle(5, b"five")], begins=False)
        await broker.append("w0-1", [Bundle(5, b"five"), Bundle(9, b"nine")], begins=True)
        await broker.append("w0-1", [Bundle(9, b"again"), Bundle(12, b"twelve")], begins=False)
        read = await broker.read({"w0-1": 5}, bundles_max=10, wait_s=0.1)
        assert [(bundle.last, bundle.frame) for bundle in read["w0-1"]] == [(9, b"nine"), (12, b"twelve")]
        await broker.trim("w0-1", 9)
        read = await broker.read({"w0-1": 0}, bundles_max=10, wait_s=0.1)
        assert [bundle.last for bundle in read["w0-1"]] == [12]
        await broker.trim("w0-1", 12)
        assert await broker.tails(["w0-1", "w1-2"]) == {"w0-1": 12}


async def test_shared_journal_without_a_common_key_is_refused(server: RedisServer, tmp_path: Path) -> None:
    with pytest.raises(JournalKeyError, match="SHADOW_JOURNAL_KEY"):
        journal_keys(shared_settings(server.url, tmp_path), {})


async def test_missing_file_of_the_tls_settings_is_named(tmp_path: Path) -> None:
    settings = shared_settings("valkeys://127.0.0.1:1/0", tmp_path, ca_file="/nowhere/ca.pem")
    with pytest.raises(SettingsError, match=r"ca_file: /nowhere/ca\.pem"):
        async with open_broker(settings):
            pass


def _problem(machine: Machine) -> str:
    status = load_status(Path(machine.settings.directory))
    return status.problem if status else ""


def _warnings(machine: Machine) -> tuple[str, ...]:
    status = load_status(Path(machine.settings.directory))
    return status.warnings if status else ()


def _reports(machine: Machine):
    status = load_status(Path(machine.settings.directory))
    return status.reports if status else ()
