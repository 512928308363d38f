"""Two runners share the mirroring: every fault is found once, whichever is away meanwhile, and both shadows equal live."""

import asyncio
import random
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import asyncpg
import msgspec
import pytest

from comparator.capture.settings import CaptureSettings, Driver, Slot, SlotKind
from comparator.exchanges.model import Side
from comparator.settings import StoreSettings
from comparator.store.store import Store
from proxy.config.databases import DatabasesSettings
from proxy.config.runner import RunnerSettings, SliceSettings
from proxy.config.settings import Settings
from proxy.demo.free_ports import free_port, free_ports
from proxy.rollout.accounting import total
from proxy.runner.accountant import read_accounts, read_slices
from proxy.runner.key_slice import owner_of
from tests.support import postgres
from tests.support.backends import backends_of
from tests.support.mirror_lab import WRITTEN, MirrorLab, Service, checksums, mirror_lab, publish, running, seed
from tests.support.redis import running_redis
from tests.support.runner_crashes import DROP_SLOT, END_SLOT, execute
from tests.support.runner_process import RunnerProcess, settled
from tests.support.scraping import scrape, until
from tests.support.shared_journal import ENVIRON, Machine, machines

PART = 15
WAIT_S = 120.0
NAMES = ("a", "b")
COMPARED = "SELECT exchange_id, verdict FROM shadow.comparison"


@dataclass
class SlicedLab:
    """A lab with a second shadow database. `faulty` has the ids of requests whose mirrored run has a fault."""

    lab: MirrorLab
    settings: Settings
    shadows: tuple[str, str]
    faulty: set[str]

    @property
    def readers(self) -> tuple[str, ...]:
        return self.settings.runner.readers

    async def serve(self, session: aiohttp.ClientSession, machine: Machine, addresses: list[str]) -> None:
        """Serve a request about each address, every third with a fault of the mirrored side."""
        for number, address in enumerate(addresses):
            fault = "wrong_score" if number % 3 == 0 else ""
            served = await self.lab.exchange(session, Side.CANDIDATE, address, fault=fault)
            assert machine.writer.append(served)
            machine.served.append(served.id)
            self.faulty |= {served.id} if fault else set()


@pytest.fixture
async def sliced(postgres_dsn: str, tmp_path: Path) -> AsyncIterator[SlicedLab]:
    slot = Slot(kind=SlotKind.PERSISTENT, name=f"sliced_{uuid.uuid4().hex[:12]}")
    capture = CaptureSettings(driver=Driver.STREAM, tables=WRITTEN, slot=slot, feedback_ms=500)
    async with (
        mirror_lab(postgres_dsn, tmp_path, capture=capture, runner=RunnerSettings(port=free_port())) as lab,
        postgres.temporary_database(postgres_dsn) as second,
        running(Service(second, tagged=True)) as candidate,
        running(Service(second, tagged=False)) as legacy,
    ):
        conn = await asyncpg.connect(second)
        await seed(conn, lab.addresses, stamps=4, shared_every=10)
        await conn.close()
        await publish(second, capture, move_sequences=True)
        for side, service in ((Side.CANDIDATE, candidate), (Side.LEGACY, legacy)):
            service.faults = lab.services[side, "shadow"].faults
        first = {side.value: lab.services[side, "shadow"].url for side in Side}
        ports = free_ports(2)
        slices = (
            SliceSettings(name="a", shadow=lab.shadow_dsn, port=ports[0], **first),
            SliceSettings(name="b", shadow=second, port=ports[1], candidate=candidate.url, legacy=legacy.url),
        )
        settings = msgspec.structs.replace(
            lab.settings(),
            databases=DatabasesSettings(live=lab.live_dsn, store=lab.store_dsn),
            backends=backends_of(
                {
                    (side, role): lab.services[side, "live"].url if role == "live" else ""
                    for side in Side
                    for role in ("live", "shadow")
                }
            ),
            runner=RunnerSettings(slices=slices),
        )
        try:
            yield SlicedLab(lab, settings, (lab.shadow_dsn, second), set())
        finally:
            for name in NAMES:
                for sql in (END_SLOT, DROP_SLOT):
                    await execute(lab.live_dsn, sql, f"{slot.name}_{name}")


async def test_every_fault_is_found_once_while_a_slice_is_away(
    sliced: SlicedLab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in ENVIRON.items():
        monkeypatch.setenv(name, value)
    lab, addresses = sliced.lab, list(sliced.lab.addresses)
    with running_redis() as server:
        async with (
            machines(server.url, tmp_path / "spools", 1) as (machine,),
            aiohttp.ClientSession() as session,
            Store(lab.store_dsn, StoreSettings(timeout_s=20), random.Random(7)) as store,
        ):
            settings = msgspec.structs.replace(sliced.settings, journal=machine.settings)
            (tmp_path / "b").mkdir()
            a, b = RunnerProcess(settings, tmp_path, "a"), RunnerProcess(settings, tmp_path / "b", "b")
            try:
                await asyncio.gather(a.start(), b.start())
                await sliced.serve(session, machine, addresses[:PART])
                await settled(store, PART, *sliced.readers)
                assert await b.stop() == 0
                await sliced.serve(session, machine, addresses[PART : 2 * PART])
                own = [name for name in addresses[PART : 2 * PART] if owner_of(name, NAMES) == "a"]
                await until(settings.runner.slices[0].port, lambda s: _ended(s) == 2 * PART)
                await settled(store, PART + len(own), *sliced.readers)
                states = {one.name: (one.works, one.behind) for one in await read_slices(settings)}
                behind = await read_accounts(session, settings) or ()
                await b.start()
                outcomes = await settled(store, 2 * PART, *sliced.readers)
                for one in settings.runner.slices:
                    await until(one.port, lambda s: not total(s, "shadow_waiting"))
                counts = [total(await scrape(one.port), "shadow_other_slice_total") for one in settings.runner.slices]
                accounts = await read_accounts(session, settings) or ()
                equal = [await _equal(lab.live_dsn, shadow) for shadow in sliced.shadows]
            finally:
                await a.kill()
                await b.kill()
    assert states["b"] == (False, PART)
    assert states["a"][0]
    assert sum(one.unread + one.in_flight for one in behind) == PART
    assert not any(one.missing for one in behind)
    assert outcomes == {"compared": 2 * PART}
    assert {(one.unread, one.in_flight, len(one.missing), one.ended) for one in accounts} == {(0, 0, 0, 2 * PART)}
    assert 0 < counts[0] < 2 * PART
    assert await _verdicts(lab.store_dsn) == {
        name: "mismatch" if name in sliced.faulty else "match" for name in machine.served
    }
    assert equal == [True, True]


def _ended(samples) -> float:
    return total(samples, "shadow_compared_total") + total(samples, "shadow_other_slice_total")


async def _verdicts(dsn: str) -> dict[str, str]:
    conn = await asyncpg.connect(dsn)
    try:
        records = await conn.fetch(COMPARED)
    finally:
        await conn.close()
    assert len(records) == len({record["exchange_id"] for record in records})
    return {record["exchange_id"]: record["verdict"] for record in records}


async def _equal(live: str, shadow: str) -> bool:
    async with asyncio.timeout(WAIT_S):
        while await checksums(live) != await checksums(shadow):
            await asyncio.sleep(0.1)
    return True
