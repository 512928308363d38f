"""Takes out of bodies, headers and rows what an operator does not want kept, and leaves equal values equal.

Pure. A value becomes `redacted:` and a keyed digest, so two redacted documents still compare like the originals, but numbers
and times lose their order and distance.
"""

import hashlib
import hmac
from typing import Any, Final, cast

from comparator.bodies import Unreadable, decoded
from comparator.changes import Row, RowChange, Transaction
from comparator.difference import NonFinite, Repeated, text_of_value
from comparator.exact import InvalidJsonError, parse
from comparator.exchange import HeaderList, Reply, Request
from comparator.paths import Automaton, Node, parse_pattern

DIGEST_HEX: Final = 16


class Redactor:
    """The section `compare.redact`, compiled: header names and JSON paths.

    Args:
        declared: names of headers (any case) and JSON paths; each entry is used as both.
        salt: keys the digests; the same salt gives the same digest for the same value.
        body_max_bytes: bodies that decode to more are replaced as a whole.
    """

    def __init__(self, declared: tuple[str, ...], salt: bytes, *, body_max_bytes: int = 4_194_304) -> None:
        self._headers = frozenset(name.lower() for name in declared)
        self._root = Automaton(parse_pattern(path) for path in declared).root
        self._salt = salt
        self._max_bytes = body_max_bytes

    def value(self, value: object) -> str:
        """The digest that stands for a value."""
        text = text_of_value(value).encode("utf-8", "surrogatepass")
        return f"redacted:{hmac.new(self._salt, text, hashlib.sha256).hexdigest()[:DIGEST_HEX]}"

    def headers(self, headers: HeaderList) -> HeaderList:
        """Headers with the values of the named ones replaced."""
        return tuple((n, self.value(v) if n.lower() in self._headers else v) for n, v in headers)

    def request(self, request: Request) -> Request:
        """The request with headers and JSON body redacted."""
        body = self._json_text(request.body)
        return Request(
            request.method,
            request.target,
            self.headers(request.headers),
            request.body if body is None else body,
            request.body_truncated,
        )

    def reply(self, reply: Reply) -> Reply:
        """The reply with headers and JSON body redacted; a body that had to be changed loses its content coding."""
        headers = self.headers(reply.headers)
        plain = decoded(reply, self._max_bytes)
        body = None if isinstance(plain, Unreadable) else self._json_text(plain)
        if body is None:
            return Reply(reply.status, headers, reply.body, reply.body_truncated)
        kept = tuple((n, v) for n, v in headers if n.lower() != "content-encoding")
        return Reply(reply.status, kept, body, reply.body_truncated)

    def transaction(self, transaction: Transaction) -> Transaction:
        """The transaction with values redacted in JSON columns, and columns named `table.column`."""
        changes = tuple(
            RowChange(c.table, c.op, self.row(c.table, c.before), self.row(c.table, c.after))
            for c in transaction.changes
        )
        return Transaction(
            transaction.xid,
            transaction.commit_lsn,
            transaction.end_lsn,
            transaction.committed_us,
            changes,
            transaction.messages,
            transaction.application,
        )

    def row(self, table: str, row: Row | None) -> Row | None:
        """One image of a row, redacted."""
        if row is None:
            return None
        below = self._root.step(table)
        return {column: self._column(below.step(column), value) for column, value in row.items()}

    def _column(self, node: Node, value: str | None) -> str | None:
        if value is None or node.dead:
            return value
        if node.accepts:
            return self.value(value)
        if value[:1] not in {"{", "["}:
            return value
        try:
            document = parse(value.encode("utf-8", "surrogatepass"))
        except InvalidJsonError:
            return value
        return value if self._clean(document, node) is document else text_of_value(self._clean(document, node))

    def _json_text(self, body: bytes) -> bytes | None:
        """The body rewritten, or None when there is nothing to redact in it (also when it is no JSON)."""
        if self._root.dead or body.lstrip()[:1] not in {b"{", b"["}:
            return None
        try:
            document = parse(body)
        except InvalidJsonError:
            return None
        clean = self._clean(document, self._root)
        return None if clean is document else _written(clean)

    def _clean(self, value: Any, node: Node) -> Any:
        """The document with redacted values; the very same object when nothing was redacted."""
        if node.dead or isinstance(value, Repeated | NonFinite):
            return value
        if node.accepts:
            return self.value(value)
        if isinstance(value, dict):
            members = cast("dict[str, Any]", value)
            clean = {name: self._clean(item, node.below(name, item)) for name, item in members.items()}
            return clean if any(clean[n] is not members[n] for n in members) else members
        if isinstance(value, list):
            items = cast("list[Any]", value)
            cleaned = [self._clean(item, node.below(index, item)) for index, item in enumerate(items)]
            return cleaned if any(a is not b for a, b in zip(cleaned, items, strict=True)) else items
        return value


def _written(value: object) -> bytes:
    return text_of_value(value).encode("utf-8", "surrogatepass")


def digest_key(key: str, salt: bytes) -> int:
    """A signed 64-bit number that stands for an ordering key, so that keys can be counted without being kept."""
    digest = hmac.new(salt, key.encode("utf-8", "surrogatepass"), hashlib.sha256).digest()
    return int.from_bytes(digest[:8], "big", signed=True)
