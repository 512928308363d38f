"""Drive one replication connection over libpq, on asyncio. Besides the stream driver, which handles its errors, the only user of psycopg.

libpq provides TLS, SCRAM and every connection option. The COPY BOTH stream is read here, because asyncpg lacks the replication protocol
and psycopg's cursors cannot read such a stream. Its frames begin with one byte:

    'w' | start LSN | end LSN | server time | payload of pgoutput      a message of the log (25 bytes of header)
    'k' | end LSN | server time | reply requested                      a keepalive
    'r' | received | flushed | applied | our time | reply requested    our feedback

Source: PostgreSQL documentation, "Streaming Replication Protocol".
"""

import asyncio
import os
import struct
import time
from collections.abc import Callable, Mapping
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
    """A keepalive of the server: it has sent everything of this publication up to `lsn`, and may request feedback."""

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
    """Convert a DSN into libpq's environment variables, for PostgreSQL's programs; options without a variable are left out."""
    options = conninfo_to_dict(dsn)
    return {variable: str(options[name]) for name, variable in ENVIRONMENT.items() if options.get(name) is not None}


def program_environment(connection: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a PostgreSQL program.

    What a DSN leaves open comes from libpq's variables (PGHOST, PGUSER, ...), as for our own connections. Other variables of its tools, as
    PGSERVICE, are left out: they would replace what the DSN says.

    Args:
        connection: as `environment` returns it.
    """
    known = frozenset(ENVIRONMENT.values())
    own = {name: value for name, value in os.environ.items() if not name.startswith("PG") or name in known}
    return {**own, **connection}


class ReplicationConnection:
    """The client of a walsender: `connect`, then `command`s, then `stream`, then `deliver` and `feedback`."""

    def __init__(self, conn: psycopg.AsyncConnection) -> None:
        self._conn = conn
        self._pgconn = conn.pgconn
        # A descriptor of our own: libpq closes its descriptor when the connection is lost, and by the time the event loop learns of
        # it the number may belong to another socket.
        self._socket = os.dup(self._pgconn.socket)
        self._readable = asyncio.Event()
        self._watching = False
        self._take: Callable[[bytes | Keepalive], None] = _refuse
        self._ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @classmethod
    async def connect(
        cls, dsn: str, *, session: dict[str, str], application: str, timeout_s: float
    ) -> "ReplicationConnection":
        """Open a replication connection.

        Args:
            dsn: URL of the database.
            session: session settings.
            application: application_name of the session.
            timeout_s: limit for connecting, in seconds.

        Raises:
            CaptureLostError: the server did not accept the connection.
        """
        configured = conninfo_to_dict(dsn).get("options") or ""
        options = " ".join([str(configured), *(f"-c {name}={value}" for name, value in session.items())]).strip()
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
            raise CaptureLostError(f"cannot open a replication connection: {error}") from error
        return cls(conn)

    async def command(self, template: str, *, identifier: str = "", timeout_s: float) -> list[tuple[object, ...]]:
        """Run one replication command; return its rows.

        Args:
            template: the command; `{}` stands for the quoted identifier.
            identifier: name of the slot.
            timeout_s: limit in seconds.

        Raises:
            CaptureLostError: the connection was lost.
            psycopg.DatabaseError: the server refused; the SQLSTATE names the reason.
            TimeoutError: the command took longer than `timeout_s`.
        """
        query = sql.SQL(template).format(sql.Identifier(identifier))  # pyright: ignore[reportArgumentType] (our own constants)
        try:
            async with asyncio.timeout(timeout_s):
                cursor = await self._conn.execute(query)
                return await cursor.fetchall() if cursor.description else []
        except psycopg.OperationalError as error:
            if self._conn.closed:
                raise CaptureLostError(f"the replication connection was lost: {error}") from error
            raise

    async def create_slot(self, slot: str, *, timeout_s: float) -> tuple[str, int]:
        """Create a persistent slot; return the snapshot of its start, valid until the next command, and its LSN.

        Raises:
            SlotRefusedError: the server refused, or a running transaction did not end in time.
        """
        template = "CREATE_REPLICATION_SLOT {} LOGICAL pgoutput EXPORT_SNAPSHOT"
        try:
            ((_, lsn, snapshot, _),) = await self.command(template, identifier=slot, timeout_s=timeout_s)
        except (psycopg.DatabaseError, TimeoutError) as error:
            raise SlotRefusedError(f"cannot create the slot {slot}: {error}") from error
        high, low = str(lsn).split("/")
        return str(snapshot), int(high, 16) << 32 | int(low, 16)

    async def drop_slot(self, slot: str, *, timeout_s: float) -> None:
        """Drop a slot without a reader.

        Raises:
            SlotRefusedError: the server refused.
        """
        try:
            await self.command("DROP_REPLICATION_SLOT {} WAIT", identifier=slot, timeout_s=timeout_s)
        except psycopg.DatabaseError as error:
            raise SlotRefusedError(f"cannot drop the slot {slot}: {error}") from error

    async def stream(self, slot: str, *, publication: str, after: int, timeout_s: float) -> None:
        """Start to stream the slot's transactions that end after LSN `after`, in pgoutput's protocol 1.

        Raises:
            CaptureLostError, psycopg.DatabaseError, TimeoutError: as `command`.
        """
        start = (
            f"START_REPLICATION SLOT {{}} LOGICAL {after >> 32:X}/{after & 0xFFFFFFFF:X} "
            f"(proto_version '1', publication_names '\"{publication}\"', messages 'true')"
        )
        query = sql.SQL(start).format(sql.Identifier(slot))  # pyright: ignore[reportArgumentType] (our own constants)
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
        """Call `take` with each payload of pgoutput and each keepalive from now on, in order.

        Frames are read in the event loop's own callback: the server writes each row change to the socket separately, and waking a task
        for each would cost more than decoding it.

        Returns:
            A future that never has a result. Its exception is the one that ended the stream: CaptureLostError when the connection was
            lost or the server ended it, else the exception of `take`.
        """
        self._take = take
        loop = asyncio.get_running_loop()
        loop.add_reader(self._socket, self._on_readable)
        # Frames that arrived together with the answer to the command are in libpq's buffer already.
        loop.call_soon(self._on_readable)
        return self._ended

    def feedback(self, confirmed: int, received: int, *, response_wanted: bool = False) -> None:
        """Report that everything up to LSN `confirmed` has been processed and everything up to `received` has arrived.

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
        """Close the connection. Idempotent."""
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
        except Exception as error:  # noqa: BLE001 (the outermost level of a callback: the future passes it on)
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
    raise CaptureClosedError("the stream was read before `deliver` was called")


def _frame(data: "bytes | memoryview") -> bytes | Keepalive:
    """Parse one frame of the stream: a copy of pgoutput's payload, or a keepalive."""
    kind = data[0]
    try:
        if kind == _WAL:
            _WAL_END(data)
            return bytes(data[WAL_HEADER_BYTES:])
        if kind == _ALIVE:
            lsn, _, requested = _KEEPALIVE(data)
            return Keepalive(lsn, response_wanted=bool(requested))
    except struct.error as error:
        raise DecodeError(f"malformed frame of type {kind}: {error}") from error
    raise DecodeError(f"unknown frame of type {kind}")


def _sqlstate(result: "psycopg.pq.abc.PGresult | None") -> str:
    state = result.error_field(psycopg.pq.DiagnosticField.SQLSTATE) if result else None
    return state.decode() if state else "08006"


def _reason(result: "psycopg.pq.abc.PGresult | None") -> str:
    return result.get_error_message().strip() if result else "no result"
