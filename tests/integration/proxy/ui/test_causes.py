"""The screens of causes, findings and exchanges in a real browser, over a store with differences, some of them hostile."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import aiohttp
import jwt
import pytest
import pytest_asyncio
from playwright.async_api import Browser, expect

from comparator.findings.cases import load
from comparator.store import causes
from comparator.store.rows import CauseRow
from comparator.store.store import Store
from proxy.ui.app import running
from tests.support import postgres
from tests.support.browser import chromium, tab
from tests.support.ui_causes import filled_store, settings

pytestmark = pytest.mark.asyncio(loop_scope="module")

SECRET = "s" * 32


@dataclass
class World:
    """A filled store, its UI, and a browser; `ids` has the causes by their first table, `exchanges` an example of each."""

    url: str
    dsn: str
    store: Store
    browser: Browser
    ids: dict[str, str]
    exchanges: dict[str, str]
    finding: str

    async def cause(self, name: str) -> CauseRow:
        async with self.store.connection() as conn:
            return await causes.cause(conn, self.ids[name])

    def path(self, name: str) -> str:
        """Return the path of a screen by the name that the tests give it."""
        stamp, link = self.ids["registry_stamp"], self.ids["registry_link"]
        return {
            "list": "/causes?state=all",
            "filtered to nothing": "/causes?table=nothing&severity=broken",
            "cause": f"/causes/{stamp}?headers=1&explain=1",
            "raw": f"/causes/{stamp}?raw=1",
            "hostile cause": f"/causes/{link}?headers=1&explain=1&example=1",
            "exchange": f"/exchanges/{self.exchanges['registry_stamp']}",
            "hostile exchange": f"/exchanges/{self.exchanges['registry_link']}",
            "exchange without an example": "/exchanges/stamp000c38cdd933f1d5c99",
            "finding": f"/findings/{self.finding}",
            "rule": f"/causes/{stamp}/rule?place=score&owner=scoring&reason=rounding",
            "rule draft": "/rules?edit=compare.rules%5B0%5D&draft=path:%20last_score_timestamp%0Atime_within_ms:%205",
            "known": f"/causes/known?ids={stamp},{link}",
        }[name]


NAMES = (
    "list",
    "filtered to nothing",
    "cause",
    "raw",
    "hostile cause",
    "exchange",
    "hostile exchange",
    "exchange without an example",
    "finding",
    "rule",
    "rule draft",
    "known",
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(postgres_dsn: str) -> AsyncIterator[World]:
    async with (
        postgres.temporary_database(postgres_dsn) as dsn,
        filled_store(dsn) as store,
        running(settings(dsn)) as url,
        chromium() as browser,
    ):
        async with store.connection() as conn:
            rows = (await causes.causes(conn)).causes
            ids = {row.body.title.table: row.id for row in rows}
            exchanges = {row.body.title.table: (await causes.cases_of(conn, row))[0].exchange for row in rows}
        finding = next(row.findings[0] for row in rows if row.body.title.table == "registry_stamp")
        yield World(url, dsn, store, browser, ids, exchanges, finding)


@pytest.mark.parametrize("name", NAMES)
async def test_screen_is_accessible_safe_and_fits(world: World, name: str) -> None:
    async with tab(world.browser, world.url) as opened:
        page = opened.page
        await opened.open(world.path(name))
        assert "cannot be read" not in await page.locator("main").inner_text()
        assert await opened.accessibility() == []
        assert await opened.sideways() == 0
        await page.emulate_media(color_scheme="dark")
        assert await opened.accessibility("color-contrast") == []
        await page.set_viewport_size({"width": 390, "height": 844})
        assert await opened.sideways() == 0
        assert await page.evaluate("window.hacked === undefined")
        assert await page.evaluate("document.querySelectorAll('main script, main img').length") == 0
        assert len(await page.content()) < 400_000
        assert "s3cret" not in await page.content()
        assert await opened.violations() == []
        assert opened.problems == []


async def get_json(world: World, path: str) -> dict[str, Any]:
    separator = path.partition("?")
    async with (
        aiohttp.ClientSession() as client,
        client.get(f"{world.url}{separator[0]}.json?{separator[2]}") as response,
    ):
        assert response.status == 200
        text = await response.text()
        assert "s3cret" not in text
        return json.loads(text)["page"]


@pytest.mark.parametrize("name", NAMES)
async def test_screen_has_the_same_as_json(world: World, name: str) -> None:
    assert await get_json(world, world.path(name))


async def test_unknown_things_are_not_found(world: World) -> None:
    async with aiohttp.ClientSession() as client:
        for path in (
            "/causes/nope",
            "/findings/nope",
            "/exchanges/nope",
            f"/causes/{world.ids['registry_stamp']}/rule?place=nope",
        ):
            async with client.get(f"{world.url}{path}") as response:
                assert response.status == 404
                # The page is one of ours: the menu and the rollback are there, too.
                assert "drawer=rollback" in await response.text()


async def test_path_of_no_screen_is_not_found(world: World) -> None:
    async with aiohttp.ClientSession() as client:
        for path, shown in (("/nothing/here", "drawer=rollback"), ("/nothing.json", "no screen has the path /nothing")):
            async with client.get(f"{world.url}{path}", headers={"HX-Request": "true"}) as response:
                assert (response.status, shown in await response.text()) == (404, True)


async def test_list_says_of_what_its_figures_are_and_filters_by_facets(world: World) -> None:
    page = await get_json(world, "/causes?state=all")
    by_table = {cause["where"].partition(" ")[0]: cause for cause in page["causes"]}
    event = by_table["registry_event"]
    assert (page["range"]["compared"], page["range"]["mismatches"]) == (82, 22)
    assert (event["exchanges"], event["what"], event["served_by"]) == (
        6,
        "row only on candidate",
        ["candidate", "legacy"],
    )
    assert sum(event["bins"]) == 6
    only = await get_json(world, "/causes?state=all&side=legacy&table=registry_event,registry_stamp")
    assert [cause["id"] for cause in only["causes"]] == [world.ids["registry_event"]]
    none = await get_json(world, "/causes?state=all&q=nothing+has+this")
    assert (none["causes"], none["all"]) == ([], 3)
    named = await get_json(world, f"/causes?q={world.exchanges['registry_stamp']}")
    assert named["exchange"] == world.exchanges["registry_stamp"]


async def test_rule_screen_has_hits_and_the_effect_of_a_draft_on_stored_comparisons(world: World) -> None:
    page = await get_json(world, world.path("rule draft"))
    hits = {rule["declaration"]: rule["hits"] for rule in page["rules"]}
    assert hits["compare.rules[0]"] == 12
    effect = page["effect"]["value"]
    assert (effect["tried"]["exchanges"], effect["tried"]["in_full"]) == (82, 3)
    # (the times of the one stored example are compared again; those of the others are not stored)
    assert (len(effect["tried"]["trial"]["revealed"]), effect["tried"]["not_judged"]) == (1, 11)
    assert [place["place"] for place in effect["revealed"]] == ["last_score_timestamp"]
    hidden = await get_json(world, "/rules?new=rule&draft=rules:%20%5B%7Bpath:%20score,%20ignore:%20true%7D%5D")
    assert [(place["place"], len(place["exchanges"])) for place in hidden["effect"]["value"]["hidden"]] == [
        ("score", 12)
    ]
    assert "+  - path: score" in hidden["draft"]["patch"]["text"]
    wrong = await get_json(world, "/rules?edit=compare.rules%5B0%5D&draft=path:%20a")
    assert "exactly one action" in wrong["draft"]["patch"]["problem"]


async def test_diff_has_the_candidate_left_and_names_the_rule(world: World) -> None:
    example = (await get_json(world, world.path("cause")))["example"]
    lines = {line["place"]: line for line in example["body"]["lines"] if line["place"]}
    assert [parts[0] for parts in lines["score"]["candidate"]][1] == '"6.46300"'
    assert [parts[0] for parts in lines["score"]["legacy"]][1] == '"3.76300"'
    assert lines["last_score_timestamp"]["sign"] == "suppressed"
    assert lines["last_score_timestamp"]["why"].startswith("within 60 s (scoring): ")
    assert lines["stamps.SelfStakingGold"]["sign"] == "only"
    assert example["rows"]["attribution"] == {
        "candidate": "by request id, certain",
        "legacy": "alone on its keys at the time, certain",
    }


async def test_rule_from_a_place_is_lines_for_the_configuration_and_their_effect(world: World) -> None:
    page = await get_json(world, world.path("rule"))
    assert "path: score" in page["patch"]["text"]
    assert "owner: scoring" in page["patch"]["text"]
    assert page["trial"]["compared"] >= 1
    assert len(page["trial"]["hidden"]) == page["trial"]["compared"]
    assert page["trial"]["revealed"] == []


async def test_declaring_a_cause_as_known_would_change_the_verdict_of_its_examples(world: World) -> None:
    page = await get_json(world, f"/causes/known?ids={world.ids['registry_stamp']}&reason=agreed&expires=2027-01-31")
    assert "expires: 2027-01-31" in page["patch"]["text"]
    assert page["trial"]["verdicts_changed"] == page["trial"]["compared"] >= 1


async def test_exported_case_is_a_redacted_case(world: World) -> None:
    async with aiohttp.ClientSession() as client:
        async with client.get(f"{world.url}/causes/{world.ids['registry_stamp']}/case?example=1") as response:
            body = await response.read()
        async with client.get(f"{world.url}/causes/{world.ids['registry_stamp']}/case?example=99") as response:
            assert response.status == 404
    assert load(body).exchange == world.exchanges["registry_stamp"]
    assert b"s3cret" not in body


async def test_triage_by_the_keyboard_alone(world: World) -> None:
    async with tab(world.browser, world.url) as opened:
        page = opened.page
        await opened.open("/causes")
        row = page.locator("tr[data-row]").filter(has_text="registry_event")
        for _ in range(3):
            await page.keyboard.press("j")
            if await row.evaluate("row => row.classList.contains('current')"):
                break
        await page.keyboard.press("x")
        await page.keyboard.press("a")
        await expect(page.locator("#triage-error")).to_have_text("Write a reason: it is stored with the cause.")
        await page.keyboard.type("being fixed in 1.4")
        await page.keyboard.press("Tab")
        await page.keyboard.type("scoring")
        await page.keyboard.press("Tab")
        await page.keyboard.type("100")
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("status").filter(has_text="Acknowledged: 1 cause")).to_be_visible()
        stored = await world.cause("registry_event")
        assert (stored.state, stored.state_reason, stored.owner) == ("acknowledged", "being fixed in 1.4", "scoring")
        assert stored.until_exchanges == 106
        await page.wait_for_load_state()
        await page.locator("main").focus()
        await page.keyboard.press("j")
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("heading", name="Committed rows")).to_be_visible()
        # (keys do nothing before the script is there)
        await page.wait_for_load_state()
        await page.keyboard.press("w")
        await expect(page.locator(".raw")).to_be_visible()
        await page.wait_for_load_state()
        await page.keyboard.press("w")
        await expect(page.locator(".raw")).to_have_count(0)
        await page.wait_for_load_state()
        await page.keyboard.press("m")
        await expect(page.get_by_role("heading", name="Lines for config.yaml")).to_be_visible()
        assert opened.problems == []


async def test_selected_causes_are_fixed_together(world: World) -> None:
    async with tab(world.browser, world.url) as opened:
        page = opened.page
        await opened.open("/causes")
        await expect(page.locator(".bulk")).to_be_hidden()
        for name in ("registry_link", "registry_stamp"):
            await page.locator(f"input[value='{world.ids[name]}']").check()
        await page.get_by_label("Reason").fill("fixed in 1.5")
        await page.get_by_role("button", name="Mark fixed").click()
        await expect(page.get_by_role("status").filter(has_text="Marked as fixed: 2 causes")).to_be_visible()
        assert {(await world.cause(name)).state for name in ("registry_link", "registry_stamp")} == {"fixed"}
        await expect(page.get_by_role("heading", name="No open cause in 82 compared exchanges")).to_be_visible()
        assert await opened.accessibility() == []


async def test_viewer_sees_why_the_buttons_are_disabled_and_may_not_post(world: World) -> None:
    token = jwt.encode({"exp": time.time() + 60, "sub": "vi", "role": "viewer"}, SECRET, algorithm="HS256")
    jar = aiohttp.CookieJar(unsafe=True)
    async with (
        running(settings(world.dsn, jwt_secret=SECRET)) as url,
        aiohttp.ClientSession(base_url=url, cookie_jar=jar) as client,
    ):
        origin = {"Origin": url}
        form = {"token": token, "name": "vi", "next": "/causes"}
        async with client.post("/login", data=form, headers=origin, allow_redirects=False) as response:
            assert response.status == 303
        text = ""
        async with asyncio.timeout(60):
            while 'name="form_token"' not in text:
                async with client.get(f"/causes/{world.ids['registry_stamp']}") as response:
                    text = await response.text()
        assert "needs operator" in text
        assert 'data-key="a" disabled' in text
        values = {"form_token": text.partition('name="form_token" value="')[2].partition('"')[0], "reason": "x"}
        values["id"] = world.ids["registry_stamp"]
        async with client.post("/causes/acknowledge", data=values, headers=origin) as response:
            assert response.status == 403
    async with aiohttp.ClientSession() as client:
        data = {"id": world.ids["registry_stamp"], "reason": "x"}
        async with client.post(f"{world.url}/causes/acknowledge", data=data, headers={"Origin": world.url}) as response:
            assert response.status in {401, 403}
