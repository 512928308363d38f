"""A recording replayed to both sides from one state of the shadow database: injected differences are found, repeatably."""

import asyncio
from pathlib import Path

import pytest

from comparator.capture.settings import CaptureSettings, Driver
from comparator.exchanges.model import Side
from proxy.cli.replay import replay
from proxy.config.runner import RunnerSettings
from proxy.config.settings import Settings
from proxy.errors import RunnerRunningError
from proxy.journal.segment_reader import SegmentReader
from proxy.replay.baseline import Change, compare_with_baseline
from proxy.replay.compare_run import open_shadow
from proxy.replay.report import ReplayReport
from tests.support.mirror_lab import FAULTS, WRITTEN, MirrorLab, checksums, mirror_lab
from tests.support.replay_backend import recorded_exchange, replay_arguments, write_recording

PATIENCE_S = 60.0
CAPTURE = CaptureSettings(driver=Driver.STREAM, tables=WRITTEN, poll_ms=20)


async def played(path: Path, settings: Settings, *arguments: str) -> ReplayReport:
    async with asyncio.timeout(PATIENCE_S):
        return await replay(
            settings, replay_arguments(path, "--to", "both", "--speed", "max", "--no-progress", *arguments), {}
        )


def capture(made: MirrorLab, folder: Path, count: int) -> Path:
    """Write requests for a few addresses, with repetitions; the id is in the record, not in a header."""
    people = [made.addresses[n % 7] for n in range(count)]
    records = [recorded_exchange(n, path=f"/score/{person}", key=person) for n, person in enumerate(people)]
    return write_recording(folder / "capture.ndjson", records)


async def test_two_replays_from_one_state_have_equal_verdicts_and_restore_it(postgres_dsn: str, tmp_path: Path) -> None:
    async with mirror_lab(postgres_dsn, tmp_path, capture=CAPTURE, runner=RunnerSettings()) as made:
        for number, fault in enumerate(FAULTS):
            made.services[Side.CANDIDATE, "shadow"].faults[f"id-{number * 3}"] = fault
        path = capture(made, tmp_path, 24)
        before = await checksums(made.shadow_dsn)
        first = await played(path, made.settings())
        second = await played(path, made.settings())
        assert await checksums(made.shadow_dsn) == before
    assert (first.verdicts.mismatch, first.verdicts.match, first.verdicts.failed) == (len(FAULTS), 24 - len(FAULTS), 0)
    assert first.verdicts_digest == second.verdicts_digest
    assert [(item.id, item.count) for item in first.findings] == [(item.id, item.count) for item in second.findings]


async def test_run_with_another_fault_is_told_from_its_baseline(postgres_dsn: str, tmp_path: Path) -> None:
    old, new = list(FAULTS)[:2]
    async with mirror_lab(postgres_dsn, tmp_path, capture=CAPTURE, runner=RunnerSettings()) as made:
        faults = made.services[Side.CANDIDATE, "shadow"].faults
        faults.update(dict.fromkeys([f"id-{number}" for number in range(4)], old))
        path = capture(made, tmp_path, 12)
        baseline = await played(path, made.settings())
        same = compare_with_baseline(baseline, await played(path, made.settings()))
        faults.clear()
        faults.update(dict.fromkeys([f"id-{number}" for number in range(3, 7)], new))
        later = compare_with_baseline(baseline, await played(path, made.settings()))
    assert ([one.change for one in same.causes], same.new, same.resolved) == ([Change.STILL_DIFFERS], (), ())
    assert sorted(one.change for one in later.causes) == [Change.INTRODUCED, Change.RESOLVED]
    assert later.new == ("id-3", "id-4", "id-5", "id-6")
    assert later.resolved == ("id-0", "id-1", "id-2")


async def test_without_faults_nothing_differs_and_both_sides_have_latencies(postgres_dsn: str, tmp_path: Path) -> None:
    async with mirror_lab(postgres_dsn, tmp_path, capture=CAPTURE, runner=RunnerSettings()) as made:
        result = await played(capture(made, tmp_path, 8), made.settings())
    assert (result.verdicts.compared, result.verdicts.match, result.findings, result.left_out) == (8, 8, (), {})
    assert {name: side.service.count for name, side in result.sides.items()} == {"candidate": 8, "legacy": 8}


async def test_replay_is_refused_while_the_runner_is_running(postgres_dsn: str, tmp_path: Path) -> None:
    async with mirror_lab(postgres_dsn, tmp_path, capture=CAPTURE, runner=RunnerSettings()) as made:
        settings = made.settings()
        folder = Path(settings.journal.directory)
        folder.mkdir(parents=True, exist_ok=True)
        with SegmentReader(folder, settings.runner.name), pytest.raises(RunnerRunningError, match="stop it first"):
            async with open_shadow(settings):
                pass
