"""Run a tutorial: the commands of its `console` blocks in one shell, each with the output that the page prints.

$ COMMAND           is run
text                is a line that the command prints, in this order; numbers with a point, ids and times may be others
[...]               stands for any lines; without it there are no others
"""

import asyncio
import os
import re
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMAND_S = 120.0
ANY_LINES = "[...]"
END = "__end_of_command__"
VARYING = (
    (re.compile(r"\b[0-9a-f]{12}\b"), "ID"),
    (re.compile(r"\b\d+\.\d+\b"), "N"),
)
REPEATED = ("shadow status", "shadow doctor", "CAUSE=")
"""Commands that show what takes a moment: they are run until they print what the page says."""


@dataclass(frozen=True)
class Step:
    """A command and the lines that it prints."""

    command: str
    output: tuple[str, ...]


def steps_of(page: str) -> list[Step]:
    """Return the steps of a page."""
    steps: list[Step] = []
    for block in BLOCK.findall(page):
        for line in block.splitlines():
            if line.startswith("$ "):
                steps.append(Step(line[2:], ()))
            else:
                steps[-1] = Step(steps[-1].command, (*steps[-1].output, line))
    return steps


def plain(line: str) -> str:
    """Return a line without what differs from run to run."""
    for pattern, name in VARYING:
        line = pattern.sub(name, line)
    return line.rstrip()


def printed_as(expected: Sequence[str], actual: Sequence[str]) -> bool:
    """Tell whether the lines of a command are those of the page."""
    parts = [plain(line) if line != ANY_LINES else line for line in expected]
    pattern = "".join(r"(?:.*\n)*?" if part == ANY_LINES else re.escape(part) + r"\n" for part in parts)
    return re.fullmatch(pattern, "".join(f"{plain(line)}\n" for line in actual)) is not None


class Shell:
    """One shell, whose variables and background processes stay from command to command.

    Args:
        folder: that it starts in.
        environment: of its commands.
        replaced: texts of the page, and what stands for each in this run: ports and databases.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str], replaced: Mapping[str, str]) -> None:
        self._folder = folder
        self._environment = {**os.environ, **environment}
        self.replaced = replaced

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            "bash", "--norc", cwd=self._folder, env=self._environment, start_new_session=True,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        return self

    async def __aexit__(self, *_: object) -> None:
        """End the shell and what it has started: they are one process group."""
        for kind in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self._process.pid, kind)
                async with asyncio.timeout(15):
                    await self._process.communicate()
            except (ProcessLookupError, TimeoutError):
                continue

    async def run(self, command: str) -> list[str]:
        """Run a command; return its lines, with the texts of the page for those of this run."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        for text, stands_for in self.replaced.items():
            command = command.replace(text, stands_for)
        self._process.stdin.write(f"{command}\necho {END}\n".encode())
        lines: list[str] = []
        async with asyncio.timeout(COMMAND_S):
            while True:
                line = (await self._process.stdout.readline()).decode().rstrip("\n")
                assert line or not self._process.stdout.at_eof(), f"the shell has ended: {lines}"
                # (a command whose output has no newline at its end is followed by the mark in the same line)
                lines += [text for text in [line.removesuffix(END)] if text or line != END]
                if line.endswith(END):
                    break
        for text, stands_for in self.replaced.items():
            lines = [line.replace(stands_for, text) for line in lines]
        return lines

    async def follow(self, step: Step) -> None:
        """Run a step and hold its output against the page."""
        deadline = asyncio.get_running_loop().time() + COMMAND_S
        while True:
            lines = await self.run(step.command)
            if printed_as(step.output, lines):
                return
            late = asyncio.get_running_loop().time() > deadline
            if late or not step.command.startswith(REPEATED):
                raise AssertionError("\n".join([f"$ {step.command}", *lines, "", "instead of", *step.output]))
            await asyncio.sleep(0.2)
