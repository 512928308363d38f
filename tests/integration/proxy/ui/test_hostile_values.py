"""Values that clients and actors choose are text on every screen: no script of theirs runs, and the page keeps its shape."""

import datetime as dt
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from comparator import postgres
from comparator.exchanges.difference import Difference, Kind
from comparator.exchanges.json_values import ABSENT
from comparator.settings import StoreSettings
from comparator.store import causes
from comparator.store.store import Store
from comparator.tables import Table
from proxy.config.databases import DatabasesSettings
from proxy.config.journal import JournalSettings
from proxy.config.listen import AdminSettings
from proxy.config.settings import Settings
from proxy.config.ui import UiSettings
from proxy.rollout import store as rollout_store
from proxy.rollout.audit import AuditEntry, AuditEvent
from proxy.ui.app import SCREENS, running
from tests.support import postgres as test_postgres
from tests.support.browser import Tab, chromium, tab
from tests.support.comparisons import exchange_with

pytestmark = pytest.mark.asyncio(loop_scope="module")

SCRIPT = "<script>window.pwned = 1</script>"
ATTRIBUTE = "\"'><img src=x onerror='window.pwned = 1'>"
TEMPLATE = "{{ 7 * 7 }}{% raw %}${7 * 7}"
ANSI_AND_RTL = "\x1b[31mred\u202eltr\u2066"
LONG = "x" * 1_000_000
HOSTILE = SCRIPT + ATTRIBUTE + TEMPLATE + ANSI_AND_RTL
TABLE = Table(natural_key=("action",), discriminator=("action",))
NOW = dt.datetime.now(dt.UTC)
DIFFERENCES = [
    Difference(Kind.CHANGED, (HOSTILE,), HOSTILE, "legacy"),
    Difference(Kind.CHANGED, ("long",), LONG, HOSTILE),
    Difference(Kind.MISSING_ROW, (), {"action": HOSTILE}, ABSENT, "event", (HOSTILE,)),
]


async def fill(dsn: str) -> None:
    """Store comparisons, causes and an audit entry that are made of hostile values."""
    async with Store(dsn, StoreSettings(timeout_s=30), random.Random(7)) as store:
        await store.maintain(NOW)
        batch = [
            exchange_with(f"x{number}", *DIFFERENCES, at=NOW, key=number, route=SCRIPT, tables={"event": TABLE})
            for number in range(5)
        ]
        await store.add(batch)
        async with store.connection() as conn:
            await causes.refresh_causes(conn, now=NOW, force=True)
    conn = await postgres.connect(dsn, timeout_s=30)
    try:
        await rollout_store.migrate(conn)
        entry = AuditEntry("1", NOW, "", AuditEvent.ROLL_BACK, actor=HOSTILE, reason=HOSTILE, evidence={HOSTILE: LONG})
        async with conn.transaction():
            await rollout_store.append_entries(conn, [entry])
    finally:
        await conn.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def opened(postgres_dsn: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Tab]:
    """Provide a tab on a UI whose store is full of hostile values; every other part is down."""
    folder: Path = tmp_path_factory.mktemp("hostile")
    async with test_postgres.temporary_database(postgres_dsn) as dsn:
        await fill(dsn)
        settings = Settings(
            admin=AdminSettings(port=9),
            databases=DatabasesSettings(store=dsn),
            journal=JournalSettings(directory=str(folder)),
            ui=UiSettings(port=0, name=SCRIPT, store_timeout_s=30.0),
        )
        async with running(settings) as url, chromium() as browser, tab(browser, url) as held:
            yield held


@pytest.mark.parametrize(
    "path",
    [screen.path for screen in SCREENS if "{" not in screen.path]
    + ["/rollout?drawer=rollback", "/rules?filter=%3Cscript%3Ewindow.pwned=1%3C/script%3E", "/rollout/audit?before=9"],
)
async def test_hostile_values_stay_text(opened: Tab, path: str) -> None:
    await opened.open(path)
    assert await opened.page.evaluate("window.pwned === undefined")
    assert await opened.page.evaluate("document.querySelectorAll('main script, main img').length") == 0
    assert "cannot be read" not in await opened.page.locator("main").inner_text()
    assert await opened.violations() == []
    assert await opened.sideways() == 0
    assert opened.problems == []


async def test_hostile_values_are_shown(opened: Tab) -> None:
    await opened.open("/rollout")
    assert SCRIPT in await opened.page.locator("main").inner_text()
    await opened.open("/")
    assert SCRIPT in await opened.page.locator("main").inner_text()


async def test_page_with_a_value_of_a_megabyte_is_small(opened: Tab) -> None:
    await opened.open("/rollout/audit?before=9")
    assert len(await opened.page.content()) < 100_000
