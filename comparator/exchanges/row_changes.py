"""Define committed transactions and their row changes, as change data capture delivers them. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

Row = Mapping[str, str | None]
"""An image of a row: PostgreSQL's text output by column (`timezone=UTC`, `datestyle=ISO`, `extra_float_digits=3`), None for NULL.

A column is absent when the write-ahead log does not contain its value: an unchanged TOAST value without an old image.
"""


@dataclass(frozen=True, slots=True)
class RowDescription:
    """The definition that a row was written under. A table's changes share one until its definition changes.

    Attributes:
        oid: of the table. A table that was dropped and created again, or swapped with another one, has its name and another oid.
        columns: names, in the order of the values.
        types: oid and modifier of each column's type, as pg_attribute has them: `numeric(10,2)` is (1700, 655366). The oids of types
            that a database defines itself are its own.
    """

    oid: int
    columns: tuple[str, ...]
    types: tuple[tuple[int, int], ...]


class Op(StrEnum):
    """The operation of a row change."""

    INSERT = "insert"
    UPDATE = "update"
    DELETE = "delete"
    TRUNCATE = "truncate"


@dataclass(frozen=True, slots=True)
class RowChange:
    """One row changed by one statement.

    Attributes:
        table: the bare name for schema public, else "schema.name".
        op: the operation.
        before: the image before; None for an insert and a truncate.
        after: the image after; None for a delete and a truncate.
        description: the definition that both images were written under; None where the source does not tell it.
    """

    table: str
    op: Op
    before: Row | None
    after: Row | None
    description: RowDescription | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class LogicalMessage:
    """A logical-decoding message (`pg_logical_emit_message`) inside a transaction."""

    prefix: str
    content: str


REQUEST_MESSAGE_PREFIX = "shadow.request"
"""Prefix of the transactional message in which a side names the X-Request-Id that its transaction belongs to."""

TRACE_MESSAGE_PREFIX = "shadow.traceparent"
"""Prefix of the message in which a tag trigger passes on the W3C traceparent that a statement carried as a comment."""


@dataclass(frozen=True, slots=True)
class Transaction:
    """One committed transaction, complete.

    Attributes:
        xid: transaction id, 32 bits.
        commit_lsn: log sequence number of the commit, 64 bits.
        end_lsn: log sequence number behind the commit.
        committed_us: commit time in Unix microseconds of the server's clock.
        changes: row changes in the order of their statements.
        messages: logical-decoding messages in order.
        application: application_name of the session when the driver knows it (trigger log, tag trigger), else "".
    """

    xid: int
    commit_lsn: int
    end_lsn: int
    committed_us: int
    changes: tuple[RowChange, ...]
    messages: tuple[LogicalMessage, ...] = ()
    application: str = ""

    @property
    def request_id(self) -> str:
        """The request id that the transaction carries in a message, "" for none."""
        return next((m.content for m in self.messages if m.prefix == REQUEST_MESSAGE_PREFIX), "")

    @property
    def trace_id(self) -> str:
        """The W3C trace id that its statements carried, "" for none. One trace may contain several requests."""
        text = next((m.content for m in self.messages if m.prefix == TRACE_MESSAGE_PREFIX), "")
        return text.split("-")[1] if text.count("-") == 3 else ""

    @property
    def names(self) -> tuple[str, ...]:
        """The names of its request: the request id and `trace:` with the trace id, as far as it carries them."""
        if not self.messages:
            return ()
        trace = self.trace_id
        return tuple(name for name in (self.request_id, trace and f"trace:{trace}") if name)
