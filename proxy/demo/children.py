"""Child processes that never outlive their parent, each with a log file and a URL that tells when it is ready."""

import asyncio
import ctypes
import os
import signal
import socket
import sys
from collections import deque
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError
from urllib.parse import urlsplit
from urllib.request import urlopen

from proxy.errors import ChildFailedError, DemoError
from proxy.private_file import open_private

_POLL_S = 0.05
_PROBE_TIMEOUT_S = 2.0
_READY_TIMEOUT_S = 60.0
_STOP_TIMEOUT_S = 15.0
_TAIL_LINES = 15
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None)


@dataclass(frozen=True, slots=True)
class ChildPlan:
    """A child process to start.

    Attributes:
        command: program and arguments.
        environment: variables beside those of this process.
        ready_url: responds with 200 once the child can be used; of tcp://HOST:PORT, it accepts a connection.
        hint: advice for the case that it does not start.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    ready_url: str
    hint: str


@dataclass(slots=True)
class ChildProcess:
    """A started child."""

    plan: ChildPlan
    process: asyncio.subprocess.Process
    log: Path
    stopping: bool = False

    async def ready(self) -> None:
        """Return when the ready URL of the child responds with 200.

        Raises:
            DemoError: it ended, or was not ready within 60 s; the message has the end of its log.
        """
        try:
            async with asyncio.timeout(_READY_TIMEOUT_S):
                while not await asyncio.to_thread(_answers, self.plan.ready_url):
                    if self.process.returncode is not None:
                        raise self.error(f"ended with status {self.process.returncode} before it was ready")
                    await asyncio.sleep(_POLL_S)
        except TimeoutError as error:
            raise self.error(f"was not ready after {_READY_TIMEOUT_S:g} s") from error

    async def stop(self) -> None:
        """End the child: SIGTERM, then SIGKILL if it does not end within 15 s. Does nothing if it has ended."""
        self.stopping = True
        if self.process.returncode is not None:
            return
        # A stopped (SIGSTOP) child could not act on SIGTERM.
        self.process.send_signal(signal.SIGCONT)
        self.process.terminate()
        try:
            async with asyncio.timeout(_STOP_TIMEOUT_S):
                await self.process.wait()
        except TimeoutError:
            self.process.kill()
            await self.process.wait()

    async def watch(self) -> None:
        """Raise DemoError when the child ends without having been stopped; never return."""
        status = await self.process.wait()
        if self.stopping:
            await asyncio.get_running_loop().create_future()
        raise self.error(f"ended with status {status}")

    def error(self, event: str) -> DemoError:
        """Return an error with the event, the end of the child's log, and the hint."""
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        tail = "\n".join(f"    {line}" for line in deque(lines, _TAIL_LINES)) or "    (empty)"
        return DemoError(f"{self.plan.name} {event}. The end of {self.log}:\n{tail}\n  What to do: {self.plan.hint}")


@asynccontextmanager
async def running(plan: ChildPlan, logs: Path) -> AsyncGenerator[ChildProcess]:
    """Run a child until the block ends; its output goes to `logs`/<name>.log. It may not be ready yet."""
    log = logs / f"{plan.name}.log"
    with open_private(log, "ab") as output:
        process = await asyncio.create_subprocess_exec(
            *plan.command,
            env={**os.environ, **plan.environment},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=asyncio.subprocess.STDOUT,
            # Ctrl-C goes to the parent alone, which stops its children in the right order.
            start_new_session=True,
            preexec_fn=_die_with_parent,
        )
    child = ChildProcess(plan, process, log)
    try:
        yield child
    finally:
        await asyncio.shield(child.stop())


def python_module(*arguments: str) -> tuple[str, ...]:
    """Return the command that runs a module, named first, with this interpreter."""
    return (sys.executable, "-m", *arguments)


async def run_to_end(
    command: Sequence[str], environment: Mapping[str, str], *, what: str, timeout_s: float = 120.0
) -> bytes:
    """Run a command to its end and return its standard output.

    Args:
        command: program and arguments.
        environment: variables beside those of this process.
        what: description of the command, for the error.
        timeout_s: time after which it is killed.

    Raises:
        ChildFailedError: it failed; the message has the end of its standard error.
    """
    process = await asyncio.create_subprocess_exec(
        *command,
        env={**os.environ, **environment},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
        preexec_fn=_die_with_parent,
    )
    try:
        async with asyncio.timeout(timeout_s):
            output, errors = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        tail = "\n".join(errors.decode(errors="replace").splitlines()[-_TAIL_LINES:])
        raise ChildFailedError(f"{what} failed with status {process.returncode}:\n{tail}", status=process.returncode)
    return output


def _die_with_parent() -> None:
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _answers(url: str) -> bool:
    parts = urlsplit(url)
    try:
        if parts.scheme == "tcp":
            socket.create_connection((parts.hostname, parts.port), timeout=_PROBE_TIMEOUT_S).close()
            return True
        with urlopen(url, timeout=_PROBE_TIMEOUT_S) as response:  # noqa: S310 (a loopback URL of our own making)
            return response.status == 200
    except (URLError, OSError):
        return False
