"""Messages to webhooks: tried again, said once, in nobody's way."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from proxy.config.rollout import NotificationSettings
from proxy.rollout.audit import AuditEntry
from proxy.rollout.notifications import Notice, notice_of
from proxy.rollout.notifier import Notifier
from tests.support.upstream import Upstream

WAIT_S = 60.0
AT = datetime(2026, 1, 1, tzinfo=UTC)


def said(event: str, identity: str = "1") -> Notice:
    message = notice_of(AuditEntry(identity, AT, "all", event, "controller", "effects: 3 differ", finding="abc"))
    assert message
    return message


@asynccontextmanager
async def telling(upstream: Upstream, **changes: float) -> AsyncGenerator[Notifier]:
    settings = NotificationSettings(
        slack_urls=(f"{upstream.url}slack",),
        pagerduty_key="key",
        pagerduty_url=f"{upstream.url}pager",
        **({"backoff_s": 0.01} | changes),  # type: ignore[arg-type]
    )
    teller = Notifier(settings)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(teller.run(), name="teller")
        yield teller
        task.cancel()


async def asked(upstream: Upstream, path: str, count: int) -> list[dict[str, object]]:
    async with asyncio.timeout(WAIT_S):
        while len(found := [one.body for one in upstream.requests if one.path == path]) < count:
            await asyncio.sleep(0.005)
    return found


async def test_a_rollback_reaches_both_and_resuming_resolves_it() -> None:
    async with Upstream() as upstream:
        upstream.set_response("/slack", {})
        upstream.set_response("/pager", {})
        async with telling(upstream) as teller:
            teller.notify(said("roll_back"))
            teller.notify(said("resume", "2"))
            slack, pager = await asked(upstream, "/slack", 2), await asked(upstream, "/pager", 2)
    assert slack[0] == {"text": "Rollout all: roll back by controller: effects: 3 differ"}
    assert [one["event_action"] for one in pager] == ["trigger", "resolve"]
    assert len({one["dedup_key"] for one in pager}) == 1
    assert pager[0]["payload"] == {
        "summary": "Rollout all: roll back by controller: effects: 3 differ",
        "source": "shadow",
        "severity": "critical",
        "timestamp": "2026-01-01T00:00:00+00:00",
        "component": "all",
        "custom_details": {"actor": "controller", "reason": "effects: 3 differ", "finding": "abc", "forced": False},
    }


async def test_a_target_that_fails_is_tried_again() -> None:
    async with Upstream() as upstream:
        upstream.set_response("/slack", {}, status=503)
        async with telling(upstream) as teller:
            teller.notify(said("promote"))
            await asked(upstream, "/slack", 3)
            upstream.set_response("/slack", {})
            before = len(await asked(upstream, "/slack", 3))
            teller.notify(said("pause", "2"))
            bodies = await asked(upstream, "/slack", before + 2)
            assert bodies[-1]["text"] == "Rollout all: pause by controller: effects: 3 differ"
    assert teller.dropped == 0


async def test_the_same_thing_is_said_once() -> None:
    async with Upstream() as upstream:
        upstream.set_response("/slack", {})
        async with telling(upstream) as teller:
            for identity in ("1", "1", "2"):
                teller.notify(said("promote", identity))
            assert len(await asked(upstream, "/slack", 2)) == 2


async def test_a_target_that_hangs_holds_up_neither_the_client_nor_the_other_target() -> None:
    async with Upstream() as slow, Upstream() as upstream:
        upstream.set_response("/slack", {})
        slow.hold()
        teller = Notifier(NotificationSettings(slack_urls=(f"{slow.url}slack", f"{upstream.url}slack"), queue_max=2))
        async with asyncio.TaskGroup() as group:
            task = group.create_task(teller.run(), name="teller")
            teller.notify(said("promote"))
            await asked(upstream, "/slack", 1)
            for number in range(5):
                teller.notify(said("promote", f"more {number}"))
                await asked(upstream, "/slack", number + 2)
            task.cancel()
        assert teller.dropped > 0
