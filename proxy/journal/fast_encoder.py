r"""Encodes the record of an exchange that was just served, without building its header lists first. Pure.

Heads of one template (`proxy.http1.head_template`) differ in the values of their slots only. Everything else of their msgpack is
encoded once: names and constant values. Of each exchange only its own values are filled in. The request

    Host: api.example               becomes  \x9a                                      array of 10 fields
    X-API-Key: k-4711                        \x92 \xa4 Host      \xab api.example      array of 2; text of 4 and of 11 bytes
    Accept: */*                              \x92 \xa9 X-API-Key \xa6 %s               the slot: text of 6 bytes
                                             \x92 \xa6 Accept    \xa3 */*

as one format string for all values of 6 bytes. The seven fields that the proxy adds follow. A msgpack text begins with its length,
hence a format string per combination of lengths.

The result equals, byte for byte, what the msgpack encoder makes of the exchange's `Record`. Exchanges out of the ordinary (long text,
text beyond ASCII) are left to it.
"""

from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any

import msgspec

from comparator.exchanges.model import Side
from proxy.http1.forwarding_headers import HeaderBlock
from proxy.http1.head_template import HeadTemplate, Values
from proxy.http1.parser import RequestHead, ResponseHead
from proxy.journal.served_exchange import ServedExchange

BLOCK_FIELDS = 5
"""Number of the fields that come from a block of `proxy.http1.forwarding_headers`."""
BLOCKS_MAX = 1024
FORMATS_MAX = 64
FORMATS_MAX_BYTES = 16 * 1024
"""Bounds of the format strings kept per template: there are up to 1,024 templates, and clients choose the lengths of values."""
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


class EncodingTemplate:
    """The msgpack of the header list of all heads that share a head template, with slots. Meaningless unless `usable`.

    Args:
        template: of the heads.
        indexes: the fields to encode, in order.
        first: msgpack to put before these fields: the array's prefix, and for requests the Host field.

    Attributes:
        select: returns the values of the slots that are encoded, from all values of a head.
    """

    __slots__ = ("_constants", "_formats", "_formats_max", "select", "usable")

    def __init__(self, template: HeadTemplate, indexes: Sequence[int], *, first: str) -> None:
        self.usable = template.shared and len(indexes) <= FIELDS_MAX
        self._formats: dict[tuple[int, ...], str] = {}
        self._constants = [first]
        slots: list[int] = []
        for index in indexes:
            name, value = template.fields[index]
            slot = template.slot_indexes.get(template.names[index])
            self._constants[-1] += f"{_ARRAY[2]}{_TEXT[min(len(name), TEXT_MAX_BYTES)]}{name}"
            if slot is None:
                self.usable = self.usable and is_plain(value) and len(name) <= TEXT_MAX_BYTES
                self._constants[-1] += f"{_TEXT[min(len(value), TEXT_MAX_BYTES)]}{value}"
                continue
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
    """Encode served exchanges. For one thread."""

    def __init__(self) -> None:
        self._blocks: dict[str, str] = {}

    def encode(self, exchange: ServedExchange) -> RawRecord | None:
        """Return the record; None when the exchange is out of the ordinary."""
        head, response = exchange.head, exchange.response
        if response is None or exchange.failed is not None or exchange.shadow_mark:
            return None
        request_template, response_template = head.template.journal_encoding, response.template.journal_encoding
        if not isinstance(request_template, EncodingTemplate):
            request_template = head.template.journal_encoding = _request_template(head)
        if not isinstance(response_template, EncodingTemplate):
            response_template = response.template.journal_encoding = _response_template(response)
        if not (request_template.usable and response_template.usable):
            return None
        values, response_values = request_template.select(head.values), response_template.select(response.values)
        exchange_id, trace = exchange.id, exchange.trace
        if not "".join((*values, *response_values, exchange_id)).isascii():
            return None
        fields, response_fields = request_template.render(values), response_template.render(response_values)
        added = self._blocks.get(exchange.added.text) or self._block(exchange.added)
        if fields is None or response_fields is None or added is None:
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
            head.target,
            msgspec.Raw(f"{fields}{added}{own}".encode("latin-1")),
            exchange.request_body.body,
            exchange.request_body.truncated,
            response.status,
            msgspec.Raw(response_fields.encode("latin-1")),
            exchange.response_body.body,
            exchange.response_body.truncated,
            "",
            "",
            exchange.overlapped,
            exchange.skip.value if exchange.skip else "",
            b"",
            (),
            exchange.first_byte_us,
        )

    def _block(self, block: HeaderBlock) -> str | None:
        """Encode the fields that the proxy adds for one client and host; None when they are out of the ordinary."""
        if len(block.fields) != BLOCK_FIELDS or not all(is_plain(value) for _, value in block.fields):
            return None
        if len(self._blocks) >= BLOCKS_MAX:
            self._blocks.clear()
        fields = [f"{_ARRAY[2]}{_TEXT[len(name)]}{name}{_TEXT[len(value)]}{value}" for name, value in block.fields]
        encoded = self._blocks[block.text] = "".join(fields)
        return encoded


def is_plain(text: str) -> bool:
    """Return whether a text can be encoded here as it is: short and ASCII."""
    return text.isascii() and len(text) <= TEXT_MAX_BYTES


def _request_template(head: RequestHead) -> EncodingTemplate:
    """Make the template of the forwarded fields. Host comes first; all heads of a head template have the same."""
    template, host = head.template, head.host
    if len(template.forwarded) > FIELDS_MAX or not is_plain(host):
        return EncodingTemplate(HeadTemplate((), (), {}, ()), (), first="")
    first = f"{_ARRAY[1 + len(template.forwarded) + BLOCK_FIELDS + 2]}{_HOST}{_TEXT[len(host)]}{host}"
    return EncodingTemplate(template, template.forwarded, first=first)


def _response_template(head: ResponseHead) -> EncodingTemplate:
    count = len(head.template.fields)
    return EncodingTemplate(head.template, range(count), first=_ARRAY[min(count, FIELDS_MAX)])
