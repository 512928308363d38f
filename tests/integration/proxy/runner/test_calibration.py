"""A side compared with itself on real databases and servers: from the state each request started from, by two processes where there are two."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import cycle
from pathlib import Path

import msgspec
import pytest
from aiohttp import ClientSession

from comparator.capture.settings import CaptureSettings, Driver
from comparator.exchanges.model import Side
from comparator.findings.calibration import Calibration, render_calibration
from proxy.cli.calibrate import run_recorded, summed_up
from proxy.config.runner import RunnerSettings
from proxy.config.settings import Settings
from proxy.demo.free_ports import free_port
from proxy.rollout.accounting import total
from proxy.runner.app import observe_noise
from proxy.runner.calibrate import NoiseCollector
from tests.support.mirror_lab import WRITTEN, MirrorLab, Service, checksums, mirror_lab, running
from tests.support.mirroring import is_idle, mirroring, outcomes
from tests.support.scraping import until

PAIRS = 6
TIMEOUT_S = 0.1
THINK_S = 0.4
"""Time in which a service responds that is too slow for TIMEOUT_S."""
AT_RULE = "- {path: at, time_within_ms: N, epoch: s}"


class OtherProcess(dict[str, str]):
    """Faults of a service that answers otherwise than its twin, whatever the request."""

    def get(self, key: str, default: str = "") -> str:  # type: ignore[override]
        del key, default
        return "wrong_response"


@asynccontextmanager
async def lab(
    postgres_dsn: str, folder: Path, *, timeout_s: float = 10.0
) -> AsyncIterator[tuple[MirrorLab, ClientSession, Settings]]:
    """Run a lab without a rule for the time in the response."""
    capture = CaptureSettings(driver=Driver.STREAM, tables=WRITTEN, poll_ms=20)
    runner = RunnerSettings(port=free_port(), claim_wait_ms=8_000, timeout_s=timeout_s)
    async with (
        mirror_lab(postgres_dsn, folder, capture=capture, runner=runner, population=24) as made,
        ClientSession() as session,
    ):
        settings = made.settings()
        yield (
            made,
            session,
            msgspec.structs.replace(settings, compare=msgspec.structs.replace(settings.compare, rules=())),
        )


async def calibrated(
    made: MirrorLab, session: ClientSession, settings: Settings, side: Side, *, second_url: str = ""
) -> Calibration:
    """Serve requests by the legacy until there are enough pairs."""
    noise = NoiseCollector(side, PAIRS, 0, second_url)
    async with asyncio.TaskGroup() as tasks:
        ending = tasks.create_task(observe_noise(settings, {}, noise, for_s=120))
        # One address after the other: requests of one key that follow at once are overlapped.
        addresses = cycle(made.addresses)
        while not ending.done() and not noise.enough.is_set():
            await made.serve(session, Side.LEGACY, next(addresses))
    return summed_up(settings, noise, seen_min=2)


def rules_by_place(result: Calibration) -> dict[str, str]:
    """Return the proposed rules by place, with N as the tolerance of times, which depends on the machine."""
    return {one.place: re.sub(r"(?<=time_within_ms: )\d+", "N", one.rule) for one in result.proposals}


async def test_serving_side_is_compared_with_its_shadow_instance_and_the_runner_goes_on(
    postgres_dsn: str, tmp_path: Path
) -> None:
    async with lab(postgres_dsn, tmp_path) as (made, session, settings):
        result = await calibrated(made, session, settings, Side.LEGACY)
        async with mirroring(made):
            await made.serve(session, Side.LEGACY, made.addresses[0])
            await until(made.runner.port, lambda s: total(s, "shadow_compared_total") >= 1 and is_idle(s))
        assert await outcomes(made) == {}
        assert await checksums(made.live_dsn) == await checksums(made.shadow_dsn)
    (route,) = result.routes
    assert (route.at, result.pairs >= PAIRS, result.two_processes) == (("score", "GET"), True, result.pairs)
    assert rules_by_place(result) == {"at": AT_RULE}, "\n".join(map(str, result.proposals))
    assert result.covered_share == 1.0
    assert "unseen" not in render_calibration(result, "legacy")


@pytest.mark.parametrize("second", [False, True])
async def test_other_side_is_run_twice_from_one_state(postgres_dsn: str, tmp_path: Path, second: bool) -> None:
    async with (
        lab(postgres_dsn, tmp_path) as (made, session, settings),
        running(Service(made.shadow_dsn, tagged=True, faults=OtherProcess())) as other,
    ):
        url = other.url if second else ""
        result = await calibrated(made, session, settings, Side.CANDIDATE, second_url=url)
    assert result.two_processes == (result.pairs if second else 0)
    assert rules_by_place(result) == {"at": AT_RULE} | ({"score": '- {path: score, absolute: "1"}'} if second else {})
    assert ("unseen" in render_calibration(result, "candidate")) is not second


async def test_recorded_requests_are_run_from_the_present_state(postgres_dsn: str, tmp_path: Path) -> None:
    async with lab(postgres_dsn, tmp_path) as (made, session, settings):
        for address in made.addresses[:PAIRS]:
            await made.serve(session, Side.LEGACY, address)
        made.open_journal()
        before = await checksums(made.shadow_dsn)
        noise = await run_recorded(settings, Side.LEGACY, requests=PAIRS - 1)
        assert await checksums(made.shadow_dsn) == before
    result = summed_up(settings, noise, seen_min=2)
    (route,) = result.routes
    assert (route.traffic, route.pairs, route.succeeded) == (PAIRS, PAIRS - 1, PAIRS - 1)
    assert route.not_judged == {"beyond --requests": 1}
    assert rules_by_place(result) == {"at": AT_RULE}, "\n".join(map(str, result.proposals))


async def test_recorded_run_waits_for_late_responses(postgres_dsn: str, tmp_path: Path) -> None:
    async with lab(postgres_dsn, tmp_path, timeout_s=TIMEOUT_S) as (made, session, settings):
        await made.serve(session, Side.LEGACY, made.addresses[0])
        made.open_journal()
        made.services[Side.LEGACY, "shadow"].think_s = THINK_S
        before = await checksums(made.shadow_dsn)
        noise = await run_recorded(settings, Side.LEGACY, requests=1)
        assert await checksums(made.shadow_dsn) == before
    (pair,) = noise.pairs
    assert pair.statuses == (0, 0)
    assert pair.comparison is not None


async def test_request_without_a_response_is_not_run_a_second_time(postgres_dsn: str, tmp_path: Path) -> None:
    async with lab(postgres_dsn, tmp_path, timeout_s=TIMEOUT_S) as (made, session, settings):
        service = made.services[Side.CANDIDATE, "shadow"]
        service.think_s = THINK_S
        noise = NoiseCollector(Side.CANDIDATE, PAIRS, 0)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(observe_noise(settings, {}, noise, for_s=120))
            addresses = cycle(made.addresses)
            while "no response" not in {cause for _, cause in noise.left_out}:
                await made.serve(session, Side.LEGACY, next(addresses))
            noise.enough.set()
    assert not noise.pairs
    assert len(set(service.received)) == len(service.received)
