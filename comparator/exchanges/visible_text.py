r"""Show what cannot be seen in a text, or changes what is seen around it, as escapes: for terminals and pages. Pure.

"a\u202eb"     a\u202eb        a mark of direction would turn the text around
"a\u200bb"     a\u200bb        two texts that look the same are told apart
"\x1b[31mred"  \x1b[31mred     a terminal would obey it
"""


def visible(text: str, *, lines: bool = False) -> str:
    """Return a text with everything that is not printable as escapes of Python; the same object when there is nothing to escape.

    Args:
        text: any text.
        lines: keep ends of lines and tabs.
    """
    if text.isprintable():
        return text
    kept = "\n\t" if lines else ""
    return "".join(one if one.isprintable() or one in kept else one.encode("unicode_escape").decode() for one in text)
