"""Keeps secrets out of the journal. Pure: the key and the nonce are arguments.

Each secret value is replaced in place by `digest:<32 hex>`, a keyed digest, so that the same secret is recognisable. In mode
`seal` the originals are also kept, together, in one AES-256-GCM box bound to the exchange's id, which a reader with the key puts
back. Secrets are: named header values of both messages, named query parameters, named members of JSON bodies, JSON Web Tokens
wherever they stand, and the ordering key when it is one of these values.
"""

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import unquote_plus

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from msgspec.structs import replace

from comparator.exchanges.model import HeaderList, Request
from comparator.exchanges.redacted_text import REDACTED, REDACTED_VALUE, TOKEN, without_tokens
from proxy.config.journal import RedactionMode, RedactionSettings
from proxy.errors import SealedError
from proxy.journal.format import Record

_ENCODER = msgspec.msgpack.Encoder()
KEY_BYTES = 32
NONCE_BYTES = 12
NAMES_MAX = 1024
NAME_MAX = 64


class Originals(msgspec.Struct, frozen=True, array_like=True):
    """What the box holds; header values by index, None for what was not touched."""

    request_headers: tuple[tuple[int, str], ...]
    response_headers: tuple[tuple[int, str], ...]
    target: str | None
    key: str | None
    request_body: bytes | None
    response_body: bytes | None


@dataclass(frozen=True, slots=True)
class RedactionKeys:
    """The two keys derived from the journal's one: for digests and for boxes. `keyed` is a hash that has taken in the first."""

    digest: bytes
    keyed: hashlib.blake2b
    box: AESGCM


def keys_of(secret: bytes) -> RedactionKeys:
    """Derive both keys; a secret of any length will do, 32 random bytes are right."""
    derive = hashlib.blake2b(secret, digest_size=32, person=b"journal-digest").digest
    digests = derive()
    keyed = hashlib.blake2b(digest_size=16, key=digests)
    return RedactionKeys(
        digests, keyed, AESGCM(hashlib.blake2b(secret, digest_size=KEY_BYTES, person=b"journal-seal").digest())
    )


class NameMatcher(dict[str, bool]):
    """Whether the header of a name, as it is written, is a secret. Remembers what it was asked, up to NAMES_MAX names."""

    def __init__(self, secret: Iterable[str]) -> None:
        super().__init__()
        self._secret = frozenset(name.lower() for name in secret)

    def __missing__(self, name: str) -> bool:
        secret = name.lower() in self._secret
        if len(self) >= NAMES_MAX:
            self.clear()
        if len(name) <= NAME_MAX:
            self[name] = secret
        return secret


@dataclass(frozen=True, slots=True)
class RedactionRules:
    """`Redaction`, made ready for use by one thread."""

    mode: RedactionMode
    headers: NameMatcher
    query: frozenset[str]
    json_paths: tuple[tuple[str, ...], ...]
    tokens: bool = True


def rules_of(settings: RedactionSettings) -> RedactionRules:
    """Lower the names, split the paths."""
    return RedactionRules(
        settings.mode,
        NameMatcher(settings.headers),
        frozenset(name.lower() for name in settings.query),
        tuple(tuple(path.removeprefix("$.").split(".")) for path in settings.json_paths),
        settings.tokens,
    )


def digest(value: str | bytes, keys: RedactionKeys) -> str:
    """The keyed digest that stands for a secret."""
    raw = value.encode("utf-8", "surrogatepass") if isinstance(value, str) else value
    hashed = keys.keyed.copy()
    hashed.update(raw)
    return REDACTED + hashed.hexdigest()


def redact(record: Record, rules: RedactionRules, keys: RedactionKeys, *, nonce: bytes) -> Record:
    """The record without its secrets; the nonce must never have been used with this key before."""
    request_headers, secret_request = _redact_headers(record.request_headers, rules, keys)
    response_headers, secret_response = _redact_headers(record.response_headers, rules, keys)
    target, parameters = _redact_target(record.target, rules, keys)
    request_body = _redact_body(record.request_body, rules, keys)
    response_body = _redact_body(record.response_body, rules, keys)
    key = record.key
    if key and (_is_one_of(key, secret_request, parameters) or _is_taken_out(key, record.request_body, request_body)):
        key = digest(key, keys)
    originals = Originals(
        secret_request,
        secret_response,
        record.target if target != record.target else None,
        record.key if key != record.key else None,
        record.request_body if request_body is not record.request_body else None,
        record.response_body if response_body is not record.response_body else None,
    )
    marks = _marks(originals, record)
    if not marks:
        return record
    return replace(
        record,
        request_headers=request_headers,
        response_headers=response_headers,
        target=target,
        key=key,
        request_body=request_body,
        response_body=response_body,
        sealed=seal(originals, record.id, rules, keys, nonce=nonce),
        redacted=marks,
    )


def is_redacted(request: Request) -> bool:
    """Return whether a secret of the request is gone: the journal holds its digest only, or its key is not here."""
    marker = REDACTED.encode()
    return (
        any(REDACTED in value and REDACTED_VALUE.search(value) for _, value in request.headers)
        or (REDACTED in request.target and REDACTED_VALUE.search(request.target) is not None)
        or (marker in request.body and _REDACTED_VALUE.search(request.body) is not None)
    )


def seal(originals: Originals, exchange_id: str, rules: RedactionRules, keys: RedactionKeys, *, nonce: bytes) -> bytes:
    """The box with the originals, bound to the exchange; empty where the rules want none."""
    if rules.mode is not RedactionMode.SEAL:
        return b""
    return nonce + keys.box.encrypt(nonce, _ENCODER.encode(originals), exchange_id.encode())


def unseal(record: Record, keys: RedactionKeys) -> Record:
    """The record as it was before `redact`; unchanged when nothing was sealed.

    Raises:
        SealedError: the key is another one, or the record was changed.
    """
    if not record.sealed:
        return record
    nonce, box = record.sealed[:NONCE_BYTES], record.sealed[NONCE_BYTES:]
    try:
        originals = msgspec.msgpack.decode(keys.box.decrypt(nonce, box, record.id.encode()), type=Originals)
    except (InvalidTag, ValueError, msgspec.MsgspecError) as error:
        raise SealedError(f"exchange {record.id}: the journal key does not open it") from error
    return replace(
        record,
        request_headers=_restore(record.request_headers, originals.request_headers),
        response_headers=_restore(record.response_headers, originals.response_headers),
        target=record.target if originals.target is None else originals.target,
        key=record.key if originals.key is None else originals.key,
        request_body=record.request_body if originals.request_body is None else originals.request_body,
        response_body=record.response_body if originals.response_body is None else originals.response_body,
        sealed=b"",
        redacted=(),
    )


def _is_one_of(key: str, headers: Iterable[tuple[int, str]], parameters: Iterable[str]) -> bool:
    """Whether the ordering key is a secret value; a key may be the value in lower case."""
    for _, value in headers:
        if key in (value, value.lower()):
            return True
    return any(key in (value, value.lower()) for value in parameters)


def _is_taken_out(key: str, before: bytes, after: bytes) -> bool:
    """Whether the ordering key stood in a body, in whatever case, and was redacted there."""
    if after is before:
        return False
    taken_out = key.encode("utf-8", "surrogatepass")
    return taken_out in before.lower() and taken_out not in after.lower()


def _marks(originals: Originals, record: Record) -> tuple[str, ...]:
    """Where something was redacted, e.g. `request.header.authorization`, `target`."""
    request, response = record.request_headers, record.response_headers
    marks = ["request.header." + request[index][0].lower() for index, _ in originals.request_headers]
    if originals.response_headers:
        marks += ["response.header." + response[index][0].lower() for index, _ in originals.response_headers]
    if originals.target is not None:
        marks.append("target")
    if originals.key is not None:
        marks.append("key")
    if originals.request_body is not None:
        marks.append("request.body")
    if originals.response_body is not None:
        marks.append("response.body")
    return tuple(marks)


def _redact_headers(
    headers: HeaderList, rules: RedactionRules, keys: RedactionKeys
) -> tuple[HeaderList, tuple[tuple[int, str], ...]]:
    names, tokens = rules.headers, rules.tokens
    secret: list[tuple[int, str]] = []
    for index, (name, value) in enumerate(headers):
        # (one character is found faster than three, and few values have it)
        if names[name] or (tokens and "J" in value and "eyJ" in value and TOKEN.search(value)):
            secret.append((index, value))
    if not secret:
        return headers, ()
    changed = list(headers)
    for index, value in secret:
        changed[index] = (changed[index][0], digest(value, keys))
    return tuple(changed), tuple(secret)


def _restore(headers: HeaderList, originals: Iterable[tuple[int, str]]) -> HeaderList:
    changed = list(headers)
    for index, value in originals:
        changed[index] = (changed[index][0], value)
    return tuple(changed)


def _redact_target(target: str, rules: RedactionRules, keys: RedactionKeys) -> tuple[str, Iterable[str]]:
    """The target without its secrets, and those that are a parameter's value."""
    clean, secrets = _redact_query(target, rules, keys) if rules.query and "?" in target else (target, ())
    return (without_tokens(clean, lambda token: digest(token, keys)) if rules.tokens else clean), secrets


def _redact_query(target: str, rules: RedactionRules, keys: RedactionKeys) -> tuple[str, set[str]]:
    path, _, query = target.partition("?")
    secrets: set[str] = set()
    parts: list[str] = []
    for part in query.split("&"):
        name, equals, value = part.partition("=")
        secret = bool(value) and unquote_plus(name).lower() in rules.query
        parts.append(f"{name}{equals}{digest(value, keys)}" if secret else part)
        if secret:
            secrets.add(value)
    return (f"{path}?{'&'.join(parts)}" if secrets else target), secrets


def _redact_body(body: bytes, rules: RedactionRules, keys: RedactionKeys) -> bytes:
    if not body:
        return body
    if rules.json_paths:
        body = _redact_members(body, rules, keys)
    # (one byte is found many times faster than three, and few bodies have it)
    if rules.tokens and b"J" in body and b"eyJ" in body and _TOKEN.search(body):
        return _TOKEN.sub(lambda found: digest(found[0], keys).encode(), body)
    return body


_TOKEN = re.compile(TOKEN.pattern.encode())
_REDACTED_VALUE = re.compile(REDACTED_VALUE.pattern.encode())


def _redact_members(body: bytes, rules: RedactionRules, keys: RedactionKeys) -> bytes:
    """The body with the members of `json_paths` replaced.

    A body that is not readable JSON (cut, or encoded) is replaced as a whole: nothing that might be a secret passes.
    """
    try:
        document = json.loads(body)
    except ValueError:
        return digest(body, keys).encode()
    found = [_replace_member(document, path, keys) for path in rules.json_paths]
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode() if any(found) else body


def _replace_member(node: Any, path: tuple[str, ...], keys: RedactionKeys) -> bool:
    if not path or not isinstance(node, dict | list):
        return False
    members = cast("dict[str, Any] | list[Any]", node)
    pairs = list(members.items()) if isinstance(members, dict) else list(enumerate(members))
    found = False
    for name, value in pairs:
        if path[0] not in ("*", str(name)):
            continue
        if len(path) == 1:
            members[name] = digest(json.dumps(value, sort_keys=True), keys)  # type: ignore[index]
            found = True
        else:
            found = _replace_member(value, path[1:], keys) or found
    return found
