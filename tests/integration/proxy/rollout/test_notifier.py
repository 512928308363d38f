"""Notifications to webhooks: retried, deduplicated, asynchronous."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from proxy.config.rollout import NotificationSettings
from proxy.rollout.audit import AuditEntry, AuditEvent
from proxy.rollout.notifications import Notice, notice_of
from proxy.rollout.notifier import Notifier
from tests.support.upstream import Upstream

WAIT_S = 60.0
AT = datetime(2026, 1, 1, tzinfo=UTC)


def notice(event: AuditEvent, identity: str = "1") -> Notice:
    return notice_of(AuditEntry(identity, AT, "all", event, "controller", "effects: 3 differ", finding="abc"))


@asynccontextmanager
async def notifying(upstream: Upstream, **changes: float) -> AsyncGenerator[Notifier]:
    settings = NotificationSettings(
        slack_urls=(f"{upstream.url}slack",),
        pagerduty_key="key",
        pagerduty_url=f"{upstream.url}pager",
        **({"backoff_s": 0.01} | changes),  # type: ignore[arg-type]
    )
    notifier = Notifier(settings)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(notifier.run(), name="notifier")
        yield notifier
        task.cancel()


async def received(upstream: Upstream, path: str, count: int) -> list[dict[str, object]]:
    async with asyncio.timeout(WAIT_S):
        while len(found := [one.body for one in upstream.requests if one.path == path]) < count:
            await asyncio.sleep(0.005)
    return found


async def test_rollback_notifies_both_targets_and_resume_resolves_it() -> None:
    async with Upstream() as upstream:
        upstream.set_response("/slack", {})
        upstream.set_response("/pager", {})
        async with notifying(upstream) as notifier:
            notifier.notify(notice(AuditEvent.ROLL_BACK))
            notifier.notify(notice(AuditEvent.RESUME, "2"))
            slack, pager = await received(upstream, "/slack", 2), await received(upstream, "/pager", 2)
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


async def test_failing_target_is_retried() -> None:
    async with Upstream() as upstream:
        upstream.set_response("/slack", {}, status=503)
        async with notifying(upstream) as notifier:
            notifier.notify(notice(AuditEvent.PROMOTE))
            await received(upstream, "/slack", 3)
            upstream.set_response("/slack", {})
            before = len(await received(upstream, "/slack", 3))
            notifier.notify(notice(AuditEvent.PAUSE, "2"))
            bodies = await received(upstream, "/slack", before + 2)
            assert bodies[-1]["text"] == "Rollout all: pause by controller: effects: 3 differ"
    assert notifier.dropped == 0


async def test_notices_with_one_key_are_sent_once() -> None:
    async with Upstream() as upstream:
        upstream.set_response("/slack", {})
        async with notifying(upstream) as notifier:
            for identity in ("1", "1", "2"):
                notifier.notify(notice(AuditEvent.PROMOTE, identity))
            assert len(await received(upstream, "/slack", 2)) == 2


async def test_hanging_target_delays_neither_the_caller_nor_other_targets() -> None:
    async with Upstream() as slow, Upstream() as upstream:
        upstream.set_response("/slack", {})
        slow.hold()
        notifier = Notifier(NotificationSettings(slack_urls=(f"{slow.url}slack", f"{upstream.url}slack"), queue_max=2))
        async with asyncio.TaskGroup() as group:
            task = group.create_task(notifier.run(), name="notifier")
            notifier.notify(notice(AuditEvent.PROMOTE))
            await received(upstream, "/slack", 1)
            for number in range(5):
                notifier.notify(notice(AuditEvent.PROMOTE, f"more {number}"))
                await received(upstream, "/slack", number + 2)
            task.cancel()
        assert notifier.dropped > 0
