"""Writes the record of an exchange that was just served, without making its header fields anew. Pure, but for random nonces.

Heads of one shape differ in the values of their blanks only. So what all of them have in common is packed once: names, the values
that are the same, and where the secrets stand; of each exchange only its own values are put in. What comes out is what `redact` and
the encoder make of its `Record`, byte for byte. Where anything is out of the ordinary (a token in a value, a secret among the
values that are the same, text beyond ASCII) nothing comes out, and the exchange goes their way.
"""

import os
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

OWN = (
    "Host",
    "X-Request-Id",
    "traceparent",
    "X-Forwarded-For",
    "X-Forwarded-Proto",
    "X-Forwarded-Host",
    "Forwarded",
    "Via",
)
"""The fields this hop writes. Where one of them is called a secret, nothing is packed here."""

ADDED = 5
"""The last of them: what a block of `proxy.http1.forwarding_headers` has."""
BLOCKS_MAX = 1024
TEMPLATES_MAX = 64
TEMPLATES_MAX_BYTES = 16 * 1024
"""Of one shape; there are up to 1,024 of requests, and clients choose the lengths of their values."""
NONCES = 64
"""Asked of the system at once."""
SHORT_MAX = 255
"""A longer text is out of the ordinary."""
FIELDS_MAX = 200


class PackedRecord(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A `Record` whose header fields are packed already."""

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


# (what stands in msgpack before a text of so many bytes, and before an array of so many items)
_LENGTHS = tuple([chr(0xA0 | length) if length < 32 else "\xd9" + chr(length) for length in range(SHORT_MAX + 1)])
_COUNTS = tuple([chr(0x90 | count) if count < 16 else "\xdc\x00" + chr(count) for count in range(256)])
_HOST = f"{_COUNTS[2]}{_LENGTHS[4]}Host"
_REQUEST_ID = f"{_COUNTS[2]}{_LENGTHS[12]}X-Request-Id"
_TRACE = f"{_COUNTS[2]}{_LENGTHS[11]}traceparent"

Secrets = list[tuple[int, str]]
"""Values by the place of their field in the record."""


class EncodingTemplate:
    """How the fields of one shape are packed. None of it means anything unless `usable`.

    `pick` takes the values that are put in; `secrets` are those of them that are secrets: place among the picked, place of the field
    in the record; `marks` are their names. `first` is packed before the fields, as the first of the record's.
    """

    __slots__ = ("_templates", "_templates_max", "_texts", "marks", "packer", "pick", "secrets", "usable")

    def __init__(
        self, packer: "FastEncoder", shape: HeadTemplate, places: Sequence[int], message: str, *, first: str
    ) -> None:
        self.packer = packer
        self.usable = shape.shared and len(places) <= FIELDS_MAX
        self.secrets: list[tuple[int, int]] = []
        self.marks: tuple[str, ...] = ()
        self._templates: dict[tuple[int, ...], str] = {}
        self._texts = [first]
        numbers: list[int] = []
        rules = packer.rules
        for index, place in enumerate(places, 1 if message == "request" else 0):
            name, value = shape.pairs[place]
            secret, number = rules.headers[name], shape.places.get(shape.names[place])
            self._texts[-1] += f"{_COUNTS[2]}{_LENGTHS[min(len(name), SHORT_MAX)]}{name}"
            if number is None:
                # A secret that is the same in all heads, and what cannot be packed here, goes the long way.
                usual = not secret and packer.usual(value) and len(name) <= SHORT_MAX
                self.usable = self.usable and usual
                self._texts[-1] += f"{_LENGTHS[min(len(value), SHORT_MAX)]}{value}"
                continue
            if secret:
                self.secrets.append((len(numbers), index))
                self.marks += (f"{message}.header.{name.lower()}",)
            numbers.append(number)
            self._texts.append("")
        size = sum(map(len, self._texts)) + 8 * len(numbers)
        self._templates_max = min(TEMPLATES_MAX, TEMPLATES_MAX_BYTES // (size + 1) + 1)
        # (of one place a getter gives the value itself, of a slice a tuple)
        several = len(numbers) > 1
        one = slice(numbers[0], numbers[0] + 1) if numbers else slice(0)
        self.pick: Callable[[Values], Any] = itemgetter(*numbers) if several else itemgetter(one)

    def filled(self, values: Sequence[str]) -> str | None:
        """The fields with these values in their places; None where one of them is too long."""
        lengths = tuple(map(len, values))
        template = self._templates.get(lengths)
        if template is None:
            if max(lengths, default=0) > SHORT_MAX:
                return None
            if len(self._templates) >= self._templates_max:
                self._templates.clear()
            template = self._templates[lengths] = self._template(lengths)
        return template % tuple(values)

    def _template(self, lengths: Sequence[int]) -> str:
        texts = [text.replace("%", "%%") for text in self._texts]
        sized = [
            text + _LENGTHS[length].replace("%", "%%") + "%s" for text, length in zip(texts, lengths, strict=False)
        ]
        return "".join([*sized, texts[-1]])


class FastEncoder:
    """Packs by rules and keys that stay as they are; for one thread. `random` gives so many bytes that were never given before."""

    def __init__(
        self, rules: RedactionRules, keys: RedactionKeys, *, random: Callable[[int], bytes] = os.urandom
    ) -> None:
        self.rules = rules
        self.keys = keys
        self._random = random
        self._usable = not any(rules.headers[name] for name in OWN)
        self._blocks: dict[str, str] = {}
        self._nonces: list[bytes] = []

    def pack(self, draft: ServedExchange) -> PackedRecord | None:
        """The packed record; None when it has to be made the long way."""
        head, response = draft.head, draft.response
        if response is None or draft.failed is not None or draft.shadow_mark or not self._usable:
            return None
        plan, response_plan = head.shape.packing, response.shape.packing
        if not isinstance(plan, EncodingTemplate) or plan.packer is not self:
            plan = head.shape.packing = self._plan_of_request(head)
        if not isinstance(response_plan, EncodingTemplate) or response_plan.packer is not self:
            response_plan = response.shape.packing = self._plan_of_response(response)
        if not (plan.usable and response_plan.usable):
            return None
        texts, response_texts = plan.pick(head.values), response_plan.pick(response.values)
        secrets: Secrets = []
        response_secrets: Secrets = []
        if plan.secrets:
            texts = self._hidden(plan, texts, secrets)
        if response_plan.secrets:
            response_texts = self._hidden(response_plan, response_texts, response_secrets)
        name, target, trace = draft.id, head.target, draft.trace
        request_body, response_body = draft.request_body.body, draft.response_body.body
        if not self._clean(name, target, (*texts, *response_texts), request_body, response_body):
            return None
        fields, response_fields = plan.filled(texts), response_plan.filled(response_texts)
        added = self._blocks.get(draft.added.text) or self._added(draft.added)
        sealed = self._sealed(draft, secrets, response_secrets) if secrets or response_secrets else b""
        if fields is None or response_fields is None or added is None or sealed is None:
            return None
        own = f"{_REQUEST_ID}{_LENGTHS[len(name)]}{name}{_TRACE}{_LENGTHS[len(trace)]}{trace}"
        return PackedRecord(
            name,
            draft.route_name,
            draft.key,
            draft.side,
            draft.stage,
            draft.started_ns,
            draft.ended_ns,
            head.method,
            target,
            msgspec.Raw(f"{fields}{added}{own}".encode("latin-1")),
            request_body,
            draft.request_body.truncated,
            response.status,
            msgspec.Raw(response_fields.encode("latin-1")),
            response_body,
            draft.response_body.truncated,
            "",
            "",
            draft.overlapped,
            draft.skip.value if draft.skip else "",
            sealed,
            plan.marks + response_plan.marks,
        )

    def _sealed(self, draft: ServedExchange, secrets: Secrets, response_secrets: Secrets) -> bytes | None:
        """The box of what was hidden; None where the ordering key is one of them."""
        key = draft.key
        if any(key in (value, value.lower()) for _, value in secrets + response_secrets):
            return None
        originals = Originals(tuple(secrets), tuple(response_secrets), None, None, None, None)
        return seal(originals, draft.id, self.rules, self.keys, nonce=self._nonce())

    def _nonce(self) -> bytes:
        """One that was never used."""
        if not self._nonces:
            random = self._random(NONCE_BYTES * NONCES)
            self._nonces = [random[start : start + NONCE_BYTES] for start in range(0, len(random), NONCE_BYTES)]
        return self._nonces.pop()

    def usual(self, text: str) -> bool:
        """Whether a text that is no secret by its name can be packed as it is."""
        return text.isascii() and len(text) <= SHORT_MAX and not (self.rules.tokens and "eyJ" in text)

    def _plan_of_request(self, head: RequestHead) -> EncodingTemplate:
        """The fields that pass. Host stands before them, and is the same in all heads of a shape."""
        shape, host = head.shape, head.host
        if len(shape.passing) > FIELDS_MAX or not self.usual(host):
            return EncodingTemplate(self, HeadTemplate((), (), {}, ()), (), "request", first="")
        first = f"{_COUNTS[3 + ADDED + len(shape.passing)]}{_HOST}{_LENGTHS[len(host)]}{host}"
        return EncodingTemplate(self, shape, shape.passing, "request", first=first)

    def _plan_of_response(self, head: ResponseHead) -> EncodingTemplate:
        """All fields."""
        count = len(head.shape.pairs)
        first = _COUNTS[min(count, FIELDS_MAX)]
        return EncodingTemplate(self, head.shape, range(count), "response", first=first)

    def _hidden(self, plan: EncodingTemplate, texts: Sequence[str], secrets: Secrets) -> list[str]:
        """The values with digests for secrets, which are added to `secrets`."""
        hidden = list(texts)
        for place, index in plan.secrets:
            secrets.append((index, hidden[place]))
            hidden[place] = digest(hidden[place], self.keys)
        return hidden

    def _clean(self, name: str, target: str, texts: Sequence[str], request_body: bytes, response_body: bytes) -> bool:
        """Whether nothing beside what was hidden is, or may hold, a secret, and all text is ASCII."""
        rules, joined = self.rules, "".join((*texts, name, target))
        if not joined.isascii() or ("?" in target and rules.query):
            return False
        if rules.json_paths and (request_body or response_body):
            return False
        if not rules.tokens:
            return True
        # (one byte is found many times faster than three, and few bodies have it)
        in_bodies = (b"J" in response_body and b"eyJ" in response_body) or (request_body and b"eyJ" in request_body)
        return not in_bodies and "eyJ" not in joined

    def _added(self, block: HeaderBlock) -> str | None:
        """The fields that this hop adds to requests."""
        if len(block.fields) != ADDED or not all(self.usual(value) for _, value in block.fields):
            return None
        if len(self._blocks) >= BLOCKS_MAX:
            self._blocks.clear()
        pairs = [
            f"{_COUNTS[2]}{_LENGTHS[len(name)]}{name}{_LENGTHS[len(value)]}{value}" for name, value in block.fields
        ]
        packed = self._blocks[block.text] = "".join(pairs)
        return packed
