"""Header fields as lines, validated once and remembered. Pure: what is remembered changes no result, only its cost.

Most lines of most messages were seen before (Accept, User-Agent, Content-Type, Date within a second), so a line is parsed, judged and
kept by its text. The memory is bounded, and lines that carry secrets or never repeat are not kept.
"""

import re
from dataclasses import dataclass

from proxy.errors import MalformedError

HOP_BY_HOP = frozenset(
    (
        "connection",
        "proxy-connection",
        "keep-alive",
        "te",
        "transfer-encoding",
        "upgrade",
        "trailer",
        "proxy-authenticate",
        "proxy-authorization",
    )
)
"""RFC 9110 section 7.6.1; the fields that Connection names are taken out too."""

OVERRIDE_HEADERS = frozenset(("x-serve-with", "x-use-rust-scorer", "x-shadow-token"))
SHADOW_MARK = "x-shadow-request"
REWRITTEN = frozenset(
    (
        "host",
        "expect",
        "x-request-id",
        "traceparent",
        "x-forwarded-for",
        "x-forwarded-proto",
        "x-forwarded-host",
        "forwarded",
        "via",
        "content-length",
        SHADOW_MARK,
    )
)
NOT_FORWARDED = HOP_BY_HOP | OVERRIDE_HEADERS | REWRITTEN
NOT_RETURNED = HOP_BY_HOP | {"content-length"}

REMEMBERED_MAX = 4096
REMEMBERED_LINE_MAX = 256
NOT_REMEMBERED = frozenset(
    (
        "authorization",
        "cookie",
        "set-cookie",
        "x-api-key",
        "x-shadow-token",
        "proxy-authorization",
        "x-request-id",
        "traceparent",
        "tracestate",
        "idempotency-key",
        "etag",
        "if-none-match",
    )
)

_LINE = re.compile(r"([!#$%&'*+\-.^_`|~0-9A-Za-z]++):([^\x00-\x08\x0a-\x1f\x7f]*+)")


@dataclass(frozen=True, slots=True)
class Line:
    """One header field. `pair` is name and value as they came, `name` the lower name, `text` the line to send on.

    `forwarded` and `returned` say whether it passes this hop towards the backend and towards the caller.
    """

    pair: tuple[str, str]
    name: str
    text: str
    forwarded: bool
    returned: bool


class Lines(dict[str, Line]):
    """Lines by their text. A line that is no header field raises MalformedError (400)."""

    def __missing__(self, text: str) -> Line:
        match = _LINE.fullmatch(text)
        if match is None:
            raise MalformedError(400, "a header field is malformed")
        name, value = match.group(1), match.group(2).strip(" \t")
        lower = name.lower()
        line = Line((name, value), lower, f"{name}: {value}\r\n", lower not in NOT_FORWARDED, lower not in NOT_RETURNED)
        if lower not in NOT_REMEMBERED and len(text) <= REMEMBERED_LINE_MAX:
            if len(self) >= REMEMBERED_MAX:
                self.clear()
            self[text] = line
        return line


def valid(text: str) -> bool:
    """Whether this is a header field's line."""
    return _LINE.fullmatch(text) is not None
