"""Takes out of bodies, headers and rows what an operator does not want kept, and leaves equal values equal.

Pure. A value becomes `redacted:` and a keyed digest, so two redacted documents still compare like the originals, but numbers
and times lose their order and distance. JSON Web Tokens are always taken out, wherever they stand.
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
    """The section `compare.redact`, compiled: header names and JSON paths.

    Args:
        declared: names of headers (any case) and JSON paths; each entry is used as both.
        salt: keys the digests; the same salt gives the same digest for the same value.
        query: names of query parameters (any case).
        body_max_bytes: bodies that decode to more are replaced as a whole.
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
        """The digest that stands for a value."""
        text = value_text(value).encode("utf-8", "surrogatepass")
        return f"{REDACTED}{hmac.new(self._salt, text, hashlib.sha256).hexdigest()[:DIGEST_HEX]}"

    def headers(self, headers: HeaderList) -> HeaderList:
        """Headers with the values of the named ones replaced."""
        return tuple(
            (n, self.value(v) if n.lower() in self._headers else without_tokens(v, self.value)) for n, v in headers
        )

    def target(self, target: str) -> str:
        """The target with the values of the named query parameters replaced."""
        path, question, query = target.partition("?")
        parts = (part.partition("=") for part in query.split("&"))
        kept = (f"{n}{e}{self.value(v) if v and unquote_plus(n).lower() in self._query else v}" for n, e, v in parts)
        return without_tokens(f"{path}{question}{'&'.join(kept)}", self.value)

    def request(self, request: Request) -> Request:
        """The request with query, headers and JSON body redacted."""
        body = self._json_text(request.body)
        return Request(
            request.method,
            self.target(request.target),
            self.headers(request.headers),
            request.body if body is None else body,
            request.body_truncated,
        )

    def response(self, response: Response) -> Response:
        """The response with headers and JSON body redacted; a body that had to be changed loses its content coding."""
        headers = self.headers(response.headers)
        plain = decode(response, self._max_bytes)
        # Nobody can say what an unreadable body holds, so nothing of it is kept.
        body = self._digest_of(response.body) if isinstance(plain, UnreadableBody) else self._json_text(plain)
        if body is None:
            return Response(response.status, headers, response.body, response.body_truncated)
        kept = tuple((n, v) for n, v in headers if n.lower() != "content-encoding")
        return Response(response.status, kept, body, response.body_truncated)

    def comparison(self, comparison: Comparison) -> Comparison:
        """The comparison with the values of its differences redacted."""
        return replace(
            comparison,
            differences=tuple(map(self.difference, comparison.differences)),
            known=tuple(replace(one, difference=self.difference(one.difference)) for one in comparison.known),
        )

    def occurrence(self, occurrence: Occurrence) -> Occurrence:
        """The sighting with its example redacted; what finding it is was told from the values before."""
        return replace(occurrence, example=self.difference(occurrence.example))

    def difference(self, difference: Difference) -> Difference:
        """The difference with its values redacted, as in the documents they come from."""
        served, mirrored = (self._differing(difference, one) for one in (difference.served, difference.mirrored))
        if served is difference.served and mirrored is difference.mirrored:
            return difference
        return replace(difference, served=served, mirrored=mirrored)

    def _differing(self, difference: Difference, value: object) -> object:
        if value is ABSENT:
            return value
        if difference.kind is Kind.HEADER:
            named = str(difference.path[0]).lower() in self._headers
            return self.value(value) if named else self._without_tokens(value)
        node = self._root
        for step in (*filter(None, (difference.table, difference.column)), *difference.path):
            node = node.step(step)
        if difference.table and not difference.column and isinstance(value, dict):
            row = cast("dict[str, Any]", value)
            return {name: self._clean(item, node.step(name)) for name, item in row.items()}
        return self._clean(value, node)

    def _without_tokens(self, value: Any) -> Any:
        """Strings below a place that nothing names."""
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
        """The body rewritten, or None when there is nothing to redact in it; JSON that is broken or cut is replaced as a whole."""
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
        """The document with redacted values; the very same object when nothing was redacted."""
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
    """A signed 64-bit number that stands for an ordering key, so that keys can be counted without being kept."""
    digest = hmac.new(salt, key.encode("utf-8", "surrogatepass"), hashlib.sha256).digest()
    return int.from_bytes(digest[:8], "big", signed=True)
