r"""Parse PostgreSQL's text of a whole row. Pure.

`(7,"a, b",,"","a ""b"" c")` has the fields `7`, `a, b`, NULL, the empty string and `a "b" c`: a field without text is NULL, and quotes
and backslashes are doubled inside of quotes.
Source: PostgreSQL documentation, "Composite Type Input and Output Syntax".
"""

import re

from comparator.capture.errors import DecodeError

_PLAIN = re.compile(r'[^"()\\]*')
_FIELD = re.compile(r'"((?:[^"\\]+|""|\\\\)*)"|([^",()\\]*)')


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
        match = _FIELD.match(text, at, end)
        if match is None:
            raise DecodeError("unterminated field in the text of a row")
        quoted, plain = match.groups()
        if quoted is not None:
            values.append(quoted.replace('""', '"').replace("\\\\", "\\"))
        else:
            values.append(plain or None)
        at = match.end()
        if at == end:
            return values
        if text[at] != ",":
            raise DecodeError("missing comma behind a field in the text of a row")
        at += 1
