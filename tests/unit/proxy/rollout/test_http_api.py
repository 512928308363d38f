"""The statuses of errors on the admin port."""

from collections.abc import Iterator

from proxy.errors import RolloutError, SwitchError
from proxy.rollout.http_api import STATUS


def causes(error: type[Exception]) -> Iterator[type[Exception]]:
    """Yield the classes below an error that have no classes below them."""
    for child in error.__subclasses__():
        if child.__subclasses__():
            yield from causes(child)
        else:
            yield child


def test_every_error_has_a_status() -> None:
    assert {*causes(RolloutError), *causes(SwitchError)} == set(STATUS)
