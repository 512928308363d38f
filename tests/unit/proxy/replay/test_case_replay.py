"""The rows that a case's request found: which they are, and how they are put back."""

import pytest

from comparator.capture.table_shape import Column, ReplicaIdentity, TableKind, TableShape
from comparator.effects.row_fold import RowKey
from comparator.exchanges.model import Effects, EffectsOutcome, Exchange, Observation, Request, Response, Role, Side
from comparator.exchanges.row_changes import Op, Row, RowChange, Transaction
from comparator.findings.cases import OpenedCase
from comparator.tables import Table
from proxy.replay.case_replay import UnrestorableError, later_rows, restoring, reverse, rows_before
from proxy.runner.resync import LaterRows, later_rows_sql
from proxy.runner.row_targets import RowTarget

KEYS = {"stock": ("id",), "log": ()}
COLUMNS = {"stock": ("id", "code", "left")}
SECRET = "redacted:0123456789abcdef"


def row(number: int, left: str, code: str = "a") -> Row:
    return {"id": str(number), "code": code, "left": left}


def side(*changes: RowChange, role: Role = Role.SERVED) -> Observation:
    effects = Effects(EffectsOutcome.ATTRIBUTED, (Transaction(1, 1, 1, 1, changes),))
    return Observation(Side.LEGACY if role is Role.SERVED else Side.CANDIDATE, role, Response(200, (), b""), 1, effects)


def case(served: Observation, mirrored: Observation) -> OpenedCase:
    request = Request("POST", "/order", (), b"")
    return OpenedCase(
        "order", Exchange("e", "order", "", Side.LEGACY, "", 0, 1, request, served.outcome), served, mirrored
    )


def update(before: Row | None, after: Row) -> RowChange:
    return RowChange("stock", Op.UPDATE, before, after)


def insert(image: Row, table: str = "stock") -> RowChange:
    return RowChange(table, Op.INSERT, None, image)


TAKEN = case(
    side(update(row(3, "5"), row(3, "4")), insert(row(7, "1"))),
    side(update(row(3, "5"), row(3, "3")), insert(row(1007, "1")), insert({"what": "x"}, "log"), role=Role.MIRRORED),
)


def test_rows_are_what_they_were_before_either_side() -> None:
    assert rows_before(TAKEN, KEYS) == {
        ("stock", ("3",)): row(3, "5"),
        ("stock", ("7",)): None,
        ("stock", ("1007",)): None,
    }


def test_image_that_the_log_left_out_cannot_be_restored() -> None:
    with pytest.raises(UnrestorableError, match="stock"):
        rows_before(case(side(update(None, row(3, "4"))), side(role=Role.MIRRORED)), KEYS)


def test_emptied_table_cannot_be_restored() -> None:
    with pytest.raises(UnrestorableError, match="emptied stock"):
        rows_before(case(side(RowChange("stock", Op.TRUNCATE, None, None)), side(role=Role.MIRRORED)), KEYS)


def test_only_what_differs_now_is_put_back_and_can_be_undone() -> None:
    current: dict[RowKey, Row] = {("stock", ("3",)): row(3, "2"), ("stock", ("7",)): row(7, "1")}

    work = restoring(rows_before(TAKEN, KEYS), current, COLUMNS)

    assert list(work.rows) == [
        RowTarget("stock", ("3",), row(3, "2"), row(3, "5")),
        RowTarget("stock", ("7",), row(7, "1"), None),
    ]
    assert list(reverse(work).rows) == [
        RowTarget("stock", ("3",), row(3, "5"), row(3, "2")),
        RowTarget("stock", ("7",), None, row(7, "1")),
    ]


def test_redacted_value_stays_what_it_is() -> None:
    before: dict[RowKey, Row | None] = {("stock", ("3",)): row(3, "5", code=SECRET)}

    work = restoring(before, {("stock", ("3",)): row(3, "2", code="key")}, COLUMNS)

    assert work.rows[0].target == row(3, "5", code="key")


def test_redacted_value_of_a_row_that_is_gone_cannot_be_restored() -> None:
    with pytest.raises(UnrestorableError, match=r"stock\.code of it is a secret"):
        restoring({("stock", ("3",)): row(3, "5", code=SECRET)}, {}, COLUMNS)


def shape(key_type: str = "bigint") -> TableShape:
    columns = tuple(Column(name, key_type if name == "id" else "text", False, "", True) for name in COLUMNS["stock"])
    full = ReplicaIdentity.FULL
    return TableShape("stock", "public", "stock", TableKind.TABLE, True, True, full, ("id",), columns, (), ())


def test_rows_behind_those_of_the_request_are_later() -> None:
    tables = {"stock": Table(natural_key=("code",))}

    assert later_rows(TAKEN, tables, {"stock": shape()}) == [LaterRows("stock", ("code",), (("a",),), "7")]


def test_rows_that_the_database_does_not_number_have_no_order() -> None:
    assert later_rows(TAKEN, {"stock": Table(natural_key=("code",))}, {"stock": shape("uuid")}) == []


def test_later_rows_are_found_by_values_and_number() -> None:
    assert later_rows_sql(shape(), ("code",)).endswith(
        'WHERE t."code" IS NOT DISTINCT FROM v."code"::text) AND t."id" > $2::text::bigint'
    )
