"""A disk that hangs, that is full, or whose locks another process holds: clients are served, and a rollback takes effect."""

import asyncio
import json
import signal
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from proxy.config.journal import JournalSettings
from proxy.journal.driver import JournalPosition, UnreadRange
from proxy.journal.keys import load_keys
from proxy.journal.segment_reader import SegmentReader
from proxy.journal.segment_writer import SegmentWriter
from proxy.journal.segments import load_committed, offset_path
from proxy.rollout import statefile
from proxy.rollout.disk import DiskThread
from proxy.runner.checkpoint import CommitOnSave
from proxy.runner.offset_writer import OffsetWriter
from proxy.runner.result_buffer import Outcome, ResultBuffer
from proxy.runner.skip_causes import RunnerSkip
from tests.support import waiting
from tests.support.exchanges import exchange
from tests.support.frozen_disk import THAW_AFTER_S, LoopDisk, loop_disk
from tests.support.paths import ROOT
from tests.support.proxy_lab import ok, proxy_lab
from tests.support.proxy_processes import ProxyNode, backend, make_nodes

GET = b"GET /v2/stamps/1/score/0xabc HTTP/1.1\r\nHost: x\r\n\r\n"
HANG_S = 60.0
"""Only a hang takes longer."""


@pytest.fixture
def disk(tmp_path: Path) -> Generator[LoopDisk]:
    with loop_disk(tmp_path) as mounted:
        yield mounted


@asynccontextmanager
async def serving_from(folder: Path) -> AsyncGenerator[ProxyNode]:
    """Run a proxy whose files, its log too, are all in a folder; the candidate serves, and clients send requests all the time."""
    async with backend("candidate") as candidate, backend("legacy") as legacy:
        (node,) = make_nodes(folder, 1, store="", candidate=candidate, legacy=legacy, enabled=False)
        stop = asyncio.Event()
        try:
            await node.start()
            async with asyncio.TaskGroup() as group:
                group.create_task(node.send_requests(stop), name="client")
                await node.served_only_by("candidate", since=time.monotonic())
                try:
                    yield node
                finally:
                    stop.set()
        finally:
            await node.kill()


async def ask(node: ProxyNode, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
    url = f"http://127.0.0.1:{node.admin}{path}"
    timeout = aiohttp.ClientTimeout(total=HANG_S)
    async with (
        aiohttp.ClientSession(timeout=timeout) as session,
        session.request(method, url, json=body, headers=headers) as response,
    ):
        return response.status, await response.json(content_type=None)


def stored_in(node: ProxyNode) -> dict[str, Any]:
    path = node.folder / "switch.json"
    return json.loads(path.read_text()) if path.exists() else {}


def failures(node: ProxyNode) -> int:
    return sum(not response.served_by for response in node.responses)


async def test_rollback_takes_effect_while_the_disk_hangs_and_is_stored_when_it_goes_on(disk: LoopDisk) -> None:
    async with serving_from(disk.path) as node:
        with disk.frozen():
            sent = time.monotonic()
            status, document = await ask(node, "POST", "/rollback", {"actor": "ann", "reason": "it burns"})
            answered_s = time.monotonic() - sent
            reached_s = await node.served_only_by("legacy", since=sent)
            assert (status, document["rolled_back"], document["stored"]) == (200, True, False)
            health, _ = await ask(node, "GET", "/healthz")
            history, _ = await ask(node, "GET", "/rollout/history")
            _, overview = await ask(node, "GET", "/rollout")
            resumed, refusal = await ask(node, "POST", "/resume", {}, **{"If-Match": overview["revision"]})
            assert (health, resumed) == (200, 503), refusal
            assert history in (200, 503)
            await node.served_only_by("legacy", since=time.monotonic())
        await waiting.until(lambda: stored_in(node).get("reason") == "it burns")
        log = node.folder / "rollout-audit.ndjson"
        await waiting.until(lambda: log.exists() and "it burns" in log.read_text())
        served = len(node.responses)
        await waiting.until(lambda: len(node.responses) > served + 20)
        assert failures(node) == 0
        assert stored_in(node)["rolled_back"]
        # The resume that was refused must not be executed by the disk later.
        assert (await ask(node, "GET", "/status"))[1]["switch"]["reason"] == "it burns"
        print(f"answered after {answered_s * 1000:.0f} ms, in effect after {reached_s * 1000:.0f} ms")


async def test_signal_rolls_back_while_the_disk_hangs(disk: LoopDisk) -> None:
    async with serving_from(disk.path) as node:
        with disk.frozen():
            node.send_signal(signal.SIGUSR2)
            await node.served_only_by("legacy", since=time.monotonic())
        await waiting.until(lambda: stored_in(node).get("actor") == "SIGUSR2")
        assert failures(node) == 0


async def test_rollback_is_stored_on_a_full_disk(disk: LoopDisk) -> None:
    async with serving_from(disk.path) as node:
        disk.fill()
        status, document = await ask(node, "POST", "/rollback", {"actor": "ann", "reason": "r" * 400})
        assert (status, document["rolled_back"]) == (200, True)
        await waiting.until(lambda: stored_in(node).get("reason") == "r" * 400)
        _, overview = await ask(node, "GET", "/rollout")
        assert (await ask(node, "POST", "/resume", {}, **{"If-Match": overview["revision"]}))[0] == 200
        await ask(node, "POST", "/rollback", {"actor": "bob"})
        await waiting.until(lambda: stored_in(node)["actor"] == "bob")
        assert failures(node) == 0


LOCKED = ("switch.json", "rollout.json", "rollout-audit.ndjson")


@pytest.mark.parametrize("name", LOCKED)
async def test_lock_that_another_process_holds_delays_no_client_and_no_rollback(tmp_path: Path, name: str) -> None:
    async with proxy_lab(tmp_path) as lab:
        lab.candidate.response, lab.legacy.response = lambda _: ok(b"candidate"), lambda _: ok(b"legacy")
        client = await lab.client()
        assert (await client.ask(GET)).body == b"candidate"
        script = (
            f"import sys; from pathlib import Path; from proxy.rollout.statefile import locked\n"
            f"with locked(Path({str(tmp_path / name)!r})): print('held', flush=True); sys.stdin.read()"
        )
        holder = subprocess.Popen(
            [sys.executable, "-c", script], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        try:
            assert holder.stdout
            assert await asyncio.to_thread(holder.stdout.readline) == b"held\n"
            async with asyncio.timeout(HANG_S), aiohttp.ClientSession() as session:
                url = f"http://127.0.0.1:{lab.proxy.admin_port}"
                async with session.post(f"{url}/rollback", json={"actor": "ann"}) as response:
                    assert response.status == 200
                assert (await client.ask(GET)).body == b"legacy"
                async with session.get(f"{url}/healthz") as response:
                    assert response.status == 200
            assert lab.proxy.switch.rolled_back
        finally:
            holder.kill()
            holder.wait()
        await lab.until(lambda: (tmp_path / "switch.json").exists() and lab.proxy.switch.stored)
        await lab.until(lambda: statefile.read_links(tmp_path / "rollout-audit.ndjson") != ())
        await lab.until(lambda: not lab.proxy.rollout.replica.pending)


async def test_log_that_nobody_reads_stops_no_client(tmp_path: Path) -> None:
    """The standard error is a pipe that is full, as when the process that reads it was stopped."""
    script = (
        "import logging, os, sys, time\n"
        "from proxy import logging_json\n"
        "logging_json.configure(background=True)\n"
        "for number in range(20_000): logging.getLogger().warning('line_written', extra={'number': number})\n"
        "sys.stdout.write('went on\\n'); sys.stdout.flush()\n"
    )
    process = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout
    assert await asyncio.wait_for(asyncio.to_thread(process.stdout.readline), HANG_S) == b"went on\n"
    _, err = await asyncio.to_thread(process.communicate)
    lines = [json.loads(line) for line in err.splitlines() if line.endswith(b"}")]
    written = [line["number"] for line in lines if line["event"] == "line_written"]
    assert written == sorted(written)
    assert len(written) < 20_000


async def test_runner_saves_outcomes_and_copies_mismatches_while_the_disk_hangs(disk: LoopDisk) -> None:
    """Its committed offset, and the journal of what differed, are written by threads; the loop goes on."""
    settings = JournalSettings(directory=str(disk.path / "journal"), flush_ms=1)
    kept = JournalSettings(directory=str(disk.path / "mismatches"), flush_ms=1)
    saved: list[str] = []

    async def save(batch: Sequence[Outcome], _: Sequence[UnreadRange]) -> None:
        saved.extend(outcome.entry.exchange.id for outcome in batch)

    writer, copies = SegmentWriter(settings, environ={}), SegmentWriter(kept, environ={})
    for one in (writer, copies):
        one.start()
    for number in range(3):
        assert writer.append(exchange(f"id-{number}"))
    await waiting.until(lambda: writer.counts.written == 3)
    with SegmentReader(settings.directory, "mirror", keys=load_keys(Path(settings.directory), {})) as reader:
        offsets = OffsetWriter[JournalPosition](reader.commit, DiskThread("test-offset"), lambda: None)
        buffer = ResultBuffer(save, progress=CommitOnSave(offsets.commit, lambda: None, lambda _: None))
        entries = reader.take(3)
        for entry in entries:
            buffer.begin(entry)
        async with asyncio.TaskGroup() as group:
            group.create_task(buffer.run(), name="saving")
            with disk.frozen():
                frozen_s = time.monotonic()
                for number, entry in enumerate(entries, 1):
                    await buffer.add(entry, None, RunnerSkip.SLOW)
                    assert entry.record
                    assert copies.append_record(entry.record)
                    await waiting.until(lambda number=number: len(saved) == number)
                assert buffer.unsaved == 0
                assert load_committed(offset_path(Path(settings.directory), "mirror")).sequences == {}
                assert time.monotonic() - frozen_s < THAW_AFTER_S
            buffer.close()
        await offsets.close()
    assert load_committed(offset_path(Path(settings.directory), "mirror")).sequences == {"w0": 3}
    await waiting.until(lambda: copies.counts.written == 3)
    for one in (writer, copies):
        one.close()
