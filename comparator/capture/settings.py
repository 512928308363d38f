"""Declare the section `capture:` of config.yaml: the driver of change data capture and its limits. Pure."""

from enum import StrEnum
from typing import Annotated

import msgspec
from msgspec import Meta

from comparator.table_names import canonical_name
from comparator.tables import Struct

Milliseconds = Annotated[int, Meta(ge=1, le=3_600_000)]
Name = Annotated[str, Meta(pattern=r"^[a-z_][a-z0-9_]{0,62}$")]


class Driver(StrEnum):
    """The way in which committed changes are read.

    Attributes:
        STREAM: the replication protocol.
        SQL: SQL functions on a replication slot.
        TRIGGERS: triggers that write a change log.
        OFF: not at all; effects are neither compared nor aligned.
    """

    STREAM = "stream"
    SQL = "sql"
    TRIGGERS = "triggers"
    OFF = "off"


class SlotKind(StrEnum):
    """The lifetime of a replication slot.

    Attributes:
        TEMPORARY: the server drops the slot with its connection; what is committed meanwhile is lost.
        PERSISTENT: the server keeps its log until it has been read and confirmed.
    """

    TEMPORARY = "temporary"
    PERSISTENT = "persistent"


class Slot(Struct, frozen=True):
    """The replication slot. Only the stream driver reads a persistent one.

    A persistent slot loses nothing across a restart, but the server keeps its write-ahead log for as long as there is no reader: set
    `max_slot_wal_keep_size` on the server first.

    Attributes:
        kind: temporary or persistent.
        name: name of a persistent slot; temporary slots have generated names.
    """

    kind: SlotKind = SlotKind.TEMPORARY
    name: Name = "shadow"


class CaptureSettings(Struct, frozen=True):
    """Section `capture:`.

    Attributes:
        driver: stream (production), sql (quiet or embedded databases), triggers (managed databases) or off.
        publication: name of the publication of the captured tables.
        slot: the replication slot.
        tables: names of the captured tables: `name` in schema public, else `schema.name`; a part with a dot or a quote is quoted as in
            SQL: `"a.b"."c"`. Empty: the tables of `compare.tables`.
        poll_ms: time between two reads of the sql and triggers drivers, in milliseconds; a fence reads at once.
        post_response_wait_ms: wait before each fence, in milliseconds, for a service that still writes after its response.
        fence_timeout_ms: limit for a fence, in milliseconds: for what was committed before it to arrive, while nothing is read.
        connect_timeout_ms: limit for each connection and for creating a slot, in milliseconds.
        lock_timeout_ms: limit for the lock of each table that is prepared, in milliseconds. Each of several attempts waits for a tenth of
            a second at most, so that no client queues behind it for longer.
        writer_roles: further roles of live that write to the tables. `shadow capture check --apply` tries the writes of a table as its
            owner and as each role with privileges on it, as far as its own role may SET ROLE.
        feedback_ms: time between two position reports of the stream driver, in milliseconds; less than half of the server's
            wal_sender_timeout.
        backoff_max_ms: longest pause between two attempts to reconnect, in milliseconds.
        read_changes_max: messages that one call of the sql driver fetches; the call still goes on to the end of a transaction.
        transaction_changes_max: greatest number of row changes of a transaction that is held in memory. A larger one counts as an
            interruption, after which the whole shadow is compared. The triggers driver holds at most a minute of changes instead.
        wal_warn_bytes: size of the write-ahead log kept for the slot from which the sql driver warns, in bytes: each of its calls
            reads all of it.
        log_schema: schema of the triggers driver's change log.
    """

    driver: Driver = Driver.STREAM
    publication: Name = "shadow"
    slot: Slot = Slot()
    tables: tuple[str, ...] = ()
    poll_ms: Milliseconds = 100
    post_response_wait_ms: Annotated[int, Meta(ge=0, le=60_000)] = 0
    fence_timeout_ms: Milliseconds = 5_000
    connect_timeout_ms: Milliseconds = 10_000
    lock_timeout_ms: Milliseconds = 2_000
    writer_roles: tuple[str, ...] = ()
    feedback_ms: Milliseconds = 5_000
    backoff_max_ms: Milliseconds = 5_000
    read_changes_max: Annotated[int, Meta(ge=100)] = 20_000
    transaction_changes_max: Annotated[int, Meta(ge=1)] = 200_000
    wal_warn_bytes: Annotated[int, Meta(ge=0)] = 5_000_000
    log_schema: Name = "shadow_capture"

    def __post_init__(self) -> None:
        """Give each table its canonical name.

        Raises:
            ValueError: a text does not name a table.
        """
        msgspec.structs.force_setattr(self, "tables", tuple(canonical_name(table) for table in self.tables))


def shadow_capture(settings: CaptureSettings) -> CaptureSettings:
    """Derive the settings for the shadow database: never triggers, as we own it, and a temporary slot, as it may lose changes."""
    driver = Driver.SQL if settings.driver is Driver.TRIGGERS else settings.driver
    return msgspec.structs.replace(settings, driver=driver, slot=Slot())
