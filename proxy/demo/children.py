"""Child processes that never outlive their parent, each with a log file and a way to tell when it is ready."""

import asyncio
import ctypes
import os
import signal
import sys
from collections import deque
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from proxy.errors import ChildFailedError, DemoError

_POLL_S = 0.05
_PROBE_TIMEOUT_S = 2.0
_READY_TIMEOUT_S = 60.0
_STOP_TIMEOUT_S = 15.0
_TAIL_LINES = 15
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None)


@dataclass(frozen=True, slots=True)
class ChildPlan:
    """How to start one child: `ready_url` answers 200 once it may be used, `hint` is what to do when it does not come up."""

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
        """Return when the child answers on its ready URL.

        Raises:
            DemoError: it ended before, or did not answer in time; with the end of its log.
        """
        try:
            async with asyncio.timeout(_READY_TIMEOUT_S):
                while not await asyncio.to_thread(_answers, self.plan.ready_url):
                    if self.process.returncode is not None:
                        raise self.problem(f"ended with status {self.process.returncode} before it was ready")
                    await asyncio.sleep(_POLL_S)
        except TimeoutError as error:
            raise self.problem(f"was not ready after {_READY_TIMEOUT_S:g} s") from error

    async def stop(self) -> None:
        """SIGTERM, then SIGKILL when that was not enough. Does nothing to a child that has ended."""
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

    async def ended_early(self) -> None:
        """Return only by raising DemoError, when the child ends without having been stopped."""
        status = await self.process.wait()
        if self.stopping:
            await asyncio.get_running_loop().create_future()
        raise self.problem(f"ended with status {status}")

    def problem(self, what: str) -> DemoError:
        """What happened to this child, the end of its log, and what to do."""
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        tail = "\n".join(f"    {line}" for line in deque(lines, _TAIL_LINES)) or "    (empty)"
        return DemoError(f"{self.plan.name} {what}. The end of {self.log}:\n{tail}\n  What to do: {self.plan.hint}")


@asynccontextmanager
async def running(plan: ChildPlan, logs: Path) -> AsyncGenerator[ChildProcess]:
    """Start a child for the life of the block; its output goes to `logs`/<name>.log. It need not be ready yet."""
    log = logs / f"{plan.name}.log"
    with log.open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            *plan.command,
            env={**os.environ, **plan.environment},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=asyncio.subprocess.STDOUT,
            # Ctrl-C is for the parent, which then stops its children in the right order.
            start_new_session=True,
            preexec_fn=_die_with_parent,
        )
    child = ChildProcess(plan, process, log)
    try:
        yield child
    finally:
        await asyncio.shield(child.stop())


def python(*words: str) -> tuple[str, ...]:
    """The command that runs a module of this checkout with this interpreter."""
    return (sys.executable, "-m", *words)


async def finish(
    command: Sequence[str], environment: Mapping[str, str], *, what: str, timeout_s: float = 120.0
) -> bytes:
    """Run a command to its end; its standard output.

    Raises:
        ChildFailedError: it failed; with the end of what it said.
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
    try:
        with urlopen(url, timeout=_PROBE_TIMEOUT_S) as response:  # noqa: S310 (a loopback URL of our own making)
            return response.status == 200
    except (URLError, OSError):
        return False
