r"""Parse PostgreSQL's text of a whole row. Pure.

`(7,"a, b",,"","a ""b"" c")` has the fields `7`, `a, b`, NULL, the empty string and `a "b" c`: a field without text is NULL, and quotes
and backslashes are doubled inside of quotes.
Source: PostgreSQL documentation, "Composite Type Input and Output Syntax".
"""

import re

from comparator.capture.errors import DecodeError

_PLAIN = re.compile(r'[^"()\\]*')
_UNQUOTED = re.compile(r'[^",()\\]*+')
_QUOTED = re.compile(r'[^"]*+(?:""[^"]*+)*+')


def parse(text: str) -> list[str | None]:
    """Parse a row; return its values in column order, None for NULL.

    Raises:
        DecodeError: the text is not that of a row.
    """
    if text[:1] != "(" or text[-1:] != ")":
        raise DecodeError("not the text of a row")
    end = len(text) - 1
    if _PLAIN.fullmatch(text, 1, end):
        # Most rows: no field is quoted.
        return [value or None for value in text[1:end].split(",")]
    values: list[str | None] = []
    at = 1
    while True:
        # Bounded by the closing parenthesis, which an unquoted field cannot hold.
        if text[at] == '"':
            value, at = _quoted(text, at + 1, end)
            values.append(value)
        else:
            stop = _end_of(_UNQUOTED, text, at, end)
            values.append(text[at:stop] or None)
            at = stop
        if at == end:
            return values
        if text[at] != ",":
            raise DecodeError("missing comma behind a field in the text of a row")
        at += 1


def _quoted(text: str, at: int, end: int) -> tuple[str, int]:
    """Return the value of a quoted field whose text begins at `at`, and the position behind its closing quote."""
    stop = _end_of(_QUOTED, text, at, end)
    if stop == end:
        raise DecodeError("unterminated field in the text of a row")
    value = text[at:stop]
    if '"' in value:
        value = value.replace('""', '"')
    if "\\" in value:
        if "\\" in value.replace("\\\\", ""):
            raise DecodeError("single backslash in the text of a row")
        value = value.replace("\\\\", "\\")
    return value, stop + 1


def _end_of(pattern: re.Pattern[str], text: str, at: int, end: int) -> int:
    """Return where the longest match from `at` ends; both patterns match the empty text."""
    match = pattern.match(text, at, end)
    return at if match is None else match.end()
