"""Workers that are replaced, drained or killed."""

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
from tests.support.proxy_lab import Message, proxy_lab, read_message
from tests.support.waiting import until

POST = b"POST /v2/stamps/3/score/0xAb HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi"


@dataclass
class PersistentClient:
    """A client that keeps its connection as long as it can and never retries, so that every failure counts."""

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
                    # (a pause, so that the connection is also unused at times)
                    await asyncio.sleep(0.002)
            except (OSError, EOFError, TimeoutError) as error:
                self.failures.append(repr(error))
            finally:
                writer.close()
        self.connected = False

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Send a request and return whether the connection stays open."""
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
    async with proxy_lab(tmp_path / "lab", **both):
        document: dict[str, object] = {
            "backends": {side: {"live": {"url": f"http://127.0.0.1:{backend.port}"}} for side, backend in both.items()},
            "serve": {"state_file": str(tmp_path / "switch"), "sentinel_file": str(tmp_path / "stop")},
            "journal": {"directory": str(tmp_path / "journal")},
        }
        path = tmp_path / "config.yaml"
        path.write_text(yaml.safe_dump(document))
        worker_slot, stop = slot(), asyncio.Event()
        clients = [PersistentClient(worker_slot.sockets.clients.getsockname()[1]) for _ in range(6)]
        supervisor = Supervisor(partial(worker_command, path), [worker_slot], drain_s=10)
        async with asyncio.timeout(120), asyncio.TaskGroup() as group:
            group.create_task(supervisor.run(), name="supervise")
            for number, client in enumerate(clients):
                group.create_task(client.call(stop), name=f"client-{number}")
            await until(lambda: min(client.answered for client in clients) > 5)
            os.kill(os.getpid(), signal.SIGUSR1)
            # Each connection ends with a response that says Connection: close, and the client reconnects to the new worker.
            await until(lambda: min(client.closed for client in clients) > 0)
            answered = [client.answered for client in clients]
            await until(lambda: all(now.answered > then + 5 for now, then in zip(clients, answered, strict=True)))
            stop.set()
            await until(lambda: not any(client.connected for client in clients))
            supervisor.stop()
        assert [client.failures for client in clients] == [[]] * 6
        assert worker_slot.restarts == 0


CRASHING = """
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


async def test_losses_of_a_crashed_worker_are_counted() -> None:
    worker_slot, restarted = slot(), asyncio.Event()

    def command(of: WorkerSlot, inherited: InheritedFds) -> list[str]:
        if of.restarts:
            restarted.set()
        return [sys.executable, "-c", WAITING if of.restarts else CRASHING, inherited.to_argument()]

    supervisor = Supervisor(command, [worker_slot], drain_s=5)
    async with asyncio.timeout(120), asyncio.TaskGroup() as group:
        group.create_task(supervisor.run(), name="supervise")
        await restarted.wait()
        supervisor.stop()
    assert (worker_slot.restarts, worker_slot.lost) == (1, (3, 5))


async def test_failed_replacement_leaves_the_old_worker() -> None:
    worker_slot, tried = slot(), asyncio.Event()
    started: list[str] = []

    def command(of: WorkerSlot, inherited: InheritedFds) -> list[str]:
        started.append(FAILING if started else WAITING)
        if len(started) > 1:
            tried.set()
        return [sys.executable, "-c", started[-1], inherited.to_argument()]

    supervisor = Supervisor(command, [worker_slot], drain_s=5)
    async with asyncio.timeout(120), asyncio.TaskGroup() as group:
        group.create_task(supervisor.run(), name="supervise")
        await until(lambda: bool(started))
        supervisor.restart_workers()
        await tried.wait()
        supervisor.stop()
    assert (worker_slot.restarts, len(started)) == (0, 2)


async def test_rollback_is_stored_for_a_starting_worker() -> None:
    worker_slot, started, stored = slot(), asyncio.Event(), asyncio.Event()

    def command(_: WorkerSlot, inherited: InheritedFds) -> list[str]:
        started.set()
        return [sys.executable, "-c", WAITING, inherited.to_argument()]

    supervisor = Supervisor(command, [worker_slot], drain_s=5, roll_back=stored.set)
    async with asyncio.timeout(120), asyncio.TaskGroup() as group:
        group.create_task(supervisor.run(), name="supervise")
        await started.wait()
        os.kill(os.getpid(), signal.SIGUSR2)
        await stored.wait()
        supervisor.stop()


def test_workers_share_one_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "proxy.sock"
    opened = open_sockets(ListenSettings(unix=str(path), workers=2), AdminSettings(port=0))
    names = {sockets.clients.getsockname() for sockets in opened}
    for sockets in opened:
        sockets.close()
    assert names == {str(path)}


async def test_unused_connection_may_send_one_more_request_while_draining(tmp_path: Path) -> None:
    async with asyncio.TaskGroup() as group, proxy_lab(tmp_path, limits={"drain_s": 8, "drain_idle_s": 8}) as it:
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


async def test_unused_connection_is_closed_before_the_drain_is_over(tmp_path: Path) -> None:
    async with asyncio.TaskGroup() as group, proxy_lab(tmp_path, limits={"drain_s": 600, "drain_idle_s": 0.05}) as it:
        client = await it.client()
        await client.ask(get())
        reading = group.create_task(client.rest(), name="rest")
        it.clients.clear()
    assert reading.result() == b""
