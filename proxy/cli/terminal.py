r"""Keep control characters of traffic from a terminal.

Paths, bodies and rows are clients' to choose. Written raw, an escape sequence in them could move the cursor, hide a line, set the window's
title or paste into the shell. While a command runs and its output is a terminal, everything that it writes is made visible first:

    /a\x1b[2J      \x1b[2J is shown, the screen is not cleared
    user\u202etxt   \u202e is shown, what follows is not reversed
"""

import codecs
import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, TextIO, cast

from comparator.exchanges.visible_text import visible


class TerminalStream:
    """A text stream to a terminal that makes control characters visible.

    Attributes:
        raw: the stream itself, for what draws with control characters on purpose.
        buffer: the same for bytes: they are taken for UTF-8.
    """

    def __init__(self, raw: TextIO) -> None:
        self.raw = raw
        self.buffer = _TerminalBytes(raw)

    def write(self, text: str) -> int:
        """Write a text."""
        self.raw.write(visible(text, lines=True))
        return len(text)

    def writelines(self, lines: Any) -> None:
        """Write texts."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.raw, name)


class _TerminalBytes:
    def __init__(self, raw: TextIO) -> None:
        self._raw = raw
        self._decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")

    def write(self, data: bytes) -> int:
        """Write bytes."""
        self._raw.write(visible(self._decoder.decode(data), lines=True))
        return len(data)

    def writelines(self, lines: Any) -> None:
        """Write pieces of bytes."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Write what is buffered."""
        self._raw.flush()


def raw_stream(stream: TextIO) -> TextIO:
    """Return the stream under a `TerminalStream`, else the stream."""
    return stream.raw if isinstance(stream, TerminalStream) else stream


@contextmanager
def visible_controls() -> Generator[None]:
    """Have the standard output and the standard error make control characters visible during the block, where they are terminals."""
    before = sys.stdout, sys.stderr
    wrapped = [cast("TextIO", TerminalStream(stream)) if stream.isatty() else stream for stream in before]
    sys.stdout, sys.stderr = wrapped
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before
