r"""Decode pgoutput, protocol 1: messages of the write-ahead log in, complete committed transactions out. Pure.

The server sends committed transactions only, complete and in commit order. It describes a relation once per connection, before the first
use, so a `Decoder` lives as long as its connection. The messages of `UPDATE score SET points = 2 WHERE id = 7` under a full replica
identity:

    B  final LSN, commit time, xid
    R  16385 "public\0" "score\0" 'f'  2 columns: key "id\0" int4, key "points\0" int4
    U  16385 'O' (t"7", t"1")  'N' (t"7", t"2")      old row, new row; t is text, n NULL, u an unchanged TOAST value
    C  flags, commit LSN, end LSN, commit time       -> Transaction(changes=(RowChange("score", UPDATE, {...}, {...}),))

Source: PostgreSQL documentation, "Logical Replication Message Formats".
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass, field

from comparator.capture.errors import DecodeError
from comparator.exchanges.row_changes import LogicalMessage, Op, Row, RowChange, RowDescription, Transaction
from comparator.table_names import table_name

POSTGRES_EPOCH_US = 946_684_800_000_000
"""PostgreSQL's epoch, 2000-01-01T00:00:00Z, in Unix microseconds."""

APPLICATION_MESSAGE_PREFIX = "shadow.application"
"""Prefix of the message in which a tag trigger names the session's application_name."""

_U16 = struct.Struct("!H").unpack_from
_U32 = struct.Struct("!I").unpack_from
_U64 = struct.Struct("!Q").unpack_from
_BEGIN = struct.Struct("!QqI")
_COMMIT = struct.Struct("!BQQq")
_COLUMN_REST = struct.Struct("!Ii")

_NULL, _TEXT, _UNCHANGED = b"n"[0], b"t"[0], b"u"[0]
_COMMIT_TAG = b"C"[0]
_KEY_IMAGE, _FULL_IMAGE, _NEW_IMAGE = b"K"[0], b"O"[0], b"N"[0]


@dataclass(frozen=True, slots=True)
class Relation:
    """A table as the log describes it.

    Attributes:
        keys: columns of its replica identity.
        message: the message that it was read from.
    """

    table: str
    description: RowDescription
    keys: frozenset[str]
    message: bytes = field(compare=False, repr=False)

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns, in order."""
        return self.description.columns


class Decoder:
    """Decode one message after another into transactions.

    Args:
        changes_max: greatest number of row changes of a transaction. A larger one, e.g. a nightly job's, is returned without its
            changes, which bounds the memory.

    Attributes:
        overflows: number of transactions that were larger.
    """

    def __init__(self, *, changes_max: int = 1_000_000) -> None:
        self.overflows = 0
        self._changes_max = changes_max
        self._count = 0
        self._relations: dict[int, Relation] = {}
        self._begun: tuple[int, int, int] | None = None
        self._changes: list[RowChange] = []
        self._messages: list[LogicalMessage] = []
        self._application = ""
        self._readers: dict[int, Callable[[bytes], int]] = {
            b"B"[0]: self._begin,
            b"R"[0]: self._relation,
            b"I"[0]: self._insert,
            b"U"[0]: self._update,
            b"D"[0]: self._delete,
            b"T"[0]: self._truncate,
            b"M"[0]: self._message,
            b"O"[0]: self._origin,
            b"Y"[0]: self._type,
        }

    def feed(self, payload: bytes) -> Transaction | None:
        """Decode one message; return the transaction that it commits, None for every other message.

        Raises:
            DecodeError: the bytes are not a message of protocol 1, or the message is out of order.
        """
        if not payload:
            raise DecodeError("empty message")
        try:
            if payload[0] == _COMMIT_TAG:
                return self._commit(payload)
            reader = self._readers.get(payload[0])
            if reader is None:
                raise DecodeError(f"unknown message type {payload[:1]!r}")
            end = reader(payload)
        except (struct.error, IndexError, ValueError) as error:
            raise DecodeError(f"malformed message of type {payload[:1]!r}: {error}") from error
        if end != len(payload):
            raise DecodeError(f"message of type {payload[:1]!r} has {len(payload)} bytes, expected {end}")
        return None

    def _begin(self, data: bytes) -> int:
        if self._begun is not None:
            raise DecodeError("transaction begins inside of another")
        self._begun = _BEGIN.unpack_from(data, 1)
        return 1 + _BEGIN.size

    def _commit(self, data: bytes) -> Transaction:
        if self._begun is None:
            raise DecodeError("commit without a begin")
        if len(data) != 1 + _COMMIT.size:
            raise DecodeError(f"commit message has {len(data)} bytes, expected {1 + _COMMIT.size}")
        if self._count > self._changes_max:
            self.overflows += 1
            self._changes = []
        final_lsn, _, xid = self._begun
        _, commit_lsn, end_lsn, committed = _COMMIT.unpack_from(data, 1)
        if commit_lsn != final_lsn:
            raise DecodeError(f"commit at LSN {commit_lsn}, but the begin announced LSN {final_lsn}")
        committed_transaction = Transaction(
            xid=xid,
            commit_lsn=commit_lsn,
            end_lsn=end_lsn,
            committed_us=committed + POSTGRES_EPOCH_US,
            changes=tuple(self._changes),
            messages=tuple(self._messages),
            application=self._application,
        )
        self._begun, self._changes, self._messages, self._application, self._count = None, [], [], "", 0
        return committed_transaction

    def _relation(self, data: bytes) -> int:
        (oid,) = _U32(data, 1)
        known = self._relations.get(oid)
        if known is not None and known.message == data:
            # Each read of the sql driver begins with the descriptions of its tables.
            return len(data)
        schema, at = _text(data, 5)
        name, at = _text(data, at)
        (count,) = _U16(data, at + 1)
        at += 3
        columns: list[str] = []
        types: list[tuple[int, int]] = []
        keys: list[str] = []
        for _ in range(count):
            is_key = data[at] & 1
            column, at = _text(data, at + 1)
            types.append(_COLUMN_REST.unpack_from(data, at))
            at += _COLUMN_REST.size
            columns.append(column)
            if is_key:
                keys.append(column)
        description = RowDescription(oid, tuple(columns), tuple(types))
        described = Relation(table_name(schema or "pg_catalog", name), description, frozenset(keys), data)
        # The server describes a relation again after any change of its catalogue rows, e.g. a new index. Unless the description
        # itself changed, the rows keep sharing the object that stands for it.
        if known != described:
            self._relations[oid] = described
        return at

    def _insert(self, data: bytes) -> int:
        relation = self._of(data)
        if data[5] != _NEW_IMAGE:
            raise DecodeError("insert without a new row")
        after, at = _row(data, 6, relation.columns)
        self._add(RowChange(relation.table, Op.INSERT, None, after, relation.description))
        return at

    def _update(self, data: bytes) -> int:
        relation = self._of(data)
        before, at = _old_image(data, relation)
        if data[at] != _NEW_IMAGE:
            raise DecodeError("update without a new row")
        after, at = _row(data, at + 1, relation.columns)
        if before is None:
            # Without an old image the replica identity did not change: its old values are those of the new row.
            before = {column: after[column] for column in relation.columns if column in relation.keys & after.keys()}
        elif len(after) < len(relation.columns):
            known = {**before, **after}
            after = {column: known[column] for column in relation.columns if column in known}
        self._add(RowChange(relation.table, Op.UPDATE, before, after, relation.description))
        return at

    def _delete(self, data: bytes) -> int:
        relation = self._of(data)
        before, at = _old_image(data, relation)
        if before is None:
            raise DecodeError("delete without an old row")
        self._add(RowChange(relation.table, Op.DELETE, before, None, relation.description))
        return at

    def _truncate(self, data: bytes) -> int:
        (count,) = _U32(data, 1)
        end = 6 + 4 * count
        if end > len(data):
            raise DecodeError(f"truncate of {count} tables in a message of {len(data)} bytes")
        for at in range(6, end, 4):
            relation = self._known(_U32(data, at)[0])
            self._add(RowChange(relation.table, Op.TRUNCATE, None, None, relation.description))
        return end

    def _message(self, data: bytes) -> int:
        transactional = data[1] & 1
        _U64(data, 2)
        prefix, at = _text(data, 10)
        (size,) = _U32(data, at)
        at += 4
        content = data[at : at + size].decode(errors="replace")
        if transactional:
            self._inside()
            if prefix == APPLICATION_MESSAGE_PREFIX:
                self._application = content
            else:
                self._messages.append(LogicalMessage(prefix, content))
        return at + size

    def _origin(self, data: bytes) -> int:
        self._inside()
        _U64(data, 1)
        return _text(data, 9)[1]

    def _type(self, data: bytes) -> int:
        _U32(data, 1)
        _, at = _text(data, 5)
        return _text(data, at)[1]

    def _of(self, data: bytes) -> Relation:
        return self._known(_U32(data, 1)[0])

    def _known(self, oid: int) -> Relation:
        relation = self._relations.get(oid)
        if relation is None:
            raise DecodeError(f"change of relation {oid}, which was not described")
        return relation

    def _add(self, change: RowChange) -> None:
        self._inside()
        self._count += 1
        if self._count <= self._changes_max:
            self._changes.append(change)

    def _inside(self) -> None:
        if self._begun is None:
            raise DecodeError("change outside of a transaction")


def _text(data: bytes, at: int) -> tuple[str, int]:
    """Return the NUL-terminated string at `at` and the position behind it; ValueError when there is no NUL."""
    end = data.index(0, at)
    return data[at:end].decode(), end + 1


def _old_image(data: bytes, relation: Relation) -> tuple[Row | None, int]:
    """Return the old row behind the relation's oid, None for none, and the position behind it; of a key image only the key columns."""
    kind = data[5]
    if kind == _FULL_IMAGE:
        return _row(data, 6, relation.columns)
    if kind == _KEY_IMAGE:
        row, at = _row(data, 6, relation.columns)
        return {column: value for column, value in row.items() if column in relation.keys}, at
    return None, 5


def _row(data: bytes, at: int, columns: tuple[str, ...]) -> tuple[dict[str, str | None], int]:
    """Return one row and the position behind it; unchanged TOAST values are absent. The hot loop: about thirty rows a request."""
    (count,) = _U16(data, at)
    if count != len(columns):
        raise DecodeError(f"row of {count} columns in a relation of {len(columns)} columns")
    at += 2
    row: dict[str, str | None] = {}
    for column in columns:
        kind = data[at]
        if kind == _TEXT:
            (size,) = _U32(data, at + 1)
            start = at + 5
            at = start + size
            row[column] = data[start:at].decode()
            continue
        at += 1
        if kind == _NULL:
            row[column] = None
        elif kind != _UNCHANGED:
            raise DecodeError(f"column value of unknown kind {kind}")
    return row, at
