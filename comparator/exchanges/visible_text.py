"""Make control characters visible, so that a text can be shown on a terminal. Pure."""

import re
from typing import Final

_CONTROLS: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ufff9-\ufffb\U000e0000-\U000e007f\ud800-\udfff]"
)
"""C0 but for tab and line feed, DEL, C1, bidirectional controls, line separators, invisible tags, lone surrogates."""


def visible(text: str) -> str:
    """Return a text with its control characters as escapes; the same object when it has none."""
    return _CONTROLS.sub(_escape, text) if not text.isascii() or not text.isprintable() else text


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
