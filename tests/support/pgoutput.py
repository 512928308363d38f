"""Encoder of pgoutput messages (protocol 1) and of rows as text: the inverse of the decoder."""

import struct
from collections.abc import Iterable, Sequence

from comparator.capture.pgoutput import POSTGRES_EPOCH_US
from comparator.exchanges.row_changes import Op, Row, RowChange, Transaction

UNCHANGED = object()
"""An unchanged TOAST value in `row`."""


def cstring(text: str) -> bytes:
    return text.encode() + b"\0"


def row(values: Iterable[object]) -> bytes:
    """Encode a tuple of text, None or UNCHANGED."""
    cells = list(values)
    encoded = [_cell(value) for value in cells]
    return struct.pack("!H", len(cells)) + b"".join(encoded)


def _cell(value: object) -> bytes:
    if value is None:
        return b"n"
    if value is UNCHANGED:
        return b"u"
    data = str(value).encode()
    return b"t" + struct.pack("!I", len(data)) + data


def begin(*, final_lsn: int, committed_us: int, xid: int) -> bytes:
    return b"B" + struct.pack("!QqI", final_lsn, committed_us - POSTGRES_EPOCH_US, xid)


def commit(*, lsn: int, end_lsn: int, committed_us: int) -> bytes:
    return b"C" + struct.pack("!BQQq", 0, lsn, end_lsn, committed_us - POSTGRES_EPOCH_US)


def relation(oid: int, table: str, columns: Sequence[str], *, keys: Iterable[str] = ()) -> bytes:
    """Encode a relation; `keys` are the columns of its replica identity."""
    schema, dot, name = table.rpartition(".")
    described = b"".join(
        struct.pack("!B", column in set(keys)) + cstring(column) + struct.pack("!Ii", 25, -1) for column in columns
    )
    head = struct.pack("!I", oid) + cstring(schema if dot else "public") + cstring(name)
    return b"R" + head + b"f" + struct.pack("!H", len(columns)) + described


def insert(oid: int, after: Iterable[object]) -> bytes:
    return b"I" + struct.pack("!I", oid) + b"N" + row(after)


def update(
    oid: int, after: Iterable[object], *, old: Iterable[object] | None = None, key: Iterable[object] | None = None
) -> bytes:
    image = b"O" + row(old) if old is not None else b"K" + row(key) if key is not None else b""
    return b"U" + struct.pack("!I", oid) + image + b"N" + row(after)


def delete(oid: int, old: Iterable[object], *, kind: bytes = b"O") -> bytes:
    return b"D" + struct.pack("!I", oid) + kind + row(old)


def truncate(*oids: int) -> bytes:
    return b"T" + struct.pack("!IB", len(oids), 0) + b"".join(struct.pack("!I", oid) for oid in oids)


def message(prefix: str, content: str, *, transactional: bool = True, lsn: int = 0) -> bytes:
    data = content.encode()
    return b"M" + struct.pack("!BQ", transactional, lsn) + cstring(prefix) + struct.pack("!I", len(data)) + data


def origin(name: str) -> bytes:
    return b"O" + struct.pack("!Q", 1) + cstring(name)


def type_of(oid: int, schema: str, name: str) -> bytes:
    return b"Y" + struct.pack("!I", oid) + cstring(schema) + cstring(name)


def encode(transaction: Transaction, columns: dict[str, Sequence[str]]) -> list[bytes]:
    """Encode a transaction whose tables have full replica identity."""
    oids = {table: number for number, table in enumerate(columns, start=1)}
    messages = [begin(final_lsn=transaction.commit_lsn, committed_us=transaction.committed_us, xid=transaction.xid)]
    messages += [relation(oids[table], table, names, keys=names) for table, names in columns.items()]
    messages += [message(logical.prefix, logical.content) for logical in transaction.messages]
    messages += [_encode_change(change, oids[change.table], columns[change.table]) for change in transaction.changes]
    end = commit(lsn=transaction.commit_lsn, end_lsn=transaction.end_lsn, committed_us=transaction.committed_us)
    return [*messages, end]


def _encode_change(change: RowChange, oid: int, columns: Sequence[str]) -> bytes:
    match change.op:
        case Op.INSERT:
            return insert(oid, _values(change.after, columns))
        case Op.UPDATE:
            return update(oid, _values(change.after, columns), old=_values(change.before, columns))
        case Op.DELETE:
            return delete(oid, _values(change.before, columns))
        case Op.TRUNCATE:
            return truncate(oid)


def _values(image: Row | None, columns: Sequence[str]) -> list[str | None]:
    return [] if image is None else [image[column] for column in columns]


def row_text(values: Iterable[str | None]) -> str:
    """Return a row in PostgreSQL's text format of composite values."""
    return "(" + ",".join(_field(value) for value in values) + ")"


def _field(value: str | None) -> str:
    if value is None:
        return ""
    if value == "" or any(sign in value for sign in '"\\(),') or any(sign.isspace() for sign in value):
        escaped = value.replace("\\", "\\\\").replace('"', '""')
        return f'"{escaped}"'
    return value
