"""Two machines, one broker and two runners of one name: whatever is killed, every exchange has one outcome, and the shadow equals live."""

import asyncio
import itertools
import random
import uuid
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import aiohttp
import asyncpg
import msgspec
import pytest

from comparator.capture.settings import CaptureSettings, Driver, Slot, SlotKind
from comparator.exchanges.model import Side
from comparator.settings import StoreSettings
from comparator.store.store import Store
from proxy.config.runner import RunnerSettings
from proxy.demo.free_ports import free_port
from proxy.rollout.accounting import total
from proxy.runner.accountant import read_accounts
from tests.support.mirror_lab import WRITTEN, MirrorLab, checksums, mirror_lab
from tests.support.redis import RedisServer, running_redis
from tests.support.runner_crashes import DROP_SLOT, END_SLOT, execute
from tests.support.runner_process import RunnerProcess, settled
from tests.support.scraping import scrape, until
from tests.support.shared_journal import ENVIRON, Machine, machines

PART = 40
COMPARED = "SELECT exchange_id, count(*) FROM shadow.comparison GROUP BY exchange_id"
WAIT_S = 120.0


@pytest.fixture
async def lab(postgres_dsn: str, tmp_path: Path) -> AsyncIterator[MirrorLab]:
    slot = Slot(kind=SlotKind.PERSISTENT, name=f"shared_{uuid.uuid4().hex[:12]}")
    capture = CaptureSettings(driver=Driver.STREAM, tables=WRITTEN, slot=slot, feedback_ms=500)
    runner = RunnerSettings(port=free_port(), claim_wait_ms=1_500, unsettled_s_max=10.0)
    async with mirror_lab(postgres_dsn, tmp_path, capture=capture, runner=runner) as made:
        try:
            yield made
        finally:
            for sql in (END_SLOT, DROP_SLOT):
                await execute(made.live_dsn, sql, slot.name)


async def serve(made: MirrorLab, session: aiohttp.ClientSession, proxies: Sequence[Machine]) -> None:
    """Serve PART requests, by the proxies in turn, with requests of one key on both."""
    choose = random.Random(PART)
    turns = itertools.cycle(proxies)
    keys = {address: asyncio.Lock() for address in made.addresses}

    async def one() -> None:
        address, proxy = choose.choice(made.addresses), next(turns)
        async with keys[address]:
            exchange = await made.exchange(session, Side.CANDIDATE, address)
            assert proxy.writer.append(exchange)
            proxy.served.append(exchange.id)

    async with asyncio.TaskGroup() as tasks:
        for number in range(PART):
            tasks.create_task(one(), name=f"request-{number}")


async def test_every_exchange_has_one_outcome_whatever_is_killed(
    lab: MirrorLab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in ENVIRON.items():
        monkeypatch.setenv(name, value)
    with running_redis() as server:
        await _run(lab, server, tmp_path)


async def _run(lab: MirrorLab, server: RedisServer, folder: Path) -> None:
    async with (
        machines(server.url, folder / "spools", 2) as proxies,
        aiohttp.ClientSession() as session,
        Store(lab.store_dsn, StoreSettings(timeout_s=20), random.Random(7)) as store,
    ):
        settings = msgspec.structs.replace(lab.settings(), journal=proxies[0].settings)
        standby_settings = msgspec.structs.replace(
            settings, runner=msgspec.structs.replace(settings.runner, port=free_port())
        )
        (folder / "b").mkdir()
        working, standby = RunnerProcess(settings, folder), RunnerProcess(standby_settings, folder / "b")
        try:
            await working.start()
            await standby.launch()
            await serve(lab, session, proxies)
            await settled(store, PART, lab.runner.name)
            # The broker loses everything, with exchanges under way.
            server.stop()
            await serve(lab, session, proxies)
            server.start()
            await settled(store, 2 * PART, lab.runner.name)
            # The runner is killed with exchanges under way, and the one that waits takes over.
            port = standby_settings.runner.port
            samples = await until(port, lambda s: "shadow_lease_held" in s)
            assert total(samples, "shadow_lease_held") == 0
            await serve(lab, session, proxies)
            await working.kill()
            await serve(lab, session, proxies)
            outcomes = await settled(store, 4 * PART, lab.runner.name)
            await until(port, lambda s: not total(s, "shadow_waiting") and not total(s, "shadow_resync_pending"))
            samples = await scrape(port)
            assert total(samples, "shadow_lease_held") == 1
            assert total(samples, "shadow_writer_lost_total") == 0
            accounts = await read_accounts(session, standby_settings)
            equal = await _equal(lab)
            assert await standby.stop() == 0
        finally:
            await working.kill()
            await standby.kill()
    assert outcomes.total() == 4 * PART
    assert outcomes["unread"] == 0
    assert outcomes["compared"] >= PART
    assert accounts is not None
    assert {(len(one.missing), one.unread, one.in_flight, len(one.lost)) for one in accounts} == {(0, 0, 0, 0)}
    assert sum(one.ended for one in accounts) == 4 * PART
    conn = await asyncpg.connect(lab.store_dsn)
    try:
        compared = {record["exchange_id"]: record["count"] for record in await conn.fetch(COMPARED)}
    finally:
        await conn.close()
    assert set(compared.values()) == {1}
    assert compared.keys() <= {name for proxy in proxies for name in proxy.served}
    assert equal


async def _equal(lab: MirrorLab) -> bool:
    async with asyncio.timeout(WAIT_S):
        while await checksums(lab.live_dsn) != await checksums(lab.shadow_dsn):
            await asyncio.sleep(0.2)
    return True
