r"""A cache of parsed heads, so that most heads need not be parsed. It changes the cost of a result, never the result.

The names of fields whose values rarely repeat (ids, lengths, dates, secrets) are in one regular expression. It cuts their values out
of a head; the text that is left is the key:

    \r\nHost: api.example\r\nCookie: a=b\r\nAccept: */*             the fields of a head, each after a CRLF
    \r\nHost: api.example   Cookie   a=b   \r\nAccept: */*          split by the pattern: text, name, value, text
    ("\r\nHost: api.example", "Cookie", "\r\nAccept: */*", "")      the key: all but the values, and the status line ("" of a request)
    ("a=b",)                                                        the values

On a hit, the entry's HeadTemplate with these values in its slots is what the parser would have found. The request line is read each
time, by a pattern of its own. Only heads that the parser accepted are inserted, so a malformed head never hits.

Every container is bounded and drops its least recently used entries. A client that sends a new head each time pays for parsing it,
and for little more: LearningBudget admits few of its heads while nothing hits, and HeadCache compiles the pattern again at most once
in INSERTS_PER_REBUILD inserts.
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
    parse_request,
    parse_response,
    response_framing,
)
from proxy.token_bucket import TokenBucket

KEY_MAX_CHARS = 4096
"""A head with a longer key is not inserted."""
VALUE_MAX_CHARS = 256
TEMPLATES_MAX = 1024
NAMES_MAX = 128
NAME_MAX_CHARS = 64
VALUES_MAX = 16
"""A field with more different values than this gets a slot."""

REBUILDS_AT_ONCE_MAX = 8
INSERTS_PER_REBUILD = 2048
"""To add a name to the pattern takes milliseconds. So the first few are added at once, later ones once in so many inserts."""
NEW_NAMES_MAX = 8
"""A head with more new names than this is not inserted: it would displace names that other heads use."""
CREDIT_MAX = 1024
ADMITTED_ONE_IN = 8

_USUAL_LINE = re.compile(
    '(GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS) (/[!"$-~\xa1-\xac\xae-\xff]*) HTTP/1[.]1(?=\r\n)'
).match
"""Match a request line that the parser need not look at."""
DECISIVE_FIELDS = frozenset(("host", "connection", "transfer-encoding", "expect"))
"""Fields whose values decide how the rest of the head is understood: they never get a slot."""
VARIABLE_FIELDS = frozenset(
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
"""Fields that get a slot from the first head on; other fields get one after VALUES_MAX different values."""
_SECRET_NAME = re.compile("auth|cookie|credential|key|passw|secret|session|signature|token")
"""Fields called like this get a slot too, so that no secret stays in memory as part of a key."""

_LENGTH = Framing.LENGTH

HeadT = TypeVar("HeadT", RequestHead, ResponseHead)
KeyT = TypeVar("KeyT", bound=Hashable)
ValueT = TypeVar("ValueT")


class TwoGenerationLru(Generic[KeyT, ValueT]):
    """A mapping of at most `entries_max` that drops entries which were not used for long.

    It holds two dicts. Entries go into the young one; when that is half of `entries_max`, the old dict is dropped and the young one
    becomes the old one. So an entry is dropped after entries_max / 2 other entries at the earliest. `get_young` looks in the young dict
    only, which is one dict look-up; `get` looks in both and moves an entry of the old one over.
    """

    __slots__ = ("_half_max", "_old", "_young", "get_young")

    def __init__(self, entries_max: int) -> None:
        self._half_max = entries_max // 2
        self._old: dict[KeyT, ValueT] = {}
        self._young: dict[KeyT, ValueT] = {}
        self.get_young = self._young.get

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def get(self, key: KeyT) -> ValueT | None:
        """Return the value and mark it as used; None when it is absent."""
        value = self._young.get(key)
        if value is None and (value := self._old.pop(key, None)) is not None:
            self.put(key, value)
        return value

    def put(self, key: KeyT, value: ValueT) -> None:
        """Add or replace a value."""
        if len(self._young) >= self._half_max:
            self._old, self._young = self._young, {}
            self.get_young = self._young.get
        self._young[key] = value

    def keys(self) -> Iterator[KeyT]:
        """Yield all keys, those of the older entries first."""
        return chain(self._old, self._young)

    def discard(self, key: KeyT) -> None:
        """Remove a value if it is there."""
        self._young.pop(key, None)
        self._old.pop(key, None)


class HeadCache(Generic[HeadT]):
    """Heads by the key that is left when the values of their slots are cut out."""

    def __init__(self) -> None:
        self._heads: TwoGenerationLru[tuple[str, ...], HeadT] = TwoGenerationLru(TEMPLATES_MAX)
        self._pattern_names: TwoGenerationLru[str, bool] = TwoGenerationLru(NAMES_MAX)
        """The names in the pattern, in the case they are sent in."""
        self._slot_names: TwoGenerationLru[str, bool] = TwoGenerationLru(NAMES_MAX)
        """The lower-case names of fields that were seen with too many values."""
        self._seen_values: TwoGenerationLru[str, list[str]] = TwoGenerationLru(NAMES_MAX)
        """The values of other fields so far, by lower-case name."""
        self._inserts = 0
        # (a bucket of rebuilds whose clock is the number of inserts)
        self._rebuild_credit = TokenBucket.full(1 / INSERTS_PER_REBUILD, REBUILDS_AT_ONCE_MAX)
        for name in sorted(VARIABLE_FIELDS):
            for spelling in (name, name.title()):
                self._pattern_names.put(spelling, True)
        self._rebuild_pattern()

    def lookup(self, fields: str, status_line: str) -> tuple[HeadT | None, Values]:
        """Look a head up.

        Args:
            fields: the lines of its fields, each after a CRLF.
            status_line: of a response; "" of a request.

        Returns:
            The entry, None on a miss; and the values of this head for the slots of the entry's template.
        """
        parts = self._split(fields)
        values = tuple(parts[2::3])
        del parts[2::3]
        parts.append(status_line)
        return self._heads.get_young(tuple(parts)), values

    def insert(self, fields: str, status_line: str, parsed: HeadT) -> None:
        """Insert what the parser found in a head, unless the head cannot be cached.

        Args:
            fields: as of `lookup`.
            status_line: as of `lookup`.
            parsed: the result of the parser, without what the lines outside of the key say.
        """
        self._inserts += 1
        head_fields, names = parsed.fields, parsed.template.names
        if fields != "".join([f"\r\n{name}: {value}" for name, value in head_fields]):
            return
        slots = tuple([index for index, (_, value) in enumerate(head_fields) if self._has_slot(names[index], value)])
        # Of a repeated field the parser decides which value counts as the first one, so it gets no slot.
        if any(names.count(names[index]) > 1 for index in slots) or not self._admit_names(
            [head_fields[index][0] for index in slots]
        ):
            return
        parts = self._split(fields)
        if parts[2::3] != [head_fields[index][1] for index in slots]:
            return
        del parts[2::3]
        key = *parts, status_line
        if sum(map(len, key)) <= KEY_MAX_CHARS and self._heads.get(key) is None:
            self._heads.put(key, replace(parsed, length=0, template=parsed.template.with_slots(slots)))

    def _has_slot(self, name: str, value: str) -> bool:
        """Return whether a field, by its lower-case name, gets a slot, now that it was seen with this value."""
        if name in VARIABLE_FIELDS or _SECRET_NAME.search(name) or self._slot_names.get(name):
            return True
        if name in DECISIVE_FIELDS:
            return False
        values = self._seen_values.get(name) or []
        if value in values:
            return False
        if len(value) > VALUE_MAX_CHARS or len(values) >= VALUES_MAX:
            self._slot_names.put(name, True)
            self._seen_values.discard(name)
            return True
        self._seen_values.put(name, [*values, value])
        return False

    def _admit_names(self, names: list[str]) -> bool:
        """Put these names into the pattern. Return False if one of them is not in it and cannot be added now."""
        new = [name for name in names if not self._pattern_names.get(name)]
        credit = self._rebuild_credit.refill(self._inserts)
        if not new:
            return True
        if credit < 1.0 or len(new) > NEW_NAMES_MAX or any(len(name) > NAME_MAX_CHARS for name in new):
            return False
        self._rebuild_credit.spend()
        for name in new:
            self._pattern_names.put(name, True)
        self._rebuild_pattern()
        return True

    def _rebuild_pattern(self) -> None:
        """Compile the pattern from its names. Keys made by the pattern before would no longer match, so the cache is emptied."""
        names = "|".join(map(re.escape, self._pattern_names.keys()))
        # A value ends at its last character that is printable and not a space. Anything else stays in the text, so the key is unknown and
        # the head goes to the parser: of "\r\nCookie: a\tb" only "a" is cut out, and "\tb" is left.
        self._split = re.compile(f"\r\n({names}): (?! )([ -~\xa1-\xff]*)(?<! )").split
        self._heads = TwoGenerationLru(TEMPLATES_MAX)


class LearningBudget:
    """Admission control for the head cache: insert every miss while the hit rate is good, otherwise one miss in ADMITTED_ONE_IN.

    An insert costs more than parsing, and a client that sends a new head each time would make all clients pay for it.
    """

    __slots__ = ("_credit",)

    def __init__(self) -> None:
        # (a bucket of inserts whose clock is the number of hits: each hit pays for one insert)
        self._credit = TokenBucket.full(1.0, CREDIT_MAX)

    def admits(self, *, hits: int, misses: int) -> bool:
        """Return whether the last miss is inserted, given how many hits and misses there were in all."""
        return self._credit.take(hits) or misses % ADMITTED_ONE_IN == 0


class CachedRequestParser:
    """Parse the heads of requests, by the cache where it knows them. `hits` and `misses` count its look-ups."""

    def __init__(self) -> None:
        self.hits = 0
        self.misses = 0
        self._cache: HeadCache[RequestHead] = HeadCache()
        self._budget = LearningBudget()

    def parse(self, head: bytes, *, fields_max: int) -> RequestHead:
        """Return what `parse_request` returns.

        Raises:
            MalformedError: as `parse_request` does.
        """
        text = head[:-4].decode("latin-1")
        line = _USUAL_LINE(text)
        # (to search thousands of lines for the names would take milliseconds)
        if line is not None and (not fields_max or text.count("\r") <= fields_max):
            entry, values = self._cache.lookup(text[line.end() :], "")
            if entry is not None:
                template, framing, length = entry.template, entry.framing, 0
                if framing is _LENGTH:
                    length = cached_length(values[template.slot_indexes["content-length"]])
                if length >= 0:
                    self.hits += 1
                    method, target = line.groups()
                    host, keep_alive = entry.host, entry.keep_alive
                    return RequestHead(method, target, 1, host, framing, length, keep_alive, template, values)
        self.misses += 1
        parsed = parse_request(head, fields_max=fields_max)
        if parsed.minor == 1 and self._budget.admits(hits=self.hits, misses=self.misses):
            self._insert(head, parsed)
        return parsed

    def _insert(self, head: bytes, parsed: RequestHead) -> None:
        values = parsed.first_values
        # An absolute target decides the host, and an empty body is framed like none: neither follows from the key alone.
        if parsed.host == values["host"] and ("content-length" not in values or parsed.framing is _LENGTH):
            self._cache.insert(_split_head(head)[1], "", replace(parsed, method="", target=""))


class CachedResponseParser:
    """Parse the heads of one backend's responses, by the cache where it knows them. `hits` and `misses` count its look-ups."""

    def __init__(self) -> None:
        self.hits = 0
        self.misses = 0
        self._cache: HeadCache[ResponseHead] = HeadCache()
        self._budget = LearningBudget()

    def parse(self, head: bytes, *, method: str) -> ResponseHead:
        """Return what `parse_response` returns.

        Raises:
            MalformedError: as `parse_response` does.
        """
        text = head[:-4].decode("latin-1")
        end = text.find("\r\n")
        if end > 0 and method != "HEAD":
            entry, values = self._cache.lookup(text[end:], text[:end])
            if entry is not None:
                template, framing, length = entry.template, entry.framing, 0
                if framing is _LENGTH:
                    length = cached_length(values[template.slot_indexes["content-length"]])
                if length >= 0:
                    self.hits += 1
                    return ResponseHead(
                        entry.status, entry.reason, 1, framing, length, entry.keep_alive, template, values
                    )
        self.misses += 1
        parsed = parse_response(head, method=method)
        cacheable = parsed.minor == 1 and parsed.status >= 200
        if cacheable and self._budget.admits(hits=self.hits, misses=self.misses):
            self._insert(head, parsed)
        return parsed

    def _insert(self, head: bytes, parsed: ResponseHead) -> None:
        if _framing_follows_from_template(parsed):
            status_line, fields = _split_head(head)
            self._cache.insert(fields, status_line, parsed)


def cached_length(stated: str) -> int:
    """Return the length that a Content-Length states, if it is not 0; -1 when the parser has to look at it."""
    # (in latin-1 the decimals are 0 to 9)
    return (int(stated) or -1) if stated.isdecimal() and len(stated) <= LENGTH_DIGITS_MAX else -1


def _framing_follows_from_template(parsed: ResponseHead) -> bool:
    """Return whether every response with this template, to a request other than HEAD, is framed as this one."""
    names = list(parsed.template.names)
    try:
        framing, _ = response_framing(names, parsed.first_values, method="GET", status=parsed.status)
    except MalformedError:
        return False
    bodiless = parsed.status in (204, 304)
    return framing is parsed.framing and (bodiless or framing is not Framing.NONE)


def _split_head(head: bytes) -> tuple[str, str]:
    r"""Split a head into its first line and its fields: `a\r\nb: c\r\nd: e\r\n\r\n` into `a` and `\r\nb: c\r\nd: e`."""
    text = head[:-4].decode("latin-1")
    end = text.find("\r\n")
    return (text[:end], text[end:]) if end >= 0 else (text, "")
