"""The kinds of faults: each begins while clients send, and ends a moment later."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial

import msgspec
import psutil
import yaml

from bench.chaos.installation import LIBFAKETIME, ROOT, Chaos, signal_all
from proxy.config.journal import RetentionSettings
from proxy.demo.embedded_postgres import EmbeddedPostgres
from proxy.errors import EmbeddedPostgresError

Step = Callable[[Chaos], Awaitable[None]]
CLOCK_S = 5400
RELATIVE_SLEEP = """
import select, time
time.sleep = lambda seconds: select.select((), (), (), seconds) and None
"""


async def nothing(_: Chaos) -> None:
    """Do nothing."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A kind of fault.

    Attributes:
        begin, end: cause it, and end it.
        prepare, restore: what is done before and after the clients send.
        breaks: the process that clients are connected to is killed, so that connections break.
        reachable: a proxy can be told of a rollback meanwhile; else the command says that it was not.
        server: the server that it needs for itself.
        needs_disk: the journal must be on a disk of its own.
        needs_clock: libfaketime must be installed.
    """

    name: str
    begin: Step
    end: Step = nothing
    prepare: Step = nothing
    restore: Step = nothing
    breaks: bool = False
    reachable: bool = True
    server: str = ""
    needs_disk: bool = False
    needs_clock: bool = False

    def obstacle(self, chaos: Chaos) -> str:
        """Return why the fault cannot be caused here; "" if it can."""
        if self.server and self.server not in chaos.servers:
            return f"needs a server of its own for {self.server}"
        if self.needs_disk and chaos.disk is None:
            return "needs root, loop devices and fsfreeze"
        if self.needs_clock and not LIBFAKETIME.exists():
            return "needs libfaketime: apt-get install faketime"
        return ""


async def kill_proxy(chaos: Chaos) -> None:
    """Kill the supervisor and all workers, and start them again as an init system does."""
    await chaos.proxy.kill()
    await chaos.proxy.start(wait=False)


async def proxy_is_back(chaos: Chaos) -> None:
    """Wait for the proxy."""
    await chaos.proxy.ready()


async def kill_worker(chaos: Chaos) -> None:
    """Kill one worker; the supervisor replaces it."""
    signal_all(chaos.proxy.processes()[1:2], signal.SIGKILL)


async def kill_runner(chaos: Chaos) -> None:
    """Kill the runner."""
    await chaos.runner.kill()


async def start_runner(chaos: Chaos) -> None:
    """Start the runner."""
    await chaos.runner.start(wait=False)


async def send(number: signal.Signals, program: str, chaos: Chaos) -> None:
    """Send a signal to the processes of the proxy or the runner."""
    (chaos.proxy if program == "proxy" else chaos.runner).send(number)


def server_processes(server: EmbeddedPostgres) -> list[psutil.Process]:
    """Return the processes of a server, the postmaster first."""
    pid = int((server.data_dir / "postmaster.pid").read_text().split("\n", 1)[0])
    postmaster = psutil.Process(pid)
    return [postmaster, *postmaster.children(recursive=True)]


async def signal_server(number: signal.Signals, name: str, chaos: Chaos) -> None:
    """Send a signal to all processes of a server."""
    signal_all(server_processes(chaos.servers[name]), number)


async def kill_server(name: str, chaos: Chaos) -> None:
    """Kill all processes of a server."""
    processes = server_processes(chaos.servers[name])
    signal_all(processes, signal.SIGKILL)
    await asyncio.to_thread(psutil.wait_procs, processes, timeout=20)


async def start_server(name: str, chaos: Chaos) -> None:
    """Start a server that was killed; it recovers from its log."""
    for _ in range(20):
        with contextlib.suppress(EmbeddedPostgresError):
            await asyncio.to_thread(chaos.servers[name].start)
            return
        await asyncio.sleep(0.2)
    await asyncio.to_thread(chaos.servers[name].start)


async def fill(chaos: Chaos) -> None:
    """Fill the disk of the journal."""
    assert chaos.disk
    await asyncio.to_thread(chaos.disk.fill)


async def make_room(chaos: Chaos) -> None:
    """Free what was filled."""
    assert chaos.disk
    (chaos.disk.path / "filler").unlink()


async def freeze(chaos: Chaos) -> None:
    """Freeze the disk of the journal."""
    assert chaos.disk
    await asyncio.to_thread(chaos.disk.freeze)


async def thaw(chaos: Chaos) -> None:
    """Thaw it."""
    assert chaos.disk
    await asyncio.to_thread(chaos.disk.thaw)


async def cut(names: tuple[str, ...], chaos: Chaos) -> None:
    """Reset the connections through relays, and refuse new ones."""
    for name in names:
        await chaos.relays[name].cut()


async def mend(names: tuple[str, ...], chaos: Chaos) -> None:
    """Accept connections again."""
    for name in names:
        await chaos.relays[name].restore()


async def stall(name: str, chaos: Chaos) -> None:
    """Let nothing pass through a relay."""
    chaos.relays[name].stall(stalled=True)


async def flow(name: str, chaos: Chaos) -> None:
    """Let everything pass again."""
    chaos.relays[name].stall(stalled=False)


async def fake_clocks(chaos: Chaos) -> None:
    """Start proxy and runner again, with a clock that can be moved.

    libfaketime breaks the absolute sleep of the monotonic clock (EINVAL), which is that of time.sleep: they start with one of their own.
    """
    chaos.offset.write_text("+0")
    site = chaos.folder / "site"
    site.mkdir(exist_ok=True)
    (site / "sitecustomize.py").write_text(RELATIVE_SLEEP)
    moved = {
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(site)]),
        "LD_PRELOAD": str(LIBFAKETIME),
        "FAKETIME_TIMESTAMP_FILE": str(chaos.offset),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "DONT_FAKE_MONOTONIC": "1",
    }
    await restart(chaos, moved)


async def true_clocks(chaos: Chaos) -> None:
    """Start them again with the clock of the machine."""
    await restart(chaos, {})


async def restart(chaos: Chaos, environ: Mapping[str, str]) -> None:
    """End proxy and runner, and start them in another environment."""
    for program in (chaos.proxy, chaos.runner):
        await program.stop()
        program.environ = dict(environ)
        await program.start()


async def move_clocks(seconds: int, chaos: Chaos) -> None:
    """Let the clocks of proxy and runner jump."""
    chaos.offset.write_text(f"{seconds:+d}")


async def prune(chaos: Chaos) -> None:
    """Stop the runner; delete every closed segment, read or not, a moment later."""
    await send(signal.SIGSTOP, "runner", chaos)


async def delete_and_continue(chaos: Chaos) -> None:
    """Delete the closed segments behind the reader, and let it go on."""
    tight = RetentionSettings(size_max_bytes=1, disk_max_bytes=1)
    journal = msgspec.structs.replace(chaos.settings.journal, retention=tight)
    config = chaos.folder / "prune.yaml"
    config.write_text(yaml.safe_dump(msgspec.to_builtins(msgspec.structs.replace(chaos.settings, journal=journal))))
    await asyncio.to_thread(chaos.watch.read)
    ended = await chaos.command("journal", "prune", config=config)
    assert ended.code == 0, ended.output
    await send(signal.SIGCONT, "runner", chaos)


READ_ONLY = "ALTER DATABASE {} SET default_transaction_read_only = {}"
CLOSED = "ALTER DATABASE {} ALLOW_CONNECTIONS {}"
END_SESSIONS = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{}'"


async def alter_store(sql: str, value: str, chaos: Chaos) -> None:
    """Alter the store's database, and end its sessions."""
    name = chaos.store_dsn.partition("@/")[2].partition("?")[0]
    await chaos.execute_store(sql.format(name, value))
    await chaos.execute_store(END_SESSIONS.format(name))


FAULTS = (
    Fault("kill_proxy", kill_proxy, proxy_is_back, breaks=True),
    Fault("kill_worker", kill_worker, breaks=True),
    Fault("kill_runner", kill_runner, start_runner),
    Fault("kill_store", partial(kill_server, "store"), partial(start_server, "store"), server="store"),
    Fault("kill_shadow", partial(kill_server, "shadow"), partial(start_server, "shadow"), server="shadow"),
    Fault(
        "stop_proxy", partial(send, signal.SIGSTOP, "proxy"), partial(send, signal.SIGCONT, "proxy"), reachable=False
    ),
    Fault("stop_runner", partial(send, signal.SIGSTOP, "runner"), partial(send, signal.SIGCONT, "runner")),
    Fault(
        "stop_store",
        partial(signal_server, signal.SIGSTOP, "store"),
        partial(signal_server, signal.SIGCONT, "store"),
        server="store",
    ),
    Fault("fill_disk", fill, make_room, needs_disk=True),
    Fault("freeze_disk", freeze, thaw, needs_disk=True),
    Fault("cut_store", partial(cut, ("store",)), partial(mend, ("store",))),
    Fault("cut_databases", partial(cut, ("live", "shadow")), partial(mend, ("live", "shadow"))),
    Fault(
        "cut_mirror",
        partial(cut, ("mirror-candidate", "mirror-legacy")),
        partial(mend, ("mirror-candidate", "mirror-legacy")),
    ),
    Fault("stall_store", partial(stall, "store"), partial(flow, "store")),
    Fault(
        "clock_ahead",
        partial(move_clocks, CLOCK_S),
        partial(move_clocks, 0),
        prepare=fake_clocks,
        restore=true_clocks,
        needs_clock=True,
    ),
    Fault(
        "clock_behind",
        partial(move_clocks, -CLOCK_S),
        partial(move_clocks, 0),
        prepare=fake_clocks,
        restore=true_clocks,
        needs_clock=True,
    ),
    Fault("prune", prune, delete_and_continue),
    Fault("store_read_only", partial(alter_store, READ_ONLY, "on"), partial(alter_store, READ_ONLY, "off")),
    Fault("store_away", partial(alter_store, CLOSED, "false"), partial(alter_store, CLOSED, "true")),
)
