"""Check an API key against its row."""

import asyncio

from scorer.db import api_keys
from scorer.db.api_keys import ApiKey
from scorer.db.pool import Database
from scorer.domain import api_key as key_text
from scorer.domain.api_key import SHA256
from scorer.errors import ApiKeyRefusedError
from scorer.metrics import Metrics

# One PBKDF2 takes a third of a second of CPU in a thread; more at once would starve the event loop.
_SLOW_CHECKS_MAX = 2


class KeyChecker:
    """Checks API keys; the slow hash runs in threads, at most two at once, and is replaced by the fast one on success."""

    def __init__(self, database: Database, metrics: Metrics) -> None:
        self._database = database
        self._metrics = metrics
        self._slow_checks = asyncio.Semaphore(_SLOW_CHECKS_MAX)

    async def check(self, key: str, *, refuse_revoked: bool) -> ApiKey:
        """Return the row of this key.

        Raises:
            ApiKeyRefusedError: the key is unknown, wrong, or revoked and `refuse_revoked` is set.
        """
        with self._metrics.stage("auth"):
            row = await self._database.read(lambda conn: api_keys.find(conn, key_text.prefix_of(key)))
            if row is None or (refuse_revoked and row.revoked) or not await self._matches(row, key):
                self._metrics.api_keys.labels("refused").inc()
                raise ApiKeyRefusedError
            return row

    async def _matches(self, row: ApiKey, key: str) -> bool:
        stored = row.hashed_sha256 or (row.hashed if row.hashed.startswith(SHA256) else "")
        if stored:
            self._metrics.api_keys.labels("fast").inc()
            return key_text.fast_match(key, stored)
        slow = key_text.parse_pbkdf2(row.hashed)
        if slow is None:
            return False
        async with self._slow_checks:
            matched = await asyncio.to_thread(slow.matches, key)
        if matched:
            self._metrics.api_keys.labels("migrated").inc()
            await self._database.read(lambda conn: api_keys.migrate(conn, row.id, key_text.fast_hash(key)))
        return matched
