"""Reads a whole row as PostgreSQL writes one into text: `(7,"a, b",,plain)`.

Pure. A field without text is NULL, a quoted one without content the empty string; a quoted field doubles its quotes and
backslashes.
Source: PostgreSQL documentation, "Composite Type Input and Output Syntax".
"""

import re

from comparator.capture.errors import DecodeError

_FIELD = re.compile(r'"((?:[^"\\]+|""|\\\\)*)"|([^",()\\]*)')


def parse(text: str) -> list[str | None]:
    """The values of the row, in column order.

    Raises:
        DecodeError: the text is not a row's.
    """
    if text[:1] != "(" or text[-1:] != ")":
        raise DecodeError("not the text of a row")
    end = len(text) - 1
    values: list[str | None] = []
    at = 1
    while True:
        # Bounded by the closing parenthesis, which an unquoted field cannot hold.
        match = _FIELD.match(text, at, end)
        if match is None:
            raise DecodeError("a field of a row is not ended")
        quoted, plain = match.groups()
        if quoted is not None:
            values.append(quoted.replace('""', '"').replace("\\\\", "\\"))
        else:
            values.append(plain or None)
        at = match.end()
        if at == end:
            return values
        if text[at] != ",":
            raise DecodeError("a field of a row is followed by no comma")
        at += 1
