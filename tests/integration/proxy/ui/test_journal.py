"""The journal screen over a store and a journal: exchanges found by their key, bounded searches, and exports without secrets."""

import asyncio
import datetime as dt
import json
import random
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import aiohttp
import msgspec
import pytest
import pytest_asyncio

from comparator.exchanges.model import LeftOutReason
from comparator.findings.redaction import digest_key
from comparator.settings import StoreSettings
from comparator.store.store import Store
from proxy.config.journal import JournalSettings
from proxy.journal.keys import load_keys
from proxy.journal.registry import open_writer
from proxy.recordings.model import RecordedExchange
from proxy.recordings.reader import read
from proxy.ui.app import running
from tests.support import postgres
from tests.support.exchanges import exchange
from tests.support.ui_causes import compared, equal, lost_stamp, settings
from tests.support.waiting import POLL_INTERVAL_S, WAIT_S

pytestmark = pytest.mark.asyncio(loop_scope="module")

SECRET = "tok-3c9e77f0a1b2"
COUNT = 12


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(tmp_path_factory: pytest.TempPathFactory, postgres_dsn: str) -> AsyncIterator[aiohttp.ClientSession]:
    """Provide a client of a UI whose store and journal have the same exchanges, of three keys."""
    journal = JournalSettings(directory=str(tmp_path_factory.mktemp("journal")))
    now = dt.datetime.now(dt.UTC)
    writer = open_writer(journal, {})
    writer.start()
    salt = load_keys(Path(journal.directory), {}).digest
    batch = []
    for number in range(COUNT):
        one = compared(
            f"exchange{number}",
            (lost_stamp if number == 0 else equal)(number),
            at=now - dt.timedelta(seconds=60 - number),
            key=1,
        )
        batch.append(replace(one, key_digest=digest_key(f"0x{number % 3}", salt)))
        headers = (("Host", "api.example"), ("Authorization", f"Bearer {SECRET}"))
        writer.append(
            exchange(f"exchange{number}", key=f"0x{number % 3}", headers=headers, target=f"/score/0x{number % 3}")
        )
    whole = compared("without", equal(COUNT), at=now, key=1)
    batch.append(replace(whole, comparison=replace(whole.comparison, left_out={"audit": LeftOutReason.SHARED})))
    writer.close()
    async with (
        postgres.temporary_database(postgres_dsn) as database,
        Store(database, StoreSettings(timeout_s=60), random.Random(7)) as store,
    ):
        await store.maintain(now)
        await store.add(batch)
        given = msgspec.structs.replace(settings(database), journal=journal)
        async with running(given) as url, aiohttp.ClientSession(base_url=url) as opened:
            yield opened


async def test_exchanges_are_found_by_their_key(client: aiohttp.ClientSession) -> None:
    async with client.get("/journal.json?key=0X1") as response:
        page = (await response.json())["page"]
    assert {line["comparison"]["exchange_id"] for line in page["lines"]} == {f"exchange{n}" for n in range(1, COUNT, 3)}
    assert (page["key_problem"], page["ignored"]) == ("", [])


async def shows(client: aiohttp.ClientSession, path: str, text: str) -> None:
    """Wait until a screen shows a text: a part that takes long is shown as being read at first."""
    async with asyncio.timeout(WAIT_S):
        while True:
            async with client.get(path) as response:
                if text in await response.text():
                    return
            await asyncio.sleep(POLL_INTERVAL_S)


async def test_table_that_was_left_out_stands_beside_the_verdict_in_the_list_and_on_the_page(
    client: aiohttp.ClientSession,
) -> None:
    async with client.get("/journal.json") as response:
        lines = (await response.json())["page"]["lines"]
    assert {(line["comparison"]["exchange_id"], line["tone"]) for line in lines if line["not_compared"]} == {
        ("without", "few")
    }
    for path in ("/journal", "/exchanges/without"):
        async with client.get(path) as response:
            assert "table audit left out" in await response.text(), path
    await shows(client, "/", "without some tables in 1,")


@pytest.mark.parametrize("name", ["har", "ndjson", "gor"])
async def test_selection_is_exported_without_secrets(client: aiohttp.ClientSession, name: str, tmp_path: Path) -> None:
    async with client.get(f"/journal/export.{name}?key=0x2") as response:
        body = await response.read()
        assert response.status == 200, body
        assert f".{name}" in response.headers["Content-Disposition"]
    file = tmp_path / f"selection.{name}"
    file.write_bytes(body)
    targets = [item.request.target for item in read(str(file)) if isinstance(item, RecordedExchange)]
    assert targets == ["/score/0x2"] * (COUNT // 3)
    assert SECRET.encode() not in body


async def test_only_what_is_selected_is_exported(client: aiohttp.ClientSession) -> None:
    async with client.get("/journal/export.ndjson?verdict=mismatch") as response:
        lines = [json.loads(line) for line in (await response.text()).splitlines()]
    async with client.get("/journal/export.ndjson?status=599") as nothing:
        assert (nothing.status, await nothing.text()) == (404, "nothing is selected")
    assert [line["id"] for line in lines] == ["exchange0"]
