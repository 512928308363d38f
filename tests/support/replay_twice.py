"""Replay a generated recording to both sides twice from one snapshot, with the commands that a user would run."""

from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from proxy.demo.children import python_module, run_to_end
from proxy.demo.installation import PreparedInstallation, running_children
from proxy.replay.report import ReplayReport
from proxy.replay.report_diff import differing_members, without_times

TIMEOUT_S = 7_200.0
SNAPSHOT = "before"


@dataclass(frozen=True)
class TwoReplays:
    """Both reports, and the printed text of the first."""

    reports: tuple[ReplayReport, ReplayReport]
    text: str

    @property
    def equal(self) -> bool:
        first, second = map(without_times, self.reports)
        return first == second

    @property
    def differences(self) -> list[str]:
        return differing_members(*self.reports)


async def replay_twice(
    made: PreparedInstallation, requests: int, say: Callable[[str], None], *, snapshot: str = SNAPSHOT
) -> TwoReplays:
    """Generate a recording, create a snapshot, replay, restore, replay again."""
    folder, options = made.config_path.parent, made.options
    config = ["--config", str(made.config_path)]
    recording = str(folder / "recording.ndjson")

    async def shadow(*words: str) -> str:
        say(f"shadow {' '.join(words)}")
        return (
            await run_to_end(python_module("proxy", *words), {}, what=f"shadow {words[0]}", timeout_s=TIMEOUT_S)
        ).decode()

    numbers = ["--addresses", options.address_count, "--requests", requests, "--seed", options.seed]
    await shadow("replay", "generate", "--profile", options.profile, *map(str, numbers), "--out", recording)
    await shadow("snapshot", *config, "create", snapshot)
    try:
        texts: list[str] = []
        paths = [folder / f"report-{number}.json" for number in (1, 2)]
        for path in paths:
            if texts:
                await shadow("snapshot", *config, "restore", snapshot)
            async with running_children(made.backends("shadow"), made.logs, say):
                words = ["--to", "both", "--speed", "max", "--timeout", "60"]
                words += ["--json", str(path), "--html", str(path.with_suffix(".html"))]
                texts.append(await shadow("replay", recording, *config, *words))
    finally:
        await shadow("snapshot", *config, "drop", snapshot)
    first, second = (msgspec.json.decode(path.read_bytes(), type=ReplayReport) for path in paths)
    return TwoReplays((first, second), texts[0])
