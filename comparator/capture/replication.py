"""One replication connection over libpq, on asyncio. The only module that knows psycopg.

libpq brings TLS, SCRAM and every connection option; the COPY BOTH stream is read here, because asyncpg has no replication
protocol and psycopg's cursors none for reading it.
Source: PostgreSQL documentation, "Streaming Replication Protocol".
"""

import asyncio
import os
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import ExecStatus

from comparator.capture.errors import CaptureClosedError, CaptureLostError, DecodeError, SlotRefusedError
from comparator.capture.pgoutput import POSTGRES_EPOCH_US

WAL_HEADER_BYTES = 25
_WAL_END = struct.Struct("!xQQ").unpack_from
_KEEPALIVE = struct.Struct("!xQqB").unpack_from
_FEEDBACK = struct.Struct("!cQQQqB").pack
_WAL, _ALIVE = b"w"[0], b"k"[0]


@dataclass(frozen=True, slots=True)
class Keepalive:
    """The server says how far it has read: nothing of this publication is left before `lsn`."""

    lsn: int
    response_wanted: bool


ENVIRONMENT = {
    "host": "PGHOST",
    "hostaddr": "PGHOSTADDR",
    "port": "PGPORT",
    "dbname": "PGDATABASE",
    "user": "PGUSER",
    "password": "PGPASSWORD",
    "passfile": "PGPASSFILE",
    "options": "PGOPTIONS",
    "sslmode": "PGSSLMODE",
    "sslrootcert": "PGSSLROOTCERT",
    "sslcert": "PGSSLCERT",
    "sslkey": "PGSSLKEY",
    "connect_timeout": "PGCONNECT_TIMEOUT",
    "target_session_attrs": "PGTARGETSESSIONATTRS",
}


def environment(dsn: str) -> dict[str, str]:
    """The DSN as environment variables of libpq, by which PostgreSQL's programs connect; other options are left out."""
    asked = conninfo_to_dict(dsn)
    return {variable: str(asked[name]) for name, variable in ENVIRONMENT.items() if asked.get(name) is not None}


class ReplicationConnection:
    """A walsender's other end. `connect`, then `command`s, then `stream`, then `deliver` and `feedback`."""

    def __init__(self, conn: psycopg.AsyncConnection) -> None:
        self._conn = conn
        self._pgconn = conn.pgconn
        # A descriptor of our own: libpq closes its own when the connection is lost, and the number may be another
        # socket's by the time the event loop is told.
        self._socket = os.dup(self._pgconn.socket)
        self._readable = asyncio.Event()
        self._watching = False
        self._take: Callable[[bytes | Keepalive], None] = _refuse
        self._ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @classmethod
    async def connect(
        cls, dsn: str, *, session: dict[str, str], application: str, timeout_s: float
    ) -> "ReplicationConnection":
        """Open a replication connection with these session settings.

        Raises:
            CaptureLostError: it cannot be opened.
        """
        asked = conninfo_to_dict(dsn).get("options") or ""
        options = " ".join([str(asked), *(f"-c {name}={value}" for name, value in session.items())]).strip()
        conninfo = make_conninfo(
            dsn,
            options=options,
            client_encoding="UTF8",
            application_name=application,
            connect_timeout=max(2, int(timeout_s)),
        )
        try:
            async with asyncio.timeout(timeout_s):
                conn = await psycopg.AsyncConnection.connect(
                    conninfo, autocommit=True, prepare_threshold=None, replication="database"
                )
        except (psycopg.Error, OSError, TimeoutError) as error:
            raise CaptureLostError(f"no replication connection: {error}") from error
        return cls(conn)

    async def command(self, words: str, *, identifier: str = "", timeout_s: float) -> list[tuple[object, ...]]:
        """Run one replication command; `{}` in it stands for the quoted identifier.

        Raises:
            CaptureLostError: the connection was lost.
            psycopg.DatabaseError: the server refused; its sqlstate says why.
            TimeoutError: it took longer than `timeout_s`.
        """
        query = sql.SQL(words).format(sql.Identifier(identifier))  # pyright: ignore[reportArgumentType] (constants of ours)
        try:
            async with asyncio.timeout(timeout_s):
                cursor = await self._conn.execute(query)
                return await cursor.fetchall() if cursor.description else []
        except psycopg.OperationalError as error:
            if self._conn.closed:
                raise CaptureLostError(f"the replication connection was lost: {error}") from error
            raise

    async def create_slot(self, slot: str, *, timeout_s: float) -> tuple[str, int]:
        """Make a persistent slot; return the snapshot of its start, valid until the next command, and its LSN.

        Raises:
            SlotRefusedError: the server refuses, or a running transaction did not end in time.
        """
        words = "CREATE_REPLICATION_SLOT {} LOGICAL pgoutput EXPORT_SNAPSHOT"
        try:
            ((_, lsn, snapshot, _),) = await self.command(words, identifier=slot, timeout_s=timeout_s)
        except (psycopg.DatabaseError, TimeoutError) as error:
            raise SlotRefusedError(f"the slot {slot} cannot be made: {error}") from error
        high, low = str(lsn).split("/")
        return str(snapshot), int(high, 16) << 32 | int(low, 16)

    async def drop_slot(self, slot: str, *, timeout_s: float) -> None:
        """Drop a slot nobody reads.

        Raises:
            SlotRefusedError: the server refuses.
        """
        try:
            await self.command("DROP_REPLICATION_SLOT {} WAIT", identifier=slot, timeout_s=timeout_s)
        except psycopg.DatabaseError as error:
            raise SlotRefusedError(f"the slot {slot} cannot be dropped: {error}") from error

    async def stream(self, slot: str, *, publication: str, after: int, timeout_s: float) -> None:
        """Start to stream the slot's changes that end after LSN `after`, in pgoutput's protocol 1.

        Raises:
            CaptureLostError, psycopg.DatabaseError, TimeoutError: as `command`.
        """
        start = (
            f"START_REPLICATION SLOT {{}} LOGICAL {after >> 32:X}/{after & 0xFFFFFFFF:X} "
            f"(proto_version '1', publication_names '\"{publication}\"', messages 'true')"
        )
        query = sql.SQL(start).format(sql.Identifier(slot))  # pyright: ignore[reportArgumentType] (constants of ours)
        self._pgconn.send_query(query.as_bytes(self._conn))
        asyncio.get_running_loop().add_reader(self._socket, self._readable.set)
        self._watching = True
        async with asyncio.timeout(timeout_s):
            while self._busy():
                await self._wait()
        result = self._pgconn.get_result()
        if result is None or result.status != ExecStatus.COPY_BOTH:
            raise psycopg.errors.lookup(_sqlstate(result))(_reason(result))
        self._pgconn.nonblocking = 1

    def deliver(self, take: Callable[[bytes | Keepalive], None]) -> asyncio.Future[None]:
        """Give `take` each payload of pgoutput and each keepalive from now on, in order, as they come.

        They are read in the event loop's own callback, because the server writes each row change to the socket by itself
        and waking a task for each costs more than decoding it.

        Returns:
            A future that never has a result and ends with the error that ended the stream: CaptureLostError when the
            connection was lost or the server ended it, else what `take` raised.
        """
        self._take = take
        loop = asyncio.get_running_loop()
        loop.add_reader(self._socket, self._on_readable)
        # What came together with the answer to the command is in libpq's buffer already.
        loop.call_soon(self._on_readable)
        return self._ended

    def feedback(self, confirmed: int, received: int, *, response_wanted: bool = False) -> None:
        """Report that all up to LSN `confirmed` is dealt with and all up to `received` has come.

        Raises:
            CaptureLostError: the connection was lost.
        """
        now_us = int(time.time() * 1_000_000) - POSTGRES_EPOCH_US
        try:
            self._pgconn.put_copy_data(_FEEDBACK(b"r", received, confirmed, confirmed, now_us, int(response_wanted)))
            self._pgconn.flush()
        except psycopg.OperationalError as error:
            raise CaptureLostError(f"the replication connection was lost: {error}") from error

    async def aclose(self) -> None:
        """Close; idempotent."""
        if not self._ended.done():
            self._ended.cancel()
        elif not self._ended.cancelled():
            self._ended.exception()
        if self._watching:
            self._watching = False
            asyncio.get_running_loop().remove_reader(self._socket)
        if self._socket >= 0:
            os.close(self._socket)
            self._socket = -1
        await self._conn.close()

    async def _wait(self) -> None:
        await self._readable.wait()
        self._readable.clear()

    def _busy(self) -> bool:
        try:
            self._pgconn.consume_input()
            return bool(self._pgconn.is_busy())
        except psycopg.OperationalError as error:
            raise CaptureLostError(f"the replication connection was lost: {error}") from error

    def _on_readable(self) -> None:
        if self._ended.done():
            return
        try:
            self._busy()
            self._drain()
        except Exception as error:  # noqa: BLE001 (a callback is outermost: whoever awaits the future gets it)
            asyncio.get_running_loop().remove_reader(self._socket)
            self._watching = False
            self._ended.set_exception(error)

    def _drain(self) -> None:
        while True:
            try:
                size, data = self._pgconn.get_copy_data(1)
            except psycopg.OperationalError as error:
                raise CaptureLostError(f"the replication connection was lost: {error}") from error
            if size == 0:
                return
            if size < 0:
                raise CaptureLostError(f"the server ended the stream: {_reason(self._pgconn.get_result())}")
            self._take(_frame(data))


def _refuse(_: bytes | Keepalive) -> None:
    raise CaptureClosedError("the stream was read before anybody took it")


def _frame(data: "bytes | memoryview") -> bytes | Keepalive:
    """One message of the stream: a copy of pgoutput's payload, or a keepalive."""
    kind = data[0]
    try:
        if kind == _WAL:
            _WAL_END(data)
            return bytes(data[WAL_HEADER_BYTES:])
        if kind == _ALIVE:
            lsn, _, wanted = _KEEPALIVE(data)
            return Keepalive(lsn, response_wanted=bool(wanted))
    except struct.error as error:
        raise DecodeError(f"a broken frame of type {kind}: {error}") from error
    raise DecodeError(f"an unknown frame of type {kind}")


def _sqlstate(result: "psycopg.pq.abc.PGresult | None") -> str:
    state = result.error_field(psycopg.pq.DiagnosticField.SQLSTATE) if result else None
    return state.decode() if state else "08006"


def _reason(result: "psycopg.pq.abc.PGresult | None") -> str:
    return result.get_error_message().strip() if result else "no result"
