"""Stages, overrides, policies, the on-call switch, draining and reloading."""

import asyncio
import json
import signal
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from aiohttp import ClientSession

from comparator.exchanges.skip import Skip
from proxy.demo.free_ports import free_ports
from tests.support.proxy_lab import ProxyLab, ScriptedBackend, ok, proxy_lab, read_message


def get(path: str = "/v2/stamps/3/score/0xAb", *fields: str) -> bytes:
    lines = "".join(f"{line}\r\n" for line in fields)
    return f"GET {path} HTTP/1.1\r\nHost: a\r\n{lines}\r\n".encode()


def sides() -> dict[str, ScriptedBackend]:
    return {
        "candidate": ScriptedBackend(response=lambda _: ok(b"candidate")),
        "legacy": ScriptedBackend(response=lambda _: ok(b"legacy")),
    }


async def admin(it: ProxyLab, method: str, path: str, **options: Any) -> tuple[int, str]:
    """Send a request to the admin port; a change names the present state."""
    if method == "POST":
        headers = {"If-Match": it.proxy.rollout.control.revision, **options.pop("headers", {})}
        options = {"json": {}, "headers": headers, **options}
    async with (
        ClientSession() as session,
        session.request(method, f"http://127.0.0.1:{it.proxy.admin_port}{path}", **options) as response,
    ):
        return response.status, await response.text()


async def test_candidate_serves_by_default(tmp_path: Path) -> None:
    async with proxy_lab(tmp_path, **sides()) as it:
        assert (await it.ask(get())).body == b"candidate"
        assert (await it.journaled(1))[0].stage == "candidate_100"


async def test_percentage_is_sticky_by_key_and_about_right(tmp_path: Path) -> None:
    async with proxy_lab(tmp_path, **sides(), serve={"percent": 25}) as it:
        client = await it.client()
        first = [(await client.ask(get(f"/v2/stamps/1/score/{key}"))).body for key in range(400)]
        again = [(await client.ask(get(f"/v2/stamps/2/score/{key}"))).body for key in range(400)]
        assert first == again
        assert 60 < first.count(b"candidate") < 140


@pytest.mark.parametrize("field", ["X-Serve-With: legacy", "X-Use-Rust-Scorer: false"])
async def test_override_from_a_trusted_network_is_honoured(tmp_path: Path, field: str) -> None:
    async with proxy_lab(tmp_path, **sides(), listen={"trusted_networks": ["127.0.0.1/32"]}) as it:
        assert (await it.ask(get("/x", field))).body == b"legacy"
        assert it.legacy.seen[0].get(field.partition(":")[0]) is None


@pytest.mark.parametrize("field", ["X-Serve-With: legacy", "X-Use-Rust-Scorer: false"])
async def test_override_from_elsewhere_is_stripped(tmp_path: Path, field: str) -> None:
    async with proxy_lab(tmp_path, **sides(), listen={"override_token": "right"}) as it:
        assert (await it.ask(get("/x", field, "X-Shadow-Token: wrong"))).body == b"candidate"
        seen = it.candidate.seen[0]
        assert (seen.get(field.partition(":")[0]), seen.get("x-shadow-token")) == (None, None)


async def test_override_with_the_token_is_honoured(tmp_path: Path) -> None:
    async with proxy_lab(tmp_path, **sides(), listen={"override_token": "right"}) as it:
        assert (await it.ask(get("/x", "X-Serve-With: legacy", "X-Shadow-Token: right"))).body == b"legacy"


async def test_shadow_request_is_served_and_never_journaled(tmp_path: Path) -> None:
    async with proxy_lab(tmp_path, **sides()) as it:
        assert (await it.ask(get("/v2/stamps/3/score/1", "X-Shadow-Request: 1"))).status == 200
        assert it.candidate.seen[0].get("x-shadow-request") == "1"
        assert it.proxy.state.metrics.skipped == {Skip.SHADOW: 1}


@pytest.mark.parametrize(
    ("request_bytes", "skip"),
    [
        (get("/nowhere"), Skip.UNROUTED),
        (get("/sampled/1"), Skip.SAMPLE),
        (b"DELETE /quiet/1 HTTP/1.1\r\nHost: a\r\n\r\n", Skip.UNROUTED),
    ],
)
async def test_exchange_that_policy_does_not_journal_is_counted(
    tmp_path: Path, request_bytes: bytes, skip: Skip
) -> None:
    async with proxy_lab(tmp_path, **sides()) as it:
        assert (await it.ask(request_bytes)).status == 200
        assert it.proxy.state.metrics.skipped == {skip: 1}


@pytest.mark.parametrize(
    ("request_bytes", "skip"),
    [
        (get("/quiet/1"), "policy"),
        (b"POST /write/1 HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", "write"),
        (b"POST /write/1 HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nIdempotency-Key: k\r\n\r\n", ""),
    ],
)
async def test_exchange_that_is_journaled_but_not_mirrored_has_its_cause(
    tmp_path: Path, request_bytes: bytes, skip: str
) -> None:
    async with proxy_lab(tmp_path, **sides()) as it:
        assert (await it.ask(request_bytes)).status == 200
        assert (await it.journaled(1))[0].skip == skip


async def test_body_with_the_key_is_forwarded(tmp_path: Path) -> None:
    body = json.dumps({"user": {"address": "0xAB"}}).encode()
    request = f"POST /by-body HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
    async with proxy_lab(tmp_path, **sides()) as it:
        assert (await it.ask(request)).status == 200
        assert it.candidate.seen[0].body == body
        assert (await it.journaled(1))[0].key == "0xab"


async def test_rollback_over_http_takes_effect_at_once_and_is_latched(tmp_path: Path) -> None:
    async with proxy_lab(tmp_path, **sides()) as it:
        status, text = await admin(it, "POST", "/rollback", json={"actor": "me", "reason": "bad"})
        assert (status, json.loads(text)["stored"]) == (200, True)
        assert (await it.ask(get())).body == b"legacy"
        assert (await it.journaled(1))[0].stage == "rolled_back"
    async with proxy_lab(tmp_path, **sides()) as again:
        assert (await again.ask(get())).body == b"legacy"
        assert again.proxy.switch.state.reason == "bad"


async def test_resume_restores_the_stage(tmp_path: Path) -> None:
    async with proxy_lab(tmp_path, **sides()) as it:
        await admin(it, "POST", "/rollback")
        assert (await admin(it, "POST", "/resume"))[0] == 200
        assert (await it.ask(get())).body == b"candidate"


async def test_rollback_needs_the_token_if_one_is_set(tmp_path: Path) -> None:
    async with proxy_lab(tmp_path, **sides(), admin={"port": 0, "token": "right"}) as it:
        wrong, _ = await admin(it, "POST", "/rollback", headers={"Authorization": "Bearer wrong"})
        assert (wrong, it.proxy.switch.rolled_back) == (401, False)
        right, _ = await admin(it, "POST", "/rollback", headers={"Authorization": "Bearer right"})
        assert (right, it.proxy.switch.rolled_back) == (200, True)


async def test_page_of_another_site_cannot_roll_back(tmp_path: Path) -> None:
    async with proxy_lab(tmp_path, **sides()) as it:
        status, _ = await admin(it, "POST", "/rollback", headers={"Sec-Fetch-Site": "cross-site"})
        assert (status, it.proxy.switch.rolled_back) == (403, False)


async def test_sentinel_file_rolls_back_and_prevents_resuming(tmp_path: Path) -> None:
    async with proxy_lab(tmp_path, **sides()) as it:
        sentinel = Path(it.settings.serve.sentinel_file)
        sentinel.touch()
        await it.until(lambda: it.proxy.switch.rolled_back)
        assert (await it.ask(get())).body == b"legacy"
        assert (await admin(it, "POST", "/resume"))[0] == 409
        sentinel.unlink()
        assert (await admin(it, "POST", "/resume"))[0] == 200


async def test_state_file_rolls_back_other_processes(tmp_path: Path) -> None:
    async with proxy_lab(tmp_path, **sides()) as first, proxy_lab(tmp_path, **sides()) as second:
        first.proxy.switch.rollback(actor="me", reason="")
        await second.until(lambda: second.proxy.switch.rolled_back)
        assert (await second.ask(get())).body == b"legacy"


async def test_status_and_metrics_add_up(tmp_path: Path) -> None:
    async with proxy_lab(tmp_path, **sides()) as it:
        client = await it.client()
        for path in ("/v2/stamps/3/score/1", "/nowhere", "/quiet/2"):
            await client.ask(get(path))
        await it.journaled(2)
        _, text = await admin(it, "GET", "/metrics")
        lines = dict(line.rsplit(" ", 1) for line in text.splitlines() if line.startswith("shadow_"))
        assert lines["shadow_served_total"] == "3.0"
        assert lines["shadow_journal_written_total"] == "2.0"
        assert lines['shadow_skipped_total{cause="unrouted"}'] == "1.0"
        assert lines['shadow_requests_total{route="score",side="candidate",status="200"}'] == "1.0"


async def test_draining_process_is_not_ready(tmp_path: Path) -> None:
    async with proxy_lab(tmp_path, **sides()) as it:
        assert (await admin(it, "GET", "/readyz"))[0] == 200
        it.proxy.state.connections.draining = True
        assert (await admin(it, "GET", "/readyz"))[0] == 503
        assert (await admin(it, "GET", "/healthz"))[0] == 200


async def test_request_in_flight_is_answered_while_draining(tmp_path: Path) -> None:
    async def when_draining(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_message(reader)
        await it.until(lambda: it.proxy.state.connections.draining)
        writer.write(ok(b"done"))
        await reader.read()

    async with (
        asyncio.TaskGroup() as group,
        proxy_lab(tmp_path, candidate=ScriptedBackend(handler=when_draining)) as it,
    ):
        client = await it.client()
        await client.send(get())
        await it.until(lambda: len(it.proxy.state.connections.requests) == 1)
        reading = group.create_task(client.rest(), name="read-response")
        it.clients.clear()
    response = reading.result()
    assert response.endswith(b"done")
    assert b"Connection: close\r\n" in response


async def test_request_that_outlasts_the_drain_is_aborted(tmp_path: Path) -> None:
    async def never(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        del writer
        await reader.read()

    limits = {"drain_s": 0.1}
    async with (
        asyncio.TaskGroup() as group,
        proxy_lab(tmp_path, candidate=ScriptedBackend(handler=never), limits=limits) as it,
    ):
        client = await it.client()
        await client.send(get())
        await it.until(lambda: len(it.proxy.state.connections.requests) == 1)
        reading = group.create_task(client.rest(), name="read-response")
        it.clients.clear()
    assert reading.result().startswith(b"HTTP/1.1 504 ")


async def start_process(path: Path, document: dict[str, object]) -> asyncio.subprocess.Process:
    """Start `shadow proxy` as a child process."""
    path.write_text(yaml.safe_dump(document))
    command = (sys.executable, "-m", "proxy", "proxy", "--config", str(path))
    return await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE)


async def logged_event(process: asyncio.subprocess.Process, event: str) -> dict[str, object]:
    """Wait for the first log line of an event."""
    assert process.stderr is not None
    async with asyncio.timeout(60):
        while True:
            line = json.loads(await process.stderr.readline())
            if line["event"] == event:
                return line


async def test_signals_reload_roll_back_and_stop(tmp_path: Path) -> None:
    both = sides()
    async with proxy_lab(tmp_path / "lab", **both):
        document: dict[str, object] = {
            "listen": {"port": 0},
            "admin": {"port": 0},
            "backends": {side: {"live": {"url": f"http://127.0.0.1:{backend.port}"}} for side, backend in both.items()},
            "serve": {"state_file": str(tmp_path / "switch"), "sentinel_file": str(tmp_path / "stop")},
            "journal": {"directory": str(tmp_path / "journal")},
        }
        path = tmp_path / "config.yaml"
        process = await start_process(path, document)
        port = (await logged_event(process, "proxy_started"))["port"]

        async def served_by() -> bytes:
            reader, writer = await asyncio.open_connection("127.0.0.1", int(str(port)))
            writer.write(get())
            response = await read_message(reader)
            writer.close()
            return response.body

        assert await served_by() == b"candidate"
        path.write_text(yaml.safe_dump({**document, "serve": {**document["serve"], "side": "legacy"}}))  # type: ignore[dict-item]
        process.send_signal(signal.SIGHUP)
        await logged_event(process, "config_reloaded")
        assert await served_by() == b"legacy"
        path.write_text("listen: {prot: 1}")
        process.send_signal(signal.SIGHUP)
        refused = await logged_event(process, "config_refused")
        assert "prot" in str(refused["error"])
        process.send_signal(signal.SIGUSR2)
        await logged_event(process, "rollback_started")
        assert await served_by() == b"legacy"
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(60):
            assert await process.wait() == 0


async def test_crashed_worker_is_replaced_while_the_others_serve(tmp_path: Path) -> None:
    both = sides()
    async with proxy_lab(tmp_path / "lab", **both):
        port, admin_port, _ = free_ports(3)
        document: dict[str, object] = {
            "listen": {"port": port, "workers": 2},
            "admin": {"port": admin_port},
            "backends": {side: {"live": {"url": f"http://127.0.0.1:{backend.port}"}} for side, backend in both.items()},
            "serve": {"state_file": str(tmp_path / "switch"), "sentinel_file": str(tmp_path / "stop")},
            "journal": {"directory": str(tmp_path / "journal")},
        }
        process = await start_process(tmp_path / "config.yaml", document)
        try:
            await logged_event(process, "proxy_started")
            await logged_event(process, "proxy_started")
            [victim, _] = psutil.Process(process.pid).children()
            victim.kill()
            assert (await logged_event(process, "worker_crashed"))["requests_lost"] == 0
            admin_port = (await logged_event(process, "proxy_started"))["admin_port"]
            async with ClientSession() as session, session.get(f"http://127.0.0.1:{admin_port}/metrics") as page:
                assert "shadow_worker_restarts_total 1.0" in await page.text()
            for _ in range(20):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(get())
                assert (await read_message(reader)).body == b"candidate"
                writer.close()
        finally:
            process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(60):
                code = await process.wait()
        assert code == 0
