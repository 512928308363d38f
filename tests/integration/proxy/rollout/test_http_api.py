"""The rollout over HTTP: hooks of other tools, alerts, and permissions by token."""

import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import jwt
import pytest

from comparator.stats.confidence import JudgementOutcome
from proxy.rollout.assessment import Assessment
from proxy.rollout.control import ChangeRequest
from proxy.rollout.state_machine import Phase
from tests.support.proxy_lab import ProxyLab, proxy_lab
from tests.support.rollouts import force_outcome

SECRET = "an HS256 secret of at least 32 bytes"


class Admin:
    """The admin port of a running proxy."""

    def __init__(self, made: ProxyLab, session: aiohttp.ClientSession) -> None:
        self.lab = made
        self.control = made.proxy.rollout.control
        self._session = session

    async def ask(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        url = f"http://127.0.0.1:{self.lab.proxy.admin_port}{path}"
        if path in ("/promote", "/resume"):
            headers = {"If-Match": self.control.revision, **headers}
        async with self._session.request(method, url, json=body, headers=headers) as response:
            return response.status, await response.json(content_type=None)

    async def send(self, path: str, body: bytes) -> int:
        url, headers = f"http://127.0.0.1:{self.lab.proxy.admin_port}{path}", {"Content-Type": "application/json"}
        async with self._session.post(url, data=body, headers=headers) as response:
            return response.status

    async def text(self, path: str) -> str:
        async with self._session.get(f"http://127.0.0.1:{self.lab.proxy.admin_port}{path}") as response:
            return await response.text()

    async def assessed(self) -> Assessment:
        assert self.control.assess
        return await self.control.assess("all")

    @property
    def phase(self) -> Phase:
        return self.control.replica.states["all"].phase

    async def until_rolled_back(self, group: str = "all") -> None:
        """Wait until a rollback, which is in effect, is stored too."""
        await self.lab.until(lambda: self.control.replica.states[group].phase is Phase.ROLLED_BACK)


@asynccontextmanager
async def admin(
    tmp_path: Path, outcome: JudgementOutcome = JudgementOutcome.GOOD, **rollout: Any
) -> AsyncGenerator[Admin]:
    values = {"enabled": True, "steps": [0, 10, 100], **rollout}
    async with proxy_lab(tmp_path, rollout=values) as made, aiohttp.ClientSession() as session:
        force_outcome(made.proxy.rollout.control, outcome)
        yield Admin(made, session)


def alert(action: str, *, status: str = "firing", **labels: str) -> dict[str, Any]:
    return {
        "version": "4",
        "groupKey": "{}",
        "status": status,
        "receiver": "shadow",
        "alerts": [
            {
                "status": status,
                "labels": {"alertname": "CandidateErrors", "shadow_action": action, **labels},
                "annotations": {"summary": "too many 500s"},
                "startsAt": "2026-01-01T00:00:00Z",
                "fingerprint": "ab",
            }
        ],
    }


async def test_firing_alert_rolls_back(tmp_path: Path) -> None:
    async with admin(tmp_path) as port:
        assert await port.ask("POST", "/alertmanager", alert("rollback")) == (200, {"done": "rollback"})
        assert port.lab.proxy.switch.state.reason == "CandidateErrors: too many 500s"
        await port.until_rolled_back()


async def test_firing_alert_pauses(tmp_path: Path) -> None:
    async with admin(tmp_path) as port:
        await port.ask("POST", "/alertmanager", alert("pause"))
        assert port.phase is Phase.PAUSED
        assert await port.ask("POST", "/alertmanager", alert("pause")) == (200, {"done": "pause"})


@pytest.mark.parametrize("body", [alert("rollback", status="resolved"), alert("watch")])
async def test_alerts_without_an_action_change_nothing(tmp_path: Path, body: dict[str, Any]) -> None:
    async with admin(tmp_path) as port:
        assert await port.ask("POST", "/alertmanager", body) == (200, {"done": "nothing"})
        assert port.phase is Phase.SHADOWING


async def test_alert_may_name_a_group(tmp_path: Path) -> None:
    async with admin(tmp_path, groups=[{"name": "reads", "routes": ["score"]}]) as port:
        await port.ask("POST", "/alertmanager", alert("rollback", shadow_group="reads"))
        await port.until_rolled_back("reads")
        assert port.phase is Phase.SHADOWING


@pytest.mark.parametrize(
    ("outcome", "good", "bad"),
    [
        (JudgementOutcome.GOOD, True, False),
        (JudgementOutcome.NOT_ENOUGH, False, False),
        (JudgementOutcome.BAD, False, True),
    ],
)
async def test_argo_rollouts_gets_three_outcomes(
    tmp_path: Path, outcome: JudgementOutcome, good: bool, bad: bool
) -> None:
    async with admin(tmp_path, outcome) as port:
        status, document = await port.ask("GET", "/argo")
    assert status == 200
    assert document["result"] == {"outcome": outcome.value, "good": good, "bad": bad}


@pytest.mark.parametrize(
    ("outcome", "confirm", "check", "rollback"),
    [
        (JudgementOutcome.GOOD, 200, 200, 403),
        (JudgementOutcome.NOT_ENOUGH, 403, 200, 403),
        (JudgementOutcome.BAD, 403, 403, 200),
    ],
)
async def test_flagger_gets_the_status_for_each_hook(
    tmp_path: Path, outcome: JudgementOutcome, confirm: int, check: int, rollback: int
) -> None:
    body = {"name": "scorer", "namespace": "prod", "phase": "Progressing", "metadata": {"group": "all"}}
    async with admin(tmp_path, outcome) as port:
        statuses = [(await port.ask("POST", f"/flagger/{hook}", body))[0] for hook in ("confirm", "check", "rollback")]
    assert statuses == [confirm, check, rollback]


async def test_deeply_nested_body_and_huge_limit_are_not_server_errors(tmp_path: Path) -> None:
    async with admin(tmp_path) as port:
        status = await port.send("/flagger/check", b"[" * 60_000)
        history, _ = await port.ask("GET", f"/rollout/history?limit={'9' * 5000}")
    assert (status, history) == (400, 200)


async def test_rollback_is_a_bad_outcome_for_other_tools(tmp_path: Path) -> None:
    async with admin(tmp_path, JudgementOutcome.GOOD) as port:
        port.control.rollback(ChangeRequest("ann"))
        _, document = await port.ask("GET", "/argo")
        status, _ = await port.ask("POST", "/flagger/rollback", {})
    assert document["result"]["bad"]
    assert status == 200


async def test_unknown_group_is_named(tmp_path: Path) -> None:
    async with admin(tmp_path) as port:
        status, document = await port.ask("GET", "/argo?group=x")
    assert (status, document["detail"]) == (409, "there is no group 'x': all")


async def test_role_of_the_token_decides_over_http(tmp_path: Path) -> None:
    claims = {"sub": "ann", "role": "operator", "exp": time.time() + 60}
    token = jwt.encode(claims, SECRET)
    viewer = jwt.encode({**claims, "role": "viewer"}, SECRET)
    async with admin(tmp_path, access={"jwt_secret": SECRET, "protect_reads": True}) as port:
        assert (await port.ask("GET", "/rollout"))[0] == 401
        assert (await port.ask("GET", "/rollout", Authorization=f"Bearer {viewer}"))[0] == 200
        assert (await port.ask("POST", "/pause", {}, Authorization=f"Bearer {viewer}"))[0] == 403
        status, document = await port.ask("POST", "/pause", {"actor": "eve"}, Authorization=f"Bearer {token}")
    assert status == 200
    assert document["groups"][0]["actor"] == "ann"


async def test_page_of_another_origin_changes_nothing(tmp_path: Path) -> None:
    async with admin(tmp_path) as port:
        status, _ = await port.ask("POST", "/rollback", {}, **{"Sec-Fetch-Site": "cross-site"})
        assert status == 403
        assert port.phase is Phase.SHADOWING


async def test_peer_can_only_send_rollbacks(tmp_path: Path) -> None:
    ahead = {"group": "all", "phase": "promoted", "step": 2, "epoch": 9, "version": 9}
    async with admin(tmp_path) as port:
        assert (await port.ask("POST", "/rollout/state", {"states": [ahead]}))[0] == 200
        assert port.phase is Phase.SHADOWING
        await port.ask("POST", "/rollout/state", {"states": [{**ahead, "phase": "rolled_back"}]})
        await port.until_rolled_back()


async def test_rollback_with_an_unreadable_body_is_accepted(tmp_path: Path) -> None:
    async with admin(tmp_path) as port:
        assert (await port.ask("POST", "/rollback", ["nonsense"]))[0] == 200
        await port.until_rolled_back()


async def test_overview_shows_step_percent_and_gates(tmp_path: Path) -> None:
    async with admin(tmp_path) as port:
        await port.ask("POST", "/promote", {"actor": "ann"})
        _, document = await port.ask("GET", "/rollout")
    (group,) = document["groups"]
    assert (group["phase"], group["percent"], group["steps"]) == ("stepping", 10.0, [0.0, 10.0, 100.0])


async def test_metrics_show_phase_step_and_gates(tmp_path: Path) -> None:
    async with admin(tmp_path) as port:
        await port.ask("POST", "/promote", {"actor": "ann"})
        port.lab.proxy.rollout.controller.latest["all"] = await port.assessed()
        text = await port.text("/metrics")
    assert 'shadow_rollout_phase{group="all",phase="stepping"} 1.0' in text
    assert 'shadow_rollout_phase{group="all",phase="rolled_back"} 0.0' in text
    assert 'shadow_rollout_step{group="all"} 1.0' in text
    assert 'shadow_rollout_gate{gate="mismatches",group="all",outcome="good"} 1.0' in text
