"""Runs a process on the core of the measured, and says what its whole tree has used."""

import fcntl
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import psutil

from bench.load.cores import PROXY_CORE

TICKS = os.sysconf("SC_CLK_TCK")
START_S = 30.0
AUTOGROUP = Path("/proc/self/autogroup")


@dataclass(frozen=True, slots=True)
class Command:
    """What is run. `environ` is added to our own; `directory` is where, if that matters."""

    words: Sequence[str]
    environ: Mapping[str, str] = field(default_factory=dict[str, str])
    directory: Path | None = None


@dataclass(frozen=True, slots=True)
class Weight:
    """What a process and its descendants use: CPU so far, resident memory now."""

    cpu_s: float
    rss_mb: float


class Running:
    """Processes that are one system; stopped with the block."""

    def __init__(self, commands: Sequence[Command], log: Path) -> None:
        self._commands = commands
        self._log = log
        self._processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        with self._log.open("ab") as log:
            for command in self._commands:
                self._processes.append(
                    subprocess.Popen(
                        command.words,
                        stdout=log,
                        stderr=log,
                        stdin=subprocess.DEVNULL,
                        env={**os.environ, **command.environ},
                        cwd=command.directory,
                        preexec_fn=_pin,  # noqa: PLW1509 (a process of one thread)
                    )
                )
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(15)

    def family(self) -> list[int]:
        """Ids of the processes and all their descendants."""
        roots = [psutil.Process(one.pid) for one in self._processes]
        return [one.pid for root in roots for one in (root, *root.children(recursive=True))]

    def wait_for(self, port: int) -> None:
        """Return when the port is open.

        Raises:
            RuntimeError: as wait_until.
        """
        self.wait_until(lambda: listening(port))

    def wait_until(self, ready: Callable[[], bool]) -> None:
        """Return when they are ready.

        Raises:
            RuntimeError: a process ended, or START_S passed; with the last line it said.
        """
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline and all(one.poll() is None for one in self._processes):
            if ready():
                return
            time.sleep(0.05)
        said = self._log.read_text(errors="replace").splitlines()[-1:]
        raise RuntimeError(f"did not start: {' '.join(said) or 'and did not say why'}")


def listening(port: int) -> bool:
    """Whether the port of 127.0.0.1 is open."""
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def weigh(family: Sequence[int]) -> Weight:
    """CPU and memory of these processes together; one that has ended counts nothing."""
    cpu_ticks, pages = 0, 0
    for pid in family:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        cpu_ticks += int(fields[11]) + int(fields[12])
        pages += int(fields[21])
    return Weight(cpu_ticks / TICKS, pages * os.sysconf("SC_PAGE_SIZE") / 2**20)


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nobody listens on."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


@contextmanager
def alone() -> Iterator[None]:
    """Wait until no other run of this benchmark is under way on this machine: two would measure each other."""
    with (Path(tempfile.gettempdir()) / "shadow-bench-proxy.lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("another run is under way; waiting for its end", file=sys.stderr)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def preferred(nice: int) -> Iterator[None]:
    """Go before other processes for a while, and so everything started meanwhile. Only root may; others go on as they are."""
    before = os.getpriority(os.PRIO_PROCESS, 0)
    try:
        os.setpriority(os.PRIO_PROCESS, 0, nice)
    except PermissionError:
        yield
        return
    # Linux may share out the CPU among sessions first, and by priority only within one: then the session has to go first.
    session = AUTOGROUP.read_text().rpartition(" ")[2].strip() if AUTOGROUP.exists() else None
    try:
        if session is not None:
            AUTOGROUP.write_text(str(nice))
        yield
    finally:
        if session is not None:
            AUTOGROUP.write_text(session)
        os.setpriority(os.PRIO_PROCESS, 0, before)


@contextmanager
def undisturbed(pids: Sequence[int]) -> Iterator[None]:
    """Let these processes run the moment they have something to do, whatever else does. Only root may; others wait their turn.

    For light loads only: nobody else gets the core while one of them wants it.
    """
    try:
        _schedule(pids, os.SCHED_RR, 1)
    except PermissionError:
        yield
        return
    try:
        yield
    finally:
        _schedule(pids, os.SCHED_OTHER, 0)


def _schedule(pids: Sequence[int], policy: int, priority: int) -> None:
    for pid in pids:
        for thread in Path(f"/proc/{pid}/task").iterdir():
            with suppress(ProcessLookupError):
                os.sched_setscheduler(int(thread.name), policy, os.sched_param(priority))


def _pin() -> None:
    os.sched_setaffinity(0, PROXY_CORE)
