"""Stored cases repeated against another build: fixed, not fixed, something else broke, and what cannot be decided."""

import argparse
import asyncio
import random
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest
import yaml
from aiohttp import ClientSession

from comparator.capture.settings import CaptureSettings, Driver
from comparator.exchanges.model import Side
from comparator.findings.cases import Case
from comparator.findings.verification import FindingPlace, VerificationOutcome
from comparator.settings import StoreSettings
from comparator.store import queries
from comparator.store.store import Store
from proxy.cli import findings as findings_command
from proxy.cli.exit_codes import Exit
from proxy.config.runner import RunnerSettings
from proxy.demo.free_ports import free_port
from proxy.journal.registry import journal_keys
from proxy.replay.case_replay import open_case_replay
from tests.support.mirror_lab import WRITTEN, MirrorLab, checksums, mirror_lab
from tests.support.mirroring import mirroring, settled
from tests.support.scraping import until

CAPTURE = CaptureSettings(driver=Driver.STREAM, tables=WRITTEN, poll_ms=20)


@dataclass
class LostStamp:
    """A lab whose runner has found a lost stamp in one request, after which the same client's rows have changed further."""

    lab: MirrorLab
    finding: queries.Finding
    case: Case

    @property
    def place(self) -> FindingPlace:
        return FindingPlace(self.finding.route, self.finding.place, self.finding.discriminator)

    def build_with(self, fault: str, side: Side = Side.CANDIDATE) -> None:
        """Replace the build that the shadow instance of a side runs; "" has no fault."""
        self.lab.services[side, "shadow"].faults[self.case.exchange] = fault

    async def run_command(self, config: Path) -> int:
        """Run `shadow findings verify` in a thread: it has an event loop of its own."""
        config.write_text(yaml.safe_dump(msgspec.to_builtins(self.lab.settings())))
        parser = argparse.ArgumentParser()
        findings_command.configure(parser)
        args = parser.parse_args(["verify", self.finding.id, "--config", str(config)])
        return await asyncio.to_thread(findings_command.run, args)


@asynccontextmanager
async def lost_stamp(dsn: str, folder: Path) -> AsyncGenerator[LostStamp]:
    runner = RunnerSettings(port=free_port())
    async with mirror_lab(dsn, folder, capture=CAPTURE, runner=runner, population=4) as lab:
        lab.open_journal()
        async with mirroring(lab), ClientSession() as session:
            for count, fault in enumerate(("", "lost_stamp", ""), start=1):
                await lab.serve(session, Side.LEGACY, lab.addresses[0], fault=fault)
                await until(runner.port, lambda samples, count=count: settled(samples, count))
        assert lab.writer is not None
        lab.writer.close()
        async with Store(lab.store_dsn, StoreSettings(), random.SystemRandom()) as store, store.connection() as conn:
            found = [one for one in await queries.findings(conn) if one.place == "stamp"]
            cases = await queries.exemplars(conn, found[0].id)
        yield LostStamp(lab, found[0], cases[0])


async def test_build_is_told_to_fix_a_finding_or_not(
    postgres_dsn: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with lost_stamp(postgres_dsn, tmp_path) as made:
        settings = made.lab.settings()
        before = await checksums(made.lab.shadow_dsn)
        salt = journal_keys(settings.journal, {}).digest
        results: dict[str, VerificationOutcome] = {}
        reasons: dict[str, str] = {}
        async with open_case_replay(settings, {}, salt) as replay:
            for name, fault in (("same", "lost_stamp"), ("right", ""), ("worse", "doubled_event")):
                made.build_with(fault)
                result = await replay.verify(made.place, made.case)
                results[name], reasons[name] = result.outcome, result.reason
            made.build_with("")
            made.build_with("wrong_score", Side.LEGACY)
            other_legacy = await replay.verify(made.place, made.case)
            unknown = await replay.verify(FindingPlace("score", "link"), made.case)
        made.build_with("lost_stamp")
        made.build_with("", Side.LEGACY)
        code = await made.run_command(tmp_path / "config.yaml")
        after = await checksums(made.lab.shadow_dsn)
    assert results == {
        "same": VerificationOutcome.NOT_FIXED,
        "right": VerificationOutcome.FIXED,
        "worse": VerificationOutcome.SOMETHING_ELSE_BROKE,
    }
    assert "stamp: row only on legacy" in reasons["same"]
    assert "event: row only on candidate" in reasons["worse"]
    assert (other_legacy.outcome, "the legacy does not do what it did" in other_legacy.reason) == ("undecided", True)
    assert unknown.reason == "under the present rules it does not show the finding"
    assert after == before
    assert (code, capsys.readouterr().out.splitlines()[0]) == (Exit.NEGATIVE, f"{made.finding.id}: not fixed")
