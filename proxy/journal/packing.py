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

from comparator.exchange import Side
from comparator.redaction import TOKEN
from proxy.drafts import Draft
from proxy.headers import Block
from proxy.journal.redact import NONCE_BYTES, Keys, Originals, Rules, digest, seal
from proxy.shapes import Shape, Values

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

BLOCKS_MAX = 1024
TEMPLATES_MAX = 64
TEMPLATES_MAX_BYTES = 16 * 1024
"""Of one shape; there are up to 1,024 of requests, and callers choose the lengths of their values."""
NONCES = 64
"""Asked of the system at once."""
SHORT_MAX = 255
"""A longer text is out of the ordinary."""
FIELDS_MAX = 200


class Packed(msgspec.Struct, frozen=True, array_like=True, gc=False):
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
    reply_headers: msgspec.Raw
    reply_body: bytes
    reply_truncated: bool
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


class Plan:
    """How the fields of one shape are packed: `texts` stand before, between and behind the values that `pick` takes.

    `secrets` are those of the values that are secrets: place among the picked, place of the field in the record. `count` is the
    number of fields. None of it means anything unless `usable`.
    """

    __slots__ = ("_templates", "_templates_max", "_texts", "count", "marks", "packer", "pick", "secrets", "usable")

    def __init__(self, packer: "Packer", shape: Shape, places: Sequence[int], first: int, message: str) -> None:
        self.packer = packer
        self.count = len(places)
        self.usable = shape.shared and self.count <= FIELDS_MAX
        self.secrets: list[tuple[int, int]] = []
        self.marks: tuple[str, ...] = ()
        self._templates: dict[tuple[int, ...], str] = {}
        self._texts = [""]
        numbers: list[int] = []
        rules = packer.rules
        for index, place in enumerate(places, first):
            name, value = shape.pairs[place]
            secret, number = rules.headers[name], shape.places.get(shape.names[place])
            self._texts[-1] += f"{_COUNTS[2]}{_LENGTHS[min(len(name), SHORT_MAX)]}{name}"
            if number is None:
                # A secret that is the same in all heads, and what cannot be packed here, goes the long way.
                unusual = (
                    secret or not value.isascii() or len(value) > SHORT_MAX or (rules.tokens and TOKEN.search(value))
                )
                self.usable = self.usable and not unusual and len(name) <= SHORT_MAX
                self._texts[-1] += f"{_LENGTHS[min(len(value), SHORT_MAX)]}{value}"
                continue
            if secret:
                self.secrets.append((len(numbers), index))
                self.marks += (f"{message}.header.{name.lower()}",)
            numbers.append(number)
            self._texts.append("")
        size = sum(map(len, self._texts)) + 8 * len(numbers)
        self._templates_max = min(TEMPLATES_MAX, TEMPLATES_MAX_BYTES // (size + 1) + 1)
        self.pick: Callable[[Values], Any] | None = None
        if numbers:
            # (of one place a getter gives the value itself, of a slice a tuple)
            self.pick = itemgetter(*numbers) if len(numbers) > 1 else itemgetter(slice(numbers[0], numbers[0] + 1))

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


def plan_of_request(packer: "Packer", shape: Shape) -> Plan:
    """The fields that pass: Host stands before them."""
    return Plan(packer, shape, shape.passing, 1, "request")


def plan_of_reply(packer: "Packer", shape: Shape) -> Plan:
    """All fields."""
    return Plan(packer, shape, range(len(shape.pairs)), 0, "reply")


class Packer:
    """Packs by rules and keys that stay as they are; for one thread. `random` gives so many bytes that were never given before."""

    def __init__(self, rules: Rules, keys: Keys, *, random: Callable[[int], bytes] = os.urandom) -> None:
        self.rules = rules
        self.keys = keys
        self._random = random
        self._usable = not any(rules.headers[name] for name in OWN)
        self._blocks: dict[str, str] = {}
        self._nonces: list[bytes] = []

    def pack(self, draft: Draft) -> Packed | None:
        """The packed record; None when it has to be made the long way."""
        head, reply = draft.head, draft.reply
        if not self._usable or reply is None or draft.failed is not None or draft.shadow_mark or not self._clean(draft):
            return None
        shape, answer = head.shape, reply.shape
        plan, reply_plan = shape.packing, answer.packing
        if not isinstance(plan, Plan) or plan.packer is not self:
            plan = shape.packing = plan_of_request(self, shape)
        if not isinstance(reply_plan, Plan) or reply_plan.packer is not self:
            reply_plan = answer.packing = plan_of_reply(self, answer)
        secrets: Secrets = []
        reply_secrets: Secrets = []
        fields = self._fields(plan, head.values, draft.key, secrets)
        reply_fields = self._fields(reply_plan, reply.values, draft.key, reply_secrets)
        added = self._added(draft.added)
        if fields is None or reply_fields is None or added is None:
            return None
        host, name, trace = head.host, draft.id, draft.trace
        asked = (
            f"{_COUNTS[3 + len(draft.added.fields) + plan.count]}{_HOST}{_LENGTHS[len(host)]}{host}{fields}{added}"
            f"{_REQUEST_ID}{_LENGTHS[len(name)]}{name}{_TRACE}{_LENGTHS[len(trace)]}{trace}"
        )
        sealed = b""
        if secrets or reply_secrets:
            originals = Originals(tuple(secrets), tuple(reply_secrets), None, None, None, None)
            sealed = seal(originals, name, self.rules, self.keys, nonce=self._nonce())
        return Packed(
            name,
            draft.route_name,
            draft.key,
            draft.side,
            draft.stage,
            draft.started_ns,
            draft.ended_ns,
            head.method,
            head.target,
            msgspec.Raw(asked.encode("latin-1")),
            draft.request_body.body,
            draft.request_body.truncated,
            reply.status,
            msgspec.Raw((_COUNTS[reply_plan.count] + reply_fields).encode("latin-1")),
            draft.reply_body.body,
            draft.reply_body.truncated,
            "",
            "",
            draft.overlapped,
            draft.skip.value if draft.skip else "",
            sealed,
            plan.marks + reply_plan.marks,
        )

    def _nonce(self) -> bytes:
        """One that was never used."""
        if not self._nonces:
            random = self._random(NONCE_BYTES * NONCES)
            self._nonces = [random[start : start + NONCE_BYTES] for start in range(0, len(random), NONCE_BYTES)]
        return self._nonces.pop()

    def _clean(self, draft: Draft) -> bool:
        """Whether nothing but header fields is, or may hold, a secret, and all of it is as long as usual."""
        rules, target, request_body, reply_body = (
            self.rules,
            draft.head.target,
            draft.request_body.body,
            draft.reply_body.body,
        )
        if ("?" in target and rules.query) or (rules.json_paths and (request_body or reply_body)):
            return False
        own = f"{draft.id}{draft.head.host}"
        if len(own) > SHORT_MAX:
            return False
        # (one byte is found many times faster than three, and few bodies have it)
        if not rules.tokens or not (b"J" in reply_body or b"J" in request_body or "J" in target or "J" in own):
            return True
        return not (b"eyJ" in reply_body or b"eyJ" in request_body or "eyJ" in target or "eyJ" in own)

    def _fields(self, plan: Plan, values: Values, key: str, secrets: Secrets) -> str | None:
        """The fields of a head by the plan of its shape. Adds the secrets among them."""
        if not plan.usable:
            return None
        if plan.pick is None:
            return plan.filled(())
        texts: Sequence[str] = plan.pick(values)
        if plan.secrets:
            texts = list(texts)
            for place, index in plan.secrets:
                value = texts[place]
                if key in (value, value.lower()):
                    return None
                secrets.append((index, value))
                texts[place] = digest(value, self.keys)
        joined = "".join(texts)
        if not joined.isascii() or (self.rules.tokens and "eyJ" in joined and any(map(TOKEN.search, texts))):
            return None
        return plan.filled(texts)

    def _added(self, block: Block) -> str | None:
        """The fields that this hop adds to requests."""
        packed = self._blocks.get(block.text)
        if packed is not None:
            return packed
        usual = block.text.isascii() and not (self.rules.tokens and "eyJ" in block.text)
        if not usual or any(len(value) > SHORT_MAX for _, value in block.fields):
            return None
        if len(self._blocks) >= BLOCKS_MAX:
            self._blocks.clear()
        pairs = [
            f"{_COUNTS[2]}{_LENGTHS[len(name)]}{name}{_LENGTHS[len(value)]}{value}" for name, value in block.fields
        ]
        packed = self._blocks[block.text] = "".join(pairs)
        return packed
