"""What was seen of heads before, so that most heads need not be parsed again. What is remembered changes no result, only its cost.

A head is recognised by its **shape**: the texts of its fields, except that of fields whose values do not repeat (ids, lengths, dates,
whatever an operator's clients vary) or are secret only the name counts. All heads of one shape are read alike: what the parser found
in the first of them, with the values of this one put in, is what it would find in this one. The request line is read each time.

Only heads that the parser has accepted are remembered. Every memory is bounded, and forgets what was not used for longest; so a
caller who sends ever new heads pays for parsing each of them, and the others parse theirs once more now and then.
"""

import re
from collections.abc import Hashable
from dataclasses import replace
from typing import Generic, TypeVar

from proxy.errors import MalformedError
from proxy.fields import Pair
from proxy.http1 import LENGTH_DIGITS_MAX, Framing, ReplyHead, RequestHead, framing_of_reply, parse_reply, parse_request

LINES_MAX = 4096
LINE_MAX = 256
SHAPES_MAX = 1024
FIELDS_MAX = 64
NAMES_MAX = 512
NAME_MAX = 64
VALUES_MAX = 16
"""A field with more different values than this counts by its name only."""

CREDIT_MAX = 1024
LEARNED_ONE_IN = 8

METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))
DECIDING = frozenset(("host", "connection", "transfer-encoding", "expect"))
"""Fields whose values decide how a head is read: they never count by name only."""
VARYING = frozenset(
    (
        "age",
        "authorization",
        "baggage",
        "content-length",
        "cookie",
        "date",
        "etag",
        "expires",
        "forwarded",
        "idempotency-key",
        "if-modified-since",
        "if-none-match",
        "last-modified",
        "location",
        "referer",
        "set-cookie",
        "traceparent",
        "tracestate",
        "x-forwarded-for",
        "x-real-ip",
        "x-request-id",
    )
)
"""Fields that count by name only from the first head on; others are found out by their values."""
_SECRET = re.compile("auth|cookie|credential|key|passw|secret|session|signature|token")

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class Generations(Generic[Key, Value]):
    """A mapping of at most `entries_max` that forgets what was not used for longest.

    `get` is the younger half's: what it does not have, `recall` may still find in the older half, and takes over.
    """

    __slots__ = ("_half_max", "_old", "_young", "get")

    def __init__(self, entries_max: int) -> None:
        self._half_max = entries_max // 2
        self._old: dict[Key, Value] = {}
        self._young: dict[Key, Value] = {}
        self.get = self._young.get

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def recall(self, key: Key) -> Value | None:
        """The value, which counts as used now; None when it is not known."""
        value = self._young.get(key)
        if value is None and (value := self._old.pop(key, None)) is not None:
            self.keep(key, value)
        return value

    def keep(self, key: Key, value: Value) -> None:
        """Remember a value."""
        if len(self._young) >= self._half_max:
            self._old, self._young = self._young, {}
            self.get = self._young.get
        self._young[key] = value

    def drop(self, key: Key) -> None:
        """Forget a value; one that is not there is fine."""
        self._young.pop(key, None)
        self._old.pop(key, None)


class Field:
    """A part of a shape: a whole line, or the name of a field whatever its value. The same part is always the same object."""

    __slots__ = ("by_name", "name")

    def __init__(self, name: str, *, by_name: bool) -> None:
        self.name = name
        self.by_name = by_name


Fresh = list[tuple[int, str, Pair]]
"""The fields of one head that count by name only: place, lower name, name and value."""


class Fields:
    """Which lines of fields were seen, and which fields count by name only."""

    def __init__(self) -> None:
        self.lines: Generations[str, Field] = Generations(LINES_MAX)
        self.names: Generations[str, Field] = Generations(NAMES_MAX)
        """By the name as it is written."""
        self._varying: Generations[str, bool] = Generations(NAMES_MAX)
        self._values: Generations[str, list[str]] = Generations(NAMES_MAX)
        """The lines kept, by lower name."""

    def recognise(self, lines: list[str], shape: list[object]) -> Fresh | None:
        """Add the parts of the shape of a head with these lines; None where one is not known, or has an unusual value."""
        fresh: Fresh = []
        known, names = self.lines.get, self.names.get
        for place, line in enumerate(lines):
            field = known(line)
            if field is None:
                name, _, value = line.partition(": ")
                field = names(name)
                if field is None or not value.isprintable() or value.strip() != value:
                    return None
                fresh.append((place, field.name, (name, value)))
            shape.append(field)
        return fresh

    def learn(self, lines: list[str], pairs: list[Pair]) -> list[Field] | None:
        """The parts of the shape of a head that was accepted; None when it has none that can be remembered."""
        if len(lines) > FIELDS_MAX:
            return None
        shape: list[Field] = []
        for line, (name, _) in zip(lines, pairs, strict=True):
            field = self._field(line, name, name.lower())
            if field is None:
                return None
            shape.append(field)
        names = [field.name for field in shape]
        # Which of two values is the first is the parser's to say, also where only one of the two counts by its name.
        return shape if all(names.count(field.name) == 1 for field in shape if field.by_name) else None

    def _field(self, line: str, name: str, lower: str) -> Field | None:
        if lower in VARYING or _SECRET.search(lower) or self._varying.recall(lower):
            return self._by_name(name, lower)
        field = self.lines.recall(line)
        if field is not None:
            return field
        if lower in DECIDING:
            return self._whole(line, lower) if len(line) <= LINE_MAX else None
        values = self._values.recall(lower) or []
        if len(line) > LINE_MAX or len(values) >= VALUES_MAX:
            self._varying.keep(lower, True)
            self._values.drop(lower)
            for value in values:
                self.lines.drop(value)
            return self._by_name(name, lower)
        self._values.keep(lower, [*values, line])
        return self._whole(line, lower)

    def _whole(self, line: str, lower: str) -> Field:
        field = Field(lower, by_name=False)
        self.lines.keep(line, field)
        return field

    def _by_name(self, name: str, lower: str) -> Field | None:
        field = self.names.recall(name)
        if field is None and len(name) <= NAME_MAX:
            field = Field(lower, by_name=True)
            self.names.keep(name, field)
        return field


class Zeal:
    """Whether a head that was parsed is learned: each, while others are recognised; else one in LEARNED_ONE_IN.

    Learning costs more than parsing, and a caller who sends ever new heads would make everybody pay for it.
    """

    __slots__ = ("_credit", "_hits")

    def __init__(self) -> None:
        self._credit = CREDIT_MAX
        self._hits = 0

    def learns(self, *, hits: int, misses: int) -> bool:
        """Say so of the last miss, given how many hits and misses there were in all."""
        self._credit = min(CREDIT_MAX, self._credit + hits - self._hits)
        self._hits = hits
        if self._credit <= 0:
            return misses % LEARNED_ONE_IN == 0
        self._credit -= 1
        return True


class RequestHeads:
    """Reads the heads of requests. `hits` are the heads that were recognised, `misses` those that were parsed."""

    def __init__(self) -> None:
        self.hits = 0
        self.misses = 0
        self._fields = Fields()
        self._zeal = Zeal()
        self._shapes: Generations[tuple[object, ...], RequestHead] = Generations(SHAPES_MAX)

    def parse(self, head: bytes, *, fields_max: int) -> RequestHead:
        """What `parse_request` says of a head, given with its final empty line.

        Raises:
            MalformedError: as `parse_request` does.
        """
        found = self._recognised(head, fields_max)
        if found is not None:
            self.hits += 1
            return found
        self.misses += 1
        parsed = parse_request(head, fields_max=fields_max)
        if parsed.minor == 1 and self._zeal.learns(hits=self.hits, misses=self.misses):
            self._learn(head, parsed)
        return parsed

    def _recognised(self, head: bytes, fields_max: int) -> RequestHead | None:
        lines = head.decode("latin-1").split("\r\n")
        del lines[-2:]
        words = lines.pop(0).split(" ")
        if len(words) != 3 or words[0] not in METHODS or words[2] != "HTTP/1.1":
            return None
        target = words[1]
        if target[:1] != "/" or "#" in target or not target.isprintable() or (fields_max and len(lines) > fields_max):
            return None
        shape: list[object] = []
        fresh = self._fields.recognise(lines, shape)
        first = self._shapes.get(tuple(shape))
        if fresh is None or first is None:
            return None
        pairs, named, length = _with_values(first, fresh)
        if length < 0:
            return None
        return RequestHead(
            words[0], target, 1, first.host, lines, pairs, named, first.passed, first.framing, length, first.keep_alive
        )

    def _learn(self, head: bytes, parsed: RequestHead) -> None:
        lines = _lines_of(head)
        target_is_usual = parsed.host == parsed.named.get("host")
        shape = self._fields.learn(lines, parsed.pairs) if target_is_usual and lines == parsed.lines else None
        if shape is None or ("content-length" in parsed.named and parsed.framing is not Framing.LENGTH):
            return
        key = tuple(shape)
        if self._shapes.recall(key) is None:
            pairs, named = _without_values(shape, parsed.pairs, parsed.named)
            self._shapes.keep(key, replace(parsed, method="", target="", lines=[], pairs=pairs, named=named, length=0))


class ReplyHeads:
    """Reads the heads of one backend's replies. `hits` and `misses` as in `RequestHeads`."""

    def __init__(self) -> None:
        self.hits = 0
        self.misses = 0
        self._fields = Fields()
        self._zeal = Zeal()
        self._shapes: Generations[tuple[object, ...], ReplyHead] = Generations(SHAPES_MAX)

    def parse(self, head: bytes, *, method: str) -> ReplyHead:
        """What `parse_reply` says of a head, given with its final empty line.

        Raises:
            MalformedError: as `parse_reply` does.
        """
        found = self._recognised(head) if method != "HEAD" else None
        if found is not None:
            self.hits += 1
            return found
        self.misses += 1
        parsed = parse_reply(head, method=method)
        learnable = parsed.minor == 1 and parsed.status >= 200
        if learnable and self._zeal.learns(hits=self.hits, misses=self.misses):
            self._learn(head, parsed)
        return parsed

    def _recognised(self, head: bytes) -> ReplyHead | None:
        lines = head.decode("latin-1").split("\r\n")
        del lines[-2:]
        shape: list[object] = [lines.pop(0)]
        fresh = self._fields.recognise(lines, shape)
        first = self._shapes.get(tuple(shape))
        if fresh is None or first is None:
            return None
        pairs, named, length = _with_values(first, fresh)
        if length < 0:
            return None
        return ReplyHead(
            first.status, first.reason, 1, lines, pairs, named, first.returned, first.framing, length, first.keep_alive
        )

    def _learn(self, head: bytes, parsed: ReplyHead) -> None:
        lines = _lines_of(head)
        status_line = head.decode("latin-1").partition("\r\n")[0]
        shape = self._fields.learn(lines, parsed.pairs) if lines == parsed.lines else None
        if shape is None or len(status_line) > LINE_MAX or not _framed_alike(parsed):
            return
        key = (status_line, *shape)
        if self._shapes.recall(key) is None:
            pairs, named = _without_values(shape, parsed.pairs, parsed.named)
            self._shapes.keep(key, replace(parsed, lines=[], pairs=pairs, named=named, length=0))


def length_of(stated: str) -> int:
    """The length that a field states; -1 when the parser has to look at it."""
    usual = stated.isascii() and stated.isdecimal() and len(stated) <= LENGTH_DIGITS_MAX
    return int(stated) if usual else -1


def _framed_alike(parsed: ReplyHead) -> bool:
    """Whether every reply of this shape to a request other than HEAD is framed as this one."""
    names = [name.lower() for name, _ in parsed.pairs]
    try:
        framing, _ = framing_of_reply(names, parsed.named, method="GET", status=parsed.status)
    except MalformedError:
        return False
    bodiless = parsed.status in (204, 304)
    return framing is parsed.framing and (bodiless or framing is not Framing.NONE)


def _lines_of(head: bytes) -> list[str]:
    return head.decode("latin-1").split("\r\n")[1:-2]


def _with_values(first: RequestHead | ReplyHead, fresh: Fresh) -> tuple[list[Pair], dict[str, str], int]:
    """What is remembered of a shape with the values of this head put in, and the length of its body; -1 when the parser has to look."""
    pairs, named = first.pairs.copy(), first.named.copy()
    for place, name, pair in fresh:
        pairs[place] = pair
        named[name] = pair[1]
    if first.framing is not Framing.LENGTH:
        return pairs, named, 0
    return pairs, named, length_of(named["content-length"]) or -1


def _without_values(shape: list[Field], pairs: list[Pair], named: dict[str, str]) -> tuple[list[Pair], dict[str, str]]:
    """Pairs and values as they are remembered: without those that count by name only."""
    blank = {field.name for field in shape if field.by_name}
    kept = [("", "") if field.by_name else pair for field, pair in zip(shape, pairs, strict=True)]
    return kept, {name: "" if name in blank else value for name, value in named.items()}
