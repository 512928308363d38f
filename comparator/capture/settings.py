"""The `capture:` section of config.yaml: by which driver the changes of a database are captured, and within which bounds.

Pure. One section serves both databases; the names of a persistent slot are made unique by the database's role.
"""

from enum import StrEnum
from typing import Annotated, Any, cast

import msgspec
from msgspec import Meta

from comparator.tables import Struct

Milliseconds = Annotated[int, Meta(ge=1, le=3_600_000)]
Name = Annotated[str, Meta(pattern=r"^[a-z_][a-z0-9_]{0,62}$")]


class Driver(StrEnum):
    """How committed changes are read: the replication protocol, SQL functions on a slot, triggers, or not at all."""

    STREAM = "stream"
    SQL = "sql"
    TRIGGERS = "triggers"
    OFF = "off"


class SlotKind(StrEnum):
    """A temporary slot goes away with its connection; a persistent one keeps the log until it is read."""

    TEMPORARY = "temporary"
    PERSISTENT = "persistent"


class Slot(Struct, frozen=True):
    """The replication slot. Only the stream driver reads a persistent one, and then `name` is its name.

    A persistent slot loses nothing over a restart and keeps write-ahead log on the server for as long as nobody reads:
    set `max_slot_wal_keep_size` on the server before choosing it.
    """

    kind: SlotKind = SlotKind.TEMPORARY
    name: Name = "shadow"


class CaptureSettings(Struct, frozen=True):
    """Section `capture:`.

    Attributes:
        driver: stream (production), sql (quiet or embedded databases), triggers (managed databases), off.
        publication: name of the publication that holds the captured tables.
        slot: temporary or persistent.
        tables: names of the captured tables ("name" in schema public, else "schema.name").
        poll_ms: how often the sql and triggers drivers look by themselves; a fence looks at once.
        post_response_wait_ms: waited before a fence, for a service that writes after it has answered.
        fence_timeout_ms: after this a fence gives up.
        connect_timeout_ms: for each connection and for making a slot.
        lock_timeout_ms: for each statement of preparation that locks a table.
        feedback_ms: how often the stream driver reports its position; under half of the server's wal_sender_timeout.
        backoff_max_ms: the longest pause between two attempts to reconnect.
        read_changes_max: messages fetched by one call of the sql driver (it goes on to the end of the transaction).
        transaction_changes_max: a transaction with more row changes is not held in memory; it counts as an interruption,
            after which the shadow is compared whole. The triggers driver holds at most a minute of changes instead.
        wal_warn_bytes: log kept back by the slot from which the sql driver warns: each of its calls reads all of it.
        log_schema: schema of the change log of the triggers driver.
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
    feedback_ms: Milliseconds = 5_000
    backoff_max_ms: Milliseconds = 5_000
    read_changes_max: Annotated[int, Meta(ge=100)] = 20_000
    transaction_changes_max: Annotated[int, Meta(ge=1)] = 200_000
    wal_warn_bytes: Annotated[int, Meta(ge=0)] = 5_000_000
    log_schema: Name = "shadow_capture"


def shadow_capture(settings: CaptureSettings) -> CaptureSettings:
    """How the shadow is captured: it is ours, so never by triggers, and nothing of it has to survive a restart."""
    driver = Driver.SQL if settings.driver is Driver.TRIGGERS else settings.driver
    return msgspec.structs.replace(settings, driver=driver, slot=Slot())


def with_words(section: object, *names: str) -> object:
    """A section as plain data, in which these members say `off` again where YAML took the bare word for a truth value."""
    if not isinstance(section, dict):
        return section
    members = cast("dict[Any, Any]", section)
    return {name: "off" if name in names and value is False else value for name, value in members.items()}
