"""One configuration, `shadow proxy` with two workers, a broker and `shadow runner`: no exchange is lost while shipper and broker are killed."""

import asyncio
import os
import random
import signal
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import msgspec
import pytest

from comparator.capture.settings import CaptureSettings
from comparator.exchanges.model import Side
from comparator.settings import StoreSettings
from comparator.store.store import Store
from proxy.cli.exit_codes import Exit
from proxy.cli.main import main
from proxy.config.listen import AdminSettings, ListenSettings
from proxy.config.routes import RouteSettings
from proxy.config.runner import RunnerSettings
from proxy.config.serve import ServeSettings
from proxy.config.settings import Settings
from proxy.demo.free_ports import free_port, free_ports
from proxy.journal.shipper import load_status
from proxy.rollout.accounting import total
from proxy.runner.accountant import read_accounts
from tests.support.mirror_lab import WRITTEN, MirrorLab, mirror_lab
from tests.support.proxy_processes import ProxyNode
from tests.support.redis import running_redis
from tests.support.runner_process import RunnerProcess, settled
from tests.support.scraping import until
from tests.support.shared_journal import ENVIRON, shared_settings

PART = 15


@pytest.fixture
async def lab(postgres_dsn: str, tmp_path: Path) -> AsyncIterator[MirrorLab]:
    runner = RunnerSettings(port=free_port())
    capture = CaptureSettings(tables=WRITTEN)
    async with mirror_lab(postgres_dsn, tmp_path, capture=capture, runner=runner, population=4 * PART) as made:
        yield made


def common_settings(lab: MirrorLab, url: str, folder: Path) -> Settings:
    """Return the settings of proxy and runner."""
    port, admin, _ = free_ports(3)
    return msgspec.structs.replace(
        lab.settings(),
        listen=ListenSettings(port=port, workers=2),
        admin=AdminSettings(port=admin),
        routes=(RouteSettings("score", "/score/{address}", key="address"),),
        serve=ServeSettings(
            side=Side.CANDIDATE, state_file=str(folder / "switch.json"), sentinel_file=str(folder / "rollback")
        ),
        journal=shared_settings(url, folder / "spool"),
    )


async def send(session: aiohttp.ClientSession, port: int, addresses: list[str]) -> None:
    """Send a request about each address, and have each answered."""
    for address in addresses:
        headers = {"X-Request-Id": uuid.uuid4().hex}
        async with session.get(f"http://127.0.0.1:{port}/score/{address}", headers=headers) as response:
            assert response.status == 200


async def test_proxy_ships_to_the_runner_whatever_is_killed(
    lab: MirrorLab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in ENVIRON.items():
        monkeypatch.setenv(name, value)
    parts = [list(lab.addresses[start : start + PART]) for start in range(0, 4 * PART, PART)]
    with running_redis() as server:
        settings = common_settings(lab, server.url, tmp_path)
        spool = Path(settings.journal.directory)
        runner = RunnerProcess(settings, tmp_path)
        proxy = ProxyNode(0, tmp_path, settings.listen.port, settings.admin.port)
        async with (
            # (a connection for each request, so that both workers get some)
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as session,
            Store(lab.store_dsn, StoreSettings(timeout_s=20), random.Random(7)) as store,
        ):
            try:
                await asyncio.gather(proxy.start(), runner.start())
                await send(session, proxy.port, parts[0])
                await settled(store, PART, lab.runner.name)
                server.stop()
                await send(session, proxy.port, parts[1])
                server.start()
                await settled(store, 2 * PART, lab.runner.name)
                killed = shipper_pid(spool)
                os.kill(killed, signal.SIGKILL)
                await send(session, proxy.port, parts[2])
                await settled(store, 3 * PART, lab.runner.name)
                assert shipper_pid(spool) != killed
                await send(session, proxy.port, parts[3])
                proxy.send_signal(signal.SIGTERM)
                assert proxy.process
                assert await proxy.process.wait() == 0
                assert not is_alive(shipper_pid(spool))
                outcomes = await settled(store, 4 * PART, lab.runner.name)
                await until(lab.runner.port, lambda s: not total(s, "shadow_waiting"))
                accounts = await read_accounts(session, settings)
                shown = await asyncio.to_thread(
                    main, ["journal", "ship", "--status", "--config", str(tmp_path / "config.yaml")]
                )
            finally:
                await proxy.kill()
                await runner.kill()
    assert outcomes == {"compared": 4 * PART}
    assert accounts is not None
    assert len(accounts) == 2
    assert {(len(one.missing), one.unread, one.in_flight, len(one.lost)) for one in accounts} == {(0, 0, 0, 0)}
    assert sum(one.ended for one in accounts) == 4 * PART
    assert shown == Exit.DONE
    assert capsys.readouterr().out.count("  ended") == 2


def shipper_pid(spool: Path) -> int:
    status = load_status(spool)
    assert status is not None
    return status.pid


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
