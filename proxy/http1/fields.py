"""Header fields: how a line is read, and which fields pass a hop. Pure."""

import re

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

_LINE = re.compile(r"([!#$%&'*+\-.^_`|~0-9A-Za-z]++):([^\x00-\x08\x0a-\x1f\x7f]*+)")

Pair = tuple[str, str]


def pair_of(line: str) -> Pair:
    """Name and value of a header field's line, as they came, without the white space around the value.

    Raises:
        MalformedError: the line is no header field (400).
    """
    match = _LINE.fullmatch(line)
    if match is None:
        raise MalformedError(400, "a header field is malformed")
    return match.group(1), match.group(2).strip(" \t")


def valid(text: str) -> bool:
    """Whether this is a header field's line."""
    return _LINE.fullmatch(text) is not None


def connection_options(names: list[str], pairs: list[Pair]) -> frozenset[str]:
    """Lower names listed in all Connection fields; empty for the common values. `names` are the lower names of `pairs`."""
    listed = [pair[1].lower() for name, pair in zip(names, pairs, strict=True) if name == "connection"]
    if not listed or listed in (["keep-alive"], ["close"]):
        return frozenset()
    options = frozenset(option.strip() for value in listed for option in value.split(","))
    return options - {"", "host", "content-length"}


def passing(names: list[str], stopped: frozenset[str]) -> list[int]:
    """The places of the fields whose lower names are not stopped, neither as they are nor with hyphens for underscores.

    What stands behind CGI's variables (WSGI, Django) cannot tell X_Forwarded_For from X-Forwarded-For.
    """
    return [place for place, name in enumerate(names) if name.replace("_", "-") not in stopped]
