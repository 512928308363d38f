"""`shadow rollback`, `resume`, `promote`, `pause`, `history` against running proxies, and with everything down."""

import asyncio
import json
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from comparator.stats.confidence import JudgementOutcome
from proxy.cli.main import main
from proxy.demo.free_ports import free_port
from proxy.rollout.control import Control
from tests.support.proxy_lab import ProxyLab, ok, proxy_lab
from tests.support.rollouts import force_outcome

GET = b"GET /v2/stamps/1/score/0xabc HTTP/1.1\r\nHost: x\r\n\r\n"
DEAD = "http://127.0.0.1:1"


@dataclass
class CommandResult:
    code: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        return json.loads(self.out)


@dataclass
class Operator:
    """The commands of an operator, with a config.yaml."""

    config: Path
    capsys: pytest.CaptureFixture[str]

    async def shadow(self, *arguments: str) -> CommandResult:
        self.capsys.readouterr()
        code = await asyncio.to_thread(main, [arguments[0], "--config", str(self.config), *arguments[1:]])
        out, err = self.capsys.readouterr()
        return CommandResult(code, out, err)


def operator_of(tmp_path: Path, capsys: pytest.CaptureFixture[str], *, admin_port: int, **sections: Any) -> Operator:
    document: dict[str, Any] = {
        "admin": {"port": admin_port},
        "serve": {"state_file": str(tmp_path / "switch.json"), "sentinel_file": str(tmp_path / "rollback")},
        "backends": {"legacy": {"live": {"url": DEAD}}},
        "rollout": {"enabled": True, "steps": [0, 10, 100]},
    }
    for name, values in sections.items():
        document[name] = {**document.get(name, {}), **values}
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(document))
    return Operator(config, capsys)


@pytest.fixture
def operator_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Operator:
    """Return an operator of an installation of which nothing runs."""
    return operator_of(tmp_path, capsys, admin_port=free_port())


@dataclass
class Running:
    lab: ProxyLab
    operator: Operator

    @property
    def control(self) -> Control:
        return self.lab.proxy.rollout.control

    async def served_by(self) -> str:
        return (await self.lab.ask(GET)).body.decode()


@asynccontextmanager
async def serving(tmp_path: Path, capsys: pytest.CaptureFixture[str], **sections: Any) -> AsyncGenerator[Running]:
    rollout = {"enabled": True, "steps": [0, 10, 100], **sections.pop("rollout", {})}
    async with proxy_lab(tmp_path, rollout=rollout, **sections) as made:
        made.candidate.response = lambda _: ok(b"candidate")
        made.legacy.response = lambda _: ok(b"legacy")
        port = made.proxy.admin_port
        yield Running(made, operator_of(tmp_path, capsys, admin_port=port, rollout=rollout, **sections))


async def promoted(running: Running) -> None:
    force_outcome(running.control, JudgementOutcome.GOOD)
    assert (await running.operator.shadow("promote")).code == 0
    assert (await running.operator.shadow("promote", "--reason", "all is well")).code == 0
    assert await running.served_by() == "candidate"


async def test_rollback_with_everything_down_holds_when_a_proxy_starts(
    operator_alone: Operator, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = await operator_alone.shadow("rollback", "--reason", "scores are wrong", "--actor", "ann")
    assert result.code == 0
    assert "is not running" in result.out
    async with serving(tmp_path, capsys) as running:
        assert running.control.switch.state.reason == "scores are wrong"
        assert await running.served_by() == "legacy"


async def test_rollback_takes_effect_in_a_running_proxy_before_the_command_returns(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with serving(tmp_path, capsys) as running:
        await promoted(running)
        result = await running.operator.shadow("rollback", "--reason", "it burns", "--actor", "ann")
        assert (result.code, result.out.splitlines()[-1]) == (0, "rolled back")
        assert await running.served_by() == "legacy"


async def test_rollback_names_the_proxy_it_did_not_reach(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=8) as silent:
        peer = {"host": "127.0.0.1", "port": silent.getsockname()[1]}
        at = operator_of(tmp_path, capsys, admin_port=free_port(), rollout={"peers": [peer]})
        result = await at.shadow("rollback", "--json")
    assert result.code == 1
    assert [one["running"] for one in result.document["proxies"]] == [False, True]
    assert result.document["stored"]


async def test_one_command_is_one_entry_of_the_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with serving(tmp_path, capsys) as running:
        await running.operator.shadow("rollback", "--reason", "it burns", "--actor", "ann")
        result = await running.operator.shadow("history")
    assert len(result.out.splitlines()) == 1
    assert result.out.rstrip().endswith("by ann  it burns")


async def test_resume_starts_at_the_first_step_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with serving(tmp_path, capsys) as running:
        await promoted(running)
        await running.operator.shadow("rollback")
        result = await running.operator.shadow("resume", "--reason", "fixed")
        assert (result.code, result.out.strip()) == (0, "all: shadowing, step 0")


async def test_resume_with_everything_down_holds_when_a_proxy_starts(operator_alone: Operator) -> None:
    await operator_alone.shadow("rollback")
    assert (await operator_alone.shadow("resume")).code == 0
    result = await operator_alone.shadow("resume")
    assert result.code == 1
    assert "nothing to resume" in result.err


async def test_closed_gates_refuse_a_promotion_and_force_is_recorded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with serving(tmp_path, capsys) as running:
        force_outcome(running.control, JudgementOutcome.NOT_ENOUGH)
        refused = await running.operator.shadow("promote")
        assert refused.code == 1
        assert "the gates of 'all' are closed" in refused.err
        assert (await running.operator.shadow("promote", "--force", "--reason", "drill")).code == 0
        assert "FORCED" in (await running.operator.shadow("history")).out


async def test_pause_is_shown_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with serving(tmp_path, capsys) as running:
        result = await running.operator.shadow("pause", "--json", "--reason", "lunch")
    assert result.document["ok"]
    assert [group["phase"] for group in result.document["groups"]] == ["paused"]


async def test_promotion_needs_a_running_proxy(operator_alone: Operator) -> None:
    result = await operator_alone.shadow("promote")
    assert result.code == 3
    assert "no proxy answered" in result.err


async def test_exported_log_is_verified_without_a_proxy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with serving(tmp_path, capsys) as running:
        await running.operator.shadow("pause")
        await running.operator.shadow("rollback")
        verified = await running.operator.shadow("history", "--verify")
        exported = await running.operator.shadow("history", "--json")
        file = tmp_path / "export.ndjson"
        file.write_text(exported.out)
        head = verified.out.split()[-1]
        assert verified.out.startswith("intact: 2 entries")
        assert (await running.operator.shadow("history", "--verify", "--file", str(file), "--head", head)).code == 0
        file.write_text(exported.out.splitlines()[0] + "\n")
        cut = await running.operator.shadow("history", "--verify", "--file", str(file), "--head", head)
        file.write_text(exported.out.replace("pause", "forge"))
        forged = await running.operator.shadow("history", "--verify", "--file", str(file))
    assert (cut.code, forged.code) == (1, 1)
    assert "cut off" in cut.err
    assert "not what was hashed" in forged.err


async def test_dry_run_changes_nothing_and_lists_what_is_not_known(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with serving(tmp_path, capsys) as running:
        await promoted(running)
        result = await running.operator.shadow("rollback", "--dry-run")
        assert await running.served_by() == "candidate"
    assert result.code == 0
    assert "legacy: healthy" in result.out
    assert "! not known: what was compared (databases.store is not set)" in result.out


async def test_dry_run_works_with_everything_down(operator_alone: Operator) -> None:
    result = await operator_alone.shadow("rollback", "--dry-run", "--json")
    assert result.code == 0
    assert result.document["legacy_health"]["healthy"] is False


async def test_break_glass_token_rolls_back_and_cannot_promote(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    access = {"break_glass_token": "glass", "jwt_secret": "a secret of at least thirty-two bytes"}
    async with serving(tmp_path, capsys, rollout={"access": access}) as running:
        force_outcome(running.control, JudgementOutcome.GOOD)
        monkeypatch.setenv("SHADOW_TOKEN", "glass")
        assert (await running.operator.shadow("promote")).code == 1
        result = await running.operator.shadow("rollback", "--actor", "ann")
        assert result.code == 0
        history = await running.operator.shadow("history")
    assert "by ann" in history.out


async def test_promotion_from_a_step_that_was_left_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with serving(tmp_path, capsys) as running:
        force_outcome(running.control, JudgementOutcome.GOOD)
        assert (await running.operator.shadow("promote", "--from", "0", "--actor", "ann")).code == 0
        result = await running.operator.shadow("promote", "--from", "0", "--actor", "bob")
        assert result.code == 1
        assert "not at step 0 any more: stepping, step 1, by ann" in result.err
        assert running.control.replica.states["all"].step == 1
