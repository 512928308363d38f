"""A body's copy for the journal, cut at a limit. Pure."""


class BodyCopy:
    """What was taken of a body so far; `truncated` once something did not fit."""

    __slots__ = ("_left", "_parts", "size", "truncated")

    def __init__(self, max_bytes: int) -> None:
        self._parts: list[bytes] = []
        self._left = max_bytes
        self.truncated = False
        self.size = 0
        """Bytes taken."""

    def add(self, data: bytes) -> None:
        """Take what still fits."""
        self._left -= len(data)
        if self._left < 0:
            # (nothing more fits then, whatever comes)
            data = data[: self._left]
            self._left = 0
            self.truncated = True
        if data:
            self.size += len(data)
            self._parts.append(data)

    @property
    def body(self) -> bytes:
        """What was taken."""
        parts = self._parts
        if len(parts) > 1:
            self._parts = parts = [b"".join(parts)]
        return parts[0] if parts else b""


EMPTY = BodyCopy(0)
"""The copy of no body."""
