"""Redact secrets in bodies, headers and rows before they are stored or exported. Pure.

A secret value is replaced by `redacted:` and a keyed digest. Equal values stay equal, so two redacted documents differ in the same places as
the originals, but tolerances for numbers and times do not apply to redacted values. JSON Web Tokens are always redacted, wherever they
occur.

    {"api_key": "s3cret", "score": "1.5"}  ->  {"api_key": "redacted:9f86d081884c7d65", "score": "1.5"}
"""

import hashlib
import hmac
from dataclasses import replace
from typing import Any, Final, cast
from urllib.parse import unquote_plus

from comparator.exchanges.difference import Difference, Kind
from comparator.exchanges.json_values import ABSENT, NonFinite, Repeated, value_text
from comparator.exchanges.model import HeaderList, Request, Response
from comparator.exchanges.redacted_text import REDACTED, TOKEN, without_tokens
from comparator.exchanges.row_changes import Row, RowChange, Transaction
from comparator.findings.clustering import Occurrence
from comparator.responses.bodies import UnreadableBody, decode
from comparator.responses.exact_json import InvalidJsonError, parse
from comparator.rules.json_paths import Automaton, Node, parse_pattern
from comparator.verdict import Comparison

DIGEST_HEX: Final = 16


class Redactor:
    """The compiled setting `compare.redact`.

    Args:
        declared: names of headers in any case, and JSON paths; each entry is used as both.
        salt: key of the digests; equal salts give equal digests for equal values.
        query: names of query parameters in any case.
        body_max_bytes: bodies with more decoded bytes are replaced as a whole.
    """

    def __init__(
        self, declared: tuple[str, ...], salt: bytes, *, query: tuple[str, ...] = (), body_max_bytes: int = 4_194_304
    ) -> None:
        self._headers = frozenset(name.lower() for name in declared)
        self._query = frozenset(name.lower() for name in query)
        self._root = Automaton(parse_pattern(path) for path in declared).root
        self._salt = salt
        self._max_bytes = body_max_bytes

    def value(self, value: object) -> str:
        """Return the text that replaces a value."""
        text = value_text(value).encode("utf-8", "surrogatepass")
        return f"{REDACTED}{hmac.new(self._salt, text, hashlib.sha256).hexdigest()[:DIGEST_HEX]}"

    def headers(self, headers: HeaderList) -> HeaderList:
        """Redact header values."""
        return tuple(
            (n, self.value(v) if n.lower() in self._headers else without_tokens(v, self.value)) for n, v in headers
        )

    def target(self, target: str) -> str:
        """Redact values of query parameters in a request target."""
        path, question, query = target.partition("?")
        parts = (part.partition("=") for part in query.split("&"))
        clean = (f"{n}{e}{self.value(v) if v and unquote_plus(n).lower() in self._query else v}" for n, e, v in parts)
        return without_tokens(f"{path}{question}{'&'.join(clean)}", self.value)

    def request(self, request: Request) -> Request:
        """Redact query, headers and JSON body of a request."""
        body = self._json_text(request.body)
        return Request(
            request.method,
            self.target(request.target),
            self.headers(request.headers),
            request.body if body is None else body,
            request.body_truncated,
        )

    def response(self, response: Response) -> Response:
        """Redact headers and JSON body of a response; a body that is changed loses its content coding."""
        headers = self.headers(response.headers)
        plain = decode(response, self._max_bytes)
        # The content of an unreadable body is unknown, so nothing of it is kept.
        body = self._digest_of(response.body) if isinstance(plain, UnreadableBody) else self._json_text(plain)
        if body is None:
            return Response(response.status, headers, response.body, response.body_truncated)
        uncoded = tuple((n, v) for n, v in headers if n.lower() != "content-encoding")
        return Response(response.status, uncoded, body, response.body_truncated)

    def comparison(self, comparison: Comparison) -> Comparison:
        """Redact the values of a comparison's differences."""
        return replace(
            comparison,
            differences=tuple(map(self.difference, comparison.differences)),
            known=tuple(replace(known, difference=self.difference(known.difference)) for known in comparison.known),
        )

    def occurrence(self, occurrence: Occurrence) -> Occurrence:
        """Redact the example of an occurrence. Its signature was determined from the original values and stays."""
        return replace(occurrence, example=self.difference(occurrence.example))

    def difference(self, difference: Difference) -> Difference:
        """Redact the values of a difference, as in the documents that they come from."""
        served, mirrored = (self._value_of(difference, value) for value in (difference.served, difference.mirrored))
        if served is difference.served and mirrored is difference.mirrored:
            return difference
        return replace(difference, served=served, mirrored=mirrored)

    def _value_of(self, difference: Difference, value: object) -> object:
        if value is ABSENT:
            return value
        if difference.kind is Kind.HEADER:
            secret = str(difference.path[0]).lower() in self._headers
            return self.value(value) if secret else self._without_tokens(value)
        node = self._root
        for step in (*filter(None, (difference.table, difference.column)), *difference.path):
            node = node.step(step)
        if difference.table and not difference.column and isinstance(value, dict):
            row = cast("dict[str, Any]", value)
            return {name: self._clean(item, node.step(name)) for name, item in row.items()}
        return self._clean(value, node)

    def _without_tokens(self, value: Any) -> Any:
        """Redact tokens in all strings of a value that no path matches."""
        if isinstance(value, str):
            return without_tokens(value, self.value)
        if not TOKEN.search(str(value)):
            return value
        if isinstance(value, dict):
            members = cast("dict[str, Any]", value)
            return {name: self._without_tokens(item) for name, item in members.items()}
        return [self._without_tokens(item) for item in cast("list[Any]", value)] if isinstance(value, list) else value

    def _digest_of(self, body: bytes) -> bytes | None:
        return self.value(body.decode("latin-1")).encode() if body else None

    def transaction(self, transaction: Transaction) -> Transaction:
        """Redact values in JSON columns of a transaction, and whole columns by the path `table.column`."""
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
        """Redact one image of a row."""
        if row is None:
            return None
        below = self._root.step(table)
        return {column: self._column(below.step(column), value) for column, value in row.items()}

    def _column(self, node: Node, value: str | None) -> str | None:
        if value is None:
            return value
        if node.accepts:
            return self.value(value)
        if node.dead or value[:1] not in {"{", "["}:
            return without_tokens(value, self.value)
        try:
            document = parse(value.encode("utf-8", "surrogatepass"))
        except InvalidJsonError:
            return without_tokens(value, self.value)
        clean = self._clean(document, node)
        return value if clean is document else value_text(clean)

    def _json_text(self, body: bytes) -> bytes | None:
        """Redact a body; return None if nothing in it is secret. Invalid or truncated JSON is replaced as a whole."""
        if self._root.dead or body.lstrip()[:1] not in {b"{", b"["}:
            text = body.decode("latin-1")
            clean = without_tokens(text, self.value)
            return None if clean is text else clean.encode("latin-1")
        try:
            document = parse(body)
        except InvalidJsonError:
            return self._digest_of(body)
        clean = self._clean(document, self._root)
        return None if clean is document else _written(clean)

    def _clean(self, value: Any, node: Node) -> Any:
        """Redact a document; return the same object if nothing in it is secret."""
        if node.accepts:
            return self.value(value)
        if isinstance(value, Repeated | NonFinite):
            return value
        if node.dead or isinstance(value, str):
            return self._without_tokens(value)
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
    return value_text(value).encode("utf-8", "surrogatepass")


def digest_key(key: str, salt: bytes) -> int:
    """Return a signed 64-bit digest of an ordering key, by which keys can be counted without being stored."""
    digest = hmac.new(salt, key.encode("utf-8", "surrogatepass"), hashlib.sha256).digest()
    return int.from_bytes(digest[:8], "big", signed=True)
