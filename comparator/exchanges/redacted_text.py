"""Recognise JSON Web Tokens, and what replaces a secret, in text. Pure."""

import re
from collections.abc import Callable
from typing import Final

REDACTED: Final = "redacted:"
"""Marks a value that was taken out. The hexadecimal digits of a keyed digest follow: 32 in the journal, 16 in findings and cases."""
REDACTED_VALUE: Final = re.compile(REDACTED + "[0-9a-f]{16}(?:[0-9a-f]{16})?")
_DOTTED: Final = re.compile(r"(?<![A-Za-z0-9_-])[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]*){2,}")
_BEGIN: Final = "eyJ"
_PART_MIN: Final = 8
_ENCRYPTED_MIN: Final = 10
_SIGNATURE_MIN: Final = 5


def without_tokens(text: str, stand_in: Callable[[str], str]) -> str:
    """Replace each JSON Web Token by `stand_in(token)`; return `text` itself, the same object, when it contains none.

    `eyJ` is base64 of `{"`, so header and payload of a signed token both begin with it; an encrypted one has five parts. The detached
    signature of a Verifiable Credential, `eyJ...` `..` `signature`, has an empty payload and is not secret.

    The time is in proportion to the text, whatever it holds: a run of these characters is looked at once.
    """
    if _BEGIN not in text:
        return text
    clean = _DOTTED.sub(lambda match: _without_tokens(match[0], stand_in), text)
    return clean if clean != text else text


def _without_tokens(run: str, stand_in: Callable[[str], str]) -> str:
    parts = run.split(".")
    kept: list[str] = []
    index = 0
    while index < len(parts):
        start = parts[index].find(_BEGIN)
        count = _token_parts(parts, index, start) if start >= 0 else 0
        if count:
            token = ".".join([parts[index][start:], *parts[index + 1 : index + count]])
            kept.append(parts[index][:start] + stand_in(token))
        else:
            kept.append(parts[index])
        index += count or 1
    return ".".join(kept)


def _token_parts(parts: list[str], index: int, start: int) -> int:
    """Return the number of parts of the token that begins in a part; 0 for none."""
    following = parts[index + 1 : index + 5]
    if len(parts[index]) - start < _PART_MIN or len(following) < 2:
        return 0
    if len(following) == 4 and min(map(len, following[2:])) >= _ENCRYPTED_MIN:
        return 5
    signed = following[0].startswith(_BEGIN) and len(following[0]) >= _PART_MIN
    return 3 if signed and len(following[1]) >= _SIGNATURE_MIN else 0
