"""Run processes on the core of the measured system, and read the resource usage of their whole tree."""

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
    """A command to run. `environ` is added to our environment; `directory` is the working directory, None for ours."""

    arguments: Sequence[str]
    environ: Mapping[str, str] = field(default_factory=dict[str, str])
    directory: Path | None = None


@dataclass(frozen=True, slots=True)
class ResourceUsage:
    """Resources of processes: CPU time so far, resident memory now."""

    cpu_s: float
    rss_mb: float


class ProcessGroup:
    """The processes of one system, for the life of the context."""

    def __init__(self, commands: Sequence[Command], log: Path) -> None:
        self._commands = commands
        self._log = log
        self._processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        with self._log.open("ab") as log:
            for command in self._commands:
                self._processes.append(
                    subprocess.Popen(
                        command.arguments,
                        stdout=log,
                        stderr=log,
                        stdin=subprocess.DEVNULL,
                        env={**os.environ, **command.environ},
                        cwd=command.directory,
                        preexec_fn=_pin,  # noqa: PLW1509 (this process has one thread)
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

    def pids(self) -> list[int]:
        """Return the ids of the processes and all their descendants."""
        roots = [psutil.Process(process.pid) for process in self._processes]
        return [process.pid for root in roots for process in (root, *root.children(recursive=True))]

    def wait_for(self, port: int) -> None:
        """Wait until a port is open.

        Raises:
            RuntimeError: as of `wait_until`.
        """
        self.wait_until(lambda: listening(port))

    def wait_until(self, ready: Callable[[], bool]) -> None:
        """Wait until the processes are ready.

        Raises:
            RuntimeError: a process ended, or START_S passed; with the last line of the log.
        """
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline and all(process.poll() is None for process in self._processes):
            if ready():
                return
            time.sleep(0.05)
        last_line = self._log.read_text(errors="replace").splitlines()[-1:]
        raise RuntimeError(f"did not start: {' '.join(last_line) or 'no output'}")


def listening(port: int) -> bool:
    """Return whether a port of 127.0.0.1 is open."""
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def resource_usage(pids: Sequence[int]) -> ResourceUsage:
    """Return CPU time and memory of these processes together; one that has ended does not count."""
    cpu_ticks, pages = 0, 0
    for pid in pids:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        cpu_ticks += int(fields[11]) + int(fields[12])
        pages += int(fields[21])
    return ResourceUsage(cpu_ticks / TICKS, pages * os.sysconf("SC_PAGE_SIZE") / 2**20)


@contextmanager
def exclusive_run() -> Iterator[None]:
    """Wait until no other run of this benchmark is in progress on this machine: two would disturb each other."""
    with (Path(tempfile.gettempdir()) / "shadow-bench-proxy.lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("waiting for the end of another run", file=sys.stderr)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def raised_priority(nice: int) -> Iterator[None]:
    """Raise the priority of this process and all that it starts, for the life of the context. Needs root, else nothing changes."""
    before = os.getpriority(os.PRIO_PROCESS, 0)
    try:
        os.setpriority(os.PRIO_PROCESS, 0, nice)
    except PermissionError:
        yield
        return
    # Linux may divide the CPU among sessions first, and by priority only within a session: then the session needs the priority.
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
def realtime_scheduling(pids: Sequence[int]) -> Iterator[None]:
    """Give these processes real-time scheduling for the life of the context. Needs root, else nothing changes.

    For light loads only: no other process gets the core while one of them can run.
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
