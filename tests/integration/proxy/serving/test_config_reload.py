"""Settings that are reloaded while clients are served."""

import asyncio
import logging
import os
import signal
import ssl
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from proxy.config.loader import SettingsFile
from proxy.config.settings import Settings
from proxy.errors import SettingsError
from proxy.serving.app import serve
from tests.integration.proxy.serving.test_serving import admin, get, sides
from tests.support.certificates import certify
from tests.support.proxy_lab import proxy_lab, read_message, settings_for
from tests.support.waiting import until


@dataclass
class Given:
    """A source of fixed settings, or of an error."""

    settings: Settings | None
    changed: bool = True

    def read(self) -> Settings:
        if self.settings is None:
            raise SettingsError("listen: nonsense")
        return self.settings


async def test_new_settings_apply_to_the_next_request(tmp_path: Path) -> None:
    async with proxy_lab(tmp_path, **sides()) as it:
        client = await it.client()
        first = await client.ask(get())
        changed = settings_for(tmp_path, it.candidate.port, it.legacy.port, {"serve": {"side": "legacy"}})
        await it.proxy.reloader.reload_from(Given(changed))
        assert [first.body, (await client.ask(get())).body] == [b"candidate", b"legacy"]
        assert it.proxy.status()["config"]["applied"] == 1


async def test_invalid_settings_change_nothing_and_are_counted(tmp_path: Path) -> None:
    async with proxy_lab(tmp_path, **sides()) as it:
        await it.proxy.reloader.reload_from(Given(None))
        assert (await it.ask(get())).body == b"candidate"
        config = it.proxy.status()["config"]
        assert (config["refused"], config["error"]) == (1, "listen: nonsense")
        _, text = await admin(it, "GET", "/metrics")
        assert 'shadow_config_reloads_total{result="refused"} 1.0' in text


async def test_settings_that_fail_when_used_change_nothing(tmp_path: Path) -> None:
    async with proxy_lab(tmp_path, **sides()) as it:
        routes = [{"name": "x", "path": "no slash"}]
        wrong = settings_for(
            tmp_path, it.candidate.port, it.legacy.port, {"routes": routes, "serve": {"side": "legacy"}}
        )
        await it.proxy.reloader.reload_from(Given(wrong))
        assert (await it.ask(get())).body == b"candidate"
        assert "routes[0] (x).path" in it.proxy.status()["config"]["error"]


async def test_settings_that_need_a_restart_are_named_and_the_rest_applied(tmp_path: Path) -> None:
    async with proxy_lab(tmp_path, **sides()) as it:
        changes = {"serve": {"side": "legacy"}, "admin": {"port": 0, "token": "new"}}
        await it.proxy.reloader.reload_from(Given(settings_for(tmp_path, it.candidate.port, it.legacy.port, changes)))
        assert (await it.ask(get())).body == b"legacy"
        assert it.proxy.status()["config"]["needs_restart"] == ["admin.token"]


async def test_certificate_is_reloaded(tmp_path: Path) -> None:
    certificate, key = certify(tmp_path)
    listen = {"port": 0, "tls": {"certificate": str(certificate), "key": str(key)}}
    async with proxy_lab(tmp_path, listen=listen) as it:
        certify(tmp_path)
        # Only the new certificate is trusted here.
        context = ssl.create_default_context(cafile=certificate)
        await it.proxy.reloader.reload_from(Given(it.settings))
        reader, writer = await asyncio.open_connection("127.0.0.1", it.proxy.port, ssl=context)
        writer.write(get("/"))
        assert (await read_message(reader)).status == 200
        writer.close()


async def test_wrong_key_leaves_the_old_certificate_in_force(tmp_path: Path) -> None:
    certificate, key = certify(tmp_path)
    context = ssl.create_default_context(cafile=certificate)
    listen = {"port": 0, "tls": {"certificate": str(certificate), "key": str(key)}}
    async with proxy_lab(tmp_path, listen=listen) as it:
        _, other = certify(tmp_path / "other")
        other.replace(key)
        await it.proxy.reloader.reload_from(Given(it.settings))
        reader, writer = await asyncio.open_connection("127.0.0.1", it.proxy.port, ssl=context)
        writer.write(get("/"))
        assert (await read_message(reader)).status == 200
        assert "listen.tls" in it.proxy.status()["config"]["error"]
        writer.close()


async def test_changed_file_is_reloaded(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    document: dict[str, object] = {
        "listen": {"port": 0},
        "admin": {"port": 0},
        "serve": {"state_file": str(tmp_path / "switch"), "sentinel_file": str(tmp_path / "stop")},
        "journal": {"directory": str(tmp_path / "journal")},
    }
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(document))
    file = SettingsFile(path)
    with caplog.at_level(logging.INFO, "proxy"):
        async with asyncio.timeout(60), asyncio.TaskGroup() as group:
            group.create_task(serve(file.read(), environ={}, source=file), name="serve")
            await logged(caplog, "proxy_started")
            path.write_text(yaml.safe_dump({**document, "admin": {"port": 1}}))
            await logged(caplog, "config_reloaded")
            os.kill(os.getpid(), signal.SIGTERM)
    assert [vars(record)["settings"] for record in caplog.records if record.message == "config_needs_restart"] == [
        ["admin.port"]
    ]


async def logged(caplog: pytest.LogCaptureFixture, event: str) -> None:
    await until(lambda: event in caplog.messages)
