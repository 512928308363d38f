"""proxy.runner.row_targets: targets of a resync with pending changes taken back, and targets of single changes."""

import pytest

from comparator.capture.table_shape import Column, ReplicaIdentity, TableKind, TableShape
from comparator.exchanges.row_changes import Op, Row, RowChange
from proxy.runner.row_targets import Alignment, RowTarget, alignment, rewound

SHAPE = TableShape(
    name="score",
    schema="public",
    relation="score",
    kind=TableKind.TABLE,
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


def taken_back(*pending: RowChange, resync: tuple[RowTarget, ...] = ()) -> list[RowTarget] | None:
    return rewound(resync, pending, {"score": SHAPE})


def target(current: Row | None, target: Row | None) -> RowTarget:
    return RowTarget("score", ("1",), current, target)


def test_changed_row_becomes_what_it_was_before_the_first_pending_change() -> None:
    assert taken_back(change(row("a"), row("b")), change(row("b"), row("c"))) == [target(row("c"), row("a"))]


def test_row_inserted_by_a_pending_change_is_deleted() -> None:
    assert taken_back(change(None, row("a"))) == [target(row("a"), None)]


def test_row_deleted_by_a_pending_change_is_inserted() -> None:
    assert taken_back(change(row("a"), None)) == [target(None, row("a"))]


def test_row_inserted_and_deleted_by_pending_changes_is_left_alone() -> None:
    assert taken_back(change(None, row("a")), change(row("a"), None)) == []


def test_drifted_row_is_written_whole_as_it_was_before() -> None:
    assert taken_back(change(row("a"), row("b")), resync=(target({}, row("b")),)) == [target({}, row("a"))]


def test_row_without_pending_changes_keeps_its_target() -> None:
    assert taken_back(resync=(target({}, row("b")),)) == [target({}, row("b"))]


def test_columns_of_live_alone_are_left_out() -> None:
    assert taken_back(change(row("a", news="x"), row("b", news="y"))) == [target(row("b"), row("a"))]


@pytest.mark.parametrize(
    "lost",
    [
        RowChange("score", Op.TRUNCATE, None, None),
        RowChange("score", Op.UPDATE, None, row("b")),
        change({"id": "1"}, row("b")),
    ],
)
def test_change_without_its_image_before_cannot_be_taken_back(lost: RowChange) -> None:
    assert taken_back(change(row("a"), row("b")), lost) is None


KEYS = {"score": ("id",), "log": ()}
TRUNCATE = RowChange("score", Op.TRUNCATE, None, None)


def inserted(value: str) -> RowChange:
    return RowChange("log", Op.INSERT, None, {"v": value})


@pytest.mark.parametrize(
    ("live", "shadow", "wanted"),
    [
        ([change(None, row("a")), TRUNCATE], [], Alignment([], ("score",))),
        ([change(None, row("a")), TRUNCATE], [change(None, row("b")), TRUNCATE], Alignment([])),
        ([TRUNCATE, change(None, row("a"))], [], Alignment([target(None, row("a"))], ("score",))),
        (
            [TRUNCATE, change(None, row("a"))],
            [TRUNCATE, change(None, row("b"))],
            Alignment([target(row("b"), row("a"))]),
        ),
        ([TRUNCATE], [change(None, row("b"))], Alignment([], ("score",))),
        ([change(None, row("a"))], [change(None, row("a")), TRUNCATE], Alignment([], (), frozenset({"score"}))),
        ([RowChange("other", Op.TRUNCATE, None, None)], [], Alignment([])),
    ],
)
def test_only_what_is_behind_a_truncate_is_written(
    live: list[RowChange], shadow: list[RowChange], wanted: Alignment
) -> None:
    assert alignment(live, shadow, KEYS) == wanted


def test_rows_without_a_key_are_counted() -> None:
    work = alignment([inserted("a"), inserted("a")], [inserted("a"), inserted("b")], KEYS)
    assert work.rows == [RowTarget("log", (), None, {"v": "a"}), RowTarget("log", (), {"v": "b"}, None)]
    assert not alignment([inserted("a"), inserted("b")], [inserted("b"), inserted("a")], KEYS)


def test_update_of_a_row_without_a_key_is_a_row_that_goes_and_one_that_comes() -> None:
    update = RowChange("log", Op.UPDATE, {"v": "a"}, {"v": "b"})
    rows = [RowTarget("log", (), {"v": "a"}, None), RowTarget("log", (), None, {"v": "b"})]
    assert alignment([update], [], KEYS).rows == rows
    assert alignment([RowChange("log", Op.UPDATE, None, {"v": "b"})], [], KEYS).unknown == {"log"}


def test_deferred_keys_may_be_exchanged() -> None:
    moves = [change({"id": a, "value": v}, {"id": b, "value": v}) for a, b, v in [("1", "2", "a"), ("2", "1", "b")]]
    rows = {tuple(r.identity): r.target for r in alignment(moves, [], KEYS).rows}
    assert rows == {("1",): {"id": "1", "value": "b"}, ("2",): {"id": "2", "value": "a"}}


def test_out_of_line_value_that_live_did_not_change_is_restored_from_the_image_before() -> None:
    live = RowChange("score", Op.UPDATE, row("a", note="long"), row("b"))
    shadow = change(row("a", note="long"), row("b", note="other"))
    assert alignment([live], [shadow], {"score": ("id",)}).rows == [
        target(row("b", note="other"), row("b", note="long"))
    ]


def test_generated_column_of_one_log_alone_makes_no_difference_of_a_row_without_a_key() -> None:
    of_live = [change(None, row("a", made="a!")), change(row("b", made="b!"), row("c", made="c!"))]
    of_shadow = [change(None, row("a")), change(row("b"), row("c"))]
    assert not alignment(of_live, of_shadow, {"score": ()})
    assert alignment(of_live[:1], (), {"score": ()}).rows == [RowTarget("score", (), None, row("a", made="a!"))]
