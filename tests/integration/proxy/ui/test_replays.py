"""The screens of replays: the list, one report, and one run against an earlier one, from files of a folder."""

import json
from collections.abc import AsyncIterator

import aiohttp
import msgspec
import pytest
import pytest_asyncio

from proxy.config.listen import AdminSettings
from proxy.config.replay import ReplaySettings
from proxy.config.settings import Settings
from proxy.config.ui import UiSettings
from proxy.replay.report import Verdicts
from proxy.replay.report_folder import ReportFolder
from proxy.ui.app import running
from tests.unit.proxy.replay.test_baseline import run

pytestmark = pytest.mark.asyncio(loop_scope="module")

HOSTILE = "<script>alert(1)</script>\x1b[31m\u202e"
BASELINE = run({"1": "ab", "2": "cd"})
LATER = run({"1": "ab", "3": "ef"})


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def ui(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[aiohttp.ClientSession, list[str]]]:
    """Provide a client, and the names of three reports: a baseline, a later run, and one that is not of the same recording."""
    folder = ReportFolder(tmp_path_factory.mktemp("replays"))
    names: list[str] = []
    for day, report in enumerate((BASELINE, LATER, run({}, digest="another")), start=1):
        given = msgspec.structs.replace(
            report,
            began=f"2026-01-0{day}T00:00:00+00:00",
            source=HOSTILE,
            verdicts=Verdicts(compared=10, match=6, mismatch=4),
            violations=(HOSTILE,) if report is LATER else (),
        )
        names.append(folder.store(given).stem)
    (folder.folder / "20260101T000000Z-000000000000.json").write_text("{")
    settings = Settings(
        admin=AdminSettings(port=9), ui=UiSettings(port=0), replay=ReplaySettings(reports_directory=str(folder.folder))
    )
    async with running(settings) as url, aiohttp.ClientSession(base_url=url) as client:
        yield client, names


async def page(client: aiohttp.ClientSession, path: str) -> str:
    async with client.get(path, headers={"HX-Request": "true"}) as response:
        assert response.status == 200
        text = await response.text()
    assert HOSTILE not in text
    return text


async def test_list_has_every_report_and_says_which_cannot_be_read(
    ui: tuple[aiohttp.ClientSession, list[str]],
) -> None:
    client, (baseline, later, other) = ui
    text = await page(client, "/replays")
    assert text.index(other) < text.index(later) < text.index(baseline)
    assert f"/replays/{later}/against/{baseline}" in text
    assert f"/replays/{other}/against" not in text
    assert "cannot be read" in text
    assert text.count("data-row") == 4


async def test_report_begins_with_its_outcome_and_why(ui: tuple[aiohttp.ClientSession, list[str]]) -> None:
    client, (baseline, later, _) = ui
    text = await page(client, f"/replays/{later}")
    assert text.index("FAIL</span>") < text.index("&lt;script&gt;alert(1)") < text.index("Latency, ms")
    assert "DIFFERS</span>" in await page(client, f"/replays/{baseline}")


async def test_comparison_names_what_is_introduced_resolved_and_still_there(
    ui: tuple[aiohttp.ClientSession, list[str]],
) -> None:
    client, (baseline, later, _) = ui
    text = await page(client, f"/replays/{later}/against/{baseline}")
    assert "1 introduced" in text
    assert "1 resolved" in text
    assert "1 still differs" in text
    assert "ends with exit code 1: 2 exchanges" in text
    async with client.get(f"/replays/{later}/against/{baseline}.json") as response:
        document = json.loads(await response.text())
    assert document["page"]["comparison"]["new"] == ["e", "f"]


async def test_runs_of_two_recordings_are_not_compared(ui: tuple[aiohttp.ClientSession, list[str]]) -> None:
    client, (baseline, _, other) = ui
    text = await page(client, f"/replays/{other}/against/{baseline}")
    assert "not comparable" in text
    assert "did not send the same exchanges" in text


async def test_export_is_one_file(ui: tuple[aiohttp.ClientSession, list[str]]) -> None:
    client, (_, later, _) = ui
    async with client.get(f"/replays/{later}/export") as response:
        text = await response.text()
        assert response.headers["Content-Disposition"] == f'attachment; filename="replay-{later}.html"'
    body = text.partition("<body")[2]
    assert body.index("FAIL</span>") < body.index("&lt;script&gt;alert(1)")
    assert "<script" not in text


@pytest.mark.parametrize(
    "path",
    ["/replays/nothing", "/replays/..%2F..%2Fetc", "/replays/20200101T000000Z-000000000000", "/replays/nothing/export"],
)
async def test_name_of_no_report_is_not_found(ui: tuple[aiohttp.ClientSession, list[str]], path: str) -> None:
    client, _ = ui
    async with client.get(path, headers={"HX-Request": "true"}) as response:
        assert response.status == 404
