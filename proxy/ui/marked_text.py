"""Mark the characters in which two texts differ, and shorten what they have in common. Pure.

"6.46300"             "3.76300"               short texts are marked as a whole
/records/aaa...f01    /records/aaa...f02      of long ones, the parts between the common beginning and end
"""

from typing import Final, NamedTuple

from comparator.exchanges.visible_text import visible

WHOLE_MAX: Final = 24
"""Texts up to this length are marked as a whole: a mark on one digit of a number helps no one."""
COMMON_SHARE_MIN: Final = 0.4
"""Texts with a smaller common share are marked as a whole."""
CONTEXT_CHARS: Final = 40
"""Characters of a common beginning or end that are kept beside a difference."""
TEXT_CHARS_MAX: Final = 300
"""Longest differing part that is shown, in characters."""


class TextPart(NamedTuple):
    """A part of a text, and whether it differs from the other side's."""

    text: str
    changed: bool = False


Parts = tuple[TextPart, ...]


def plain(text: str, limit: int = TEXT_CHARS_MAX) -> Parts:
    """Return a text without marks, shortened."""
    return (TextPart(visible(cut(text, limit))),)


def cut(text: str, limit: int = TEXT_CHARS_MAX) -> str:
    """Shorten a text at its end, and say how many characters are left out."""
    return text if len(text) <= limit else f"{text[:limit]}… ({len(text) - limit:,} more characters)"


def marked(text: str, limit: int = TEXT_CHARS_MAX) -> Parts:
    """Return a text that differs as a whole, shortened."""
    return (TextPart(visible(cut(text, limit)), changed=True),)


def compared(left: str, right: str) -> tuple[Parts, Parts]:
    """Return two texts with their differing parts marked; equal texts have no mark."""
    if left == right:
        return plain(left), plain(right)
    if max(len(left), len(right)) <= WHOLE_MAX:
        return marked(left), marked(right)
    head = _common(left, right)
    tail = _common(left[head:][::-1], right[head:][::-1])
    if head + tail < COMMON_SHARE_MIN * max(len(left), len(right)):
        return marked(left), marked(right)
    return _around(left, head, tail), _around(right, head, tail)


def _common(left: str, right: str) -> int:
    """Return the length of the common beginning, by halving: comparing slices is many times faster than characters."""
    low, high = 0, min(len(left), len(right))
    while low < high:
        middle = (low + high + 1) // 2
        if left[low:middle] == right[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _around(text: str, head: int, tail: int) -> Parts:
    before, changed, after = text[:head], text[head : len(text) - tail], text[len(text) - tail :]
    if len(before) > 2 * CONTEXT_CHARS:
        before = f"… ({len(before) - CONTEXT_CHARS:,} equal characters){before[-CONTEXT_CHARS:]}"
    if len(after) > 2 * CONTEXT_CHARS:
        after = f"{after[:CONTEXT_CHARS]}… ({len(after) - CONTEXT_CHARS:,} equal characters)"
    parts = (TextPart(before), TextPart(cut(changed), changed=True), TextPart(after))
    return tuple(TextPart(visible(part.text), part.changed) for part in parts if part.text)
