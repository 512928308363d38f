"""Requests with random methods, targets and headers: the labels of all metrics stay the same set, and memory stays bounded.

python -m pytest tests/security/test_random_requests.py -s            1,500 requests
SHADOW_TEST_MATRIX=1 python -m pytest tests/security/test_random_requests.py -s     200,000 requests
"""

import asyncio
import random
import sys
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import aiohttp
import psutil
import pytest
import yaml

from proxy.demo.free_ports import free_port
from proxy.rollout.accounting import OUTCOMES, parse, total
from tests.support.matrix import FULL
from tests.support.paths import ROOT
from tests.support.proxy_processes import ProxyNode, make_nodes
from tests.support.scraping import until

REQUESTS = 200_000 if FULL else 1_500
CONNECTIONS = 16
AT_ONCE = 10
MARK = "Zq7"
"""In everything that is random: it must be in no metric and in no line of the log."""
RESPONSE = "HTTP/1.1 {} Fine\r\nContent-Type: application/json\r\nX-{}: {}\r\nContent-Length: {}\r\n\r\n"
KNOWN = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")
TEXT = "abcdefghijklmnopqrstuvwxyz0123456789-_.~é漢\N{GRINNING FACE} /;=&?%"
NAME = "abcdefghijklmnopqrstuvwxyz0123456789-_.!#$%&'*+^`|~"
GROWTH_MAX_BYTES = 64 * 1024**2
"""Growth of a process's memory over the second half of the requests."""


def text(draw: random.Random, letters: str, most: int) -> str:
    return MARK + "".join(draw.choices(letters, k=draw.randint(0, most)))


@dataclass
class Sent:
    """Number of requests sent, and of responses by status."""

    count: int = 0
    broken: int = 0
    statuses: Counter[int] = field(default_factory=Counter)


def request(draw: random.Random) -> tuple[bytes, bool]:
    """Return a request, and whether its response has a body."""
    method = draw.choice(KNOWN) if draw.random() < 0.8 else text(draw, "ABCDEFGH", 8)
    path = (
        f"/score/{quote(text(draw, TEXT, 40))}" if draw.random() < 0.5 else f"/{quote(text(draw, TEXT, 300), '/?&=%')}"
    )
    lines = [f"{method} {path.replace(' ', '+')} HTTP/1.1", f"Host: {text(draw, 'abcdef', 20)}.example"]
    lines += [f"{text(draw, NAME, 24)}: {text(draw, NAME, 120)}" for _ in range(draw.randint(0, 20))]
    lines += [f"Baggage: {text(draw, NAME, 60)}=1", f"X-Request-Id: {text(draw, 'abc', 20)}{draw.random()}"]
    body = text(draw, TEXT, 400).encode() if method in {"POST", "PUT", "PATCH"} else b""
    lines += [f"Content-Length: {len(body)}"] if body else []
    return "\r\n".join([*lines, "", ""]).encode("latin-1", "replace") + body, method != "HEAD"


async def client(port: int, sent: Sent, until_count: int, draw: random.Random) -> None:
    """Send requests, some at a time on one connection, until so many were sent by all clients."""
    while sent.count < until_count:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024**2)
        try:
            while sent.count < until_count:
                requests = [request(draw) for _ in range(AT_ONCE)]
                sent.count += len(requests)
                writer.write(b"".join(data for data, _ in requests))
                for _, has_body in requests:
                    sent.statuses[await response(reader, has_body=has_body)] += 1
        except (asyncio.IncompleteReadError, ConnectionError):
            # (a request that is refused ends the connection, with those behind it)
            sent.broken += 1
        finally:
            writer.close()


async def response(reader: asyncio.StreamReader, *, has_body: bool) -> int:
    """Read a response; return its status."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
    length = int(head.partition("content-length: ")[2].split("\r", 1)[0] or 0)
    if has_body and length:
        await reader.readexactly(length)
    return int(head.split(" ", 2)[1])


@asynccontextmanager
async def side() -> AsyncGenerator[int]:
    """Run a backend that answers everything, with random statuses, headers and bodies."""
    draw = random.Random(7)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(int(head.lower().partition(b"content-length: ")[2].split(b"\r", 1)[0] or 0))
                body = b"" if head.startswith(b"HEAD ") else f'{{"{text(draw, "abc", 9)}": {draw.random()}}}'.encode()
                status = draw.choice((200, 200, 200, 201, 400, 404, 418, 500, draw.randint(200, 599)))
                named = text(draw, "abcdefgh", 9), text(draw, "abc", 40)
                bare = status in (204, 304)
                writer.write(
                    RESPONSE.format(status, *named, 0 if bare else len(body)).encode() + (b"" if bare else body)
                )
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, limit=1024**2)
    async with server:
        yield server.sockets[0].getsockname()[1]


def configured(folder: Path, candidate: int, legacy: int, runner: int) -> ProxyNode:
    """Return a proxy, with a configuration for its runner, which compares responses alone."""
    (node,) = make_nodes(folder, 1, store="", candidate=candidate, legacy=legacy, enabled=False)
    document = yaml.safe_load(node.config.read_text())
    document["backends"]["candidate"]["shadow"] = {"url": f"http://127.0.0.1:{candidate}"}
    document["backends"]["legacy"]["shadow"] = {"url": f"http://127.0.0.1:{legacy}"}
    document["routes"] = [
        {"name": "score", "path": "/score/{address}", "key": "address", "methods": ["GET"]},
        {"name": "rest", "path": "/{rest:path}", "safe": True},
    ]
    document |= {"capture": {"driver": "off"}, "runner": {"port": runner, "concurrency": 4}}
    node.config.write_text(yaml.safe_dump(document))
    return node


async def page(port: int) -> str:
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}/metrics") as response_:
        return await response_.text()


def series(metrics: str) -> set[tuple[str, tuple[tuple[str, str], ...]]]:
    return {(name, labels) for name, samples in parse(metrics).items() for labels in samples}


@pytest.mark.timeout(7200 if FULL else 600)
async def test_labels_and_memory_stay_bounded(tmp_path: Path) -> None:
    runner_port = free_port()
    async with side() as candidate, side() as legacy:
        node = configured(tmp_path, candidate, legacy, runner_port)
        runner = None
        try:
            await node.start()
            words = ["-m", "proxy", "runner", "--config", str(node.config)]
            with (node.folder / "runner.log").open("wb") as log:
                runner = await asyncio.create_subprocess_exec(sys.executable, *words, cwd=ROOT, stderr=log)
            assert node.process is not None
            processes = [psutil.Process(node.process.pid), psutil.Process(runner.pid)]
            sent, sizes, labels = Sent(), list[list[int]](), list[int]()
            for part in (1, 2):
                async with asyncio.TaskGroup() as group:
                    for number in range(CONNECTIONS):
                        draw = random.Random(f"{part} {number}")
                        group.create_task(client(node.port, sent, REQUESTS * part // 2, draw), name=f"client-{number}")
                written = total(parse(await page(node.admin)), "shadow_journal_written_total")
                await until(
                    runner_port,
                    lambda s, read=written: sum(total(s, name) for name in OUTCOMES) >= read,
                    timeout_s=3600,
                )
                sizes.append([process.memory_info().rss for process in processes])
                pages = await page(node.admin), await page(runner_port)
                labels.append(sum(len(series(one)) for one in pages))
                assert [line for one in pages for line in one.splitlines() if MARK in line] == []
            print(f"{sent.count} requests, {sent.broken} connections ended, {sent.statuses.most_common(8)}")
            print(
                f"written {written:.0f}; series {labels}; memory of proxy and runner (MB) {[[size >> 20 for size in both] for both in sizes]}"
            )
            assert sent.statuses[200] > REQUESTS / 10
            assert max(after - before for before, after in zip(*sizes, strict=True)) < GROWTH_MAX_BYTES
            assert MARK not in (node.folder / "log").read_text()
            assert MARK not in (node.folder / "runner.log").read_text()
        finally:
            if runner is not None:
                runner.kill()
                await runner.wait()
            await node.kill()
