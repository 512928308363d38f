"""Decode a body's content codings, choose its kind, and parse kinds with a structure. Pure.

Nothing here raises because of the bytes that a side sent: a body that cannot be read is an `UnreadableBody` with the reason.
"""

import gzip
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from email.message import Message
from email.parser import BytesParser
from enum import StrEnum
from functools import lru_cache
from importlib import import_module
from io import BytesIO
from typing import Any, Final
from urllib.parse import parse_qsl

import zstandard

from comparator.exchanges.json_values import digest_of
from comparator.exchanges.model import HeaderList, Response
from comparator.responses.exact_json import InvalidJsonError, parse


class BodyKind(StrEnum):
    """The way to compare a body: JSON, FORM, MULTIPART and TEXT by structure, BINARY by digest; EMPTY is a kind of its own."""

    EMPTY = "empty"
    JSON = "json"
    FORM = "form"
    MULTIPART = "multipart"
    TEXT = "text"
    BINARY = "binary"


@dataclass(frozen=True, slots=True)
class UnreadableBody:
    """A body that cannot be decoded or parsed, and the reason."""

    reason: str


def header(headers: HeaderList, name: str) -> str:
    """Return all values of a header, joined by commas (RFC 9110, section 5.3); "" when it is absent. `name` is lower case."""
    joined = ""
    for key, value in headers:
        if len(key) == len(name) and key.lower() == name:
            joined = f"{joined}, {value}" if joined else value
    return joined


def media_type(headers: HeaderList) -> tuple[str, Mapping[str, str]]:
    """Return type and parameters of Content-Type, lower-cased except for parameter values; ("", {}) when it is absent."""
    return _parsed_media_type(header(headers, "content-type"))


@lru_cache(maxsize=512)
def _parsed_media_type(text: str) -> tuple[str, Mapping[str, str]]:
    kind, _, rest = text.partition(";")
    if not rest:
        return kind.strip().lower(), {}
    message = Message()
    message["content-type"] = text
    pairs = message.get_params(failobj=[])[1:]
    return kind.strip().lower(), {name.lower(): value for name, value in pairs}


def kind_of(response: Response, body: bytes, forced: str) -> BodyKind:
    """Choose the kind of a body: the route's `body` setting, else by Content-Type, else JSON if it looks like JSON.

    Args:
        response: the response with its headers.
        body: its decoded body.
        forced: the route's setting, "" for none.
    """
    if not body:
        return BodyKind.EMPTY
    if forced:
        return BodyKind(forced)
    kind, _ = media_type(response.headers)
    if kind == "application/json" or kind.endswith("+json"):
        return BodyKind.JSON
    if kind == "application/x-www-form-urlencoded":
        return BodyKind.FORM
    if kind.startswith("multipart/"):
        return BodyKind.MULTIPART
    if kind.startswith("text/") or kind in {"application/xml", "application/javascript"}:
        return BodyKind.TEXT
    if not kind and body.lstrip()[:1] in {b"{", b"["}:
        return BodyKind.JSON
    return BodyKind.BINARY


def decode(response: Response, max_bytes: int) -> bytes | UnreadableBody:
    """Undo the content codings of a body.

    Unknown codings, damaged streams and bodies of more than `max_bytes` decoded bytes are `UnreadableBody`.
    """
    field = header(response.headers, "content-encoding")
    if not field:
        return response.body
    codings = [c.strip().lower() for c in field.split(",") if c.strip()]
    body = response.body
    for coding in reversed(codings):
        if coding in {"identity", ""}:
            continue
        decoder = _DECODERS.get(coding)
        if decoder is None:
            return UnreadableBody(f"unknown content coding {coding!r}")
        try:
            body = decoder(body, max_bytes)
        except (OSError, EOFError, ValueError, zlib.error, zstandard.ZstdError) as error:
            return UnreadableBody(f"{coding}: {error}")
    return body


def _bounded(stream: Any, max_bytes: int) -> bytes:
    body: bytes = stream.read(max_bytes + 1)
    if len(body) > max_bytes:
        raise ValueError(f"more than {max_bytes} bytes when decoded")
    return body


def _gunzip(body: bytes, max_bytes: int) -> bytes:
    return _bounded(gzip.GzipFile(fileobj=BytesIO(body)), max_bytes)


def _inflate(body: bytes, max_bytes: int) -> bytes:
    """Decode deflate. Both formats occur in practice: with the zlib header (RFC 9110, section 8.4.1.2) and without."""
    for window in (zlib.MAX_WBITS, -zlib.MAX_WBITS):
        stream = zlib.decompressobj(window)
        try:
            out = stream.decompress(body, max_bytes + 1)
        except zlib.error:
            continue
        if len(out) > max_bytes:
            raise ValueError(f"more than {max_bytes} bytes when decoded")
        if not stream.eof:
            raise ValueError("unexpected end of the stream")
        return out
    raise ValueError("not a deflate stream")


def _unzstd(body: bytes, max_bytes: int) -> bytes:
    return _bounded(zstandard.ZstdDecompressor().stream_reader(BytesIO(body), read_across_frames=True), max_bytes)


def _unbrotli(body: bytes, max_bytes: int) -> bytes:
    """Decode Brotli by an installed package, if there is one; it is not one of our dependencies."""
    for name in ("brotli", "brotlicffi"):
        try:
            module: Any = import_module(name)
        except ImportError:
            continue
        try:
            out: bytes = module.decompress(body)
        except module.error as error:
            raise ValueError(str(error)) from error
        if len(out) > max_bytes:
            raise ValueError(f"more than {max_bytes} bytes when decoded")
        return out
    raise ValueError("no brotli package is installed")


_DECODERS: Final = {
    "gzip": _gunzip,
    "x-gzip": _gunzip,
    "deflate": _inflate,
    "zstd": _unzstd,
    "br": _unbrotli,
}


def structure_of(kind: BodyKind, response: Response, body: bytes) -> object:
    """Parse a body into a document: JSON as itself, forms and multipart bodies as objects of lists, text as a string.

    `a=1&b=2&a=3` becomes `{"a": ["1", "3"], "b": ["2"]}`: values of one name keep their order, the order of names does not matter.
    Binary bodies, and text that cannot be decoded, are represented by their digest.
    """
    match kind:
        case BodyKind.JSON:
            try:
                return parse(body)
            except InvalidJsonError as error:
                return UnreadableBody(f"not JSON: {error}")
        case BodyKind.FORM:
            return _form(body)
        case BodyKind.MULTIPART:
            return _multipart(response, body)
        case BodyKind.TEXT:
            return _text(response, body)
        case BodyKind.BINARY | BodyKind.EMPTY:
            return digest_of(body)


def _form(body: bytes) -> object:
    members: dict[str, list[object]] = {}
    try:
        pairs = parse_qsl(body.decode("ascii"), keep_blank_values=True, errors="strict")
    except ValueError as error:
        return UnreadableBody(f"not a form: {error}")
    for name, value in pairs:
        members.setdefault(name, []).append(value)
    return members


def _multipart(response: Response, body: bytes) -> object:
    head = b"Content-Type: " + header(response.headers, "content-type").encode("latin-1", "replace") + b"\r\n\r\n"
    message = BytesParser().parsebytes(head + body)
    if not message.is_multipart() or message.defects:
        return UnreadableBody("not a multipart body")
    members: dict[str, list[object]] = {}
    for part in message.walk():
        if part.is_multipart():
            continue
        name = part.get_param("name", header="content-disposition") or part.get_filename() or ""
        content: Any = part.get_payload(decode=True) or b""
        members.setdefault(str(name), []).append(
            {"type": part.get_content_type(), "filename": part.get_filename(), "content": str(digest_of(content))}
        )
    return members


def _text(response: Response, body: bytes) -> object:
    charset = media_type(response.headers)[1].get("charset", "utf-8")
    try:
        return body.decode(charset)
    except (UnicodeDecodeError, LookupError):
        return digest_of(body)
