"""`shadow demo` ends with a summary and leaves no process running, even when it is interrupted or killed."""

import asyncio
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.legacy.running import ROOT
from tests.support.matrix import sliced

READY_TIMEOUT_S = 240
END_TIMEOUT_S = 240
GONE_TIMEOUT_S = 30


class Demo:
    """A running demo, its output so far, and the processes that belong to its folder."""

    def __init__(self, process: asyncio.subprocess.Process, folder: Path) -> None:
        self.process = process
        self.folder = folder
        self.printed = ""

    async def until(self, text: str) -> None:
        """Read the output until a line contains `text`."""
        assert self.process.stdout is not None
        async with asyncio.timeout(READY_TIMEOUT_S):
            while text not in self.printed:
                line = await self.process.stdout.readline()
                assert line, self.printed
                self.printed += line.decode()

    async def end(self) -> int:
        """Read the rest of the output and return the exit code."""
        assert self.process.stdout is not None
        async with asyncio.timeout(END_TIMEOUT_S):
            self.printed += (await self.process.stdout.read()).decode()
            return await self.process.wait()

    async def wait_until_gone(self) -> None:
        """Wait until no process of the demo is left; TimeoutError if one stays."""
        async with asyncio.timeout(GONE_TIMEOUT_S):
            while processes_of(self.folder):
                await asyncio.sleep(0.05)


@asynccontextmanager
async def demo(folder: Path, *arguments: str) -> AsyncIterator[Demo]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "proxy", "demo", "--folder", str(folder), "--addresses", "30", *arguments),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        yield Demo(process, folder)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def processes_of(folder: Path) -> list[int]:
    """Return the ids of the processes with the folder in their command line or environment, zombies excluded."""
    name = str(folder).encode()
    processes = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                text = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
            except OSError:
                continue
            if name in text:
                processes.append(int(entry.name))
    return processes


@pytest.fixture
def folder() -> Iterator[Path]:
    # Not below pytest's folder, which the user that PostgreSQL runs as cannot enter.
    path = Path(tempfile.mkdtemp(prefix="shadow-demo-"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


ONE_MACHINE = ("--rate", "20")
THREE_NODES = ("--nodes", "3")


@pytest.mark.parametrize("options", sliced((ONE_MACHINE, THREE_NODES), 1))
async def test_demo_ends_with_a_summary_and_nothing_left_running(folder: Path, options: tuple[str, ...]) -> None:
    async with demo(folder, *options, "--seconds", "4", "--divergences", "missing_event:0.5") as running:
        status = await running.end()
        await running.wait_until_gone()
    assert status == 0, running.printed
    assert "nothing is missing" in running.printed
    assert "registry_event (action=SCU): row only on candidate" in running.printed
    assert "where to look next:\n  logs of every part" in running.printed


async def test_interrupted_demo_leaves_nothing_running(folder: Path) -> None:
    async with demo(folder, "--seconds", "60") as running:
        await running.until("ready:")
        running.process.send_signal(signal.SIGINT)
        status = await running.end()
        await running.wait_until_gone()
    assert status == 130, running.printed


async def test_killed_demo_leaves_nothing_running(folder: Path) -> None:
    async with demo(folder, "--seconds", "60") as running:
        await running.until("ready:")
        running.process.kill()
        await running.end()
        await running.wait_until_gone()


async def test_demo_ends_and_names_the_process_that_crashed(folder: Path) -> None:
    async with demo(folder, "--seconds", "60") as running:
        await running.until("ready:")
        os.kill(runner_of(folder), signal.SIGKILL)
        status = await running.end()
        await running.wait_until_gone()
    assert status == 3
    assert "runner ended with status -9" in running.printed
    assert "What to do:" in running.printed


def runner_of(folder: Path) -> int:
    """Return the process id of the demo's runner."""
    commands = {pid: (Path("/proc") / str(pid) / "cmdline").read_bytes().split(b"\0") for pid in processes_of(folder)}
    return next(pid for pid, command in commands.items() if b"runner" in command)
