"""Watch the definitions of both databases' tables: on a timer, when a row shows a change, and before a verdict is given.

    rows of live and the shadow -> SchemaAgreement.observe ---- changed ----+
    a verdict waits (`confirmed`)  -------------------------------+         |
    every POLL_S                   -------------------------------+--> fingerprints of both --- changed --> readings -> update
                                                                                                            -> due for a resync

A check is one query a database, and checks begin at least CHECK_PAUSE_S apart, so that their cost is bounded whatever the traffic.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final, Protocol

import asyncpg

from comparator.capture.attribution_keys import Keys
from comparator.capture.errors import CaptureError
from comparator.capture.schema_reading import SchemaReading, read_fingerprint, read_schema
from comparator.capture.settings import CaptureSettings
from comparator.capture.table_shape import Catalog
from comparator.exchanges.comparison import Comparison
from comparator.exchanges.model import Exchange, Observation, Role
from comparator.exchanges.row_changes import RowChange, Transaction
from comparator.exchanges.table_schema import Schemas
from comparator.postgres import UNAVAILABLE, Connection
from proxy.errors import DatabaseMissingError, DatabaseUnreachableError
from proxy.runner.clock import now_us
from proxy.runner.metrics import RunnerMetrics
from proxy.runner.schema_agreement import PausedTable, SchemaAgreement, SchemaState
from proxy.runner.skip_causes import RunnerSkip
from proxy.runner.transaction_snapshot import TransactionSnapshot

logger = logging.getLogger(__name__)

POLL_S: Final = 2.0
"""Time between two checks while nothing asks for one: a change of a table that no request writes is found by then."""
CHECK_PAUSE_S: Final = 0.2
"""Shortest time between the beginnings of two checks."""
RETRY_PAUSE_S: Final = 1.0
ACQUIRE_TIMEOUT_S: Final = 10.0
MISSING: Final = {
    "shadow": "create it again: `shadow align clone`, then `shadow capture check --database shadow --apply`; "
    "the runner goes on by itself",
    "live": "restore it; the runner goes on by itself",
}
"""Remedies for a database that was dropped."""


ReadObstacles = Callable[[Catalog], Awaitable[Mapping[str, Sequence[str]]]]
"""Returns what keeps tables of the shadow from being written exactly, by table."""


class SchemaReader(Protocol):
    """Reads the definitions of one database's tables."""

    async def fingerprint(self, tables: frozenset[str]) -> str:
        """Return a text that changes when a definition does."""
        ...

    async def read(self, tables: frozenset[str]) -> SchemaReading:
        """Read the definitions."""
        ...


@dataclass(frozen=True, slots=True)
class DatabaseSchema:
    """The definitions in one database; implements `SchemaReader`. `name` is its name in section `databases`."""

    name: str
    pool: asyncpg.Pool
    capture: CaptureSettings

    async def fingerprint(self, tables: frozenset[str]) -> str:
        """See `SchemaReader`."""
        async with self._connection() as conn:
            return await read_fingerprint(conn, self.capture, tables)

    async def read(self, tables: frozenset[str]) -> SchemaReading:
        """See `SchemaReader`."""
        async with self._connection() as conn:
            return await read_schema(conn, self.capture, tables)

    @asynccontextmanager
    async def _connection(self) -> AsyncGenerator[Connection]:
        try:
            async with self.pool.acquire(timeout=ACQUIRE_TIMEOUT_S) as conn:
                yield conn
        except asyncpg.InvalidCatalogNameError as error:
            # (its text may go on with a DETAIL, in a line of its own)
            reason = error.args[0]
            raise DatabaseMissingError(f"databases.{self.name}: {reason}: {MISSING[self.name]}") from error
        except UNAVAILABLE as error:
            raise DatabaseUnreachableError(f"databases.{self.name}: {type(error).__name__}: {error}") from error


@dataclass(slots=True)
class SchemaWatch:
    """Keeps the agreement up to date.

    Attributes:
        agreement: the tables in force and the paused ones.
        live: reads live.
        shadow: reads the shadow.
        metrics: show the paused tables.
        on_change: called after the agreement changed; takes the shapes into use.
        read_obstacles: reads what keeps tables of the shadow from being written.
        advance_sequences: moves sequences that are new in the shadow apart from live's.
        delivered: returns when everything that both databases have committed before has been observed.
    """

    agreement: SchemaAgreement
    live: SchemaReader
    shadow: SchemaReader
    metrics: RunnerMetrics
    on_change: Callable[[], None]
    read_obstacles: ReadObstacles
    advance_sequences: Callable[[], Awaitable[object]]
    delivered: Callable[[], Awaitable[None]]
    _checked_us: int = 0
    _fingerprints: tuple[str, str] | None = None
    _begun: int = 0
    _done: int = 0
    _wanted: asyncio.Event = field(default_factory=asyncio.Event)
    _checked: asyncio.Condition = field(default_factory=asyncio.Condition)
    _shown: dict[str, PausedTable] = field(default_factory=dict[str, PausedTable])
    _not_captured: frozenset[str] | None = None
    _failure: str = ""

    @property
    def version(self) -> int:
        """A number that grows with each change."""
        return self.agreement.version

    @property
    def schemas(self) -> Schemas:
        """The schemas that descriptions of tables are held against, those of paused tables included."""
        return {name: shape.comparison_schema for name, shape in self.agreement.known.items()}

    async def begin(self) -> None:
        """Take the first readings.

        Raises:
            DatabaseUnreachableError: a database did not answer. Other errors of the databases pass through.
        """
        self._checked_us = now_us()
        live, shadow = await self._read()
        self.agreement.begin(live, shadow, now_us())
        for difference in self.agreement.tolerated():
            logger.info("schema_difference_tolerated", extra={"difference": str(difference)})
        self._show()
        self.on_change()

    async def run(self) -> None:
        """Check until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(POLL_S):
                    await self._wanted.wait()
            began_s = loop.time()
            try:
                await self.check()
                self._note_failure("")
            except DatabaseMissingError as error:
                self._note_failure(str(error), logging.ERROR)
                await asyncio.sleep(RETRY_PAUSE_S)
            except DatabaseUnreachableError as error:
                self._note_failure(str(error))
                await asyncio.sleep(RETRY_PAUSE_S)
            except (asyncpg.PostgresError, CaptureError, *UNAVAILABLE) as error:
                self._note_failure(f"{type(error).__name__}: {error}")
                await asyncio.sleep(RETRY_PAUSE_S)
            await asyncio.sleep(max(0.0, began_s + CHECK_PAUSE_S - loop.time()))

    def _note_failure(self, failure: str, level: int = logging.WARNING) -> None:
        """Log why the databases cannot be read, once for each reason, and that they can be again ("")."""
        if failure == self._failure:
            return
        self._failure = failure
        if failure:
            logger.log(level, "schema_check_failed", extra={"error": failure})
        else:
            logger.info("schema_check_succeeded")

    async def check(self) -> None:
        """Read the definitions again if they have changed.

        Raises:
            DatabaseUnreachableError, asyncpg.PostgresError, UNAVAILABLE, CaptureError: a database did not answer; nothing has changed.
        """
        self._wanted.clear()
        self._begun += 1
        began_us = now_us()
        number, agreement = self._begun, self.agreement
        observations, tables = agreement.observations, agreement.watched
        if agreement.has_unread or self._fingerprints != await self._read_fingerprints(tables):
            before = self._fingerprints
            live, shadow = await self._read()
            try:
                await self.advance_sequences()
                if agreement.shows_refilled(live, shadow):
                    await self.delivered()
            except BaseException:
                self._fingerprints = before
                raise
            agreement.update(live, shadow, now_us(), observations=observations, since_us=self._checked_us)
            self._show()
            self.on_change()
        self._checked_us = began_us
        async with self._checked:
            self._done = number
            self._checked.notify_all()

    async def confirmed(self) -> None:
        """Return when a check that began after this call has been made."""
        number = self._begun + 1
        self._wanted.set()
        async with self._checked:
            await self._checked.wait_for(lambda: self._done >= number)

    def observe(self, role: Role, transaction: Transaction) -> None:
        """Pause the tables whose rows show another definition than the known one, and have it read."""
        if self.agreement.observe(role, transaction, now_us()):
            self._show()
            self.on_change()
            self._wanted.set()

    def rules_changed(self) -> None:
        """Hold the tables against the descriptions in force, after the rules were reloaded."""
        self.agreement.redescribe(now_us())
        self._show()
        self.on_change()
        self._wanted.set()

    async def _read_fingerprints(self, tables: frozenset[str]) -> tuple[str, str]:
        return await self.live.fingerprint(tables), await self.shadow.fingerprint(tables)

    async def _read(self) -> tuple[SchemaState, SchemaState]:
        watched = self.agreement.watched
        live, shadow = await self.live.read(watched), await self.shadow.read(watched)
        # Each reads the tables that it captures, so that one captured on one side only is read on both the second time.
        others = live.definitions.keys() ^ shadow.definitions.keys()
        if others - watched:
            watched |= others
            live, shadow = await self.live.read(watched), await self.shadow.read(watched)
        self._fingerprints = (live.fingerprint, shadow.fingerprint)
        shapes = {
            name: definition.shape
            for name, definition in shadow.definitions.items()
            if definition.shape is not None and definition.captured
        }
        obstacles = await self.read_obstacles(Catalog(shapes))
        return SchemaState(live.definitions, live.tables), SchemaState(shadow.definitions, shadow.tables, obstacles)

    async def has_changed(self, version: int) -> bool:
        """Check the definitions; return whether any was read again since this version."""
        await self.confirmed()
        return self.version != version

    @property
    def settled(self) -> Sequence[str]:
        """Tables that are defined alike again, and due for a resync."""
        return self.agreement.settled

    def enter(self, tables: Sequence[str]) -> None:
        """Take the new shapes of these tables into use."""
        self.agreement.enter(tables)
        self.on_change()

    def refusal(self, exchange: Exchange, changes: Iterable[RowChange]) -> RunnerSkip | None:
        """See `SchemaAgreement.refusal`."""
        return self.agreement.refusal(exchange, changes)

    def refuses_verdict(
        self, exchange: Exchange, keys: Keys, served: Observation, mirrored: Observation, comparison: Comparison
    ) -> bool:
        """See `SchemaAgreement.refuses_verdict`."""
        return self.agreement.refuses_verdict(exchange, keys, served, mirrored, comparison)

    def applicable(self, changes: Sequence[RowChange], xid: int) -> Sequence[RowChange]:
        """See `SchemaAgreement.applicable`."""
        return self.agreement.applicable(changes, xid)

    def forget_copied(self) -> None:
        """See `SchemaAgreement.forget_copied`."""
        self.agreement.forget_copied()

    @property
    def status(self) -> Mapping[str, object]:
        """The paused tables with times and reasons, and the tables that are not captured: for the runner's status."""
        agreement = self.agreement
        return {
            "differs": [
                {
                    "table": name,
                    "since_s": table.since_us // 1_000_000,
                    "reasons": list(table.reasons) or ["defined alike again; it is compared with live as a whole"],
                    "differences": [
                        {"column": d.column, "live": d.live, "shadow": d.shadow} for d in table.differences
                    ],
                }
                for name, table in sorted(agreement.paused.items())
            ],
            "unreadable": self._failure,
            "not_captured": list(agreement.not_captured),
            "tolerated": [str(difference) for difference in agreement.tolerated()],
        }

    def resume(self, tables: Sequence[str], copied: TransactionSnapshot) -> None:
        """End the pause of tables that a resync has made equal."""
        self.agreement.resume(tables, copied, now_us())
        self._show()

    def _show(self) -> None:
        """Log and count what has changed since the last call."""
        paused = self.agreement.paused
        for name, table in paused.items():
            if table.reasons and (name not in self._shown or self._shown[name].reasons != table.reasons):
                logger.warning("schema_differs", extra=_fields(name, table))
            self.metrics.schema_differs.labels(name).set(1)
        for name in self._shown.keys() - paused.keys():
            logger.info("schema_agrees", extra={"table": name})
            self.metrics.schema_differs.labels(name).set(0)
        self._shown = dict(paused)
        self._show_not_captured()

    def _show_not_captured(self) -> None:
        not_captured = frozenset(self.agreement.not_captured)
        before = self._not_captured
        for name in sorted(not_captured - (before or frozenset())):
            self.metrics.not_captured.labels(name).set(1)
            if before is not None:
                logger.warning(
                    "table_not_captured",
                    extra={"table": name, "do": "`shadow capture check --apply` on both databases, or leave it out"},
                )
        for name in (before or frozenset()) - not_captured:
            self.metrics.not_captured.remove(name)
        if before is None and not_captured:
            logger.info("tables_not_captured", extra={"tables": sorted(not_captured)})
        self._not_captured = not_captured


def _fields(name: str, table: PausedTable) -> Mapping[str, object]:
    """Return the fields of the log line: the first difference in parts, and all of them in words."""
    fields: dict[str, object] = {"table": name, "reasons": list(table.reasons)}
    if table.differences:
        first = table.differences[0]
        fields |= {"column": first.column, "live": first.live, "shadow": first.shadow}
    return fields
