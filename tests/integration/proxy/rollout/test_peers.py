"""Proxies that are peers and share neither disk nor database."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from proxy.demo.free_ports import free_ports
from proxy.errors import SettingsError
from proxy.rollout.control import ChangeRequest
from proxy.rollout.state_machine import Phase
from tests.support.proxy_lab import ProxyLab, proxy_lab

SECRET = "an HS256 secret of at least 32 bytes"
ANN = ChangeRequest("ann", "it burns")


@asynccontextmanager
async def proxy(folder: Path, own: int, other: int, **access: Any) -> AsyncGenerator[ProxyLab]:
    folder.mkdir(exist_ok=True)
    peer = {"host": "127.0.0.1", "port": other}
    rollout = {"enabled": True, "steps": [0, 100], "peers": [peer], "poll_s": 0.1, "access": access}
    async with proxy_lab(folder, admin={"port": own}, rollout=rollout) as made:
        yield made


@pytest.mark.parametrize(
    "access",
    [{}, {"jwt_secret": SECRET, "break_glass_token": "glass", "protect_reads": True}],
    ids=["open", "protected"],
)
async def test_rollback_reaches_a_peer(tmp_path: Path, access: dict[str, Any]) -> None:
    one, other = free_ports(2)
    async with (
        proxy(tmp_path / "a", one, other, **access) as here,
        proxy(tmp_path / "b", other, one, **access) as there,
    ):
        here.proxy.rollout.control.rollback(ANN)
        await there.until(lambda: there.proxy.switch.rolled_back)
        assert there.proxy.switch.state.reason == "it burns"


async def test_resume_reaches_a_peer(tmp_path: Path) -> None:
    one, other = free_ports(2)
    async with proxy(tmp_path / "a", one, other) as here, proxy(tmp_path / "b", other, one) as there:
        here.proxy.rollout.control.rollback(ANN)
        await there.until(lambda: there.proxy.switch.rolled_back)
        await there.proxy.rollout.control.resume(ANN)
        await here.until(lambda: not here.proxy.switch.rolled_back)
        assert here.proxy.rollout.replica.states["all"].phase is Phase.SHADOWING


async def test_starting_proxy_learns_of_a_rollback_before_it_serves(tmp_path: Path) -> None:
    one, other = free_ports(2)
    async with proxy(tmp_path / "a", one, other) as here:
        here.proxy.rollout.control.rollback(ANN)
        async with proxy(tmp_path / "b", other, one) as there:
            assert there.proxy.switch.rolled_back


async def test_proxy_serves_without_its_peers(tmp_path: Path) -> None:
    one, unused = free_ports(2)
    async with proxy(tmp_path / "a", one, unused) as here:
        response = await here.ask(b"GET /v2/stamps/1/score/0xabc HTTP/1.1\r\nHost: x\r\n\r\n")
        assert response.status == 200


async def test_peers_without_a_token_are_refused_at_start(tmp_path: Path) -> None:
    one, other = free_ports(2)
    with pytest.raises(SettingsError, match=r"^rollout\.peers: "):
        async with proxy(tmp_path / "a", one, other, jwt_secret=SECRET):
            pass
