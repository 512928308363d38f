"""Capture by the replication protocol (driver `stream`): the server pushes each transaction when it is committed.

A temporary slot disappears with its connection, so a crashed runner leaves nothing on the server; a lost connection may lose transactions
and counts as an interruption. A persistent slot keeps the log until `confirm`: a lost connection or a restart of the runner or the server
lose nothing, and transactions that the server sends again are dropped by their position.
"""

import asyncio
import contextlib
import logging
import uuid

import asyncpg
import psycopg

from comparator.capture.delivery import FENCE_PREFIX
from comparator.capture.errors import CaptureClosedError, CaptureLostError, RightsError, SlotLostError, SlotTimeoutError
from comparator.capture.reconnecting import CLOSE_TIMEOUT_S, LOST, ReconnectingCapture
from comparator.capture.replication import Keepalive, ReplicationConnection
from comparator.capture.session import APPLICATION_NAME, SESSION_SETTINGS, connect, require_capturable
from comparator.capture.settings import CaptureSettings, SlotKind
from comparator.postgres import disconnect

logger = logging.getLogger(__name__)

SILENT_MAX = 3
"""Unanswered requests for a reply in a row after which the connection counts as lost."""

ACTIVE_POLL_S = 0.05
"""Time between two checks whether a slot's former reader has released it."""

EMIT = "SELECT pg_logical_emit_message(true, $1, $2)"

SLOT = """
SELECT active, wal_status, plugin, database = current_database() AS here,
       pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn)::bigint AS retained
FROM pg_replication_slots WHERE slot_name = $1
"""

KEEP_SIZE = "SELECT setting::bigint FROM pg_settings WHERE name = 'max_slot_wal_keep_size'"


class StreamCapture(ReconnectingCapture):
    """A capture by the replication protocol. Fences are written on a connection of their own."""

    name = "stream"

    def __init__(self, dsn: str, settings: CaptureSettings) -> None:
        super().__init__(dsn, settings)
        self._persistent = settings.slot.kind is SlotKind.PERSISTENT
        self._slot = settings.slot.name if self._persistent else ""
        self._connect_s = settings.connect_timeout_ms / 1000
        self._fence_s = settings.fence_timeout_ms / 1000
        self._wire: ReplicationConnection | None = None
        self._conn: asyncpg.Connection | None = None
        self._confirmed = 0
        self._server_lsn = 0
        self._opened_once = False
        self._decoder = self._new_decoder()
        self._frame_received = False

    def confirm(self, lsn: int) -> None:
        """See `Capture.confirm`; reported to the server with the next feedback."""
        self._confirmed = max(self._confirmed, lsn)

    def _loses_transactions(self) -> bool:
        return not self._persistent

    async def _open(self) -> None:
        self._conn = await self._connect_for_fences()
        await require_capturable(self._conn, self._settings.publication, timeout_s=self._connect_s)
        self._wire = wire = await ReplicationConnection.connect(
            self._dsn, session=SESSION_SETTINGS, application=APPLICATION_NAME, timeout_s=self._connect_s
        )
        try:
            if self._persistent:
                await self._use_persistent_slot(wire, self._conn)
            else:
                self._slot = f"shadow_{uuid.uuid4().hex[:12]}"
                await self._make_slot(wire, "CREATE_REPLICATION_SLOT {} TEMPORARY LOGICAL pgoutput NOEXPORT_SNAPSHOT")
            after = self.position if self._persistent else 0
            await wire.stream(
                self._slot, publication=self._settings.publication, after=after, timeout_s=self._connect_s
            )
        except psycopg.errors.InsufficientPrivilege as error:
            raise RightsError(
                f"the role lacks REPLICATION: {error}", remedy=("ALTER ROLE CURRENT_USER REPLICATION;",)
            ) from error
        except psycopg.errors.ObjectNotInPrerequisiteState as error:
            raise SlotLostError(f"cannot read the slot {self._slot}: {error}") from error
        except (psycopg.Error, TimeoutError) as error:
            raise CaptureLostError(f"cannot read the slot {self._slot}: {error}") from error
        self._opened_once = True

    async def _use_persistent_slot(self, wire: ReplicationConnection, conn: asyncpg.Connection) -> None:
        """Create the slot on the first start, but never later: a slot that was dropped has lost changes, which must not go unnoticed."""
        slot = await self._released_slot(conn)
        if slot is None and self._opened_once:
            raise SlotLostError(f"the slot {self._slot} was dropped while it was in use")
        if slot is None:
            await self._make_slot(wire, "CREATE_REPLICATION_SLOT {} LOGICAL pgoutput NOEXPORT_SNAPSHOT")
        elif slot["plugin"] != "pgoutput" or not slot["here"]:
            raise SlotLostError(f"the slot {self._slot} belongs to another database or plugin")
        elif slot["wal_status"] == "lost":
            raise SlotLostError(
                f"the server removed log of the slot {self._slot}; drop it, run `shadow align verify`, start again"
            )
        elif not self._opened_once:
            self._resumed = True
        if await conn.fetchval(KEEP_SIZE, timeout=self._connect_s) == -1:
            logger.warning("capture_slot_log_unbounded", extra={"slot": self._slot})

    async def _released_slot(self, conn: asyncpg.Connection) -> asyncpg.Record | None:
        """Return the slot once its former reader has released it, None when it does not exist.

        The server notices a crashed reader with a delay, so this polls for up to `connect_timeout_ms`.
        """
        waiting_s = 0.0
        while True:
            slot = await conn.fetchrow(SLOT, self._slot, timeout=self._connect_s)
            if slot is None or not slot["active"] or waiting_s >= self._connect_s:
                return slot
            await asyncio.sleep(ACTIVE_POLL_S)
            waiting_s += ACTIVE_POLL_S

    async def _make_slot(self, wire: ReplicationConnection, template: str) -> None:
        try:
            await wire.command(template, identifier=self._slot, timeout_s=self._connect_s)
        except TimeoutError as error:
            raise SlotTimeoutError("a running transaction did not end while the slot was being created") from error

    async def _read_until_lost(self) -> None:
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._receive(), name="capture-stream-receive")
                tasks.create_task(self._emit(), name="capture-stream-fences")
        except ExceptionGroup as group:
            raise group.exceptions[0] from group

    async def _emit(self) -> None:
        """Write a fence for each round of waiters; reconnect when only the connection of the fences was lost.

        A server that shuts down ends ordinary connections at once, refuses new ones, and then waits until every walsender's reader has
        confirmed everything. We do not confirm what has not been processed, so live would wait for us: when the connection of the
        fences is refused, the error ends the stream too.
        """
        while True:
            await self._fences.requested.wait()
            conn = self._conn
            if conn is None or conn.is_closed():
                self._conn = await self._connect_for_fences()
                self._fences.requeue()
                continue
            token = self._fences.begin_round()
            try:
                if token:
                    await conn.execute(EMIT, FENCE_PREFIX, token, timeout=self._fence_s)
            except TimeoutError:
                logger.warning("capture_fence_not_written", extra={"driver": self.name})
                self._fences.requeue()
            except LOST:
                if not conn.is_closed():
                    raise
                self._fences.requeue()

    async def _connect_for_fences(self) -> asyncpg.Connection:
        conn = await connect(self._dsn, timeout_s=self._connect_s)
        # Wake `_emit` as soon as this connection ends, not only when the next fence is requested.
        conn.add_termination_listener(lambda _: self._fences.requested.set())
        return conn

    async def _receive(self) -> None:
        """Report the position every `feedback_ms` until the stream ends; frames are read by a callback, `_receive_frame`."""
        wire = self._wire
        if wire is None:
            raise CaptureClosedError("the capture is not open")
        self._decoder = self._new_decoder()
        ended = wire.deliver(self._receive_frame)
        silent = 0
        while True:
            self._frame_received = False
            await asyncio.wait([ended], timeout=self._settings.feedback_ms / 1000)
            if ended.done():
                ended.result()
            silent = 0 if self._frame_received else silent + 1
            if silent > SILENT_MAX:
                raise CaptureLostError("the server did not reply to keepalives")
            self._report(wire, response_wanted=not self._frame_received)

    def _receive_frame(self, frame: bytes | Keepalive) -> None:
        self._frame_received = True
        if isinstance(frame, Keepalive):
            self._server_lsn = max(self._server_lsn, frame.lsn)
            if frame.response_wanted and self._wire is not None:
                self._report(self._wire, response_wanted=False)
            return
        self._fences.progress += 1
        transaction = self._decoder.feed(frame)
        if transaction is not None:
            self._deliver_decoded(transaction, self._decoder)

    def _report(self, wire: ReplicationConnection, *, response_wanted: bool) -> None:
        """Confirm what has been processed; if nothing is left to process, all that the server has sent, so that it can remove its log."""
        position = self.position
        confirmed = self._confirmed if self._persistent else position
        if confirmed >= position:
            confirmed = max(confirmed, self._server_lsn)
        self._retained = max(0, self._server_lsn - confirmed)
        wire.feedback(confirmed, max(position, self._server_lsn), response_wanted=response_wanted)

    async def _disconnect(self) -> None:
        wire, self._wire = self._wire, None
        conn, self._conn = self._conn, None
        if wire is not None:
            with contextlib.suppress(OSError, psycopg.Error, CaptureLostError):
                if self._closed and self._task is not None:
                    self._report(wire, response_wanted=False)
            with contextlib.suppress(OSError, psycopg.Error):
                await wire.aclose()
        if conn is not None:
            await disconnect(conn, timeout_s=CLOSE_TIMEOUT_S)
