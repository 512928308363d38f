import asyncio
import signal
import sys
from pathlib import Path

import pytest

from proxy.demo.children import ChildPlan, run_to_end, running
from proxy.errors import DemoError

NOWHERE = "http://127.0.0.1:1/"
SERVER = """
import http.server, sys
handler = http.server.SimpleHTTPRequestHandler
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), handler).serve_forever()
"""


def plan(code: str, *arguments: str, ready_url: str = NOWHERE) -> ChildPlan:
    return ChildPlan("part", (sys.executable, "-c", code, *arguments), {}, ready_url, "look at the part")


async def test_child_is_ready_when_its_url_responds(tmp_path: Path, unused_tcp_port: int) -> None:
    url = f"http://127.0.0.1:{unused_tcp_port}/"
    async with asyncio.timeout(60), running(plan(SERVER, str(unused_tcp_port), ready_url=url), tmp_path) as child:
        await child.ready()
        assert child.process.returncode is None
    assert child.process.returncode == -signal.SIGTERM


async def test_error_of_a_child_that_ends_early_has_its_log(tmp_path: Path) -> None:
    async with asyncio.timeout(60), running(plan("print('out of luck'); raise SystemExit(3)"), tmp_path) as child:
        with pytest.raises(
            DemoError, match=r"(?s)part ended with status 3 .*out of luck.*What to do: look at the part"
        ):
            await child.ready()


async def test_child_that_ends_by_itself_is_an_error(tmp_path: Path) -> None:
    async with asyncio.timeout(60), running(plan("raise SystemExit(4)"), tmp_path) as child:
        with pytest.raises(DemoError, match="part ended with status 4"):
            await child.watch()


async def test_stopped_child_is_not_an_error(tmp_path: Path) -> None:
    async with running(plan("import signal; signal.pause()"), tmp_path) as child, asyncio.TaskGroup() as tasks:
        watching = tasks.create_task(child.watch())
        async with asyncio.timeout(60):
            await child.stop()
        assert not watching.done()
        watching.cancel()


async def test_suspended_child_is_stopped(tmp_path: Path) -> None:
    async with asyncio.timeout(60), running(plan("import signal; signal.pause()"), tmp_path) as child:
        child.process.send_signal(signal.SIGSTOP)
        await child.stop()
        assert child.process.returncode == -signal.SIGTERM


async def test_error_of_a_failed_command_has_its_output() -> None:
    with pytest.raises(DemoError, match=r"filling failed with status 5:\nno room"):
        await run_to_end(
            (sys.executable, "-c", "import sys; sys.exit(print('no room', file=sys.stderr) or 5)"), {}, what="filling"
        )


async def test_command_returns_its_output() -> None:
    assert await run_to_end((sys.executable, "-c", "print('done')"), {}, what="work") == b"done\n"
