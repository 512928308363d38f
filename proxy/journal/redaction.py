"""Keeps secrets out of the journal. Pure: the keys and the nonce are arguments.

Secrets are the values of named headers in both messages, of named query parameters and of named members in JSON bodies, JSON Web
Tokens wherever they occur, and the ordering key where it equals one of these. Each is replaced in place by `redacted:` and a keyed
digest, so equal secrets stay recognisable. With the key b"k" * 32, the request

    GET /v2?api_key=t0p                 becomes   GET /v2?api_key=redacted:a97cc8fcfb7de5a9...
    X-API-Key: s3cret                             X-API-Key: redacted:ef05818d7163ce45...

In mode `digest` that is all: the values are gone, and a request that needs them cannot be sent again. In mode `seal` the record also
has `sealed`, a nonce and one AES-256-GCM box with all originals, bound to the exchange's id, which `unseal` puts back:

    sealed      12-byte nonce | AES-256-GCM( [[[0, "s3cret"]], [], "/v2?api_key=t0p", nil, nil, nil] ) with the id as associated data
    redacted    ("request.header.x-api-key", "target")
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
    """The originals of what was redacted: header values with their index in the list; None for what was not changed."""

    request_headers: tuple[tuple[int, str], ...]
    response_headers: tuple[tuple[int, str], ...]
    target: str | None
    key: str | None
    request_body: bytes | None
    response_body: bytes | None


@dataclass(frozen=True, slots=True)
class RedactionKeys:
    """The two keys derived from the journal's secret.

    Attributes:
        digest: of the digests.
        keyed: a hash that was given this key already; copying it is faster than making one for each digest.
        box: the cipher of what is sealed.
    """

    digest: bytes
    keyed: hashlib.blake2b
    box: AESGCM


def keys_of(secret: bytes) -> RedactionKeys:
    """Derive both keys from a secret, which should be 32 random bytes."""
    derive = hashlib.blake2b(secret, digest_size=32, person=b"journal-digest").digest
    digests = derive()
    keyed = hashlib.blake2b(digest_size=16, key=digests)
    return RedactionKeys(
        digests, keyed, AESGCM(hashlib.blake2b(secret, digest_size=KEY_BYTES, person=b"journal-seal").digest())
    )


class NameMatcher(dict[str, bool]):
    """Tells for the name of a header, in any case, whether its value is a secret. A dict, since a hit is then one bytecode.

    Names are clients' to choose: at most NAMES_MAX are kept, none longer than NAME_MAX.
    """

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
    """The redaction settings, compiled. For one thread."""

    mode: RedactionMode
    headers: NameMatcher
    query: frozenset[str]
    json_paths: tuple[tuple[str, ...], ...]
    tokens: bool = True


def rules_of(settings: RedactionSettings) -> RedactionRules:
    """Compile the settings: lower-case the names, split the paths."""
    return RedactionRules(
        settings.mode,
        NameMatcher(settings.headers),
        frozenset(name.lower() for name in settings.query),
        tuple(tuple(path.removeprefix("$.").split(".")) for path in settings.json_paths),
        settings.tokens,
    )


def digest(value: str | bytes, keys: RedactionKeys) -> str:
    """Return the marker and keyed digest that replace a secret."""
    raw = value.encode("utf-8", "surrogatepass") if isinstance(value, str) else value
    hashed = keys.keyed.copy()
    hashed.update(raw)
    return REDACTED + hashed.hexdigest()


def redact(record: Record, rules: RedactionRules, keys: RedactionKeys, *, nonce: bytes) -> Record:
    """Return the record without its secrets; the same object when it has none.

    Args:
        record: with its secrets.
        rules: name the secrets.
        keys: of the journal.
        nonce: NONCE_BYTES that were never used with these keys before.
    """
    request_headers, secret_request = _redact_headers(record.request_headers, rules, keys)
    response_headers, secret_response = _redact_headers(record.response_headers, rules, keys)
    target, parameters = _redact_target(record.target, rules, keys)
    request_body = _redact_body(record.request_body, rules, keys)
    response_body = _redact_body(record.response_body, rules, keys)
    key = record.key
    if key and (_is_any(key, secret_request, parameters) or _was_removed(key, record.request_body, request_body)):
        key = digest(key, keys)
    originals = Originals(
        secret_request,
        secret_response,
        record.target if target != record.target else None,
        record.key if key != record.key else None,
        record.request_body if request_body is not record.request_body else None,
        record.response_body if response_body is not record.response_body else None,
    )
    paths = _redacted_paths(originals, record)
    if not paths:
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
        redacted=paths,
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
    """Return nonce and encrypted originals, bound to the exchange's id; empty in mode `digest`."""
    if rules.mode is not RedactionMode.SEAL:
        return b""
    return nonce + keys.box.encrypt(nonce, _ENCODER.encode(originals), exchange_id.encode())


def unseal(record: Record, keys: RedactionKeys) -> Record:
    """Return the record as it was before `redact`; unchanged when nothing was sealed.

    Raises:
        SealedError: it was sealed with another key, or changed since.
    """
    if not record.sealed:
        return record
    nonce, box = record.sealed[:NONCE_BYTES], record.sealed[NONCE_BYTES:]
    try:
        originals = msgspec.msgpack.decode(keys.box.decrypt(nonce, box, record.id.encode()), type=Originals)
    except (InvalidTag, ValueError, msgspec.MsgspecError) as error:
        raise SealedError(f"exchange {record.id}: the journal key does not unseal it") from error
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


def _is_any(key: str, headers: Iterable[tuple[int, str]], parameters: Iterable[str]) -> bool:
    """Return whether the ordering key is one of these values, or one of them in lower case."""
    for _, value in headers:
        if key in (value, value.lower()):
            return True
    return any(key in (value, value.lower()) for value in parameters)


def _was_removed(key: str, before: bytes, after: bytes) -> bool:
    """Return whether the ordering key occurred in a body, in any case, and no longer does after redaction."""
    if after is before:
        return False
    raw = key.encode("utf-8", "surrogatepass")
    return raw in before.lower() and raw not in after.lower()


def _redacted_paths(originals: Originals, record: Record) -> tuple[str, ...]:
    """Return the places that were redacted, e.g. `request.header.authorization`, `target`."""
    request, response = record.request_headers, record.response_headers
    paths = ["request.header." + request[index][0].lower() for index, _ in originals.request_headers]
    if originals.response_headers:
        paths += ["response.header." + response[index][0].lower() for index, _ in originals.response_headers]
    if originals.target is not None:
        paths.append("target")
    if originals.key is not None:
        paths.append("key")
    if originals.request_body is not None:
        paths.append("request.body")
    if originals.response_body is not None:
        paths.append("response.body")
    return tuple(paths)


def _redact_headers(
    headers: HeaderList, rules: RedactionRules, keys: RedactionKeys
) -> tuple[HeaderList, tuple[tuple[int, str], ...]]:
    names, tokens = rules.headers, rules.tokens
    secret: list[tuple[int, str]] = []
    for index, (name, value) in enumerate(headers):
        # A search for one character is faster than for three, and few values have it.
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
    """Return the target without its secrets, and those secrets that are values of parameters."""
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
    # A search for one byte is many times faster than for three, and few bodies have it.
    if rules.tokens and b"J" in body and b"eyJ" in body and _TOKEN.search(body):
        return _TOKEN.sub(lambda match: digest(match[0], keys).encode(), body)
    return body


_TOKEN = re.compile(TOKEN.pattern.encode())
_REDACTED_VALUE = re.compile(REDACTED_VALUE.pattern.encode())


def _redact_members(body: bytes, rules: RedactionRules, keys: RedactionKeys) -> bytes:
    """Return the body with the members of `json_paths` replaced.

    A body that is not JSON (truncated, or compressed) is replaced as a whole, since it may hold one of them.
    """
    try:
        document = json.loads(body)
    except ValueError:
        return digest(body, keys).encode()
    replaced = [_replace_member(document, path, keys) for path in rules.json_paths]
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode() if any(replaced) else body


def _replace_member(node: Any, path: tuple[str, ...], keys: RedactionKeys) -> bool:
    if not path or not isinstance(node, dict | list):
        return False
    members = cast("dict[str, Any] | list[Any]", node)
    pairs = list(members.items()) if isinstance(members, dict) else list(enumerate(members))
    replaced = False
    for name, value in pairs:
        if path[0] not in ("*", str(name)):
            continue
        if len(path) == 1:
            members[name] = digest(json.dumps(value, sort_keys=True), keys)  # type: ignore[index]
            replaced = True
        else:
            replaced = _replace_member(value, path[1:], keys) or replaced
    return replaced
