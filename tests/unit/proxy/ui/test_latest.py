"""Values that may be missing can be made by the name of their type, as the pages do while nothing was read yet."""

from proxy.ui.latest import LatestValue
from proxy.ui.parts import PartAnswer


def test_missing_value_is_made_by_its_subscripted_type() -> None:
    assert LatestValue[object]().value is None
    assert PartAnswer[int](error="down").error == "down"
