"""Tables without a description: keys and references are those of the catalogue."""

import pytest

from comparator.effects.compare import EffectsResult, SideEffects, compare_effects
from comparator.effects.row_diff import compile_tables
from comparator.exchanges.difference import Kind
from comparator.exchanges.row_changes import RowChange, Transaction
from comparator.exchanges.table_schema import SurrogateReference, TableSchema
from comparator.rules.actions import ComparisonTime
from comparator.tables import Table
from tests.support.comparisons import NOW, delete, insert, update

ACCOUNT = TableSchema(("id",), {"id": "bigint", "address": "text", "v": "text"}, ("id",), (("address",),))
HOLDING = TableSchema(
    ("id",),
    {"id": "bigint", "account_id": "bigint", "coin": "text", "amount": "numeric"},
    ("id",),
    (("account_id", "coin"),),
    (SurrogateReference("account_id", "account", ("account_id",), ("id",)),),
)
COMMENT = TableSchema(
    ("id",),
    {"id": "bigint", "parent_id": "bigint", "v": "text"},
    ("id",),
    references=(SurrogateReference("parent_id", "comment", ("parent_id",), ("id",)),),
)
ITEM = TableSchema(("tenant", "id"), {"tenant": "text", "id": "bigint", "sku": "text"}, ("id",), (("tenant", "sku"),))
NOTE = TableSchema(
    (),
    {"tenant": "text", "item_id": "bigint", "v": "text"},
    references=(SurrogateReference("item_id", "item", ("tenant", "item_id"), ("tenant", "id")),),
)
PRICED = TableSchema(("k",), {"k": "bigint", "net": "bigint", "gross": "numeric", "at": "text"}, computed=("gross",))
SCHEMAS = {"priced": PRICED, "account": ACCOUNT, "holding": HOLDING, "comment": COMMENT, "item": ITEM, "note": NOTE}


def compare(a: list[RowChange], b: list[RowChange], described: dict[str, Table] | None = None) -> EffectsResult:
    left, right = (SideEffects((Transaction(1, 1, 1, 1, tuple(changes)),), SCHEMAS) for changes in (a, b))
    return compare_effects(left, right, compile_tables(described or {}), ComparisonTime(NOW.date()))


def places(result: EffectsResult) -> list[tuple[str, Kind]]:
    return [(difference.place, difference.kind) for difference in result.differences]


def test_natural_key_is_the_first_unique_constraint_beside_a_surrogate_key() -> None:
    assert (ACCOUNT.natural_key, HOLDING.natural_key, COMMENT.natural_key) == (("address",), ("account_id", "coin"), ())
    assert ITEM.natural_key == ("tenant", "sku")


@pytest.mark.parametrize("described", [{}, {"holding": Table(natural_key=("coin",))}])
def test_children_of_a_new_parent_are_equal_whatever_its_id(described: dict[str, Table]) -> None:
    def side(number: int, amount: str) -> list[RowChange]:
        return [
            insert("account", id=number, address="0xa", v=""),
            insert("holding", id=number + 1, account_id=number, coin="x", amount=amount),
        ]

    assert places(compare(side(4, "1.0"), side(1_099, "1.00"), described)) == []
    assert places(compare(side(4, "1.0"), side(1_099, "2"), described)) == [("holding.amount", Kind.COLUMN)]


def test_child_of_another_parent_is_another_row() -> None:
    def side(parent: int) -> list[RowChange]:
        parents = [insert("account", id=number, address=f"0x{number}", v="") for number in (1, 2)]
        return [*parents, insert("holding", id=9, account_id=parent, coin="x", amount=1)]

    assert places(compare(side(1), side(2))) == [("holding", Kind.MISSING_ROW), ("holding", Kind.EXTRA_ROW)]


def test_reference_of_a_composite_key_is_resolved_by_all_of_its_columns() -> None:
    def side(number: int, v: str) -> list[RowChange]:
        items = [insert("item", tenant=t, id=number, sku="a") for t in ("s", "t")]
        return [*items, insert("note", tenant="t", item_id=number, v=v)]

    assert places(compare(side(1, "x"), side(2, "x"))) == []
    assert places(compare(side(1, "x"), side(2, "y"))) == [("note.v", Kind.COLUMN)]


def test_tree_without_any_key_is_compared_by_whole_rows() -> None:
    def side(start: int, *texts: str) -> list[RowChange]:
        parents = [None, *range(start, start + len(texts))]
        return [insert("comment", id=start + n, parent_id=parents[n], v=v) for n, v in enumerate(texts)]

    assert places(compare(side(1, "a", "b", "c"), side(100, "a", "b", "c"))) == []
    assert places(compare(side(1, "a", "b", "c"), side(100, "a", "b"))) == [("comment", Kind.MISSING_ROW)]
    assert places(compare(side(1, "a", "b", "c"), side(100, "a", "b", "d"))) == [("comment.v", Kind.COLUMN)]


def test_changed_parent_does_not_make_its_children_differ() -> None:
    child = insert("holding", id=9, account_id=4, coin="x", amount=1)
    renamed = update("account", {"id": 4, "address": "0xa", "v": ""}, address="0xb")
    assert places(compare([child, renamed], [child])) == [("account", Kind.MISSING_ROW), ("account", Kind.EXTRA_ROW)]
    assert places(compare([child], [child, renamed])) == [("account", Kind.EXTRA_ROW), ("account", Kind.MISSING_ROW)]


def test_parent_that_was_deleted_and_inserted_again_is_the_same_row() -> None:
    gone, again = {"id": 4, "address": "0xa", "v": ""}, insert("account", id=5, address="0xa", v="")
    replaced = [delete("account", **gone), again, insert("holding", id=9, account_id=5, coin="x", amount=1)]
    touched = [update("account", gone, v="-"), insert("holding", id=9, account_id=4, coin="x", amount=1)]
    assert places(compare(replaced, touched)) == [("account.v", Kind.COLUMN)]


def test_computed_columns_are_not_compared() -> None:
    one, other = insert("priced", k=1, net=1, gross="1.20", at="a"), insert("priced", k=1, net=1, gross="1.30", at="a")
    assert places(compare([one], [other])) == []
    assert places(compare([one], [insert("priced", k=1, net=2, gross="2.40", at="a")])) == [("priced.net", Kind.COLUMN)]


def test_many_whole_rows_take_no_time_that_grows_with_their_square() -> None:
    rows = [insert("comment", id=n, parent_id=None, v=n % 7) for n in range(5_000)]
    assert places(compare(rows, list(reversed(rows)))) == []
    assert places(compare(rows, rows[1:])) == [("comment", Kind.MISSING_ROW)]
