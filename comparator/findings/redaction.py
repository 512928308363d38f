"""Redact secrets in bodies, headers and rows before they are stored or exported. Pure.

A secret is a value that is declared, whose name has that meaning, or that looks like one (`comparator.exchanges.secret_text`). It is
replaced by `redacted:` and a keyed digest. Equal values stay equal, so two redacted documents differ in the same places as the originals,
but tolerances for numbers and times do not apply to redacted values.

    {"api_key": "s3cret", "score": "1.5"}  ->  {"api_key": "redacted:9f86d081884c7d65", "score": "1.5"}
"""

import hashlib
import hmac
from collections.abc import Callable, Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any, Final, cast
from urllib.parse import unquote_plus

from comparator.exchanges.comparison import Comparison
from comparator.exchanges.difference import Difference, Kind
from comparator.exchanges.json_values import ABSENT, NonFinite, Repeated, value_text
from comparator.exchanges.model import HeaderList, Request, Response
from comparator.exchanges.redacted_text import REDACTED, REDACTED_VALUE
from comparator.exchanges.row_changes import LogicalMessage, Row, RowChange, Transaction
from comparator.exchanges.secret_names import Certainty, SecretNames
from comparator.exchanges.secret_text import SecretKind, SecretText, is_card_number
from comparator.findings.clustering import Occurrence
from comparator.responses.bodies import UnreadableBody, decode, media_type
from comparator.responses.exact_json import InvalidJsonError, parse
from comparator.rules.json_paths import Automaton, Node, parse_pattern

DIGEST_HEX: Final = 16

Digest = Callable[[bytes], str]
"""Returns what replaces a value: the marker and a keyed digest."""
Observe = Callable[[SecretKind, str, str], None]
"""Called with kind, name ("" for none) and value of each secret that is replaced."""


def keyed_digest(salt: bytes) -> Digest:
    """Return the digest of findings and cases under a key; equal keys give equal digests for equal values."""

    def digest(value: bytes) -> str:
        return f"{REDACTED}{hmac.new(salt, value, hashlib.sha256).hexdigest()[:DIGEST_HEX]}"

    return digest


class Redactor:
    """The compiled settings of what is redacted.

    Args:
        declared: names (of headers, parameters, members, fields, columns) and JSON paths; each entry is used as both.
        digest: makes what replaces a value.
        names: further names; `declared` without the paths.
        exempt: names and JSON paths of what is not a secret, whatever it looks like; it loses against `declared`.
        recognize: whether secrets are recognised by the meaning of names and by the looks of values.
        natural_keys: by table, the columns of its natural key.
        observe: notes each secret that is replaced.
        body_max_bytes: bodies with more decoded bytes are replaced as a whole.
    """

    def __init__(
        self,
        declared: tuple[str, ...],
        digest: Digest,
        *,
        names: tuple[str, ...] = (),
        exempt: tuple[str, ...] = (),
        recognize: bool = True,
        natural_keys: Mapping[str, tuple[str, ...]] | None = None,
        observe: Observe | None = None,
        body_max_bytes: int = 4_194_304,
    ) -> None:
        simple = [path for path in declared if path.replace("-", "").replace("_", "").isalnum()]
        self._names = SecretNames((*names, *simple), exempt, recognize=recognize)
        self._text = SecretText(self._names, self._stand_in, values=recognize)
        paths = [(parse_pattern(path), True) for path in declared]
        paths += [(parse_pattern(path), False) for path in exempt]
        self._root = Automaton([pattern for pattern, _ in paths], [secret for _, secret in paths]).root
        self._digest = digest
        self._recognize = recognize
        self._natural_keys = natural_keys or {}
        self._observe = observe
        self._max_bytes = body_max_bytes

    def value(self, value: object) -> str:
        """Return what replaces a value; a text has the same digest in a header, a form and a document."""
        text = value if isinstance(value, str) else value_text(value)
        return self._digest(text.encode("utf-8", "surrogatepass"))

    def _stand_in(self, value: object, kind: SecretKind, name: str) -> str:
        if self._observe:
            self._observe(kind, name, value if isinstance(value, str) else value_text(value))
        return self.value(value)

    def header(self, name: str, value: str) -> str:
        """Redact the value of one header."""
        if self._names.is_secret(name, value):
            return self._text.named(name, value)
        return value if self._names.is_exempt(name) else self._text.clean(value)

    def headers(self, headers: HeaderList) -> HeaderList:
        """Redact header values."""
        return tuple((name, self.header(name, value)) for name, value in headers)

    def target(self, target: str) -> str:
        """Redact path and query of a request target, or an address in a header."""
        path, question, query = target.partition("?")
        parts = (part.partition("=") for part in query.split("&"))
        clean = (f"{name}{equals}{self._parameter(name, value)}" for name, equals, value in parts)
        # The path may have named values too, `/reset;token=abc`.
        return f"{self._text.clean(path)}{question}{'&'.join(clean)}"

    def _parameter(self, name: str, value: str) -> str:
        plain = unquote_plus(value)
        return self._text.named(name, plain) if self._names.is_secret(name, plain) else self._text.clean(value)

    def request(self, request: Request) -> Request:
        """Redact target, headers and body of a request; a body that is changed loses its content coding."""
        headers, body = self._message(request.headers, request.body)
        return Request(request.method, self.target(request.target), headers, body, request.body_truncated)

    def response(self, response: Response) -> Response:
        """Redact headers and body of a response; a body that is changed loses its content coding."""
        headers, body = self._message(response.headers, response.body)
        return Response(response.status, headers, body, response.body_truncated)

    def _message(self, headers: HeaderList, body: bytes) -> tuple[HeaderList, bytes]:
        clean_headers = self.headers(headers)
        clean = self.body(headers, body)
        if clean is None:
            return clean_headers, body
        return tuple((n, v) for n, v in clean_headers if n.lower() != "content-encoding"), clean

    def body(self, headers: HeaderList, body: bytes) -> bytes | None:
        """Redact a body; return None if nothing in it is secret. What cannot be decoded is replaced as a whole."""
        if not body:
            return None
        plain = decode(Response(200, headers, body), self._max_bytes)
        if isinstance(plain, UnreadableBody) or len(plain) > self._max_bytes:
            return self._stand_in(body.decode("latin-1"), SecretKind.UNREADABLE, "").encode()
        if plain.lstrip()[:1] in {b"{", b"["}:
            return self._json_text(plain)
        # latin-1 maps each byte to one character, so everything but the secrets is unchanged.
        text = plain.decode("latin-1")
        multipart = media_type(headers)[0].startswith("multipart/") or text.startswith("--")
        clean = self._text.clean_multipart(text) if multipart else self._text.clean(text)
        return None if clean is text else clean.encode("latin-1")

    def comparison(self, comparison: Comparison) -> Comparison:
        """Redact the values of a comparison's differences."""
        return replace(
            comparison,
            differences=tuple(map(self.difference, comparison.differences)),
            known=tuple(replace(known, difference=self.difference(known.difference)) for known in comparison.known),
        )

    def occurrence(self, occurrence: Occurrence) -> Occurrence:
        """Redact the example of an occurrence, and what looks like a secret in its place: the name of a member.

        Otherwise its signature, which was determined from the original values, stays.
        """
        signature = occurrence.signature
        place = self._text.clean_values(signature.place)
        discriminator = self._text.clean(signature.discriminator)
        if place is not signature.place or discriminator is not signature.discriminator:
            signature = replace(signature, place=place, discriminator=discriminator)
        return replace(occurrence, signature=signature, example=self.difference(occurrence.example))

    def difference(self, difference: Difference) -> Difference:
        """Redact the values of a difference, as in the documents that they come from, and those of its row's key and its path."""
        served, mirrored = (self._value_of(difference, value) for value in (difference.served, difference.mirrored))
        columns = self._natural_keys.get(difference.table, ())
        names = (*columns, *("" for _ in difference.natural_key[len(columns) :]))
        key = tuple(
            self._clean_member(name, item, self._root.step(difference.table).step(name))
            for name, item in zip(names, difference.natural_key, strict=False)
        )
        path = tuple(self._text.clean_values(step) if isinstance(step, str) else step for step in difference.path)
        unchanged = served is difference.served and mirrored is difference.mirrored
        if unchanged and key == difference.natural_key and path == difference.path:
            return difference
        return replace(difference, served=served, mirrored=mirrored, natural_key=key, path=path)

    def _value_of(self, difference: Difference, value: object) -> object:
        if value is ABSENT:
            return value
        if difference.kind is Kind.HEADER:
            return self.header(str(difference.path[0]), str(value)) if difference.path else value
        node, name = self._root, ""
        for step in (*filter(None, (difference.table, difference.column)), *difference.path):
            name = step if isinstance(step, str) else name
            if self._names[name] is Certainty.SURE and not _is_exempt(node):
                return self._clean_member(name, value, node)
            node = node.step(step)
        if difference.table and not difference.column and isinstance(value, dict):
            row = cast("dict[str, Any]", value)
            return {column: self._column(node.step(column), column, item) for column, item in row.items()}
        if difference.table and not difference.path:
            return self._column(node, name, value)
        return self._clean_member(name, value, node)

    def transaction(self, transaction: Transaction) -> Transaction:
        """Redact values in JSON columns of a transaction, and whole columns by their names or by the path `table.column`."""
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
            tuple(LogicalMessage(m.prefix, self._text.clean(m.content)) for m in transaction.messages),
            transaction.application,
        )

    def row(self, table: str, row: Row | None) -> Row | None:
        """Redact one image of a row."""
        if row is None:
            return None
        below = self._root.step(table)
        return {column: self._column(below.step(column), column, value) for column, value in row.items()}

    def _column(self, node: Node, name: str, value: Any) -> Any:
        """Redact the value of a column: text, of JSON too."""
        if not isinstance(value, str):
            return self._clean_member(name, value, node)
        if value[:1] not in {"{", "["} or self._is_declared(node) or self._names[name] is Certainty.SURE:
            return self._clean_member(name, value, node)
        try:
            document = parse(value.encode("utf-8", "surrogatepass"))
        except InvalidJsonError:
            return self._clean_member(name, value, node)
        clean = self._clean(document, node, "")
        return value if clean is document else value_text(clean)

    def _json_text(self, body: bytes) -> bytes | None:
        """Redact a JSON body. Of one that is cut or invalid only what the text shows is known, so with declared paths all of it goes."""
        try:
            document = parse(body)
        except InvalidJsonError:
            text = body.decode("latin-1")
            if not self._root.dead:
                return self._stand_in(text, SecretKind.UNREADABLE, "").encode()
            clean = self._text.clean(text)
            return None if clean is text else clean.encode("latin-1")
        clean = self._clean(document, self._root, "")
        return None if clean is document else _written(clean)

    def _clean_member(self, name: str, value: Any, node: Node) -> Any:
        """Redact the value that a member or column of this name has; return the same object if nothing in it is secret."""
        if isinstance(value, str) and value.startswith(REDACTED) and REDACTED_VALUE.fullmatch(value):
            return value
        # (nearly every name says nothing, at a place that no pattern names)
        if (node.accepts or self._names[name]) and (
            self._is_declared(node) or (not _is_exempt(node) and self._names.is_secret(name, value))
        ):
            return self._stand_in(value, SecretKind.NAMED, name)
        if isinstance(value, str) and self._names.is_exempt(name):
            return value
        return self._clean(value, node, name)

    def _clean(self, value: Any, node: Node, name: str) -> Any:
        """Redact a document; return the same object if nothing in it is secret. Items of an array have the name of the array."""
        if node.accepts and self._is_declared(node):
            return self._stand_in(value, SecretKind.NAMED, name)
        match value:
            case str():
                return value if node.accepts and _is_exempt(node) else self._text.clean(value)
            case dict():
                members = cast("dict[str, Any]", value)
                cleaned: dict[str, Any] = {}
                changed = False
                for n, item in members.items():
                    clean, renamed = self._clean_member(n, item, node.below(n, item)), self._text.clean_values(n)
                    changed = changed or clean is not item or renamed is not n
                    cleaned[renamed] = clean
                return cleaned if changed else members
            case list() | tuple():
                items = cast("list[Any] | tuple[Any, ...]", value)
                clean_items = [self._clean_member(name, item, node.below(i, item)) for i, item in enumerate(items)]
                changed = any(a is not b for a, b in zip(clean_items, items, strict=True))
                return type(items)(clean_items) if changed else items
            case Repeated(values):
                kept = tuple(self._clean_member(name, item, node) for item in values)
                return value if all(a is b for a, b in zip(kept, values, strict=True)) else Repeated(kept)
            case bool() | NonFinite() | None:
                return value
            case int() | Decimal() if self._recognize and is_card_number(str(value)):
                return self._stand_in(str(value), SecretKind.CARD, name)
            case _:
                return value

    def _is_declared(self, node: Node) -> bool:
        return bool(node.accepts) and any(node.payloads)


def _is_exempt(node: Node) -> bool:
    return bool(node.accepts) and not any(node.payloads)


def _written(value: object) -> bytes:
    return value_text(value).encode("utf-8", "surrogatepass")


def digest_key(key: str, salt: bytes) -> int:
    """Return a signed 64-bit digest of an ordering key, by which keys can be counted without being stored."""
    digest = hmac.new(salt, key.encode("utf-8", "surrogatepass"), hashlib.sha256).digest()
    return int.from_bytes(digest[:8], "big", signed=True)
