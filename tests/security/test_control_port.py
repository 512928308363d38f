"""Attacks on the control port: pages in browsers, floods, odd requests, half-sent ones."""

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from proxy.admin import connections
from proxy.cli.main import main
from proxy.rollout.state_machine import Phase
from proxy.runner.admin import admin_server
from tests.support.proxy_lab import WAIT_S, Message, ProxyLab, ok, proxy_lab, read_message

TOKENS = {"admin": {"token": "right"}, "rollout": {"access": {"break_glass_token": "glass"}}}
CHANGES = ("/rollback", "/promote", "/pause", "/resume", "/alertmanager", "/rollout/state")
READS = ("/status", "/rollout", "/metrics", "/rollout/history", "/healthz", "/nowhere")


class Port:
    """The control port, reached by single bytes."""

    def __init__(self, lab: ProxyLab) -> None:
        self.lab = lab
        self.open: list[asyncio.StreamWriter] = []

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.lab.proxy.admin_port)
        self.open.append(writer)
        return reader, writer

    async def send(self, data: bytes) -> Message:
        """Send some bytes on a connection of their own, and read the response."""
        reader, writer = await self.connect()
        writer.write(data)
        message = await read_message(reader, method=data.split(b" ", 1)[0].decode(errors="replace"))
        writer.close()
        return message

    async def ask(self, method: str, path: str, body: bytes = b"", **fields: str) -> Message:
        fields = {"Host": "127.0.0.1"} | {name.replace("_", "-"): value for name, value in fields.items()}
        if method == "POST":
            fields = {"Content-Type": "application/json", "Content-Length": str(len(body))} | fields
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items() if value)
        return await self.send(f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode("utf-8", "surrogateescape") + body)

    @property
    def rolled_back(self) -> bool:
        return self.lab.proxy.switch.rolled_back


@asynccontextmanager
async def port(tmp_path: Path, **sections: Any) -> AsyncGenerator[Port]:
    rollout = {"enabled": True, "steps": [0, 50, 100], **sections.pop("rollout", {})}
    async with proxy_lab(tmp_path, rollout=rollout, **sections) as lab:
        made = Port(lab)
        try:
            yield made
        finally:
            for writer in made.open:
                writer.close()


PAGES = {
    "another origin": ({"Origin": "https://elsewhere.example"}, 403),
    "an opaque origin": ({"Origin": "null"}, 403),
    "the same host, another port": ({"Origin": "http://127.0.0.1:1"}, 403),
    "a malformed origin": ({"Origin": "http://[::1"}, 403),
    "another site": ({"Sec_Fetch_Site": "cross-site"}, 403),
    "another host of the site": ({"Sec_Fetch_Site": "same-site"}, 403),
    "a form": ({"Content_Type": "application/x-www-form-urlencoded"}, 415),
    "text, as fetch with no-cors": ({"Content_Type": "text/plain;charset=UTF-8"}, 415),
    "no type": ({"Content_Type": ""}, 415),
    "a rebound name": ({"Host": "elsewhere.example:9901"}, 421),
    "a rebound name that looks like an address": ({"Host": "127.0.0.1.elsewhere.example"}, 421),
    "a rebound name that ends in localhost": ({"Host": "localhost.elsewhere.example"}, 421),
    "a rebound name with its own origin": ({"Host": "elsewhere.example", "Origin": "http://elsewhere.example"}, 421),
}


@pytest.mark.parametrize(("fields", "status"), PAGES.values(), ids=PAGES)
async def test_page_in_a_browser_changes_nothing(tmp_path: Path, fields: dict[str, str], status: int) -> None:
    async with port(tmp_path) as made:
        before = made.lab.proxy.rollout.control.revision
        statuses = [(await made.ask("POST", path, b"{}", **fields)).status for path in CHANGES]
        assert statuses == [status] * len(CHANGES)
        assert made.lab.proxy.rollout.control.revision == before


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "127.0.0.1:9901", "localhost", "LOCALHOST:80", "[::1]:9901", "10.1.2.3", "proxy-1", "Proxy-1:9"],
)
async def test_port_is_reached_by_address_localhost_and_configured_names(tmp_path: Path, host: str) -> None:
    async with port(tmp_path, admin={"port": 0, "hosts": ["proxy-1"]}) as made:
        assert (await made.ask("GET", "/status", Host=host)).status == 200
        assert (await made.ask("POST", "/rollback", b"{}", Host=host, Origin=f"http://{host}")).status == 200


async def test_rebound_name_reads_nothing(tmp_path: Path) -> None:
    async with port(tmp_path) as made:
        statuses = {(await made.ask("GET", path, Host="elsewhere.example")).status for path in READS}
    assert statuses == {421}


async def test_every_response_forbids_sniffing_and_framing(tmp_path: Path) -> None:
    async with port(tmp_path) as made:
        responses = [await made.ask("GET", path) for path in READS]
        responses += [await made.ask("GET", "/status", Host="elsewhere.example"), await made.ask("DELETE", "/status")]
        responses += [await made.ask("POST", path, b"{}") for path in CHANGES]
        responses += [
            await made.send(b"nonsense\r\n\r\n"),
            await made.ask("POST", "/rollback", b"x", Content_Type="text/plain"),
        ]
    for response in responses:
        assert response.get("X-Content-Type-Options") == "nosniff", response
        assert "default-src 'none'" in (response.get("Content-Security-Policy") or ""), response


async def test_rollback_with_a_token_needs_no_content_type(tmp_path: Path) -> None:
    async with port(tmp_path, **TOKENS) as made:
        assert (await made.ask("POST", "/rollback", Content_Type="", Authorization="bearer glass")).status == 200
        assert made.rolled_back


async def test_resume_and_promotion_have_to_name_a_state(tmp_path: Path) -> None:
    async with port(tmp_path) as made:
        assert (await made.ask("POST", "/promote", b'{"force": true}')).status == 428
        await made.ask("POST", "/rollback", b"{}")
        assert (await made.ask("POST", "/resume", b"{}")).status == 428
        outdated = (await made.ask("GET", "/rollout")).get("ETag") or ""
        await made.ask("POST", "/rollback", b"{}")
        response = await made.ask("POST", "/resume", b"{}", If_Match=outdated)
        assert (response.status, made.rolled_back) == (412, True)
        present = (await made.ask("GET", "/rollout")).get("ETag") or ""
        assert (await made.ask("POST", "/resume", b"{}", If_Match=present)).status == 200
        assert not made.rolled_back


async def test_of_two_promotions_from_one_step_the_second_is_told(tmp_path: Path) -> None:
    async with port(tmp_path) as made:
        body = b'{"force": true, "from_step": 0, "actor": "%s"}'
        first, second = [await made.ask("POST", "/promote", body % actor) for actor in (b"ann", b"bob")]
        assert (first.status, second.status) == (200, 412)
        assert "by ann" in second.body.decode()
        assert made.lab.proxy.rollout.replica.states["all"].step == 1


async def test_break_glass_token_cannot_pause_by_an_alert(tmp_path: Path) -> None:
    async with port(tmp_path, **TOKENS) as made:
        for token, status, phase in (("glass", 401, Phase.SHADOWING), ("right", 200, Phase.PAUSED)):
            alert = {"status": "firing", "labels": {"shadow_action": "pause"}}
            body = json.dumps({"version": "4", "alerts": [alert]}).encode()
            response = await made.ask("POST", "/alertmanager", body, Authorization=f"Bearer {token}")
            assert response.status == status
            assert made.lab.proxy.rollout.replica.states["all"].phase is phase


ODD_FIELDS = {
    "bytes that are not text": "Bearer \udcff\udcfe",
    "text that is not latin-1": "Bearer токен",
    "another scheme": "Basic cmlnaHQ=",
    "no scheme": "right",
    "an empty token": "Bearer ",
    "only dots": "Bearer ..",
}


@pytest.mark.parametrize("field", ODD_FIELDS.values(), ids=ODD_FIELDS)
async def test_odd_authorization_is_401(tmp_path: Path, field: str) -> None:
    async with port(tmp_path, **TOKENS) as made:
        statuses = {(await made.ask("POST", path, b"{}", Authorization=field)).status for path in CHANGES}
        assert statuses == {401}


async def test_right_token_works_from_the_address_of_many_wrong_ones(tmp_path: Path) -> None:
    async with port(tmp_path, **TOKENS) as made:
        statuses = [(await made.ask("POST", "/pause", b"{}", Authorization=f"Bearer {n}")).status for n in range(12)]
        assert set(statuses) == {401, 429}
        assert (await made.ask("POST", "/pause", b"{}", Authorization="Bearer right")).status == 200
        assert (await made.ask("POST", "/rollback", b"{}", Authorization="Bearer glass")).status == 200


async def test_body_that_is_too_large_is_refused_before_it_is_sent(tmp_path: Path) -> None:
    async with port(tmp_path, **TOKENS) as made:
        for size in (64 * 1024 + 1, 10**17):
            head = f"POST /pause HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {size}\r\n\r\n"
            assert (await made.send(head.encode())).status == 413
        chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
        head = b"POST /pause HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n"
        right = b"Authorization: Bearer right\r\n\r\n"
        assert (await made.send(head + right + chunk * 2 + b"0\r\n\r\n")).status == 413
        # An operator's rollback goes through all the same, without the body.
        large = f"POST /rollback HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer glass\r\nContent-Length: {10**6}\r\n\r\n"
        assert (await made.send(large.encode() + b"x" * 70_000)).status == 200
        assert made.rolled_back


async def test_rollback_with_half_a_body_takes_effect(tmp_path: Path) -> None:
    async with port(tmp_path, **TOKENS) as made:
        head = (
            b"POST /rollback HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer glass\r\nContent-Length: 99\r\n\r\n{"
        )
        assert (await made.send(head)).status == 200
        assert made.rolled_back


async def test_wrong_token_is_refused_before_the_body_is_read(tmp_path: Path) -> None:
    async with port(tmp_path, **TOKENS) as made:
        head = b"POST /rollback HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer x\r\nContent-Type: application/json\r\n"
        assert (await made.send(head + b"Content-Length: 9\r\n\r\n")).status == 401


async def test_half_sent_requests_keep_neither_operator_nor_clients_out(tmp_path: Path) -> None:
    """More connections than the port admits, all of one address, which is the operator's as well."""
    async with port(tmp_path, **TOKENS) as made:
        made.lab.candidate.response = made.lab.legacy.response = lambda _: ok(b"served")
        for number in range(connections.CONNECTIONS_MAX + 100):
            _, writer = await made.connect()
            writer.write(b"POST /rollback HTTP/1.1\r\nHost: localhost\r\n" if number % 2 else b"")
        response = await made.ask("POST", "/rollback", b"{}", Authorization="Bearer right")
        assert response.status == 200
        client = await made.lab.client()
        assert (await client.ask(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")).status == 200


async def test_half_sent_head_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "HEAD_S", 0.2)
    async with port(tmp_path) as made:
        for data in (b"", b"GET /status HTTP/1.1\r\n"):
            reader, writer = await made.connect()
            writer.write(data)
            async with asyncio.timeout(WAIT_S):
                assert await reader.read() == b""


async def test_runner_s_port_limits_connections_and_paces_requests() -> None:
    """Half-sent requests beyond the limit are closed, oldest first; pipelined pages are answered once; pages are paced."""
    async with admin_server("127.0.0.1", 0, CollectorRegistry(), lambda: {"ready": True}) as number:
        open_connections = [
            await asyncio.open_connection("127.0.0.1", number) for _ in range(connections.CONNECTIONS_MAX + 50)
        ]
        for _, writer in open_connections:
            writer.write(b"GET /status HTTP/1.1\r\nHost: localhost\r\n")
        async with asyncio.timeout(WAIT_S):
            with contextlib.suppress(ConnectionError):
                assert await open_connections[0][0].read() == b""
            reader, writer = await asyncio.open_connection("127.0.0.1", number)
            writer.write(b"GET /status HTTP/1.1\r\nHost: any.name:9902\r\n\r\n" * 50)
            assert (await reader.read()).count(b"HTTP/1.1 200") == 1
            writers, statuses = [writer, *(writer for _, writer in open_connections)], set[bytes]()
            while b"503" not in statuses:
                reader, writer = await asyncio.open_connection("127.0.0.1", number)
                writers.append(writer)
                writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n" * 2)
                pages = [await asyncio.open_connection("127.0.0.1", number) for _ in range(60)]
                for _, page in pages:
                    page.write(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
                    writers.append(page)
                statuses |= {(await page.readline()).split(b" ")[1] for page, _ in pages}
        for writer in writers:
            writer.close()


async def test_flood_without_a_token_is_paced_and_an_operator_is_not(tmp_path: Path) -> None:
    async with port(tmp_path, **TOKENS) as made:
        statuses: list[int] = []

        async def flood() -> None:
            while True:
                statuses.append((await made.ask("POST", "/rollback", b"{}", Authorization="Bearer wrong")).status)

        async with asyncio.TaskGroup() as group:
            flooding = [group.create_task(flood(), name=f"flood-{number}") for number in range(40)]
            await made.lab.until(lambda: statuses.count(503) > 5)
            assert (await made.ask("POST", "/rollback", b"{}", Authorization="Bearer right")).status == 200
            for task in flooding:
                task.cancel()
        assert 200 not in statuses
        assert made.rolled_back


async def test_reason_that_is_no_text_can_be_stored(tmp_path: Path) -> None:
    async with port(tmp_path) as made:
        assert (await made.ask("POST", "/rollback", rb'{"reason": "\ud800 burns", "actor": "\udfff"}')).status == 200
        await made.lab.until(lambda: made.lab.proxy.switch.stored)
        assert made.rolled_back


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "proxy-1"])
def test_port_that_others_reach_needs_a_token(tmp_path: Path, capsys: pytest.CaptureFixture[str], host: str) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(f"admin: {{host: '{host}'}}\n")
    assert main(["proxy", "--config", str(config), "--check"]) == 2
    assert "admin.host: everyone who reaches" in capsys.readouterr().err
    config.write_text(f"admin: {{host: '{host}', token: x}}\n")
    assert main(["proxy", "--config", str(config), "--check"]) == 0
