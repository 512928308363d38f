"""A whole system of real processes: the mirrored legacy writes other rows than the candidate, and clients are moved back."""

import asyncio
import json
import sys

import aiohttp

from proxy.demo.installation import ROOT, Installation
from proxy.demo.traffic import TrafficGenerator
from tests.e2e.systems import installation

WAIT_S = 90.0
ROLLOUT = {
    "enabled": True,
    "steps": [0, 100],
    "evaluate_s": 0.5,
    "gates": {"time_min_s": 0, "comparisons_min": 1},
}


async def shadow(running: Installation, *words: str) -> tuple[int, str]:
    command = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "proxy",
        words[0],
        "--config",
        str(running.config_path),
        *words[1:],
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await command.communicate()
    assert command.returncode is not None
    return command.returncode, out.decode()


async def promoted(running: Installation, *words: str) -> None:
    """Promote; again where the controller has changed something since the command looked, as it does when it starts."""
    async with asyncio.timeout(WAIT_S):
        while True:
            code, out = await shadow(running, "promote", *words)
            if "decide again" not in out:
                break
    assert code == 0, out


async def status(running: Installation) -> dict[str, object]:
    async with aiohttp.ClientSession() as session, session.get(f"{running.admin_url}/status") as response:
        return await response.json()


async def test_differing_rows_roll_back_and_the_log_names_the_finding(postgres_dsn: str) -> None:
    async with installation(postgres_dsn, addresses=40, divergences="missing_event:0.5", rollout=ROLLOUT) as running:
        traffic = TrafficGenerator(running.url, running.targets, concurrency=4)
        await promoted(running, "--force", "--reason", "the test begins")
        async with asyncio.timeout(WAIT_S):
            await traffic.as_fast_as_possible(80)
            while (await status(running))["stage"] != "rolled_back":
                await asyncio.sleep(0.1)
        _, exported = await shadow(running, "history", "--json")
        _, verified = await shadow(running, "history", "--verify")
    entries = [json.loads(json.loads(line)["body"]) for line in exported.splitlines()]
    rollback = next(entry for entry in entries if entry["event"] == "roll_back")
    assert rollback["actor"] == "controller"
    assert rollback["reason"].startswith("effects:")
    assert "registry_event" in rollback["reason"]
    assert rollback["finding"]
    assert verified.startswith("intact:")
