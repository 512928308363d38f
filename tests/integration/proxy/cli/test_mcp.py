"""An assistant's client starts `shadow mcp`, and reads findings; a rollback is offered to an operator alone."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from comparator.settings import StoreSettings
from comparator.store.store import Store
from proxy.cli.mcp import check_operator
from proxy.config.loader import read_settings
from proxy.errors import SettingsError
from tests.support.comparisons import NOW, mismatch
from tests.support.paths import ROOT

GUARDED = "admin: {token: an-operators-token}\nrollout: {access: {break_glass_token: for-emergencies-only}}\n"


def converse(config: Path, *messages: dict[str, Any], words: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    """Run `shadow mcp` on these messages; return the answers by their order."""
    lines = "".join(json.dumps({"jsonrpc": "2.0", **message}) + "\n" for message in messages)
    command = [sys.executable, "-m", "proxy", "mcp", "--config", str(config), *words]
    ended = subprocess.run(command, input=lines.encode(), capture_output=True, cwd=ROOT, check=True, timeout=120)
    return [json.loads(line) for line in ended.stdout.splitlines()]


def call(number: int, name: str, **arguments: Any) -> dict[str, Any]:
    return {"id": number, "method": "tools/call", "params": {"name": name, "arguments": arguments}}


async def test_client_lists_tools_and_reads_a_finding(database: str, tmp_path: Path) -> None:
    async with Store(database, StoreSettings(timeout_s=10), random.Random(7)) as store:
        await store.maintain(NOW)
        await store.add([mismatch("a"), mismatch("b", key=2)])
    config = tmp_path / "config.yaml"
    config.write_text(f"databases: {{store: {json.dumps(database)}}}\n")

    begun, tools, listed = converse(
        config,
        {"id": 1, "method": "initialize", "params": {"protocolVersion": "2025-06-18"}},
        {"method": "notifications/initialized"},
        {"id": 2, "method": "tools/list"},
        call(3, "findings_list", limit=5),
    )
    (finding,) = json.loads(listed["result"]["content"][0]["text"])
    shown, unknown, refused = converse(
        config,
        call(4, "finding_show", id=finding["id"]),
        call(5, "finding_show", id="nope"),
        call(6, "rollback", reason="because"),
    )

    assert begun["result"]["serverInfo"]["name"] == "shadow"
    assert "rollback" not in {tool["name"] for tool in tools["result"]["tools"]}
    assert shown["result"]["structuredContent"]["finding"]["id"] == finding["id"]
    assert (unknown["result"]["isError"], "no finding 'nope'" in unknown["result"]["content"][0]["text"]) == (
        True,
        True,
    )
    assert refused["error"] == {"code": -32602, "message": "unknown tool 'rollback'"}


@pytest.mark.parametrize("token", ["an-operators-token", "for-emergencies-only"])
def test_operator_may_offer_a_rollback(tmp_path: Path, token: str) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(GUARDED)

    check_operator(read_settings(config), {"SHADOW_TOKEN": token})


@pytest.mark.parametrize(
    ("text", "environ", "message"),
    [
        (GUARDED, {}, "does not allow a rollback"),
        (GUARDED, {"SHADOW_TOKEN": "another"}, "does not allow a rollback"),
        ("{}", {"SHADOW_TOKEN": "any"}, "set admin.token"),
    ],
)
def test_others_may_not(tmp_path: Path, text: str, environ: dict[str, str], message: str) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(text)

    with pytest.raises(SettingsError, match=message):
        check_operator(read_settings(config), environ)


def test_command_without_a_token_does_not_start(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(GUARDED)
    environ = {name: value for name, value in os.environ.items() if name != "SHADOW_TOKEN"}
    command = [sys.executable, "-m", "proxy", "mcp", "--config", str(config), "--allow-rollback"]

    ended = subprocess.run(command, capture_output=True, cwd=ROOT, check=False, timeout=120, env=environ)

    assert (ended.returncode, ended.stdout) == (2, b"")
    assert b"does not allow a rollback" in ended.stderr
