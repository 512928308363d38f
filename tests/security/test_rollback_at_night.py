"""`shadow rollback` and `shadow resume` at the worst moment: a half-written configuration, a stopped proxy, a disk that hangs."""

import asyncio
import os
import signal
import socket
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import aiohttp
import pytest
import yaml

from proxy.cli.main import join_texts, main
from proxy.config.last_good import NAME
from proxy.rollout import statefile
from tests.security.test_hanging_disk import HANG_S, ask, disk, serving_from, stored_in
from tests.support import waiting
from tests.support.frozen_disk import LoopDisk
from tests.support.paths import ROOT
from tests.support.proxy_processes import ProxyNode

__all__ = ["disk"]


@dataclass
class Ended:
    """A command that has ended."""

    code: int
    out: str
    err: str
    seconds: float


async def shadow(
    node: ProxyNode, *words: str, config: Path | None = None, environ: Mapping[str, str] | None = None
) -> Ended:
    """Run a command in the folder of a proxy."""
    started = time.monotonic()
    arguments = ["-m", "proxy", words[0], "--config", str(config or node.config), *words[1:]]
    command = await asyncio.create_subprocess_exec(
        sys.executable,
        *arguments,
        cwd=node.folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), **(environ or {})},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(HANG_S):
        out, err = await command.communicate()
    assert command.returncode is not None
    return Ended(command.returncode, out.decode(), err.decode(), time.monotonic() - started)


def is_stored(node: ProxyNode, reason: str) -> bool:
    return stored_in(node).get("reason") == reason


HALF_WRITTEN = {
    "half a line": "listen: {host: 127.0.0.1, po",
    "an alias bomb": "a: &a [x,x,x,x,x,x,x,x,x]\n"
    + "".join(f"{n}: &{n} [{','.join(['*' + p] * 9)}]\n" for p, n in zip("abcdefgh", "bcdefghi", strict=True)),
    "nothing": "",
    "a variable that is not set": "admin: {token: '${NOT_SET_IN_THIS_SHELL}'}\n",
    "an unknown field": "listen: {prot: 80}\n",
}


async def test_rollback_works_with_every_kind_of_broken_configuration(tmp_path: Path) -> None:
    async with serving_from(tmp_path) as node:
        whole = node.config.read_text()
        await waiting.until((node.folder / NAME).exists)
        for what, text in HALF_WRITTEN.items():
            node.config.write_text(text)
            ended = await shadow(node, "rollback", "--reason", f"-- {what}", "--actor", "ann")
            assert ended.code == 0, ended
            assert "going on with the last good configuration" in ended.err
            assert ended.out.endswith("rolled back\n")
            await waiting.until(partial(is_stored, node, f"-- {what}"))
        node.config.write_text(whole)
        await node.served_only_by("legacy", since=time.monotonic())


async def test_rollback_without_any_configuration_names_the_other_ways(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    # Nothing listens on the default port, or something that is not ours: whatever it is, the files of this folder are written.
    code = await asyncio.to_thread(main, ["rollback", "--config", str(tmp_path / "none.yaml")])
    assert (tmp_path / "var" / "switch.json").exists()
    err = capsys.readouterr().err
    assert "going on with the default ports and files" in err
    assert code == 0 or all(way in err for way in ("touch var/rollback", "kill -USR2", "curl -X POST"))


async def test_abandoned_resume_does_not_undo_a_later_rollback(tmp_path: Path) -> None:
    """The proxy is stopped, the resume gives up on it, a rollback is stored; then the proxy goes on."""
    async with serving_from(tmp_path) as node:
        assert (await shadow(node, "rollback", "--reason", "first")).code == 0
        _, overview = await ask(node, "GET", "/rollout")
        node.send_signal(signal.SIGSTOP)
        try:
            body = {"actor": "ann", "reason": "fixed", "expires_at": overview["now"] + 600}
            async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=0.5)) as session:
                with pytest.raises(TimeoutError):
                    await session.post(
                        f"http://127.0.0.1:{node.admin}/resume", json=body, headers={"If-Match": overview["revision"]}
                    )
            assert (await shadow(node, "resume", "--reason", "fixed")).code == 3
            second = await shadow(node, "rollback", "--reason", "second")
            assert "NOT REACHED" in second.out
        finally:
            node.send_signal(signal.SIGCONT)
        await node.served_only_by("legacy", since=time.monotonic())
        await waiting.until(lambda: stored_in(node).get("reason") == "second")
        _, status = await ask(node, "GET", "/status")
        assert status["switch"]["rolled_back"]
        history = await shadow(node, "history")
        assert "in force: rolled back by" in history.err
        assert "second" in history.err
        assert "resume" not in history.out
        assert all(response.served_by != "candidate" for response in node.responses[-20:])


async def test_resume_command_that_was_stopped_does_not_end_a_later_rollback(tmp_path: Path) -> None:
    """The command is stopped before it has looked at the rollout; so it would see the later rollback as the one to end."""
    async with serving_from(tmp_path) as node:
        assert (await shadow(node, "rollback", "--reason", "first")).code == 0
        command = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "proxy", "resume", "--config", str(node.config), "--reason", "fixed"),
            cwd=node.folder,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stderr=asyncio.subprocess.PIPE,
        )
        command.send_signal(signal.SIGSTOP)
        try:
            assert (await ask(node, "POST", "/rollback", {"reason": "second"}))[0] == 200
        finally:
            command.send_signal(signal.SIGCONT)
        async with asyncio.timeout(HANG_S):
            _, error = await command.communicate()
        assert (command.returncode, b"after this resume was decided on" in error) == (1, True)
        _, status = await ask(node, "GET", "/status")
        assert (status["switch"]["rolled_back"], status["switch"]["reason"]) == (True, "second")
        assert (await shadow(node, "resume", "--reason", "mended")).code == 0


async def test_rollback_command_ends_while_the_disk_hangs(disk: LoopDisk) -> None:
    async with serving_from(disk.path) as node:
        # The files and their locks are there, and a proxy that hangs in a write holds one.
        assert (await shadow(node, "rollback", "--reason", "once")).code == 0
        assert (await shadow(node, "resume", "--reason", "mended")).code == 0
        with disk.frozen():
            ended = await shadow(node, "rollback", "--reason", "it burns")
            assert ended.code == 0
            assert "does not answer" in ended.err
            assert "NOT STORED" in ended.out
            await node.served_only_by("legacy", since=time.monotonic())
        await waiting.until(lambda: stored_in(node).get("reason") == "it burns")
        print(f"the command took {ended.seconds * 1000:.0f} ms")


async def test_rollback_command_ends_while_another_process_holds_the_locks(tmp_path: Path) -> None:
    async with serving_from(tmp_path) as node:
        with (
            statefile.locked(node.folder / "switch.json"),
            statefile.locked(node.folder / "rollout.json"),
            statefile.locked(node.folder / "rollout-audit.ndjson"),
        ):
            ended = await shadow(node, "rollback", "--reason", "it burns")
            assert ended.code == 0
            await node.served_only_by("legacy", since=time.monotonic())
        await waiting.until(lambda: stored_in(node).get("reason") == "it burns")


@pytest.mark.parametrize(
    ("words", "joined"),
    [
        (["rollback", "--reason", "-5 % since noon"], ["rollback", "--reason=-5 % since noon"]),
        (["rollback", "--reason", "--", "--json"], ["rollback", "--reason=--", "--json"]),
        (["rollback", "--reason", "--force was wrong"], ["rollback", "--reason=--force was wrong"]),
        (["rollback", "--reason", "--json"], ["rollback", "--reason", "--json"]),
        (["rollback", "--reason", "plain", "--group", "-x"], ["rollback", "--reason", "plain", "--group", "-x"]),
    ],
)
def test_reason_may_begin_with_a_dash(words: list[str], joined: list[str]) -> None:
    assert join_texts(words) == joined


async def test_status_names_everything_that_hangs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Proxy, runner, store and legacy accept connections and say nothing, as processes that were stopped do."""
    silent = [socket.create_server(("127.0.0.1", 0), backlog=8) for _ in range(4)]
    proxy, runner, store, legacy = [listener.getsockname()[1] for listener in silent]
    config = tmp_path / "config.yaml"
    document = {
        "admin": {"port": proxy},
        "runner": {"port": runner},
        "databases": {"store": f"postgresql://nobody@127.0.0.1:{store}/none"},
        "backends": {"legacy": {"live": {"url": f"http://127.0.0.1:{legacy}"}}},
    }
    config.write_text(yaml.safe_dump(document))
    started = time.monotonic()
    try:
        code = await asyncio.to_thread(main, ["status", "--config", str(config)])
    finally:
        for listener in silent:
            listener.close()
    print(f"status took {time.monotonic() - started:.2f} s")
    out = capsys.readouterr().out
    assert code == 3
    parts = (f"proxy 127.0.0.1:{proxy}", "runner", "store")
    assert all(f"{part} did not answer: no response within" in out for part in parts)
