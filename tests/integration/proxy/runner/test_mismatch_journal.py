"""The runner copies mismatches to the mismatch journal, as many as the filter of the route selects."""

import asyncio
from pathlib import Path

import msgspec
from aiohttp import ClientSession

from comparator.capture.settings import CaptureSettings, Driver
from comparator.exchanges.model import Side
from proxy.config.routes import RecordIf, RecordOnly, RouteSettings
from proxy.config.runner import RunnerSettings
from proxy.demo.free_ports import free_port
from proxy.journal.keys import load_keys
from proxy.recordings.model import RecordedExchange
from proxy.recordings.reader import JOURNAL, read
from proxy.rollout.accounting import total
from proxy.runner.app import serve
from tests.support.mirror_lab import mirror_lab
from tests.support.mirroring import ended_count
from tests.support.scraping import until


async def test_mismatch_journal_has_as_many_mismatches_as_the_filter_allows(postgres_dsn: str, tmp_path: Path) -> None:
    runner = RunnerSettings(port=free_port(), concurrency=1)
    async with mirror_lab(postgres_dsn, tmp_path, capture=CaptureSettings(driver=Driver.OFF), runner=runner) as made:
        mismatches = msgspec.structs.replace(made.journal.mismatches, directory=str(tmp_path / "mismatches"))
        route = RouteSettings(
            "score", "/score/{address}", record_if=RecordIf(only=RecordOnly.MISMATCHES, until_count=2)
        )
        settings = msgspec.structs.replace(
            made.settings(), routes=(route,), journal=msgspec.structs.replace(made.journal, mismatches=mismatches)
        )
        async with ClientSession() as session:
            faults = ("wrong_response", "", "wrong_response", "wrong_response")
            asked = [
                await made.serve(session, Side.CANDIDATE, address, fault=fault)
                for address, fault in zip(made.addresses[:4], faults, strict=True)
            ]
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(serve(settings, {}, stop=stop), name="runner-under-test")
            await until(runner.port, lambda samples: ended_count(samples) == 4)
            # Row changes are not captured, so each verdict rests on the responses alone.
            await until(runner.port, lambda samples: total(samples, "shadow_response_only_total") == 4)
            stop.set()
    directory = tmp_path / "mismatches"
    found = read(str(directory), format_name=JOURNAL, keys=load_keys(directory, {}))
    assert [one.id for one in found if isinstance(one, RecordedExchange)] == [asked[0], asked[2]]
