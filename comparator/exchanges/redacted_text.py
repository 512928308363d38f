"""Recognise secrets, and what replaces them, in text. Pure."""

import re
from collections.abc import Callable
from typing import Final

REDACTED: Final = "redacted:"
"""Marks a value that was taken out. The hexadecimal digits of a keyed digest follow: 32 in the journal, 16 in findings and cases."""
REDACTED_VALUE: Final = re.compile(REDACTED + "[0-9a-f]{16}(?:[0-9a-f]{16})?")
TOKEN: Final = re.compile(r"eyJ[A-Za-z0-9_-]{5,}\.eyJ[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]{5,}")
"""A JSON Web Token: `eyJ` is base64 of `{"`, so header and payload both begin with it.

The detached signature of a Verifiable Credential, `eyJ...` `..` `signature`, has an empty payload and does not match: it is not secret.
"""


def without_tokens(text: str, stand_in: Callable[[str], str]) -> str:
    """Replace each JSON Web Token by `stand_in(token)`; return `text` itself, the same object, when it contains none."""
    return TOKEN.sub(lambda match: stand_in(match[0]), text) if "eyJ" in text and TOKEN.search(text) else text
