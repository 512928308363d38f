"""Name the releases of both sides that an exchange was compared with. Pure."""

from typing import Final, NamedTuple

LABEL_CHARS_MAX: Final = 60
"""Longest version that is kept, in characters."""
UNKNOWN: Final = "?"


class ReleasePair(NamedTuple):
    """The versions that both sides reported; "" for a side that reported none."""

    candidate: str = ""
    legacy: str = ""

    @property
    def label(self) -> str:
        """Both versions in one text, `2.1.0 / 8.4`; "" if neither side reported one."""
        if not (self.candidate or self.legacy):
            return ""
        return f"{self.candidate or UNKNOWN} / {self.legacy or UNKNOWN}"


NO_RELEASE: Final = ReleasePair()


def version_text(reported: str) -> str:
    """Return a reported version as it is kept: without control characters and shortened."""
    return "".join(character for character in reported if character.isprintable()).strip()[:LABEL_CHARS_MAX]
