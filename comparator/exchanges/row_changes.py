"""Committed row changes as they come out of a write-ahead log.

Pure. Column values are PostgreSQL's text output (`timezone=UTC`, `datestyle=ISO`, `extra_float_digits=3`), None for NULL.
A column whose value the log did not carry (an unchanged TOAST value without an old image) is absent from the mapping.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

Row = Mapping[str, str | None]


class Op(StrEnum):
    """What was done to a row."""

    INSERT = "insert"
    UPDATE = "update"
    DELETE = "delete"
    TRUNCATE = "truncate"


@dataclass(frozen=True, slots=True)
class RowChange:
    """One row changed by one statement: `before` is None for an insert, `after` is None for a delete.

    `table` is the bare name for schema public, else "schema.name". A truncate has neither image.
    """

    table: str
    op: Op
    before: Row | None
    after: Row | None


@dataclass(frozen=True, slots=True)
class LogicalMessage:
    """A logical-decoding message (`pg_logical_emit_message`) inside a transaction."""

    prefix: str
    content: str


REQUEST_MESSAGE_PREFIX = "shadow.request"
"""Prefix of the transactional message by which a side names the X-Request-Id its transaction belongs to."""


TRACE_MESSAGE_PREFIX = "shadow.traceparent"
"""Prefix of the message by which a tag trigger passes on the W3C traceparent that a statement carried as a comment."""


@dataclass(frozen=True, slots=True)
class Transaction:
    """One committed transaction, whole. LSNs are 64-bit integers; `committed_us` is Unix microseconds of the server's clock.

    `application` is the application_name when the driver knows it (trigger log, tag trigger), else "".
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
        """The request id the transaction carries itself, "" when it carries none."""
        return next((m.content for m in self.messages if m.prefix == REQUEST_MESSAGE_PREFIX), "")

    @property
    def trace_id(self) -> str:
        """The W3C trace id its statements carried, "" for none. One trace may hold several requests."""
        text = next((m.content for m in self.messages if m.prefix == TRACE_MESSAGE_PREFIX), "")
        return text.split("-")[1] if text.count("-") == 3 else ""

    @property
    def names(self) -> tuple[str, ...]:
        """What it says of the request it belongs to: its id, its trace."""
        trace = self.trace_id
        return tuple(name for name in (self.request_id, trace and f"trace:{trace}") if name)
