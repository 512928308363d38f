"""Sends messages to webhooks: never in anybody's way, tried again with growing pauses, each thing said once."""

import asyncio
import logging
import random
from collections import OrderedDict
from typing import Any, Final

import aiohttp

from proxy.config.rollout import NotificationSettings
from proxy.rollout.notifications import Notice, pagerduty, slack

logger = logging.getLogger(__name__)

SAID_MAX: Final = 1_000
BACKOFF_MAX_S: Final = 60.0


class Notifier:
    """The outgoing messages of one process. A target that is down keeps only itself waiting."""

    def __init__(self, settings: NotificationSettings) -> None:
        self._settings = settings
        self._sent_keys: OrderedDict[str, None] = OrderedDict()
        self._queues: dict[str, asyncio.Queue[dict[str, Any]]] = {
            url: asyncio.Queue(settings.queue_max) for url in settings.slack_urls
        }
        self._pager: asyncio.Queue[dict[str, Any]] = asyncio.Queue(settings.queue_max)
        self.dropped = 0
        """Messages that were given up: the queue was full, or every attempt failed."""

    def notify(self, message: Notice) -> None:
        """Say something, unless it was said already. Returns at once."""
        if message.key in self._sent_keys:
            return
        self._sent_keys[message.key] = None
        if len(self._sent_keys) > SAID_MAX:
            self._sent_keys.popitem(last=False)
        for queue in self._queues.values():
            self._put(queue, slack(message))
        if message.paged and self._settings.pagerduty_key:
            self._put(self._pager, pagerduty(message, self._settings.pagerduty_key))

    def _put(self, queue: asyncio.Queue[dict[str, Any]], body: dict[str, Any]) -> None:
        try:
            queue.put_nowait(body)
        except asyncio.QueueFull:
            self.dropped += 1
            logger.warning("message_dropped", extra={"queued": queue.qsize()})

    async def run(self) -> None:
        """Send until cancelled."""
        timeout = aiohttp.ClientTimeout(total=self._settings.timeout_s)
        async with aiohttp.ClientSession(timeout=timeout) as session, asyncio.TaskGroup() as group:
            for number, (url, queue) in enumerate(self._queues.items()):
                group.create_task(self._serve(session, url, queue), name=f"tell-slack-{number}")
            group.create_task(self._serve(session, self._settings.pagerduty_url, self._pager), name="tell-pagerduty")

    async def _serve(self, session: aiohttp.ClientSession, url: str, queue: asyncio.Queue[dict[str, Any]]) -> None:
        while True:
            body = await queue.get()
            for attempt in range(self._settings.attempts_max):
                if await _sent(session, url, body):
                    break
                # Half of the pause at random, so that several processes do not come back together.
                pause_s = min(BACKOFF_MAX_S, self._settings.backoff_s * 2**attempt)
                await asyncio.sleep(pause_s * (0.5 + random.random() / 2))  # noqa: S311 (no secret)
            else:
                self.dropped += 1
                logger.error("message_given_up", extra={"attempts": self._settings.attempts_max})


async def _sent(session: aiohttp.ClientSession, url: str, body: dict[str, Any]) -> bool:
    """Whether the target took it, or never will: a 4xx that is no 408 or 429 is not tried again."""
    try:
        async with session.post(url, json=body) as response:
            if response.status < 400 or (response.status < 500 and response.status not in (408, 429)):
                if response.status >= 400:
                    logger.error("message_refused", extra={"status": response.status})
                return True
            return False
    except (aiohttp.ClientError, TimeoutError, OSError):
        return False
