"""Capture by triggers (driver `triggers`): read the change log of a database without logical decoding (`shadow capture install`).

One DELETE takes all rows of the log, so each transaction arrives complete: its rows are visible together or not at all. The transactions
of one read are ordered by their last logged row. That order agrees with the commit order wherever it matters: a transaction that saw or
overwrote another's row wrote its own row later. Example, with rows as (seq, xid):

    (1, 70) (2, 71) (3, 70) (4, 71)      -> transaction 70 (last row 3), then transaction 71 (last row 4)

A transaction's position is the server's LSN at its last row, raised where necessary so that positions increase from one transaction to
the next; positions are comparable with LSNs.

Rows are delivered before the DELETE is committed. Rows that a lost connection returns to the log are recognised by their xid.

An image has no names: they and the types are read from the catalogue behind the rows, in the same read, unless the fingerprint of the
definitions that the rows bring along says that none has changed. A transaction that has redefined
a table itself wrote the columns into each of its rows. What others wrote in the moment before a change of a definition comes under the new
one if it has as many columns, else under the one before; that is at most one read old, and the runner pauses a table that was redefined
before it judges what was written to it. A row that neither fits is an interruption.

    read 1    rows of xid 70                  a is (first, last)
    read 2    rows of xid 71 and 73           a is (first, last, email): 72 was ALTER TABLE a ADD COLUMN email
              (f,l)     of 71                 first, last: the definition before
              (f,l,e)   of 73                 first, last, email

What triggers of the application change is logged before all of the statement is that fired them: `change_order` puts it right.
"""

import asyncio
import contextlib
import hashlib
import logging
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby

import asyncpg

from comparator.capture.change_order import in_order
from comparator.capture.errors import CaptureClosedError, ChangeLogError
from comparator.capture.pgoutput import table_name
from comparator.capture.reconnecting import CLOSE_TIMEOUT_S, LOST, ReconnectingCapture
from comparator.capture.row_text import parse
from comparator.capture.session import connect
from comparator.capture.settings import CaptureSettings
from comparator.capture.trigger_log import TRIGGER, logged_tables
from comparator.exchanges.row_changes import (
    REQUEST_MESSAGE_PREFIX,
    LogicalMessage,
    Op,
    RowChange,
    RowDescription,
    Transaction,
)
from comparator.postgres import disconnect

logger = logging.getLogger(__name__)

LEASE_S = 60
"""Time for which triggers write after the reader's last renewal; the reader renews the lease every quarter of it."""

OPS = {"INSERT": Op.INSERT, "UPDATE": Op.UPDATE, "DELETE": Op.DELETE, "TRUNCATE": Op.TRUNCATE}

Definitions = Sequence[tuple[str, ...]]
"""The columns of a table, each as `type:modifier:name`: now, and when they were read before."""

DESCRIPTIONS_KEPT = 2_000
"""Definitions of tables that are kept: the changes of a table share one object until its definition changes."""

INSTALLED = """
SELECT EXISTS (SELECT 1 FROM pg_attribute WHERE attrelid = to_regclass($1) AND attname = 'written_oid' AND NOT attisdropped)
"""

HOLD = "SELECT pg_advisory_lock(hashtext($1))"

LEASE = """
SELECT last_value >= extract(epoch FROM clock_timestamp()) AS held,
       setval($1::regclass, (extract(epoch FROM clock_timestamp()) + $2)::bigint) AS until
FROM {schema}.lease
"""

MARKED = "SELECT EXISTS (SELECT 1 FROM {schema}.marker WHERE reader = $1)"

CLEAR = "DELETE FROM {schema}.log"

MARK = """
WITH gone AS (DELETE FROM {schema}.marker WHERE reader <> $1) INSERT INTO {schema}.marker (reader) VALUES ($1)
"""

REACHED = """
SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint AS lsn, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint AS clock_us
"""

PRIMARY_KEYS = """
SELECT i.indrelid::bigint AS oid, array_agg(a.attname::text ORDER BY k.number) AS columns
FROM pg_index i CROSS JOIN unnest(i.indkey) WITH ORDINALITY AS k (attnum, number)
JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
WHERE i.indisprimary AND k.number <= i.indnkeyatts AND i.indrelid = ANY($1::oid[]) GROUP BY 1
"""

DEFINITIONS = """
SELECT attrelid::bigint AS oid, array_agg(atttypid || ':' || atttypmod || ':' || attname ORDER BY attnum) AS columns
FROM pg_attribute WHERE attnum > 0 AND NOT attisdropped AND (attrelid = ANY($1::oid[])
    OR $2::text <> '' AND attrelid IN (SELECT tgrelid FROM pg_trigger WHERE tgname = $2::text)) GROUP BY 1
"""

TAKE = """
DELETE FROM {schema}.log RETURNING (
    SELECT md5(string_agg(attrelid::bigint || ':' || atttypid || ':' || atttypmod || ':' || attname, ',' ORDER BY attrelid::bigint, attnum))
    FROM pg_attribute WHERE attnum > 0 AND NOT attisdropped AND attrelid = ANY($1::oid[])
) AS fingerprint, seq, xid, pg_wal_lsn_diff(lsn, '0/0')::bigint AS lsn,
    (extract(epoch FROM at) * 1000000)::bigint AS at_us, application, request, schema_name, relation, op, before, after,
    table_oid::bigint AS table_oid, written_oid::bigint AS written_oid, columns
"""


class TriggerCapture(ReconnectingCapture):
    """A capture by triggers. A fence is one read: its snapshot contains everything that was committed before."""

    name = "triggers"

    def __init__(self, dsn: str, settings: CaptureSettings) -> None:
        super().__init__(dsn, settings)
        self._conn: asyncpg.Connection | None = None
        self._call_s = max(settings.fence_timeout_ms, settings.connect_timeout_ms) / 1000
        self._reader = uuid.uuid4().hex
        self._marked = False
        self._leased_s = 0.0
        self._uncertain: frozenset[int] = frozenset()
        self._primary_keys: dict[int, Sequence[str]] = {}
        self._columns: dict[int, tuple[str, ...]] = {}
        self._existing: dict[int, tuple[str, ...]] = {}
        """Those of `_columns` that the last look at the catalogue found."""
        self._fingerprint = ""

    def _loses_transactions(self) -> bool:
        # The log outlives the connection. Whether it outlived a crash of the server is checked when it is opened again.
        return False

    async def _open(self) -> None:
        self._conn = conn = await connect(self._dsn, timeout_s=self._settings.connect_timeout_ms / 1000)
        schema = self._settings.log_schema
        if not await conn.fetchval(INSTALLED, f"{schema}.log", timeout=self._call_s):
            raise ChangeLogError(
                f"schema {schema} has no change log, or one of an older version: run `shadow capture install`"
            )
        await self._lock_log(conn)
        unlogged = sorted(set(self._settings.tables) - set(await logged_tables(conn)))
        if unlogged:
            raise ChangeLogError(f"tables are not logged: {', '.join(unlogged)}; run `shadow capture install`")
        await self._renew_lease(conn, at_once=True)
        if not self._marked:
            await conn.execute(self._sql(CLEAR), timeout=self._call_s)
        elif not await conn.fetchval(self._sql(MARKED), self._reader, timeout=self._call_s):
            self._interruptions += 1
            logger.warning("capture_log_emptied", extra={"driver": self.name, "interruptions": self._interruptions})
        else:
            return
        await conn.execute(self._sql(MARK), self._reader, timeout=self._call_s)
        await self._read_definitions(conn, (), trigger=TRIGGER)
        self._marked = True

    async def _lock_log(self, conn: asyncpg.Connection) -> None:
        """Become the only reader: reading removes rows from the log, so two readers would each get a part of them."""
        try:
            await conn.execute(
                HOLD, f"{self._settings.log_schema}.log", timeout=self._settings.connect_timeout_ms / 1000
            )
        except TimeoutError as error:
            raise ChangeLogError("another reader uses the change log of this database: stop it first") from error

    async def _read_until_lost(self) -> None:
        conn = self._conn
        if conn is None:
            raise CaptureClosedError("the capture is not open")
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._settings.poll_ms / 1000):
                    await self._fences.requested.wait()
            token = self._fences.begin_round()
            reached = await self._read(conn)
            self._fences.complete_round(token, reached)
            await self._renew_lease(conn)

    async def _renew_lease(self, conn: asyncpg.Connection, *, at_once: bool = False) -> None:
        """Renew the lease that keeps the triggers writing; when it had expired, changes are missing: count an interruption."""
        now_s = time.monotonic()
        if not at_once and now_s - self._leased_s < LEASE_S / 4:
            return
        # Keys may have been redefined; a reader that does not know for some seconds sorts by those that were.
        self._primary_keys.clear()
        lease = f"{self._settings.log_schema}.lease"
        row = await conn.fetchrow(self._sql(LEASE), lease, LEASE_S, timeout=self._call_s)
        self._leased_s = now_s
        if self._marked and row is not None and not row["held"]:
            self._interruptions += 1
            logger.warning("capture_lease_lapsed", extra={"driver": self.name, "interruptions": self._interruptions})

    async def _read(self, conn: asyncpg.Connection) -> int:
        """Take all rows of the log and deliver their transactions; return the position that this covers."""
        delivery = self._running_delivery()
        async with conn.transaction():
            reached = await conn.fetchrow(REACHED, timeout=self._call_s)
            rows = await conn.fetch(self._sql(TAKE), list(self._existing), timeout=self._call_s)
            await self._learn_keys(conn, {row["table_oid"] for row in rows})
            definitions = await self._definitions_of(conn, rows)
            taken = transactions(rows, after=self.position, keys=self._primary_keys, definitions=definitions)
            if taken.undecoded:
                self._interruptions += 1
                extra = {"tables": sorted(taken.undecoded), "interruptions": self._interruptions}
                logger.warning("capture_definition_unknown", extra={"driver": self.name, **extra})
            for transaction in taken.transactions:
                if transaction.xid not in self._uncertain:
                    delivery.take(transaction)
            self._uncertain = frozenset(row["xid"] for row in rows)
        self._uncertain = frozenset()
        if reached is not None:
            # No fence is committed that would tell the time: the read does.
            delivery.reach(reached["lsn"], clock_us=reached["clock_us"])
        return delivery.position

    async def _learn_keys(self, conn: asyncpg.Connection, tables: set[int]) -> None:
        """Read the primary keys of tables that are not known yet."""
        unknown = tables - self._primary_keys.keys()
        if unknown:
            self._primary_keys |= dict.fromkeys(unknown, ())
            for row in await conn.fetch(PRIMARY_KEYS, sorted(unknown), timeout=self._call_s):
                self._primary_keys[row["oid"]] = row["columns"]

    async def _definitions_of(
        self, conn: asyncpg.Connection, rows: Sequence[asyncpg.Record]
    ) -> Mapping[int, Definitions]:
        """Return the definitions of the tables of these rows.

        They are read only where one has changed or is not known, by the fingerprint that the rows bring along from their own snapshot.
        """
        tables = {row["written_oid"] for row in rows}
        if rows and tables <= self._existing.keys() and rows[0]["fingerprint"] == self._fingerprint:
            return {oid: (self._existing[oid],) for oid in tables}
        return await self._read_definitions(conn, tables)

    async def _read_definitions(
        self, conn: asyncpg.Connection, tables: Iterable[int], *, trigger: str = ""
    ) -> Mapping[int, Definitions]:
        """Read the columns of all known tables, of these tables and partitions, and of all with this trigger; return those of these."""
        wanted = set(tables)
        if not wanted and not trigger:
            return {}
        before = {oid: self._columns[oid] for oid in wanted if oid in self._columns}
        oids = sorted(wanted | self._columns.keys())
        read = await conn.fetch(DEFINITIONS, oids, trigger, timeout=self._call_s)
        self._existing = {row["oid"]: tuple(row["columns"]) for row in read}
        self._fingerprint = _fingerprint(self._existing)
        # (a table that was dropped is known from the last time)
        self._columns |= self._existing
        return {
            oid: (self._columns[oid], *([before[oid]] if oid in before else ()))
            for oid in wanted
            if oid in self._columns
        }

    def _sql(self, template: str) -> str:
        return template.format(schema=f'"{self._settings.log_schema}"')

    async def _disconnect(self) -> None:
        conn, self._conn = self._conn, None
        if conn is None:
            return
        if self._closed:
            with contextlib.suppress(*LOST):
                await conn.execute("SELECT setval($1::regclass, 0)", f"{self._settings.log_schema}.lease", timeout=1.0)
        await disconnect(conn, timeout_s=CLOSE_TIMEOUT_S)


def _fingerprint(definitions: Mapping[int, Sequence[str]]) -> str:
    """Return what TAKE computes of the same definitions; in a database that is not in UTF-8 it may not, and each read asks for them."""
    text = ",".join(f"{oid}:{column}" for oid in sorted(definitions) for column in definitions[oid])
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


@dataclass(frozen=True, slots=True)
class Taken:
    """The transactions of one read.

    Attributes:
        transactions: in commit order.
        undecoded: tables of which rows are left out, because no known definition fits them.
    """

    transactions: Sequence[Transaction]
    undecoded: AbstractSet[str]


def transactions(
    rows: Sequence[asyncpg.Record],
    *,
    after: int,
    keys: Mapping[int, Sequence[str]],
    definitions: Mapping[int, Definitions],
) -> Taken:
    """Assemble rows of the change log into transactions in commit order.

    Args:
        rows: rows of the log, in any order.
        after: position of the last delivered transaction; those returned have increasing positions above it.
        keys: columns of the primary key by the table's oid.
        definitions: columns by the oid of the table or partition that was written to.

    Raises:
        DecodeError: an image is not the text of a row.
    """
    by_seq = sorted(rows, key=lambda row: (row["xid"], row["seq"]))
    groups = [list(group) for _, group in groupby(by_seq, key=lambda row: row["xid"])]
    assembled: list[Transaction] = []
    undecoded: set[str] = set()
    known: dict[tuple[int, int], Sequence[RowDescription]] = {}
    for group in sorted(groups, key=lambda group: group[-1]["seq"]):
        last = group[-1]
        after = max(after + 1, last["lsn"])
        request = next((row["request"] for row in group if row["request"]), "")
        changes: list[RowChange] = []
        redefined = {row["written_oid"] for row in group if row["columns"] is not None}
        for row in group:
            written = row["written_oid"], row["table_oid"]
            if row["columns"] is not None:
                fitting: Sequence[RowDescription] = [_description(row["table_oid"], tuple(row["columns"]))]
            else:
                fitting = known.get(written) or known.setdefault(written, _descriptions(row, definitions))
            # (what a transaction wrote before it redefined a table is rather under the former definition)
            change = _change(row, fitting[::-1] if written[0] in redefined else fitting)
            if change is None:
                undecoded.add(table_name(row["schema_name"], row["relation"]))
            else:
                changes.append(change)
        assembled.append(
            Transaction(
                xid=last["xid"] & 0xFFFFFFFF,
                commit_lsn=after,
                end_lsn=after,
                committed_us=last["at_us"],
                changes=in_order(changes, keys),
                messages=(LogicalMessage(REQUEST_MESSAGE_PREFIX, request),) if request else (),
                application=last["application"],
            )
        )
    return Taken(assembled, undecoded)


def _descriptions(row: asyncpg.Record, definitions: Mapping[int, Definitions]) -> Sequence[RowDescription]:
    """Return the definitions that a row may have been written under, the likeliest first."""
    return [_description(row["table_oid"], columns) for columns in definitions.get(row["written_oid"], ())]


def _change(row: asyncpg.Record, descriptions: Sequence[RowDescription]) -> RowChange | None:
    """Decode a row of the log by the first definition that fits; return None where none does."""
    name, op = table_name(row["schema_name"], row["relation"]), OPS[row["op"]]
    before = parse(row["before"]) if row["before"] is not None else None
    after = parse(row["after"]) if row["after"] is not None else None
    for description in descriptions:
        columns = description.columns
        count = len(columns)
        if (before is None or len(before) == count) and (after is None or len(after) == count):
            return RowChange(
                name,
                op,
                dict(zip(columns, before, strict=True)) if before is not None else None,
                dict(zip(columns, after, strict=True)) if after is not None else None,
                description,
            )
    return RowChange(name, op, None, None) if before is None and after is None else None


@lru_cache(maxsize=DESCRIPTIONS_KEPT)
def _description(oid: int, columns: tuple[str, ...]) -> RowDescription:
    """Parse the columns of a row of the log: `1700:655366:price` is the column price of type numeric(10,2)."""
    parts = [column.split(":", 2) for column in columns]
    return RowDescription(
        oid, tuple(name for _, _, name in parts), tuple((int(kind), int(modifier)) for kind, modifier, _ in parts)
    )
