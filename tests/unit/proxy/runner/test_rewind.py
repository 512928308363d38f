"""proxy.runner.rewind: what the shadow must hold for waiting changes to be done once more."""

import pytest

from comparator.capture.table_shape import Column, ReplicaIdentity, TableShape
from comparator.exchanges.row_changes import Op, Row, RowChange
from proxy.runner.rewind import rewound
from proxy.runner.row_targets import RowTarget

SHAPE = TableShape(
    name="score",
    schema="public",
    relation="score",
    kind="table",
    logged=True,
    owned=True,
    replica_identity=ReplicaIdentity.FULL,
    primary_key=("id",),
    columns=(Column("id", "bigint", False, "", True), Column("value", "text", False, "", True)),
    foreign_keys=(),
    triggers=(),
)


def row(value: str, **more: str) -> Row:
    return {"id": "1", "value": value, **more}


def change(before: Row | None, after: Row | None) -> RowChange:
    op = Op.INSERT if before is None else Op.DELETE if after is None else Op.UPDATE
    return RowChange("score", op, before, after)


def taken_back(*waiting: RowChange, wanted: tuple[RowTarget, ...] = ()) -> list[RowTarget] | None:
    return rewound(wanted, waiting, {"score": SHAPE})


def target(current: Row | None, wanted: Row | None) -> RowTarget:
    return RowTarget("score", ("1",), current, wanted)


def test_row_that_waiting_changes_touch_becomes_what_it_was_before_the_first() -> None:
    assert taken_back(change(row("a"), row("b")), change(row("b"), row("c"))) == [target(row("c"), row("a"))]


def test_row_that_a_waiting_change_inserts_is_deleted() -> None:
    assert taken_back(change(None, row("a"))) == [target(row("a"), None)]


def test_row_that_a_waiting_change_deletes_is_inserted() -> None:
    assert taken_back(change(row("a"), None)) == [target(None, row("a"))]


def test_row_that_comes_and_goes_while_it_waits_is_left_alone() -> None:
    assert taken_back(change(None, row("a")), change(row("a"), None)) == []


def test_row_of_the_shadow_that_differs_is_written_whole_as_it_was_before() -> None:
    assert taken_back(change(row("a"), row("b")), wanted=(target({}, row("b")),)) == [target({}, row("a"))]


def test_row_that_nobody_waits_for_keeps_its_target() -> None:
    assert taken_back(wanted=(target({}, row("b")),)) == [target({}, row("b"))]


def test_columns_that_live_alone_has_are_left_out() -> None:
    assert taken_back(change(row("a", news="x"), row("b", news="y"))) == [target(row("b"), row("a"))]


@pytest.mark.parametrize("lost", [RowChange("score", Op.TRUNCATE, None, None), change({"id": "1"}, row("b"))])
def test_change_without_its_old_image_cannot_be_taken_back(lost: RowChange) -> None:
    assert taken_back(change(row("a"), row("b")), lost) is None
