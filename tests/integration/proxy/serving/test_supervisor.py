"""Workers that are replaced, drained or killed: what clients notice, and what is counted."""

import asyncio
import os
import signal
import sys
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import yaml

from proxy.cli.proxy import worker_command
from proxy.config.listen import AdminSettings, ListenSettings
from proxy.serving.supervisor import Supervisor, WorkerSlot
from proxy.serving.worker_handoff import InheritedFds, open_sockets
from tests.integration.proxy.serving.test_serving import get, sides
from tests.support.proxying import Message, lab, read_message
from tests.support.waiting import until

POST = b"POST /v2/stamps/3/score/0xAb HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi"


@dataclass
class Persistent:
    """A client that keeps its connection as long as it may and never sends anything twice: a failure is a failure."""

    port: int
    answered: int = 0
    closed: int = 0
    connected: bool = True
    failures: list[str] = field(default_factory=list)

    async def call(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            try:
                while not stop.is_set() and await self._ask(reader, writer):
                    # (a client thinks, so that its connection is also unused now and then)
                    await asyncio.sleep(0.002)
            except (OSError, EOFError, TimeoutError) as error:
                self.failures.append(repr(error))
            finally:
                writer.close()
        self.connected = False

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Whether the connection stays."""
        writer.write(POST if self.answered % 2 else get())
        response: Message = await read_message(reader)
        assert response.status == 200
        self.answered += 1
        if response.get("connection") == "close":
            self.closed += 1
            return False
        return True


async def test_no_request_fails_while_a_worker_is_replaced(tmp_path: Path) -> None:
    both = sides()
    async with lab(tmp_path / "lab", **both):
        document: dict[str, object] = {
            "backends": {side: {"live": {"url": f"http://127.0.0.1:{one.port}"}} for side, one in both.items()},
            "serve": {"state_file": str(tmp_path / "switch"), "sentinel_file": str(tmp_path / "stop")},
            "journal": {"directory": str(tmp_path / "journal")},
        }
        path = tmp_path / "config.yaml"
        path.write_text(yaml.safe_dump(document))
        place, stop = slot(), asyncio.Event()
        clients = [Persistent(place.sockets.clients.getsockname()[1]) for _ in range(6)]
        supervisor = Supervisor(partial(worker_command, path), [place], drain_s=10)
        async with asyncio.timeout(120), asyncio.TaskGroup() as group:
            group.create_task(supervisor.run(), name="supervise")
            for number, client in enumerate(clients):
                group.create_task(client.call(stop), name=f"client-{number}")
            await until(lambda: min(client.answered for client in clients) > 5)
            os.kill(os.getpid(), signal.SIGUSR1)
            # Each connection ends with a response that says so, and goes on at the new worker.
            await until(lambda: min(client.closed for client in clients) > 0)
            answered = [client.answered for client in clients]
            await until(lambda: all(now.answered > then + 5 for now, then in zip(clients, answered, strict=True)))
            stop.set()
            await until(lambda: not any(client.connected for client in clients))
            supervisor.stop()
        assert [client.failures for client in clients] == [[]] * 6
        assert place.restarts == 0


DYING = """
import os, signal, sys
from proxy.cli.proxy import worker_command
from proxy.serving.worker_handoff import InheritedFds, WorkerStats
inherited = InheritedFds.of(sys.argv[1])
WorkerStats(inherited.stats).write(3, 5)
os.kill(os.getpid(), signal.SIGKILL)
"""
WAITING = """
import os, signal, sys
from proxy.cli.proxy import worker_command
from proxy.serving.worker_handoff import InheritedFds
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
InheritedFds.of(sys.argv[1]).notify_ready()
while True:
    signal.pause()
"""
FAILING = "raise SystemExit(7)"


def slot() -> WorkerSlot:
    [sockets] = open_sockets(ListenSettings(port=0), AdminSettings(port=0))
    return WorkerSlot(0, sockets)


async def test_what_died_with_a_worker_is_counted_and_handed_to_the_next() -> None:
    place, again = slot(), asyncio.Event()

    def command(of: WorkerSlot, inherited: InheritedFds) -> list[str]:
        if of.restarts:
            again.set()
        return [sys.executable, "-c", WAITING if of.restarts else DYING, inherited.to_argument()]

    supervisor = Supervisor(command, [place], drain_s=5)
    async with asyncio.timeout(120), asyncio.TaskGroup() as group:
        group.create_task(supervisor.run(), name="supervise")
        await again.wait()
        supervisor.stop()
    assert (place.restarts, place.lost) == (1, (3, 5))


async def test_a_replacement_that_does_not_come_up_leaves_the_old_worker() -> None:
    place, tried = slot(), asyncio.Event()
    begun: list[str] = []

    def command(of: WorkerSlot, inherited: InheritedFds) -> list[str]:
        begun.append(FAILING if begun else WAITING)
        if len(begun) > 1:
            tried.set()
        return [sys.executable, "-c", begun[-1], inherited.to_argument()]

    supervisor = Supervisor(command, [place], drain_s=5)
    async with asyncio.timeout(120), asyncio.TaskGroup() as group:
        group.create_task(supervisor.run(), name="supervise")
        await until(lambda: bool(begun))
        supervisor.restart_workers()
        await tried.wait()
        supervisor.stop()
    assert (place.restarts, len(begun)) == (0, 2)


async def test_a_rollback_is_stored_for_a_worker_that_is_just_starting() -> None:
    place, begun, stored = slot(), asyncio.Event(), asyncio.Event()

    def command(_: WorkerSlot, inherited: InheritedFds) -> list[str]:
        begun.set()
        return [sys.executable, "-c", WAITING, inherited.to_argument()]

    supervisor = Supervisor(command, [place], drain_s=5, roll_back=stored.set)
    async with asyncio.timeout(120), asyncio.TaskGroup() as group:
        group.create_task(supervisor.run(), name="supervise")
        await begun.wait()
        os.kill(os.getpid(), signal.SIGUSR2)
        await stored.wait()
        supervisor.stop()


def test_workers_share_one_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "proxy.sock"
    opened = open_sockets(ListenSettings(unix=str(path), workers=2), AdminSettings(port=0))
    names = {one.clients.getsockname() for one in opened}
    for one in opened:
        one.close()
    assert names == {str(path)}


async def test_an_unused_connection_may_bring_one_more_request_while_draining(tmp_path: Path) -> None:
    async with asyncio.TaskGroup() as group, lab(tmp_path, limits={"drain_s": 8, "drain_idle_s": 8}) as it:
        client = await it.client()
        await client.ask(get())

        async def late() -> bytes:
            await it.until(lambda: it.proxy.state.connections.draining)
            await client.send(get())
            return await client.rest()

        reading = group.create_task(late(), name="late")
        it.clients.clear()
    response = reading.result()
    assert response.startswith(b"HTTP/1.1 200 ")
    assert b"Connection: close\r\n" in response


async def test_a_connection_that_stays_unused_is_closed_before_the_drain_is_over(tmp_path: Path) -> None:
    async with asyncio.TaskGroup() as group, lab(tmp_path, limits={"drain_s": 600, "drain_idle_s": 0.05}) as it:
        client = await it.client()
        await client.ask(get())
        reading = group.create_task(client.rest(), name="rest")
        it.clients.clear()
    assert reading.result() == b""
