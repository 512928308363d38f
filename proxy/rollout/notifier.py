"""Send notifications to webhooks: asynchronous, retried with exponential backoff, deduplicated."""

import asyncio
import logging
import random
from collections import OrderedDict
from typing import Any, Final

import aiohttp

from proxy.config.rollout import NotificationSettings
from proxy.rollout.notifications import Notice, pagerduty, slack

logger = logging.getLogger(__name__)

SENT_KEYS_MAX: Final = 1_000
BACKOFF_MAX_S: Final = 60.0
RETRIED_STATUSES: Final = frozenset({408, 429})
"""Statuses below 500 that are worth a retry: request timeout, too many requests."""


class Notifier:
    """The outgoing notifications of one process, with a queue for each target: one that is down delays no other."""

    def __init__(self, settings: NotificationSettings) -> None:
        self._settings = settings
        self._sent_keys: OrderedDict[str, None] = OrderedDict()
        self._queues: dict[str, asyncio.Queue[dict[str, Any]]] = {
            url: asyncio.Queue(settings.queue_max) for url in settings.slack_urls
        }
        self._pager: asyncio.Queue[dict[str, Any]] = asyncio.Queue(settings.queue_max)
        self.dropped = 0
        """Notifications that were dropped because the queue was full or every attempt failed."""

    def notify(self, notice: Notice) -> None:
        """Queue a notice for every target, unless one with its key was queued before. Returns at once."""
        if notice.key in self._sent_keys:
            return
        self._sent_keys[notice.key] = None
        if len(self._sent_keys) > SENT_KEYS_MAX:
            self._sent_keys.popitem(last=False)
        for queue in self._queues.values():
            self._put(queue, slack(notice))
        if notice.paged and self._settings.pagerduty_key:
            self._put(self._pager, pagerduty(notice, self._settings.pagerduty_key))

    def _put(self, queue: asyncio.Queue[dict[str, Any]], body: dict[str, Any]) -> None:
        try:
            queue.put_nowait(body)
        except asyncio.QueueFull:
            self.dropped += 1
            logger.warning("notification_dropped", extra={"queued": queue.qsize()})

    async def run(self) -> None:
        """Send until cancelled."""
        timeout = aiohttp.ClientTimeout(total=self._settings.timeout_s)
        async with aiohttp.ClientSession(timeout=timeout) as session, asyncio.TaskGroup() as group:
            for number, (url, queue) in enumerate(self._queues.items()):
                group.create_task(self._send_queued(session, url, queue), name=f"notify-slack-{number}")
            group.create_task(
                self._send_queued(session, self._settings.pagerduty_url, self._pager), name="notify-pagerduty"
            )

    async def _send_queued(
        self, session: aiohttp.ClientSession, url: str, queue: asyncio.Queue[dict[str, Any]]
    ) -> None:
        while True:
            await self._send(session, url, await queue.get())

    async def _send(self, session: aiohttp.ClientSession, url: str, body: dict[str, Any]) -> None:
        for attempt in range(self._settings.attempts_max):
            if await _is_finished_after_attempt(session, url, body):
                return
            # Half of the pause is random, so that several processes do not retry at the same moment.
            pause_s = min(BACKOFF_MAX_S, self._settings.backoff_s * 2**attempt)
            await asyncio.sleep(pause_s * (0.5 + random.random() / 2))  # noqa: S311 (not a secret)
        self.dropped += 1
        logger.error("notification_failed", extra={"attempts": self._settings.attempts_max})


async def _is_finished_after_attempt(session: aiohttp.ClientSession, url: str, body: dict[str, Any]) -> bool:
    """Post the body once; return True when a retry is of no use: the target accepted it, or never will."""
    try:
        async with session.post(url, json=body) as response:
            status = response.status
    except (aiohttp.ClientError, TimeoutError, OSError):
        return False
    if status >= 500 or status in RETRIED_STATUSES:
        return False
    if status >= 400:
        logger.error("notification_refused", extra={"status": status})
    return True
