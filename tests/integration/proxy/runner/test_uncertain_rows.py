"""Rows that cannot be told to be a request's are not judged: of sides without names, without keys, and of requests that came too late."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest
from aiohttp import ClientSession

from comparator.capture.settings import CaptureSettings, Driver
from comparator.exchanges.model import Role, Side
from proxy.config.runner import RunnerSettings
from proxy.demo.free_ports import free_port
from proxy.journal.writer_sessions import begin_session
from proxy.rollout.accounting import Samples, total
from tests.support.matrix import sliced
from tests.support.mirror_lab import WRITTEN, MirrorLab, checksums, mirror_lab
from tests.support.mirroring import mirroring, outcomes, send_requests, settled
from tests.support.scraping import until

Outcomes = dict[str, tuple[str, bool | None]]


@asynccontextmanager
async def lab(dsn: str, folder: Path, **changes: float) -> AsyncGenerator[tuple[MirrorLab, ClientSession, Outcomes]]:
    """Run a lab and its runner; afterwards both databases have to be equal, and what did not match is in the outcomes."""
    unequal: Outcomes = {}
    runner = RunnerSettings(port=free_port(), claim_wait_ms=1_500, confirm_per_s_max=1000, **changes)  # pyright: ignore[reportArgumentType]
    capture = CaptureSettings(driver=Driver.STREAM, tables=WRITTEN)
    async with mirror_lab(dsn, folder, capture=capture, runner=runner) as made, ClientSession() as session:
        async with mirroring(made):
            yield made, session, unequal
        assert await checksums(made.live_dsn) == await checksums(made.shadow_dsn)
        unequal.update(await outcomes(made))


async def until_settled(made: MirrorLab, count: int) -> Samples:
    return await until(made.runner.port, lambda s: settled(s, count))


@pytest.mark.parametrize("serving", list(Side))
async def test_side_that_names_no_request_is_reported_and_skipped(
    postgres_dsn: str, tmp_path: Path, serving: Side
) -> None:
    role = Role.SERVED if serving is Side.CANDIDATE else Role.MIRRORED
    async with lab(postgres_dsn, tmp_path) as (made, session, unequal):
        for instance in ("live", "shadow"):
            made.services[Side.CANDIDATE, instance].tagged = False
        for address in made.addresses[2:6]:
            await made.serve(session, serving, address)
        untagged = {"side": "candidate", "role": role.value}
        await until(made.runner.port, lambda s: total(s, "shadow_side_untagged", **untagged) == 1)
        samples = await until_settled(made, 4)
        assert total(samples, "shadow_skipped_total", cause="untagged") == 4

        for instance in ("live", "shadow"):
            made.services[Side.CANDIDATE, instance].tagged = True
        await made.serve(session, serving, made.addresses[7])
        samples = await until_settled(made, 5)
        assert total(samples, "shadow_compared_total", verdict="match") == 1
        await until(made.runner.port, lambda s: total(s, "shadow_side_untagged", **untagged) == 0)
    assert unequal == {}


@pytest.mark.parametrize("serving", list(Side))
async def test_rows_without_a_key_are_compared_while_requests_come_one_at_a_time(
    postgres_dsn: str, tmp_path: Path, serving: Side
) -> None:
    async with lab(postgres_dsn, tmp_path) as (made, session, unequal):
        for service in made.services.values():
            service.audited = True
        for number, fault in enumerate(["", "", "missing_audit"], start=1):
            request_id = await made.serve(session, serving, made.addresses[2 + number], fault=fault)
            samples = await until_settled(made, number)
        assert total(samples, "shadow_compared_total") == 3
        assert total(samples, "shadow_left_out_tables_total") == 0
    assert unequal == {request_id: ("mismatch", True)}


@pytest.mark.parametrize("serving", sliced(list(Side), 1))
async def test_rows_without_a_key_of_concurrent_requests_are_left_out(
    postgres_dsn: str, tmp_path: Path, serving: Side
) -> None:
    async with lab(postgres_dsn, tmp_path) as (made, session, unequal):
        for service in made.services.values():
            service.audited = True
        await send_requests(made, session, count=40, side=serving)
        samples = await until_settled(made, 40)
        assert total(samples, "shadow_compared_total", verdict="match") > 0
        assert total(samples, "shadow_left_out_tables_total") > 0
    assert unequal == {}


@pytest.mark.parametrize("serving", list(Side))
async def test_rows_of_a_killed_process_are_not_taken_for_those_of_the_client_s_next_try(
    postgres_dsn: str, tmp_path: Path, serving: Side
) -> None:
    async with lab(postgres_dsn, tmp_path, timeout_s=60.0) as (made, session, unequal):
        folder, address = Path(made.journal.directory) / "w1", made.addresses[3]
        await made.serve(session, serving, address)
        await until_settled(made, 1)
        # Its request writes, and is in no journal. The client has seen its connection break, and sends the same request again.
        folder.mkdir()
        begin_session(folder)
        lost = await made.exchange(session, serving, address, request_id="same")
        again = await made.exchange(session, serving, address, request_id="same")
        assert made.writer is not None
        assert made.writer.append(replace(again, started_ns=lost.started_ns))
        samples = await until_settled(made, 2)
        assert total(samples, "shadow_skipped_total", cause="unjournaled") == 1
        # A request without rows on its key is judged.
        await made.serve(session, serving, address, reads=True)
        samples = await until_settled(made, 3)
        assert total(samples, "shadow_compared_total", verdict="match") == 2
    assert unequal == {}


@pytest.mark.parametrize(("serving", "answers_late"), sliced(list(product(Side, [True, False])), 1))
async def test_nothing_is_compared_on_the_keys_of_a_request_that_was_given_up(
    postgres_dsn: str, tmp_path: Path, serving: Side, *, answers_late: bool
) -> None:
    """A response is awaited however late it comes; without a connection the time decides."""
    limits = {"timeout_s": 1.0 if answers_late else 10.0, "unsettled_s_max": 0.01 if answers_late else 1.0}
    async with lab(postgres_dsn, tmp_path, **limits) as (made, session, unequal):
        port, address = made.runner.port, made.addresses[3]
        mirrored = made.services[serving.other, "shadow"]
        await made.serve(session, serving, address, fault="late" if answers_late else "cut")
        cause = "mirrored_timeout" if answers_late else "mirrored_reset"
        await until(port, lambda s: total(s, "shadow_failed_total", cause=cause) == 1)
        if answers_late:
            await made.serve(session, serving, address)
            await made.serve(session, serving, address, reads=True)
            await made.serve(session, serving, made.addresses[5])
            samples = await until_settled(made, 4)
            assert total(samples, "shadow_skipped_total", cause="unsettled") == 2
            assert total(samples, "shadow_unsettled") == 1
            mirrored.resume.set()
        result = "answered" if answers_late else "lost"
        samples = await until(port, lambda s: total(s, "shadow_given_up_total", result=result) == 1)
        ended = 4 if answers_late else 1
        await until_settled(made, ended)
        matches = total(samples, "shadow_compared_total", verdict="match")
        await made.serve(session, serving, address)
        await made.serve(session, serving, address, reads=True)
        samples = await until_settled(made, ended + 2)
        assert total(samples, "shadow_compared_total", verdict="match") == matches + 2
        # What is written now is a stray of a request that is no longer waited for.
        mirrored.resume.set()
        if not answers_late:
            await until(port, lambda s: total(s, "shadow_stray_transactions_total") >= 1)
            await until_settled(made, ended + 2)
    assert {verdict for verdict, _ in unequal.values()} == {"failed"}
