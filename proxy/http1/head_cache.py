"""What was seen of heads before, so that most heads need not be parsed again. What is remembered changes no result, only its cost.

A head is recognised by its **shape**: the texts of its fields, except that of fields whose values do not repeat (ids, lengths, dates,
whatever an operator's clients vary) or are secret only the name counts. All heads of one shape are read alike: what the parser found
in the first of them, with the values of this one put in, is what it would find in this one. The request line is read each time.

Only heads that the parser has accepted are remembered. Every memory is bounded, and forgets what was not used for longest; so a
client who sends ever new heads pays for parsing each of them, and the others parse theirs once more now and then.
"""

import re
from collections.abc import Hashable, Iterator
from dataclasses import replace
from itertools import chain
from typing import Generic, TypeVar

from proxy.errors import MalformedError
from proxy.http1.head_template import Values
from proxy.http1.parser import (
    LENGTH_DIGITS_MAX,
    Framing,
    RequestHead,
    ResponseHead,
    framing_of_response,
    parse_request,
    parse_response,
)

TEXT_MAX = 4096
"""A head whose fields are longer than this, without the values that differ, is not remembered."""
VALUE_MAX = 256
SHAPES_MAX = 1024
NAMES_MAX = 128
NAME_MAX = 64
VALUES_MAX = 16
"""A field with more different values than this counts by its name only."""

RENEWED_AT_ONCE_MAX = 8
RENEWED_ONE_IN = 2048
"""A new name is put into the pattern once in so many heads that were parsed; some are at once."""
NEW_NAMES_MAX = 8
"""A head with more new names than this is not remembered: it would put the names of others out of the pattern."""
CREDIT_MAX = 1024
LEARNED_ONE_IN = 8

_USUAL_LINE = re.compile(
    '(GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS) (/[!"$-~\xa1-\xac\xae-\xff]*) HTTP/1[.]1(?=\r\n)'
).match
"""A request line that need not be looked at by the parser."""
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

_LENGTH = Framing.LENGTH

Head = TypeVar("Head", RequestHead, ResponseHead)
Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class TwoGenerationLru(Generic[Key, Value]):
    """A mapping of at most `entries_max` that forgets what was not used for longest.

    `get_young` reads the younger half only, with one dict look-up; `get` also reads the older half and moves the entry over.
    """

    __slots__ = ("_half_max", "_old", "_young", "get_young")

    def __init__(self, entries_max: int) -> None:
        self._half_max = entries_max // 2
        self._old: dict[Key, Value] = {}
        self._young: dict[Key, Value] = {}
        self.get_young = self._young.get

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def get(self, key: Key) -> Value | None:
        """The value, which counts as used now; None when it is not known."""
        value = self._young.get(key)
        if value is None and (value := self._old.pop(key, None)) is not None:
            self.put(key, value)
        return value

    def put(self, key: Key, value: Value) -> None:
        """Remember a value."""
        if len(self._young) >= self._half_max:
            self._old, self._young = self._young, {}
            self.get_young = self._young.get
        self._young[key] = value

    def keys(self) -> Iterator[Key]:
        """All that is known."""
        return chain(self._old, self._young)

    def drop(self, key: Key) -> None:
        """Forget a value; one that is not there is fine."""
        self._young.pop(key, None)
        self._old.pop(key, None)


class HeadCache(Generic[Head]):
    """What was read of heads, by their shape; and which fields count by their name only.

    The values of those are cut out of a head by one pattern of their names; what is left is what the head is recognised by. To put a
    name into the pattern takes milliseconds: so the first few are put in at once, and later ones when enough heads have been read.
    """

    def __init__(self) -> None:
        self._heads: TwoGenerationLru[tuple[str, ...], Head] = TwoGenerationLru(SHAPES_MAX)
        """By the text of a head's fields without the values that differ, and what it says besides."""
        self._spelled: TwoGenerationLru[str, bool] = TwoGenerationLru(NAMES_MAX)
        """The names in the pattern, as they are written."""
        self._varying: TwoGenerationLru[str, bool] = TwoGenerationLru(NAMES_MAX)
        self._values: TwoGenerationLru[str, list[str]] = TwoGenerationLru(NAMES_MAX)
        """By lower name."""
        self._patience = RENEWED_AT_ONCE_MAX * RENEWED_ONE_IN
        for name in sorted(VARYING):
            for spelled in (name, name.title()):
                self._spelled.put(spelled, True)
        self._renew()

    def lookup(self, fields: str, besides: str) -> tuple[Head | None, Values]:
        """What was read of a head with these lines, each after a CRLF, and the values that belong in; None when it must be parsed."""
        parts = self._cut(fields)
        values = tuple(parts[2::3])
        del parts[2::3]
        parts.append(besides)
        return self._heads.get_young(tuple(parts)), values

    def insert(self, fields: str, besides: str, parsed: Head) -> None:
        """Remember what was read of a head that was accepted, if it can be remembered."""
        self._patience = min(self._patience + 1, RENEWED_AT_ONCE_MAX * RENEWED_ONE_IN)
        pairs, names = parsed.pairs, parsed.shape.names
        if fields != "".join([f"\r\n{name}: {value}" for name, value in pairs]):
            return
        blanks = tuple([place for place, (_, value) in enumerate(pairs) if self._varies(names[place], value)])
        # Which of two values is the first is the parser's to say, also where only one of the two counts by its name.
        if any(names.count(names[place]) > 1 for place in blanks) or not self._spell(
            [pairs[place][0] for place in blanks]
        ):
            return
        parts = self._cut(fields)
        if parts[2::3] != [pairs[place][1] for place in blanks]:
            return
        del parts[2::3]
        key = *parts, besides
        if sum(map(len, key)) <= TEXT_MAX and self._heads.get(key) is None:
            self._heads.put(key, replace(parsed, length=0, shape=parsed.shape.remembered(blanks)))

    def _varies(self, name: str, value: str) -> bool:
        """Whether a field counts by its lower name only, now that it had this value."""
        if name in VARYING or _SECRET.search(name) or self._varying.get(name):
            return True
        if name in DECIDING:
            return False
        values = self._values.get(name) or []
        if value in values:
            return False
        if len(value) > VALUE_MAX or len(values) >= VALUES_MAX:
            self._varying.put(name, True)
            self._values.drop(name)
            return True
        self._values.put(name, [*values, value])
        return False

    def _spell(self, names: list[str]) -> bool:
        """Have these names in the pattern. False where they are not, for now."""
        new = [name for name in names if not self._spelled.get(name)]
        if not new:
            return True
        if self._patience < RENEWED_ONE_IN or len(new) > NEW_NAMES_MAX or any(len(name) > NAME_MAX for name in new):
            return False
        self._patience -= RENEWED_ONE_IN
        for name in new:
            self._spelled.put(name, True)
        self._renew()
        return True

    def _renew(self) -> None:
        """Make the pattern anew. Heads that were cut by the one before are recognised no more."""
        names = "|".join(map(re.escape, self._spelled.keys()))
        # A value is taken to the last character that is printable and no space: what else there is in it stays in the text, which is
        # not known then.
        self._cut = re.compile(f"\r\n({names}): (?! )([ -~\xa1-\xff]*)(?<! )").split
        self._heads = TwoGenerationLru(SHAPES_MAX)


class LearningBudget:
    """Whether a head that was parsed is learned: each, while others are recognised; else one in LEARNED_ONE_IN.

    Learning costs more than parsing, and a client who sends ever new heads would make everybody pay for it.
    """

    __slots__ = ("_credit", "_hits")

    def __init__(self) -> None:
        self._credit = CREDIT_MAX
        self._hits = 0

    def admits(self, *, hits: int, misses: int) -> bool:
        """Say so of the last miss, given how many hits and misses there were in all."""
        self._credit = min(CREDIT_MAX, self._credit + hits - self._hits)
        self._hits = hits
        if self._credit <= 0:
            return misses % LEARNED_ONE_IN == 0
        self._credit -= 1
        return True


class CachedRequestParser:
    """Reads the heads of requests. `hits` are the heads that were recognised, `misses` those that were parsed."""

    def __init__(self) -> None:
        self.hits = 0
        self.misses = 0
        self._memory: HeadCache[RequestHead] = HeadCache()
        self._zeal = LearningBudget()

    def parse(self, head: bytes, *, fields_max: int) -> RequestHead:
        """What `parse_request` says of a head, given with its final empty line.

        Raises:
            MalformedError: as `parse_request` does.
        """
        text = head[:-4].decode("latin-1")
        line = _USUAL_LINE(text)
        # (to look for the names in thousands of lines would take milliseconds)
        if line is not None and (not fields_max or text.count("\r") <= fields_max):
            first, values = self._memory.lookup(text[line.end() :], "")
            if first is not None:
                shape, framing, length = first.shape, first.framing, 0
                if framing is _LENGTH:
                    length = length_of(values[shape.places["content-length"]])
                if length >= 0:
                    self.hits += 1
                    method, target = line.groups()
                    host, keep_alive = first.host, first.keep_alive
                    return RequestHead(method, target, 1, host, framing, length, keep_alive, shape, values)
        self.misses += 1
        parsed = parse_request(head, fields_max=fields_max)
        if parsed.minor == 1 and self._zeal.admits(hits=self.hits, misses=self.misses):
            self._learn(head, parsed)
        return parsed

    def _learn(self, head: bytes, parsed: RequestHead) -> None:
        named = parsed.named
        if parsed.host == named["host"] and ("content-length" not in named or parsed.framing is _LENGTH):
            self._memory.insert(_split(head)[1], "", replace(parsed, method="", target=""))


class CachedResponseParser:
    """Reads the heads of one backend's responses. `hits` and `misses` as in `RequestHeads`."""

    def __init__(self) -> None:
        self.hits = 0
        self.misses = 0
        self._memory: HeadCache[ResponseHead] = HeadCache()
        self._zeal = LearningBudget()

    def parse(self, head: bytes, *, method: str) -> ResponseHead:
        """What `parse_response` says of a head, given with its final empty line.

        Raises:
            MalformedError: as `parse_response` does.
        """
        text = head[:-4].decode("latin-1")
        end = text.find("\r\n")
        if end > 0 and method != "HEAD":
            first, values = self._memory.lookup(text[end:], text[:end])
            if first is not None:
                shape, framing, length = first.shape, first.framing, 0
                if framing is _LENGTH:
                    length = length_of(values[shape.places["content-length"]])
                if length >= 0:
                    self.hits += 1
                    return ResponseHead(first.status, first.reason, 1, framing, length, first.keep_alive, shape, values)
        self.misses += 1
        parsed = parse_response(head, method=method)
        learnable = parsed.minor == 1 and parsed.status >= 200
        if learnable and self._zeal.admits(hits=self.hits, misses=self.misses):
            self._learn(head, parsed)
        return parsed

    def _learn(self, head: bytes, parsed: ResponseHead) -> None:
        if _framed_alike(parsed):
            status_line, fields = _split(head)
            self._memory.insert(fields, status_line, parsed)


def length_of(stated: str) -> int:
    """The length that a field states, if it is not 0; -1 when the parser has to look at it."""
    # (in latin-1 the decimals are 0 to 9)
    return (int(stated) or -1) if stated.isdecimal() and len(stated) <= LENGTH_DIGITS_MAX else -1


def _framed_alike(parsed: ResponseHead) -> bool:
    """Whether every response of this shape to a request other than HEAD is framed as this one."""
    names = list(parsed.shape.names)
    try:
        framing, _ = framing_of_response(names, parsed.named, method="GET", status=parsed.status)
    except MalformedError:
        return False
    bodiless = parsed.status in (204, 304)
    return framing is parsed.framing and (bodiless or framing is not Framing.NONE)


def _split(head: bytes) -> tuple[str, str]:
    """The first line of a head, and its fields: each after a CRLF."""
    text = head[:-4].decode("latin-1")
    end = text.find("\r\n")
    return (text[:end], text[end:]) if end >= 0 else (text, "")
