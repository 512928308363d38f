"""Renders how two values differ, by deepdiff: the one module that imports it.

Pure, but slow (milliseconds): for a person's eyes, on the smallest differing subtree, never to decide anything.
"""

# deepdiff publishes no usable types.
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false

from decimal import Decimal
from typing import Any, Final

from deepdiff import DeepDiff

from comparator.exchanges.difference import Difference
from comparator.exchanges.json_values import ABSENT, NonFinite, Repeated, value_text

RENDER_CHARS_MAX: Final = 200_000


def render(difference: Difference) -> str:
    """How the two values of one difference differ, one line for each change; "" when one of them is absent or scalar."""
    served, mirrored = difference.served, difference.mirrored
    if served is ABSENT or mirrored is ABSENT or not (_is_container(served) and _is_container(mirrored)):
        return ""
    if len(value_text(served)) + len(value_text(mirrored)) > RENDER_CHARS_MAX:
        return f"(values beyond {RENDER_CHARS_MAX} characters are not rendered)"
    return deep_difference(served, mirrored).pretty().replace("root", difference.place or "body")


def deep_difference(served: object, mirrored: object) -> Any:
    """The `DeepDiff` of two decoded documents with the meaning of equality used here.

    Private-looking names count (`ignore_private_variables=False`); 1, 1.0 and true differ in type.
    """
    return DeepDiff(_plain(served), _plain(mirrored), ignore_private_variables=False, verbose_level=2)


def _is_container(value: object) -> bool:
    return isinstance(value, dict | list | tuple)


def _plain(value: Any) -> Any:
    """What deepdiff knows how to walk: our own markers become text."""
    match value:
        case dict():
            return {name: _plain(item) for name, item in value.items()}
        case list() | tuple():
            return [_plain(item) for item in value]
        case Repeated() | NonFinite():
            return value_text(value)
        case Decimal():
            # deepdiff compares Decimals by value and prints them in full; a wrapper would lose both.
            return value
        case _:
            return value
