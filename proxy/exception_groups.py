"""Exception groups of task groups, reduced to the error that a person has to read."""

from typing import cast


def first_error(error: BaseException) -> BaseException:
    """Return the first error of nested groups; an error that is not a group is returned as it is."""
    while isinstance(error, BaseExceptionGroup):
        error = cast("BaseExceptionGroup[BaseException]", error).exceptions[0]
    return error
