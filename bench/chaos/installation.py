"""The real proxy (two workers) and runner over services and PostgreSQL servers, all of which can be killed, stopped, cut off and filled.

clients -> proxy -> services of live ------------> server of live (and the runner's relay to it)
             |
          journal -> runner -> relay -> services of shadow -> server of shadow
                            -> relays to the servers of shadow and of the store
"""

import asyncio
import contextlib
import logging
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import asyncpg
import msgspec
import psutil
import yaml

from bench.chaos.clients import Clients
from bench.chaos.ledger import Balance, JournalWatch, balance
from bench.chaos.relay import Relay
from comparator.capture.settings import CaptureSettings, Driver, Slot, SlotKind
from comparator.errors import StoreError
from comparator.exchanges.model import Side
from comparator.store.comparison_detail import unpacked_detail
from proxy.config.backends import BackendSettings, BackendsSettings, SideInstances
from proxy.config.databases import DatabasesSettings
from proxy.config.journal import JournalSettings, RetentionSettings
from proxy.config.listen import AdminSettings, ListenSettings
from proxy.config.routes import RouteSettings
from proxy.config.runner import RunnerSettings
from proxy.config.serve import ServeSettings
from proxy.config.settings import Settings
from proxy.demo.embedded_postgres import EmbeddedPostgres
from proxy.demo.free_ports import free_ports
from proxy.journal.reconciliation import WriterAccount
from proxy.runner.accountant import read_accounts
from tests.support import postgres
from tests.support.frozen_disk import LoopDisk, loop_disk
from tests.support.mirror_lab import WRITTEN, MirrorLab, mirror_lab
from tests.support.runner_crashes import DROP_SLOT, END_SLOT, execute

ROOT = Path(__file__).resolve().parents[2]
SETTLED_S = 300.0
STARTED_S = 120.0
WATCH_S = 0.1
FAULT = "wrong_response"
COMPARISONS = """
SELECT exchange_id, verdict, cause, served_by, served_status, mirrored_status, served_at, rows_served, rows_mirrored, effects_note, detail
FROM shadow.comparison WHERE exchange_id = ANY($1)
"""
VERDICTS = "SELECT exchange_id, verdict FROM shadow.comparison"
LIBFAKETIME = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1")


@dataclass
class Program:
    """A process of ours with its descendants, which can be killed, stopped and started again.

    Attributes:
        words: of the subcommand.
        port: answers once it works.
        environ: added to ours.
        comes_first: run it before the other programs of this machine, as a machine of its own would.
    """

    words: list[str]
    port: int
    log: Path
    environ: dict[str, str] = field(default_factory=dict)
    comes_first: bool = False
    process: asyncio.subprocess.Process | None = None

    async def start(self, *, wait: bool = True) -> None:
        """Start it; wait until its port answers."""
        environ = {**os.environ, "PYTHONPATH": str(ROOT), **self.environ}
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable,
                *("-m", "proxy", *self.words),
                cwd=self.log.parent,
                env=environ,
                stdout=log,
                stderr=log,
                preexec_fn=come_first if self.comes_first else None,
            )
        if wait:
            await self.ready()

    async def ready(self) -> None:
        """Wait until its port answers."""
        async with asyncio.timeout(STARTED_S):
            while True:
                assert self.process is not None
                assert self.process.returncode is None, self.log.read_text()[-3000:]
                with contextlib.suppress(OSError):
                    _, writer = await asyncio.open_connection("127.0.0.1", self.port)
                    writer.close()
                    return
                await asyncio.sleep(0.02)

    def processes(self) -> list[psutil.Process]:
        """Return the process and its descendants; none if it has ended."""
        if self.process is None or self.process.returncode is not None:
            return []
        try:
            parent = psutil.Process(self.process.pid)
            return [parent, *parent.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def send(self, number: signal.Signals) -> None:
        """Send a signal to all its processes."""
        signal_all(self.processes(), number)

    async def kill(self) -> None:
        """Kill it, with its descendants."""
        self.send(signal.SIGKILL)
        if self.process is not None:
            await self.process.wait()

    async def stop(self) -> None:
        """End it as an operator does."""
        if self.process is not None and self.process.returncode is None:
            self.process.terminate()
            try:
                async with asyncio.timeout(STARTED_S):
                    await self.process.wait()
            except TimeoutError:
                await self.kill()


def signal_all(processes: list[psutil.Process], number: signal.Signals) -> None:
    """Send a signal to processes, some of which may have ended."""
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(number)


@dataclass(frozen=True, slots=True)
class Command:
    """A command of `shadow` that has ended: its exit code, its time and CPU time, and its output."""

    code: int
    seconds: float
    cpu_s: float
    output: str


def run_command(words: list[str], folder: Path, *, timeout_s: float, comes_first: bool) -> Command:
    """Run a command of `shadow`."""
    with TemporaryFile() as output:
        started = time.monotonic()
        process = subprocess.Popen(
            [sys.executable, "-m", "proxy", *words],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=output,
            stderr=output,
            preexec_fn=come_first if comes_first else None,  # noqa: PLW1509 (it calls the kernel only)
        )
        timer = threading.Timer(timeout_s, process.kill)
        timer.start()
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.monotonic() - started
        timer.cancel()
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        text = output.read().decode(errors="replace")
    return Command(process.returncode, seconds, usage.ru_utime + usage.ru_stime, text)


def come_first() -> None:
    """Let this process run before others, which share the machine: what is measured is its own time. Needs root, else nothing changes."""
    with contextlib.suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))


@dataclass
class Chaos:
    """One running installation.

    Attributes:
        config: its configuration file.
        servers: of live, the shadow and the store; only those of its own.
        relays: to the servers, and to the shadow instances of both sides.
        watch: of the journal.
        disk: of the journal and the rollout's files; None where none can be mounted.
        offset: file with the offset of the clock of processes under libfaketime.
        measured: let proxy and commands run ahead of the other programs of this machine.
        wrong: ids of the exchanges whose verdict was found to be wrong.
    """

    lab: MirrorLab
    folder: Path
    settings: Settings
    config: Path
    proxy: Program
    runner: Program
    clients: Clients
    watch: JournalWatch
    servers: Mapping[str, EmbeddedPostgres]
    relays: Mapping[str, Relay]
    store_dsn: str
    disk: LoopDisk | None
    offset: Path
    measured: bool
    wrong: set[str] = field(default_factory=set)

    async def command(self, *words: str, config: Path | None = None) -> Command:
        """Run a command of `shadow`, as an operator does."""
        return await asyncio.to_thread(
            run_command,
            [*words, "--config", str(config or self.config)],
            self.folder,
            timeout_s=STARTED_S,
            comes_first=self.measured,
        )

    async def execute_store(self, sql: str) -> None:
        """Execute a statement on the store's server, past the relay."""
        await execute(postgres.with_database(self.store_dsn, "postgres"), sql)

    async def accounts(self) -> tuple[WriterAccount, ...]:
        """Return what the accounting says, as `shadow status` does."""
        databases = msgspec.structs.replace(self.settings.databases, store=self.store_dsn)
        async with aiohttp.ClientSession() as session:
            accounts = await read_accounts(session, msgspec.structs.replace(self.settings, databases=databases))
        assert accounts is not None
        return accounts

    async def settle(self) -> float:
        """Wait until no exchange is on its way; return the seconds that it took.

        Raises:
            TimeoutError: some are, after SETTLED_S.
        """
        started, before = time.monotonic(), None
        while True:
            try:
                accounts = await self.accounts()
            except (OSError, ValueError, asyncpg.PostgresError, StoreError):
                accounts = None
            if accounts is not None and accounts == before and not any(map(is_moving, accounts)):
                return time.monotonic() - started
            if time.monotonic() - started > SETTLED_S:
                raise TimeoutError(f"not settled: {accounts}")
            before = accounts
            await asyncio.sleep(0.2)

    async def balance(self) -> Balance:
        """Hold the accounting, once it is settled, against the truth."""
        self.watch.read()
        conn = await asyncpg.connect(self.store_dsn)
        try:
            verdicts = [(r["exchange_id"], r["verdict"]) for r in await conn.fetch(VERDICTS)]
        finally:
            await conn.close()
        accounts = await self.accounts()
        return balance(self.watch, accounts, self.clients.attempts.values(), verdicts, self.clients.spoilt)

    async def describe(self, ids: Sequence[str]) -> list[str]:
        """Return what the store has of comparisons, a line each."""
        conn = await asyncpg.connect(self.store_dsn)
        try:
            records = await conn.fetch(COMPARISONS, list(ids))
        finally:
            await conn.close()
        lines: list[str] = []
        for record in records:
            differences = [
                f"{one.kind} {one.place}: {one.served} | {one.mirrored}"
                for one in unpacked_detail(record["detail"]).differences
            ]
            fields = [f"{name} {value}" for name, value in record.items() if name != "detail"]
            lines.append("; ".join([*fields, *differences]))
        return lines

    def served_by(self, side: Side) -> Mapping[str, object]:
        """Return the ids of the requests that a side has served."""
        return self.lab.services[side, "live"].ledger

    def in_effect_s(self, since_s: float) -> float:
        """Return the time from `since_s` to the last request that the candidate was given; 0 for none."""
        by = self.served_by(Side.CANDIDATE)
        sent = (a.sent_s for a in self.clients.attempts.values() if a.sent_s >= since_s and a.id in by)
        return max((sent_s - since_s for sent_s in sent), default=0.0)


def is_moving(account: WriterAccount) -> bool:
    """Return whether exchanges of a writer are on their way."""
    return bool(account.queued or account.unread or account.in_flight)


@contextmanager
def journal_disk(folder: Path):
    """Yield the disk of the journal, None where none can be mounted."""
    if os.geteuid():
        yield None
        return
    with loop_disk(folder) as disk:
        yield disk


async def database_of(dsn: str, stack: AsyncExitStack) -> str:
    """Return a new database of a server."""
    return await stack.enter_async_context(postgres.temporary_database(dsn))


def relayed(dsn: str, port: int) -> str:
    """Return the DSN of a database through a relay."""
    return f"postgresql://postgres@127.0.0.1:{port}{urlsplit(dsn).path}"


def socket_of(dsn: str) -> Path | tuple[str, int]:
    """Return the address of a server."""
    parts = urlsplit(dsn)
    if parts.hostname:
        return parts.hostname, parts.port or 5432
    return Path(dsn.partition("host=")[2].partition("&")[0]) / ".s.PGSQL.5432"


@asynccontextmanager
async def installed(
    dsn: str = "", *, with_disk: bool = True, spoil: bool = True, own_store: bool = True, measured: bool = True
) -> AsyncGenerator[Chaos]:
    """Run an installation until the end of the block.

    Args:
        dsn: server for live and the shadow; "" starts one for each.
        with_disk: put the journal and the rollout's files on a disk of their own, where that is allowed.
        spoil: let the mirrored run of one request in ten differ.
        own_store: start a server for the store.
        measured: as of Chaos.
    """
    logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="bench-chaos-")))
        servers: dict[str, EmbeddedPostgres] = {}
        for name in [*([] if dsn else ["live", "shadow"]), *(["store"] if own_store else [])]:
            servers[name] = stack.enter_context(postgres.own_cluster())
        live, shadow = (servers[name].dsn() if name in servers else dsn for name in ("live", "shadow"))
        store_dsn = await database_of(servers["store"].dsn() if own_store else dsn, stack)
        slot = Slot(kind=SlotKind.PERSISTENT, name=f"chaos_{uuid.uuid4().hex[:12]}")
        capture = CaptureSettings(driver=Driver.STREAM, tables=WRITTEN, slot=slot, feedback_ms=200)
        ports = free_ports(4)
        runner = RunnerSettings(port=ports[3], timeout_s=5.0, confirm_per_s_max=100.0, unsettled_s_max=10.0)
        lab = await stack.enter_async_context(
            mirror_lab(
                live,
                folder,
                capture=capture,
                runner=runner,
                shadow_server_dsn="" if dsn else shadow,
                population=120,
                shared_every=0,
            )
        )
        stack.push_async_callback(drop_slot, lab.live_dsn, slot.name)
        disk = stack.enter_context(journal_disk(folder)) if with_disk else None
        relays = {
            "live": Relay(socket_of(lab.live_dsn)),
            "shadow": Relay(socket_of(lab.shadow_dsn)),
            "store": Relay(socket_of(store_dsn)),
            **{
                f"mirror-{side}": Relay(("127.0.0.1", int(urlsplit(lab.services[side, "shadow"].url).port or 0)))
                for side in Side
            },
        }
        for relay in relays.values():
            await stack.enter_async_context(relay)
        settings = settings_of(lab, relays, store_dsn, ports, disk.path if disk else folder / "var")
        config = folder / "chaos.yaml"
        config.write_text(yaml.safe_dump(msgspec.to_builtins(settings)))
        made = Chaos(
            lab=lab,
            folder=folder,
            settings=settings,
            config=config,
            proxy=Program(["proxy", "--config", str(config)], ports[0], folder / "proxy.log", comes_first=measured),
            runner=Program(["runner", "--config", str(config)], ports[3], folder / "runner.log"),
            clients=Clients(ports[0], [f"/score/{address}" for address in lab.addresses], spoiler(lab, spoil=spoil)),
            watch=JournalWatch(Path(settings.journal.directory)),
            servers=servers,
            relays=relays,
            store_dsn=store_dsn,
            disk=disk,
            offset=folder / "clock",
            measured=measured,
        )
        try:
            await made.proxy.start()
            await made.runner.start()
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(made.clients.run(), name="clients"),
                    group.create_task(watching(made.watch), name="journal-watch"),
                ]
                try:
                    yield made
                finally:
                    for task in tasks:
                        task.cancel()
        finally:
            if disk:
                disk.thaw()
            for program in (made.runner, made.proxy):
                program.send(signal.SIGCONT)
                await program.kill()


def spoiler(lab: MirrorLab, *, spoil: bool) -> Callable[[str], None]:
    """Return a function that lets the mirrored run of a request differ, whichever side serves it."""

    def mark(request_id: str) -> None:
        for side in Side:
            lab.services[side, "shadow"].faults[request_id] = FAULT if spoil else ""

    return mark


async def watching(watch: JournalWatch) -> None:
    """Read the journal again and again."""
    while True:
        await asyncio.to_thread(watch.read)
        await asyncio.sleep(WATCH_S)


async def drop_slot(dsn: str, name: str) -> None:
    """Drop the slot of live, which would keep its log."""
    for sql in (END_SLOT, DROP_SLOT):
        await execute(dsn, sql, name)


def settings_of(
    lab: MirrorLab, relays: Mapping[str, Relay], store_dsn: str, ports: list[int], folder: Path
) -> Settings:
    """Return the configuration of proxy and runner: through the relays, with small segments."""

    def side(name: Side) -> SideInstances:
        return SideInstances(
            live=BackendSettings(url=lab.services[name, "live"].url),
            shadow=BackendSettings(url=f"http://127.0.0.1:{relays[f'mirror-{name}'].port}"),
        )

    changes: dict[str, Any] = {
        "listen": ListenSettings(port=ports[0], workers=2, trusted_networks=("127.0.0.0/8",)),
        "admin": AdminSettings(port=ports[1]),
        "backends": BackendsSettings(candidate=side(Side.CANDIDATE), legacy=side(Side.LEGACY)),
        "databases": DatabasesSettings(
            live=relayed(lab.live_dsn, relays["live"].port),
            shadow=relayed(lab.shadow_dsn, relays["shadow"].port),
            store=relayed(store_dsn, relays["store"].port),
        ),
        "routes": (RouteSettings(name="score", path="/score/{address}", key="address"),),
        "serve": ServeSettings(state_file=str(folder / "switch.json"), sentinel_file=str(folder / "rollback")),
        "journal": JournalSettings(
            directory=str(folder / "journal"),
            flush_ms=100.0,
            segment_max_bytes=3_000,
            retention=RetentionSettings(size_max_bytes=4 * 1024**2, disk_max_bytes=8 * 1024**2),
        ),
    }
    return msgspec.structs.replace(lab.settings(), **changes)
