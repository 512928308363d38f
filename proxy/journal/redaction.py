"""Keep secrets out of what leaves the journal, and in mode `digest` out of the journal itself. Pure.

Each secret (`comparator.findings.redaction` says which values are some) is replaced in place by `redacted:` and a keyed digest, so equal
secrets stay recognisable. With the key b"k" * 32, the request

    GET /v2?api_key=t0p                 becomes   GET /v2?api_key=redacted:a97cc8fcfb7de5a9...
    X-API-Key: s3cret                             X-API-Key: redacted:ef05818d7163ce45...

    redacted    ("request.header.x-api-key", "target")

So is the ordering key where it equals one of them.
"""

import re
from collections.abc import Callable

from msgspec.structs import replace

from comparator.exchanges.model import HeaderList, Request
from comparator.exchanges.redacted_text import REDACTED, REDACTED_VALUE
from comparator.exchanges.secret_text import SecretKind
from comparator.findings.redaction import Redactor
from proxy.config.journal import RedactionSettings
from proxy.journal.format import Record
from proxy.journal.sealing import JournalKey

BODY_MAX_BYTES = 64 * 1024**2
"""Bodies with more decoded bytes are replaced as a whole."""

KEY_PART_MIN = 6
"""An ordering key of this length that is a part of a secret is one; a shorter one may be so by chance."""

Note = Callable[[str, SecretKind, str], None]
"""Called with place, kind and name of each secret that is replaced."""


class JournalRedactor:
    """Replaces the secrets of records. For one thread.

    Args:
        settings: name them.
        key: makes the digests.
        note: notes each of them.
    """

    def __init__(self, settings: RedactionSettings, key: JournalKey, note: Note | None = None) -> None:
        self._note = note
        self._place = ""
        self._found: list[str] = []
        self._key = key
        self._redactor = Redactor(
            settings.json_paths,
            lambda value: digest(value, key),
            names=(*settings.headers, *settings.query, *settings.names),
            exempt=settings.exempt,
            recognize=settings.recognize,
            observe=self._observe,
            body_max_bytes=BODY_MAX_BYTES,
        )

    def redact(self, record: Record) -> Record:
        """Return the record without its secrets; the same object when it has none. What was replaced before stays."""
        self._found.clear()
        request_headers, in_request = self._headers("request", record.request_headers)
        response_headers, in_response = self._headers("response", record.response_headers)
        target = self._at("target", self._redactor.target, record.target)
        request_body = self._body("request", record.request_headers, record.request_body)
        response_body = self._body("response", record.response_headers, record.response_body)
        key = self._ordering_key(record, target, (request_body, response_body))
        paths = (
            *in_request,
            *in_response,
            *(["target"] if target != record.target else []),
            *(["key"] if key != record.key else []),
            *(["request.body"] if request_body is not None else []),
            *(["response.body"] if response_body is not None else []),
        )
        if not paths:
            return record
        return replace(
            record,
            request_headers=request_headers if request_body is None else _without_coding(request_headers),
            response_headers=response_headers if response_body is None else _without_coding(response_headers),
            target=target,
            key=key,
            request_body=record.request_body if request_body is None else request_body,
            response_body=record.response_body if response_body is None else response_body,
            redacted=tuple(dict.fromkeys((*record.redacted, *paths))),
        )

    def _headers(self, message: str, headers: HeaderList) -> tuple[HeaderList, list[str]]:
        clean: list[tuple[str, str]] = []
        paths: list[str] = []
        for name, value in headers:
            path = f"{message}.header.{name.lower()}"
            replaced = self._at(path, lambda text, name=name: self._redactor.header(name, text), value)
            clean.append((name, replaced))
            if replaced != value:
                paths.append(path)
        return (tuple(clean) if paths else headers), paths

    def _body(self, message: str, headers: HeaderList, body: bytes) -> bytes | None:
        self._place = f"{message}.body"
        return self._redactor.body(headers, body)

    def _at(self, place: str, clean: Callable[[str], str], text: str) -> str:
        self._place = place
        return clean(text)

    def _observe(self, kind: SecretKind, name: str, value: str) -> None:
        self._found.append(value)
        if self._note:
            self._note(self._place, kind, name)

    def _ordering_key(self, record: Record, target: str, bodies: tuple[bytes | None, bytes | None]) -> str:
        key = record.key
        if not key or REDACTED_VALUE.fullmatch(key):
            return key
        texts = [(record.target, target)]
        originals = (record.request_body, record.response_body)
        texts += [
            (before.decode("utf-8", "replace"), after.decode("utf-8", "replace"))
            for before, after in zip(originals, bodies, strict=True)
            if after is not None
        ]
        secret = any(key in (value, value.lower()) for value in self._found) or (
            len(key) >= KEY_PART_MIN and any(key in value.lower() for value in self._found)
        )
        removed = any(key in before.lower() and key not in after.lower() for before, after in texts)
        return digest(key, self._key) if secret or removed else key


def digest(value: str | bytes, key: JournalKey) -> str:
    """Return the marker and keyed digest that replace a secret."""
    raw = value.encode("utf-8", "surrogatepass") if isinstance(value, str) else value
    hashed = key.keyed.copy()
    hashed.update(raw)
    return REDACTED + hashed.hexdigest()


def is_redacted(request: Request) -> bool:
    """Return whether a secret of the request is gone: the journal holds its digest only."""
    marker = REDACTED.encode()
    return (
        any(REDACTED in value and REDACTED_VALUE.search(value) for _, value in request.headers)
        or (REDACTED in request.target and REDACTED_VALUE.search(request.target) is not None)
        or (marker in request.body and _REDACTED_VALUE.search(request.body) is not None)
    )


_REDACTED_VALUE = re.compile(REDACTED_VALUE.pattern.encode())


def _without_coding(headers: HeaderList) -> HeaderList:
    return tuple((name, value) for name, value in headers if name.lower() != "content-encoding")
