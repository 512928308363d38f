"""Many connections: what fits is admitted, the longest unused one makes room, the rest is refused in words."""

import asyncio
import os
import resource
import socket
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from proxy.config.loader import load
from proxy.serving import connection_registry
from proxy.serving.descriptors import DescriptorBudget, budget_of, raise_limit
from tests.support.proxy_lab import ProxyLab, RawClient, ScriptedBackend, ok, proxy_lab

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
ROLLBACK = (
    b"POST /rollback HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 15\r\n\r\n"
    b'{"actor":"ann"}'
)


@pytest.mark.parametrize(
    ("limit", "admin", "clients"), [(256, 32, 16), (1024, 128, 304), (4096, 256, 2656), (20_000, 256, 4096)]
)
def test_descriptors_are_divided(limit: int, admin: int, clients: int) -> None:
    budget = budget_of(load("{}", {}), limit)
    assert (budget.admin, budget.clients) == (admin, clients)
    assert budget.clients + min(budget.clients, budget.backends) + budget.admin + budget.backlog <= limit


def test_too_few_descriptors_are_named_with_the_remedy() -> None:
    text = budget_of(load("limits: {connections_max: 10000}", {}), 1024).describe()
    assert text.startswith("only 304 of limits.connections_max = 10000 client connections fit into 1024")
    assert "LimitNOFILE=" in text


def test_named_remedy_suffices() -> None:
    settings = load("limits: {connections_max: 10000}", {})
    for limit in (256, 1024, 4096):
        assert budget_of(settings, budget_of(settings, limit).needed).fitting >= 10_000


@pytest.fixture
def soft_limit() -> Generator[None]:
    """Restore the limit of this process."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.usefixtures("soft_limit")
def test_soft_limit_is_raised_to_the_hard_one() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (512, hard))
    assert raise_limit() == hard
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == hard


@asynccontextmanager
async def lab(tmp_path: Path, *, trusted: bool = False, **limits: Any) -> AsyncGenerator[ProxyLab]:
    slow = asyncio.Event()

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.readuntil(b"\r\n\r\n"):
            if b"GET /slow" in head:
                await slow.wait()
            writer.write(ok(b"served"))

    networks = {"trusted_networks": ["127.0.0.0/8"] if trusted else []}
    async with proxy_lab(
        tmp_path, candidate=ScriptedBackend(handler=converse), listen={"port": 0, **networks}, limits=limits
    ) as made:
        try:
            yield made
        finally:
            slow.set()


async def unused_for_a_while(made: ProxyLab) -> None:
    """Wait until the connections that are open count as unused."""
    await asyncio.sleep(connection_registry.EVICTED_AFTER_S + 0.2)


async def is_closed(client: RawClient) -> bool:
    try:
        return (await client.rest()) == b""
    except ConnectionError:
        return True


async def test_connection_that_was_unused_for_longest_makes_room(tmp_path: Path) -> None:
    async with lab(tmp_path, trusted=True, connections_max=3) as made:
        clients = [await made.client() for _ in range(3)]
        for client in (clients[0], clients[2], clients[1]):
            assert (await client.ask(GET)).status == 200
        await unused_for_a_while(made)
        for _ in range(2):
            extra = await made.client()
            assert (await extra.ask(GET)).status == 200
        assert await is_closed(clients[0])
        assert await is_closed(clients[2])
        assert (await clients[1].ask(GET)).status == 200


async def test_connections_in_use_are_never_closed_for_new_ones(tmp_path: Path) -> None:
    async with lab(tmp_path, trusted=True, connections_max=2) as made:
        busy = [await made.client() for _ in range(2)]
        for client in busy:
            await client.send(GET.replace(b"/", b"/slow", 1))
        await made.until(lambda: len(made.proxy.state.connections.requests) == 2)
        await unused_for_a_while(made)
        refused = await made.client()
        response = await refused.response()
        assert (response.status, response.get("Retry-After")) == (503, "1")


async def test_one_address_does_not_get_all_connections(tmp_path: Path) -> None:
    async with lab(tmp_path, connections_max=8) as made:
        clients = [await made.client() for _ in range(7)]
        for client in clients[:6]:
            await client.send(GET.replace(b"/", b"/slow", 1))
        assert (await clients[6].response()).status == 503
        await made.until(lambda: len(made.proxy.state.connections.clients) <= 7)


async def test_trusted_address_may_have_all_connections(tmp_path: Path) -> None:
    async with lab(tmp_path, trusted=True, connections_max=8) as made:
        clients = [await made.client() for _ in range(8)]
        assert {(await client.ask(GET)).status for client in clients} == {200}


async def test_unused_connections_of_one_address_are_limited(tmp_path: Path) -> None:
    async with lab(tmp_path, connections_max=100, unused_per_address_max=3) as made:
        clients = [await made.client() for _ in range(9)]
        for client in clients:
            assert (await client.ask(GET)).status == 200
        await made.until(lambda: len(made.proxy.state.connections.clients) == 3)
        assert (await clients[8].ask(GET)).status == 200
        assert await is_closed(clients[0])


@pytest.mark.usefixtures("soft_limit")
async def test_rollback_gets_through_when_no_descriptor_is_left(tmp_path: Path) -> None:
    async with lab(tmp_path) as made:
        loop = asyncio.get_running_loop()
        operators = [socket.socket() for _ in range(3)]
        taken: list[int] = []
        highest = max(int(name) for name in os.listdir("/proc/self/fd"))  # noqa: PTH208 (a listing needs a descriptor too)
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 20, hard))
        try:
            with suppress(OSError):
                while True:
                    taken.append(os.open(os.devnull, os.O_RDONLY))
            for operator in operators:
                operator.setblocking(False)
                async with asyncio.timeout(60):
                    await loop.sock_connect(operator, ("127.0.0.1", made.proxy.admin_port))
                    await loop.sock_sendall(operator, ROLLBACK)
                    assert (await loop.sock_recv(operator, 65536)).startswith(b"HTTP/1.1 200")
            assert made.proxy.switch.rolled_back
        finally:
            for descriptor in taken:
                os.close(descriptor)
            for operator in operators:
                operator.close()


async def test_thousand_unused_connections_are_no_outage(tmp_path: Path) -> None:
    async with lab(tmp_path, connections_max=64, connections_per_address_max=64) as made:
        for _ in range(200):
            await made.client()
        await unused_for_a_while(made)
        client = await made.client()
        assert (await client.ask(GET)).status == 200
        await made.until(lambda: len(made.proxy.state.connections.clients) <= 64)


def test_budget_admits_no_more_than_is_wanted() -> None:
    assert DescriptorBudget(limit=1000, admin=1, backlog=1, backends=1, fitting=900, wanted=5).clients == 5
