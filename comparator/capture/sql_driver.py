"""Capture by SQL functions on a temporary slot (driver `sql`): polled, and read at once for a fence. It needs asyncpg only.

Each call reads all log since the slot's restart_lsn, at about 2 ms a megabyte, and restart_lsn advances only at the server's own snapshots
(about every 15 s) or at checkpoints. Since PostgreSQL 16 the driver requests a snapshot itself when its role has the privilege; otherwise
it warns. Use the stream driver for a busy database.
"""

import asyncio
import contextlib
import logging
import time
import uuid

import asyncpg

from comparator.capture.delivery import FENCE_PREFIX
from comparator.capture.errors import CaptureClosedError, SlotTimeoutError
from comparator.capture.reconnecting import CLOSE_TIMEOUT_S, ReconnectingCapture
from comparator.capture.session import connect, require_capturable
from comparator.capture.settings import CaptureSettings
from comparator.postgres import disconnect

logger = logging.getLogger(__name__)

YIELD_EVERY = 500
"""Messages that are decoded before other tasks run: about 5 ms."""

WATCH_EVERY_S = 1.0
"""Time between two checks of the log that the server keeps for the slot."""
SNAPSHOT_FROM_BYTES = 1_000_000
"""Size of that log from which the driver requests a snapshot."""

MAKE_SLOT = "SELECT pg_create_logical_replication_slot($1, 'pgoutput', true)"

EMIT = "SELECT pg_logical_emit_message(true, $1, $2)"

READ = """
SELECT data FROM pg_logical_slot_get_binary_changes($1, NULL, $2,
    'proto_version', '1', 'publication_names', $3, 'messages', 'true')
"""

RETAINED = """
SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn)::bigint FROM pg_replication_slots WHERE slot_name = $1
"""

SNAPSHOT = "SELECT pg_log_standby_snapshot()"


class SqlCapture(ReconnectingCapture):
    """A capture by SQL functions. It has one connection, so a round of fences is one write and one read."""

    name = "sql"

    def __init__(self, dsn: str, settings: CaptureSettings) -> None:
        super().__init__(dsn, settings)
        self._conn: asyncpg.Connection | None = None
        self._slot = ""
        self._decoder = self._new_decoder()
        self._call_s = max(settings.fence_timeout_ms, settings.connect_timeout_ms) / 1000
        self._watched_s = 0.0
        self._may_snapshot = False
        self._warned = False

    def _loses_transactions(self) -> bool:
        return True

    async def _open(self) -> None:
        timeout_s = self._settings.connect_timeout_ms / 1000
        self._conn = conn = await connect(self._dsn, timeout_s=timeout_s)
        await require_capturable(conn, self._settings.publication)
        self._slot = f"shadow_sql_{uuid.uuid4().hex[:12]}"
        self._decoder = self._new_decoder()
        self._may_snapshot = conn.get_server_version().major >= 16
        try:
            await conn.execute(MAKE_SLOT, self._slot, timeout=timeout_s)
        except TimeoutError as error:
            raise SlotTimeoutError("a running transaction did not end while the slot was being created") from error

    async def _read_until_lost(self) -> None:
        conn = self._connected()
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._settings.poll_ms / 1000):
                    await self._fences.requested.wait()
            token = self._fences.begin_round()
            if token:
                await conn.execute(EMIT, FENCE_PREFIX, token, timeout=self._call_s)
            await self._read(conn)
            await self._watch(conn)

    def _connected(self) -> asyncpg.Connection:
        if self._conn is None:
            raise CaptureClosedError("the capture is not open")
        return self._conn

    async def _read(self, conn: asyncpg.Connection) -> None:
        maximum = self._settings.read_changes_max
        while True:
            rows = await conn.fetch(READ, self._slot, maximum, f'"{self._settings.publication}"', timeout=self._call_s)
            self._fences.progress += bool(rows)
            for number, row in enumerate(rows, start=1):
                transaction = self._decoder.feed(row["data"])
                if transaction is not None:
                    self._deliver_decoded(transaction, self._decoder)
                if number % YIELD_EVERY == 0:
                    self._fences.progress += 1
                    await asyncio.sleep(0)
            if len(rows) < maximum:
                return

    async def _watch(self, conn: asyncpg.Connection) -> None:
        """Check the size of the log that the server keeps for the slot, at most once a second."""
        now_s = time.monotonic()
        if now_s - self._watched_s < WATCH_EVERY_S:
            return
        self._watched_s = now_s
        self._retained = await conn.fetchval(RETAINED, self._slot, timeout=self._call_s) or 0
        above = self._retained > self._settings.wal_warn_bytes
        if above and not self._warned:
            logger.warning("capture_wal_retained", extra={"driver": self.name, "wal_retained_bytes": self._retained})
        self._warned = above
        if self._retained > SNAPSHOT_FROM_BYTES and self._may_snapshot:
            await self._snapshot(conn)

    async def _snapshot(self, conn: asyncpg.Connection) -> None:
        try:
            await conn.execute(SNAPSHOT, timeout=self._call_s)
        except asyncpg.InsufficientPrivilegeError:
            self._may_snapshot = False
            logger.info("capture_snapshot_denied", extra={"driver": self.name})

    async def _disconnect(self) -> None:
        conn, self._conn = self._conn, None
        if conn is not None:
            await disconnect(conn, timeout_s=CLOSE_TIMEOUT_S)
