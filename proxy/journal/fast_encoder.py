r"""Encodes the record of an exchange that was just served, without building its header lists first. Pure: `random_bytes` is an argument.

Heads of one template (`proxy.http1.head_template`) differ in the values of their slots only. Everything else of their msgpack is
encoded once: names, constant values, the positions of the secrets. Of each exchange only its own values are filled in. The request

    Host: api.example               becomes  \x9a                                      array of 10 fields
    X-API-Key: s3cret                        \x92 \xa4 Host      \xab api.example      array of 2; text of 4 and of 11 bytes
    Accept: */*                              \x92 \xa9 X-API-Key \xd9\x29 %s           the slot: text of 41 bytes
                                             \x92 \xa6 Accept    \xa3 */*

as one format string for all values of 41 bytes (the key is a secret, so `redacted:` and 32 hexadecimal digits are filled in). The
seven fields that the proxy adds follow. A msgpack text begins with its length, hence a format string per combination of lengths.

The result equals, byte for byte, what `redact` and the msgpack encoder make of the exchange's `Record`. Exchanges out of the
ordinary (a token in a value, a secret among the constants, text beyond ASCII) are left to those two.
"""

from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any

import msgspec

from comparator.exchanges.model import Side
from proxy.http1.forwarding_headers import HeaderBlock
from proxy.http1.head_template import HeadTemplate, Values
from proxy.http1.parser import RequestHead, ResponseHead
from proxy.journal.redaction import NONCE_BYTES, Originals, RedactionKeys, RedactionRules, digest, seal
from proxy.journal.served_exchange import ServedExchange

PROXY_FIELDS = (
    "Host",
    "X-Request-Id",
    "traceparent",
    "X-Forwarded-For",
    "X-Forwarded-Proto",
    "X-Forwarded-Host",
    "Forwarded",
    "Via",
)
"""Fields that the proxy writes itself. Where the rules name one of them a secret, nothing is encoded here."""

BLOCK_FIELDS = 5
"""Number of the last of these fields that come from a block of `proxy.http1.forwarding_headers`."""
BLOCKS_MAX = 1024
FORMATS_MAX = 64
FORMATS_MAX_BYTES = 16 * 1024
"""Bounds of the format strings kept per template: there are up to 1,024 templates, and clients choose the lengths of values."""
NONCES_AT_ONCE = 64
"""Nonces drawn by one call of `random_bytes`: a system call each would cost more than sealing."""
TEXT_MAX_BYTES = 255
"""Longer texts have another length prefix in msgpack, and are out of the ordinary."""
FIELDS_MAX = 200


class RawRecord(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A `Record` whose header lists are msgpack already."""

    id: str
    route: str
    key: str
    served_by: Side
    stage: str
    started_ns: int
    ended_ns: int
    method: str
    target: str
    request_headers: msgspec.Raw
    request_body: bytes
    request_truncated: bool
    status: int
    response_headers: msgspec.Raw
    response_body: bytes
    response_truncated: bool
    cause: str
    detail: str
    overlapped: bool
    skip: str
    sealed: bytes
    redacted: tuple[str, ...]
    first_byte_us: int


# msgpack's prefix of a text by its number of bytes, and of an array by its number of items, one character a byte (latin-1).
_TEXT = tuple([chr(0xA0 | size) if size < 32 else "\xd9" + chr(size) for size in range(TEXT_MAX_BYTES + 1)])
_ARRAY = tuple([chr(0x90 | count) if count < 16 else "\xdc\x00" + chr(count) for count in range(256)])
_HOST = f"{_ARRAY[2]}{_TEXT[4]}Host"
_REQUEST_ID = f"{_ARRAY[2]}{_TEXT[12]}X-Request-Id"
_TRACEPARENT = f"{_ARRAY[2]}{_TEXT[11]}traceparent"

Secrets = list[tuple[int, str]]
"""Secret values, each with the index of its field in the record's header list."""


class EncodingTemplate:
    """The msgpack of the header list of all heads that share a head template, with slots. Meaningless unless `usable`.

    Args:
        encoder: the encoder whose rules it follows.
        template: of the heads.
        indexes: the fields to encode, in order.
        message: `request` or `response`.
        first: msgpack to put before these fields: the array's prefix, and for requests the Host field.

    Attributes:
        select: returns the values of the slots that are encoded, from all values of a head.
        secrets: for each secret slot, its index among the selected values and the index of its field in the record.
        redacted_paths: the names of these fields, for `Record.redacted`.
    """

    __slots__ = ("_constants", "_formats", "_formats_max", "encoder", "redacted_paths", "secrets", "select", "usable")

    def __init__(
        self, encoder: "FastEncoder", template: HeadTemplate, indexes: Sequence[int], message: str, *, first: str
    ) -> None:
        self.encoder = encoder
        self.usable = template.shared and len(indexes) <= FIELDS_MAX
        self.secrets: list[tuple[int, int]] = []
        self.redacted_paths: tuple[str, ...] = ()
        self._formats: dict[tuple[int, ...], str] = {}
        self._constants = [first]
        slots: list[int] = []
        for position, index in enumerate(indexes, 1 if message == "request" else 0):
            name, value = template.fields[index]
            secret, slot = encoder.rules.headers[name], template.slot_indexes.get(template.names[index])
            self._constants[-1] += f"{_ARRAY[2]}{_TEXT[min(len(name), TEXT_MAX_BYTES)]}{name}"
            if slot is None:
                encodable = not secret and encoder.is_plain(value) and len(name) <= TEXT_MAX_BYTES
                self.usable = self.usable and encodable
                self._constants[-1] += f"{_TEXT[min(len(value), TEXT_MAX_BYTES)]}{value}"
                continue
            if secret:
                self.secrets.append((len(slots), position))
                self.redacted_paths += (f"{message}.header.{name.lower()}",)
            slots.append(slot)
            self._constants.append("")
        size = sum(map(len, self._constants)) + 8 * len(slots)
        self._formats_max = min(FORMATS_MAX, FORMATS_MAX_BYTES // (size + 1) + 1)
        # An itemgetter of one index returns the bare value; of a slice, the tuple that is wanted.
        only = slice(slots[0], slots[0] + 1) if slots else slice(0)
        self.select: Callable[[Values], Any] = itemgetter(*slots) if len(slots) > 1 else itemgetter(only)

    def render(self, values: Sequence[str]) -> str | None:
        """Return the header list with these values in its slots; None when one of them is too long."""
        sizes = tuple(map(len, values))
        text = self._formats.get(sizes)
        if text is None:
            if max(sizes, default=0) > TEXT_MAX_BYTES:
                return None
            if len(self._formats) >= self._formats_max:
                self._formats.clear()
            text = self._formats[sizes] = self._format_string(sizes)
        return text % tuple(values)

    def _format_string(self, sizes: Sequence[int]) -> str:
        # A "%" may stand in a constant, and in a prefix: a text of 37 bytes begins with \xd9%.
        constants = [text.replace("%", "%%") for text in self._constants]
        with_slots = [
            text + _TEXT[size].replace("%", "%%") + "%s" for text, size in zip(constants, sizes, strict=False)
        ]
        return "".join([*with_slots, constants[-1]])


class FastEncoder:
    """Encode served exchanges by one set of redaction rules and keys. For one thread.

    Args:
        rules: name the secrets.
        keys: make digests of them, and seal them.
        random_bytes: returns that many bytes, never the same ones again: the nonces.
    """

    def __init__(self, rules: RedactionRules, keys: RedactionKeys, *, random_bytes: Callable[[int], bytes]) -> None:
        self.rules = rules
        self.keys = keys
        self._random_bytes = random_bytes
        self._usable = not any(rules.headers[name] for name in PROXY_FIELDS)
        self._blocks: dict[str, str] = {}
        self._nonces: list[bytes] = []

    def encode(self, exchange: ServedExchange) -> RawRecord | None:
        """Return the record, redacted; None when the exchange is out of the ordinary."""
        head, response = exchange.head, exchange.response
        if response is None or exchange.failed is not None or exchange.shadow_mark or not self._usable:
            return None
        request_template, response_template = head.template.journal_encoding, response.template.journal_encoding
        if not isinstance(request_template, EncodingTemplate) or request_template.encoder is not self:
            request_template = head.template.journal_encoding = self._request_template(head)
        if not isinstance(response_template, EncodingTemplate) or response_template.encoder is not self:
            response_template = response.template.journal_encoding = self._response_template(response)
        if not (request_template.usable and response_template.usable):
            return None
        values, response_values = request_template.select(head.values), response_template.select(response.values)
        secrets: Secrets = []
        response_secrets: Secrets = []
        if request_template.secrets:
            values = self._redacted(request_template, values, secrets)
        if response_template.secrets:
            response_values = self._redacted(response_template, response_values, response_secrets)
        exchange_id, target, trace = exchange.id, head.target, exchange.trace
        request_body, response_body = exchange.request_body.body, exchange.response_body.body
        if not self._needs_no_more(exchange_id, target, (*values, *response_values), request_body, response_body):
            return None
        fields, response_fields = request_template.render(values), response_template.render(response_values)
        added = self._blocks.get(exchange.added.text) or self._block(exchange.added)
        sealed = self._sealed(exchange, secrets, response_secrets) if secrets or response_secrets else b""
        if fields is None or response_fields is None or added is None or sealed is None:
            return None
        own = f"{_REQUEST_ID}{_TEXT[len(exchange_id)]}{exchange_id}{_TRACEPARENT}{_TEXT[len(trace)]}{trace}"
        return RawRecord(
            exchange_id,
            exchange.route_name,
            exchange.key,
            exchange.side,
            exchange.stage,
            exchange.started_ns,
            exchange.ended_ns,
            head.method,
            target,
            msgspec.Raw(f"{fields}{added}{own}".encode("latin-1")),
            request_body,
            exchange.request_body.truncated,
            response.status,
            msgspec.Raw(response_fields.encode("latin-1")),
            response_body,
            exchange.response_body.truncated,
            "",
            "",
            exchange.overlapped,
            exchange.skip.value if exchange.skip else "",
            sealed,
            request_template.redacted_paths + response_template.redacted_paths,
            exchange.first_byte_us,
        )

    def is_plain(self, text: str) -> bool:
        """Return whether a text can be encoded here as it is: short, ASCII, and without a token."""
        return text.isascii() and len(text) <= TEXT_MAX_BYTES and not (self.rules.tokens and "eyJ" in text)

    def _request_template(self, head: RequestHead) -> EncodingTemplate:
        """Make the template of the forwarded fields. Host comes first; all heads of a head template have the same."""
        template, host = head.template, head.host
        if len(template.forwarded) > FIELDS_MAX or not self.is_plain(host):
            return EncodingTemplate(self, HeadTemplate((), (), {}, ()), (), "request", first="")
        first = f"{_ARRAY[1 + len(template.forwarded) + BLOCK_FIELDS + 2]}{_HOST}{_TEXT[len(host)]}{host}"
        return EncodingTemplate(self, template, template.forwarded, "request", first=first)

    def _response_template(self, head: ResponseHead) -> EncodingTemplate:
        count = len(head.template.fields)
        first = _ARRAY[min(count, FIELDS_MAX)]
        return EncodingTemplate(self, head.template, range(count), "response", first=first)

    def _redacted(self, template: EncodingTemplate, values: Sequence[str], secrets: Secrets) -> list[str]:
        """Return the values with digests in place of secrets, which are added to `secrets`."""
        redacted = list(values)
        for index, position in template.secrets:
            secrets.append((position, redacted[index]))
            redacted[index] = digest(redacted[index], self.keys)
        return redacted

    def _needs_no_more(
        self, exchange_id: str, target: str, values: Sequence[str], request_body: bytes, response_body: bytes
    ) -> bool:
        """Return whether nothing else is, or may hold, a secret, and all text is ASCII."""
        rules, joined = self.rules, "".join((*values, exchange_id, target))
        if not joined.isascii() or ("?" in target and rules.query):
            return False
        if rules.json_paths and (request_body or response_body):
            return False
        if not rules.tokens:
            return True
        # A search for one byte is many times faster than for three, and few bodies have that byte.
        in_bodies = (b"J" in response_body and b"eyJ" in response_body) or (request_body and b"eyJ" in request_body)
        return not in_bodies and "eyJ" not in joined

    def _block(self, block: HeaderBlock) -> str | None:
        """Encode the fields that the proxy adds for one client and host; None when they are out of the ordinary."""
        if len(block.fields) != BLOCK_FIELDS or not all(self.is_plain(value) for _, value in block.fields):
            return None
        if len(self._blocks) >= BLOCKS_MAX:
            self._blocks.clear()
        fields = [f"{_ARRAY[2]}{_TEXT[len(name)]}{name}{_TEXT[len(value)]}{value}" for name, value in block.fields]
        encoded = self._blocks[block.text] = "".join(fields)
        return encoded

    def _sealed(self, exchange: ServedExchange, secrets: Secrets, response_secrets: Secrets) -> bytes | None:
        """Seal the secrets; None when the ordering key is one of them, which has to be redacted too."""
        key = exchange.key
        if any(key in (value, value.lower()) for _, value in secrets + response_secrets):
            return None
        originals = Originals(tuple(secrets), tuple(response_secrets), None, None, None, None)
        return seal(originals, exchange.id, self.rules, self.keys, nonce=self._nonce())

    def _nonce(self) -> bytes:
        if not self._nonces:
            drawn = self._random_bytes(NONCE_BYTES * NONCES_AT_ONCE)
            self._nonces = [drawn[start : start + NONCE_BYTES] for start in range(0, len(drawn), NONCE_BYTES)]
        return self._nonces.pop()
