"""A body's copy for the journal, cut at a limit. Pure."""


class Copy:
    """What was taken of a body so far; `truncated` once something did not fit."""

    __slots__ = ("_left", "_parts", "truncated")

    def __init__(self, max_bytes: int) -> None:
        self._parts: list[bytes] = []
        self._left = max_bytes
        self.truncated = False

    def add(self, data: bytes) -> None:
        """Take what still fits."""
        if len(data) > self._left:
            data = data[: self._left]
            self.truncated = True
        if data:
            self._left -= len(data)
            self._parts.append(data)

    @property
    def body(self) -> bytes:
        """What was taken."""
        return self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)


EMPTY = Copy(0)
"""The copy of no body."""
