"""Header fields: the grammar of a line, look-ups in a list of fields, and the fields that are not passed on. Pure."""

import re
from collections.abc import Iterable

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
"""RFC 9110 section 7.6.1; the fields that Connection names are dropped too."""

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
"""Fields that the proxy writes itself."""
NOT_FORWARDED = HOP_BY_HOP | OVERRIDE_HEADERS | REWRITTEN
NOT_RETURNED = HOP_BY_HOP | {"content-length"}

# Name, colon, value. `++` and `*+` are possessive: a line that does not match fails without backtracking.
_LINE = re.compile(r"([!#$%&'*+\-.^_`|~0-9A-Za-z]++):([^\x00-\x08\x0a-\x1f\x7f]*+)")

Field = tuple[str, str]
"""Name, in the case it came in, and value."""


def parse_field(line: str) -> Field:
    """Parse the line of one header field, given without its CRLF.

    Returns:
        Name and value as they came, without the white space around the value.

    Raises:
        MalformedError: the line is not a header field (400).
    """
    match = _LINE.fullmatch(line)
    if match is None:
        raise MalformedError(400, "malformed header field")
    return match.group(1), match.group(2).strip(" \t")


def is_field_line(text: str) -> bool:
    """Return whether a text is the line of a header field."""
    return _LINE.fullmatch(text) is not None


def first_value(fields: Iterable[Field], lower_name: str) -> str | None:
    """Return the first value of a field, found without regard to case; None when it is absent."""
    for name, value in fields:
        if len(name) == len(lower_name) and name.lower() == lower_name:
            return value
    return None


def combined_value(fields: Iterable[Field], lower_name: str) -> str:
    """Return all values of a list-valued field as one, "" when it is absent (RFC 9110 section 5.3)."""
    return ", ".join([value for name, value in fields if name.lower() == lower_name])


def connection_options(names: list[str], fields: list[Field]) -> frozenset[str]:
    """Return the lower-case names that all Connection fields list; empty for the common values.

    Args:
        names: the lower-case names of `fields`, in the same order.
        fields: names and values.
    """
    listed = [field[1].lower() for name, field in zip(names, fields, strict=True) if name == "connection"]
    if not listed or listed in (["keep-alive"], ["close"]):
        return frozenset()
    options = frozenset(option.strip() for value in listed for option in value.split(","))
    return options - {"", "host", "content-length"}


def forwarded_indexes(names: list[str], dropped: frozenset[str]) -> list[int]:
    """Return the indexes of the fields whose lower-case names are not in `dropped`.

    An underscore counts as a hyphen: behind CGI's variables (WSGI, Django) `X_Forwarded_For` and `X-Forwarded-For` are both
    HTTP_X_FORWARDED_FOR, so a client could forge the one by sending the other.
    """
    return [index for index, name in enumerate(names) if name.replace("_", "-") not in dropped]
