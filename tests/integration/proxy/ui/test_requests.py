"""The UI's port: which requests it takes, signing in, roles, and pages while every other part is down."""

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import jwt
import pytest
import pytest_asyncio
from yarl import URL

from proxy.admin.connections import CONNECTIONS_MAX
from proxy.config.listen import AdminSettings
from proxy.config.rollout import AccessSettings, RolloutSettings
from proxy.config.settings import Settings
from proxy.config.ui import UiSettings
from proxy.ui import pages
from proxy.ui.app import SCREENS, running
from proxy.ui.guard import SECURITY_FIELDS
from proxy.ui.screens import Screen

pytestmark = pytest.mark.asyncio(loop_scope="module")

SECRET = "s" * 32
NOTHING_LISTENS = 9
"""A port on which nothing listens."""


def settings(
    *, token: str = "", hosts: tuple[str, ...] = (), jwt_secret: str = "", admin_port: int = NOTHING_LISTENS
) -> Settings:
    """Return settings of an installation whose parts are all down."""
    return Settings(
        admin=AdminSettings(port=admin_port, token=token),
        rollout=RolloutSettings(access=AccessSettings(jwt_secret=jwt_secret)),
        ui=UiSettings(port=0, hosts=hosts),
    )


@asynccontextmanager
async def client_of(given: Settings) -> AsyncIterator[aiohttp.ClientSession]:
    jar = aiohttp.CookieJar(unsafe=True)
    async with running(given) as url, aiohttp.ClientSession(base_url=url, cookie_jar=jar) as client:
        yield client


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def open_ui() -> AsyncIterator[aiohttp.ClientSession]:
    """Provide a client of a UI that needs no token, and is reached as ui.example, too."""
    async with client_of(settings(hosts=("UI.example",))) as client:
        yield client


def origin(client: aiohttp.ClientSession) -> dict[str, str]:
    return {"Origin": str(client._base_url).rstrip("/")}


async def form_token(client: aiohttp.ClientSession) -> str:
    async with client.get("/rollout?drawer=rollback") as response:
        text = await response.text()
    return text.partition('name="form_token" value="')[2].partition('"')[0]


async def sign_in(client: aiohttp.ClientSession, token: str, *, next_path: str = "/") -> aiohttp.ClientResponse:
    form = {"token": token, "name": "ada", "next": next_path}
    return await client.post("/login", data=form, headers=origin(client), allow_redirects=False)


def jwt_of(role: str) -> str:
    return jwt.encode({"exp": time.time() + 60, "sub": "ada", "role": role}, SECRET, algorithm="HS256")


@pytest.mark.parametrize(
    "screen", [screen for screen in SCREENS if "{" not in screen.path], ids=lambda screen: screen.path
)
async def test_screen_says_what_is_down(open_ui: aiohttp.ClientSession, screen: Screen) -> None:
    path = screen.path
    # (a refresh, which waits for what the parts answer)
    async with open_ui.get(path, headers={"HX-Request": "true"}) as response:
        text = await response.text()
        assert response.status == 200
        assert "proxy-1 does not answer." in text
        assert "The runner does not answer." in text
        assert "The store is unavailable." in text
        assert 'href="' + path + "?drawer=rollback" in text


@pytest.mark.parametrize("path", ["/overview.json", "/rules.json", "/configuration.json"])
async def test_screen_shows_what_needs_no_part_that_is_down(open_ui: aiohttp.ClientSession, path: str) -> None:
    async with open_ui.get(path) as response:
        document = await response.json()
        assert (response.status, document["error"]) == (200, "")
    async with open_ui.get(path.removesuffix(".json").replace("/overview", "/")) as response:
        assert "cannot be read" not in await response.text()


async def test_first_page_does_not_wait_for_a_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "FIRST_WAIT_S", 0.0)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        given = settings(admin_port=silent.getsockname()[1])
        for path in (screen.path.replace("{", "a").replace("}", "") for screen in SCREENS):
            # (a UI of its own, that has read nothing yet)
            async with client_of(given) as client, client.get(f"{path}?drawer=rollback") as response:
                assert response.status == 200, path
                text = await response.text()
            assert "reading …" in text
            assert "Roll back to legacy" in text


@pytest.mark.parametrize("path", ["/", "/static/ui.css", "/nowhere", "/overview.json"])
async def test_every_response_has_the_security_fields(open_ui: aiohttp.ClientSession, path: str) -> None:
    async with open_ui.get(path) as response:
        assert {name: response.headers.get(name) for name in SECURITY_FIELDS} == SECURITY_FIELDS


async def test_page_has_no_inline_script_or_style(open_ui: aiohttp.ClientSession) -> None:
    async with open_ui.get("/?drawer=rollback") as response:
        text = await response.text()
    assert "<style" not in text
    assert " style=" not in text
    assert " onclick=" not in text
    assert text.count("<script") == text.count("<script src=")


@pytest.mark.parametrize(
    ("host", "status"), [("localhost:1", 200), ("ui.example", 200), ("evil.example", 421), ("10.0.0.1", 200)]
)
async def test_request_with_a_foreign_host_is_refused(open_ui: aiohttp.ClientSession, host: str, status: int) -> None:
    async with open_ui.get("/healthz", headers={"Host": host}) as response:
        assert response.status == status


@pytest.mark.parametrize("path", ["/rollback", "/rollout/promote", "/rollout/pause", "/rollout/resume", "/logout"])
@pytest.mark.parametrize(
    "fields",
    [{}, {"Origin": "http://evil.example"}, {"Origin": "null"}],
    ids=["no origin", "another origin", "opaque origin"],
)
async def test_post_of_another_origin_is_refused(
    open_ui: aiohttp.ClientSession, path: str, fields: dict[str, str]
) -> None:
    data = {"form_token": await form_token(open_ui), "reason": "x"}
    async with open_ui.post(path, data=data, headers=fields) as response:
        assert response.status == 403


async def test_post_from_another_site_is_refused_whatever_its_origin_says(open_ui: aiohttp.ClientSession) -> None:
    data = {"form_token": await form_token(open_ui), "reason": "x"}
    fields = {**origin(open_ui), "Sec-Fetch-Site": "cross-site"}
    async with open_ui.post("/rollback", data=data, headers=fields) as response:
        assert response.status == 403


@pytest.mark.parametrize("token", ["", "0" * 64])
async def test_post_without_the_session_s_form_token_is_refused(open_ui: aiohttp.ClientSession, token: str) -> None:
    await form_token(open_ui)
    data = {"form_token": token, "reason": "x"}
    async with open_ui.post("/rollback", data=data, headers=origin(open_ui)) as response:
        assert response.status == 403


async def test_without_a_session_one_is_sent_to_sign_in_and_back() -> None:
    async with client_of(settings(token="secret")) as client:
        async with client.get("/rollout?x=1", allow_redirects=False) as response:
            assert (response.status, response.headers["Location"]) == (303, "/login?next=%2Frollout%3Fx%3D1")
        async with client.get("/rollout.json") as response:
            assert response.status == 401
        async with await sign_in(client, "secret", next_path="/rollout?x=1") as response:
            assert (response.status, response.headers["Location"]) == (303, "/rollout?x=1")
            cookie = response.headers["Set-Cookie"]
            assert "HttpOnly" in cookie
            assert "SameSite=Strict" in cookie
            assert "secret" not in cookie
        async with client.get("/rollout") as response:
            assert "<b>ada</b> · operator" in await response.text()


@pytest.mark.parametrize(
    "target", ["//evil.example/", "https://evil.example/", "/\\evil.example", "javascript:alert(1)"]
)
async def test_signing_in_leads_to_this_ui_only(target: str) -> None:
    async with client_of(settings(token="secret")) as client:
        response = await sign_in(client, "secret", next_path=target)
        assert response.headers["Location"] == "/"


async def test_wrong_token_does_not_sign_in_and_too_many_are_refused() -> None:
    given = settings(token="secret")
    async with client_of(given) as client:
        statuses = [(await sign_in(client, "guess")).status for _ in range(given.rollout.access.failures_max + 1)]
        assert statuses == [401] * given.rollout.access.failures_max + [429]
        assert (await sign_in(client, "secret")).status == 303


async def test_signing_out_ends_the_session() -> None:
    async with client_of(settings(token="secret")) as client:
        await sign_in(client, "secret")
        data = {"form_token": await form_token(client)}
        async with client.post("/logout", data=data, headers=origin(client), allow_redirects=False) as response:
            assert response.status == 303
        async with client.get("/", allow_redirects=False) as response:
            assert response.status == 303


async def test_viewer_may_look_and_not_change() -> None:
    async with client_of(settings(jwt_secret=SECRET)) as client:
        await sign_in(client, jwt_of("viewer"))
        async with client.get("/rollout?drawer=rollback") as response:
            text = await response.text()
            assert "needs operator" in text
            assert 'data-key="ctrl+Enter" disabled' in text
        data = {"form_token": await form_token(client), "reason": "x"}
        async with client.post("/rollback", data=data, headers=origin(client)) as response:
            assert response.status == 403


async def test_rollback_without_a_reason_asks_for_one(open_ui: aiohttp.ClientSession) -> None:
    data = {"form_token": await form_token(open_ui), "reason": " "}
    async with open_ui.post("/rollback", data=data, headers=origin(open_ui)) as response:
        assert response.status == 422
        assert "Write a reason" in await response.text()


async def test_rollback_that_reaches_no_proxy_names_each_and_is_sent_again_with_its_id(
    open_ui: aiohttp.ClientSession,
) -> None:
    data = {"form_token": await form_token(open_ui), "reason": "it is <b>slow</b>", "id": "one-id"}
    async with open_ui.post("/rollback", data=data, headers=origin(open_ui)) as response:
        text = await response.text()
        assert response.status == 200
        assert "proxy-1</b> is not running" in text
        assert "it is &lt;b&gt;slow&lt;/b&gt;" in text
        assert 'name="id" value="one-id"' in text
        assert 'data-url="/rollout"' in text


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/causes/%00/case", 400),
        ("/causes/a%00b", 400),
        ("/causes?span=%00", 400),
        ("/causes?span=%2500", 200),
        ("/static/" + "a" * 300, 404),
        ("/static/" + "a/" * 2_000, 404),
        ("/static/..%2f..%2fapp.py", 404),
    ],
)
async def test_url_that_names_nothing_is_no_error_of_the_ui(
    open_ui: aiohttp.ClientSession, path: str, status: int
) -> None:
    url = URL(str(open_ui._base_url).rstrip("/") + path, encoded=True)
    async with open_ui.get(url) as response:
        assert response.status == status


async def test_form_with_a_nul_character_is_refused(open_ui: aiohttp.ClientSession) -> None:
    form = {"form_token": await form_token(open_ui), "reason": "a\0b"}
    async with open_ui.post("/rollback", data=form, headers=origin(open_ui)) as response:
        assert response.status == 400


async def test_half_sent_requests_do_not_keep_a_person_out() -> None:
    async with client_of(settings()) as client:
        url = client._base_url
        assert url is not None
        assert url.host is not None
        assert url.port is not None
        held = [await asyncio.open_connection(url.host, url.port) for _ in range(CONNECTIONS_MAX + 20)]
        for _, writer in held:
            writer.write(b"GET / HTTP/1.1\r\nHost: ")
        async with client.get("/healthz") as response:
            assert response.status == 200
        # The oldest ones have made room.
        for reader, _ in held[:20]:
            with contextlib.suppress(ConnectionResetError):
                assert await reader.read() == b""
        for _, writer in held:
            writer.close()
