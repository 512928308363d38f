"""comparator.capture.change_order: changes that inner statements made are put behind those of the outer ones."""

import pytest

from comparator.capture.change_order import in_order
from comparator.exchanges.row_changes import Op, RowChange, RowDescription

T = RowDescription(1, ("k", "v"), ((23, -1), (25, -1)))
KEYS = {1: ("k",)}


def change(text: str, description: RowDescription = T) -> RowChange:
    """Return the change that a text tells: `1: a -> b`, `1: -> b`, `1: a ->`, `1 a -> 2 b` or `truncate`."""
    if text == "truncate":
        return RowChange("t", Op.TRUNCATE, None, None, description)
    key, _, values = text.rpartition(":")
    sides = [f"{key} {side}".split() for side in values.split("->")]
    before, after = (dict(zip(description.columns, side, strict=True)) if len(side) > 1 else None for side in sides)
    op = Op.INSERT if before is None else Op.DELETE if after is None else Op.UPDATE
    return RowChange("t", op, before, after, description)


ORDERS = {
    "as it was logged": (["1: a -> b", "1: b -> c", "2: -> a"], [0, 1, 2]),
    "an inserted row is updated": (["2: b -> c", "2: -> b"], [1, 0]),
    "an updated row is updated": (["2: b -> c", "2: a -> b"], [1, 0]),
    "an updated row is updated twice": (["2: c -> d", "2: b -> c", "2: a -> b"], [2, 1, 0]),
    "a deleted row is put back": (["1: -> b", "1: a ->"], [1, 0]),
    "an inserted row is deleted after a change": (["1: a -> b", "1: -> a", "1: b ->"], [1, 0, 2]),
    "others stay where they are": (["3: -> a", "2: b -> c", "4: -> a", "2: a -> b"], [0, 2, 3, 1]),
    "a row moves to a key, and is changed there": (["2: a -> b", "1 a -> 2 a"], [1, 0]),
    "rows move on, one after the other": (["2 b -> 3 b", "1 a -> 2 a"], [0, 1]),
    "a key is taken over": (["1: -> b", "1 a -> 2 a"], [1, 0]),
    "keys are exchanged through a third": (["1 a -> 3 a", "2 b -> 1 b", "3 a -> 2 a"], [0, 1, 2]),
    "a row ends as it began": (["1: b -> a", "1: a -> b"], [0, 1]),
    "a row is replaced by its like": (["1: a ->", "1: -> a"], [0, 1]),
    "images that no path connects": (["1: a -> b", "1: c -> d"], [0, 1]),
    "before and after a TRUNCATE": (["1: b -> c", "truncate", "1: -> b"], [0, 1, 2]),
    "nothing": ([], []),
}


@pytest.mark.parametrize("name", ORDERS)
def test_changes_of_a_key_follow_one_another(name: str) -> None:
    logged, order = ORDERS[name]
    changes = [change(text) for text in logged]
    assert in_order(changes, KEYS) == tuple(changes[number] for number in order)


def test_rows_of_a_table_without_a_key_stay_as_they_were_logged() -> None:
    changes = [change("1: b -> c"), change("1: a -> b")]
    assert in_order(changes, {}) == in_order(changes, {1: ()}) == tuple(changes)


def test_columns_of_partitions_may_have_any_order_and_definitions_end_a_section() -> None:
    turned = RowDescription(1, ("v", "k"), ((25, -1), (23, -1)))
    inner = RowChange("t", Op.UPDATE, {"v": "b", "k": "1"}, {"v": "c", "k": "1"}, turned)
    assert in_order([inner, change("1: -> b")], KEYS) == (change("1: -> b"), inner)
    wider = RowDescription(1, ("k", "v", "w"), ((23, -1), (25, -1), (25, -1)))
    changes = [change("1: b x -> c x", wider), change("1: a -> b")]
    assert in_order(changes, KEYS) == tuple(changes)


def test_tables_do_not_mix() -> None:
    other = RowDescription(2, ("k", "v"), T.types)
    changes = [change("1: b -> c"), change("1: b -> c", other), change("1: -> b"), change("1: a -> b", other)]
    assert in_order(changes, {1: ("k",), 2: ("k",)}) == tuple(changes[number] for number in (2, 3, 0, 1))
