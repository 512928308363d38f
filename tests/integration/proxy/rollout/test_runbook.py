"""Run every command of RUNBOOK.md, in its order, against a running proxy."""

import asyncio
import os
import re
import sys
from pathlib import Path

import pytest

from tests.support.proxy_processes import ROOT, ProxyNode, make_nodes

COMMAND_S = 180.0
BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
EXPECTED = re.compile(r"# exit (\d+)")


def commands() -> list[str]:
    """Return the lines of all shell blocks."""
    blocks = BLOCK.findall((ROOT / "RUNBOOK.md").read_text())
    return [line for block in blocks for line in block.splitlines() if line.strip()]


@pytest.fixture
def node(tmp_path: Path, database: str) -> ProxyNode:
    """Return one proxy in a folder of its own, laid out as the runbook says."""
    (made,) = make_nodes(tmp_path, 1, store=database, candidate=1, legacy=1)
    config = made.config.read_text()
    made.config.write_text(config.replace(str(made.folder / "rollback"), "var/rollback"))
    (made.folder / "var").mkdir()
    shadow = made.folder / "shadow"
    shadow.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m proxy "$@"\n')
    shadow.chmod(0o755)
    return made


async def run(node: ProxyNode, line: str) -> tuple[int, str]:
    assert node.process
    environment = {
        **os.environ,
        "PATH": f"{node.folder}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "PROXY_PID": str(node.process.pid),
        "SHADOW_TOKEN": "",
    }
    command = await asyncio.create_subprocess_exec(
        "bash",
        "-c",
        line.replace(":9901/", f":{node.admin}/"),
        cwd=node.folder,
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(COMMAND_S):
        out, _ = await command.communicate()
    assert command.returncode is not None
    return command.returncode, out.decode()


async def test_every_command_of_the_runbook_succeeds_as_documented(node: ProxyNode) -> None:
    try:
        await node.start()
        ran = [(line, *await run(node, line)) for line in commands()]
    finally:
        await node.kill()
    expected = [(line, int(found.group(1)) if (found := EXPECTED.search(line)) else 0) for line, _, _ in ran]
    assert [(line, code) for line, code, _ in ran] == expected, "\n".join(
        f"$ {line}\n[{code}] {out}" for line, code, out in ran
    )
    output = {line: out for line, _, out in ran}
    assert next(out for line, out in output.items() if line.startswith("shadow rollback")).endswith("rolled back\n")
    status = next(out for line, out in output.items() if line.startswith("shadow status"))
    assert "ROLLED BACK" in status
    assert "if the legacy has to serve all clients:" in status
    assert output["shadow history --verify"].startswith("intact:")
    assert "the gates of 'all' are closed" in next(out for line, out in output.items() if "the gates are open" in line)
