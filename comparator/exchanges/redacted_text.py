"""TODO."""

import re
from collections.abc import Callable
from typing import Final

REDACTED: Final = "redacted:"
"""The marker of a value that was taken out; hexadecimal digits of a keyed digest follow: 32 in the journal, 16 in findings and cases."""
REDACTED_VALUE: Final = re.compile(REDACTED + "[0-9a-f]{16}(?:[0-9a-f]{16})?")
TOKEN: Final = re.compile(r"eyJ[A-Za-z0-9_-]{5,}\.eyJ[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]{5,}")
"""A JSON Web Token. The detached signatures of credentials have an empty middle and are none."""


def without_tokens(text: str, stand_in: Callable[[str], str]) -> str:
    """The text with each JSON Web Token replaced by what stands for it; the very same text when there is none."""
    return TOKEN.sub(lambda found: stand_in(found[0]), text) if "eyJ" in text and TOKEN.search(text) else text
