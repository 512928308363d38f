"""Render the difference of two values by deepdiff; the only module that imports it.

Pure, but slow (milliseconds): it is for people to read, on the smallest differing subtree, and never decides anything.
"""

# deepdiff publishes no usable types.
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false

from decimal import Decimal
from typing import Any, Final

from comparator.exchanges.difference import Difference
from comparator.exchanges.json_values import ABSENT, NonFinite, Repeated, value_text

RENDER_CHARS_MAX: Final = 200_000
"""Largest pair of values that is rendered, in characters of their JSON texts together."""


def render(difference: Difference) -> str:
    """Render how two objects or arrays differ, one line for each change; "" if one of the values is absent or a scalar."""
    served, mirrored = difference.served, difference.mirrored
    if served is ABSENT or mirrored is ABSENT or not (_is_container(served) and _is_container(mirrored)):
        return ""
    if len(value_text(served)) + len(value_text(mirrored)) > RENDER_CHARS_MAX:
        return f"(values beyond {RENDER_CHARS_MAX} characters are not rendered)"
    return deep_difference(served, mirrored).pretty().replace("root", difference.place or "body")


def deep_difference(served: object, mirrored: object) -> Any:
    """Return the `DeepDiff` of two parsed documents, with the comparator's meaning of equality.

    Members whose names begin with `__` are compared (`ignore_private_variables=False`); 1, 1.0 and true are of different types.
    """
    # (its import takes most of a second, which `shadow status` has not)
    from deepdiff import DeepDiff  # noqa: PLC0415

    return DeepDiff(_plain(served), _plain(mirrored), ignore_private_variables=False, verbose_level=2)


def _is_container(value: object) -> bool:
    return isinstance(value, dict | list | tuple)


def _plain(value: Any) -> Any:
    """Convert a value into types that deepdiff can walk: our own markers become text."""
    match value:
        case dict():
            return {name: _plain(item) for name, item in value.items()}
        case list() | tuple():
            return [_plain(item) for item in value]
        case Repeated() | NonFinite():
            return value_text(value)
        case Decimal():
            # deepdiff compares a Decimal by value and prints all its digits: leave it as it is.
            return value
        case _:
            return value
