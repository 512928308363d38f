"""Cases of effects that a corpus of inserts does not reach: updates, deletes, missing images, late and unknown rows."""

from typing import Any

import pytest

from comparator.effects.compare import EffectsResult, SideEffects, compare_effects
from comparator.effects.natural_keys import KeyLookup, no_lookup
from comparator.effects.row_diff import compile_tables
from comparator.exchanges.difference import Kind, NaturalKey
from comparator.exchanges.json_values import ABSENT
from comparator.exchanges.row_changes import Op, Row, RowChange, Transaction
from comparator.exchanges.table_schema import TableSchema
from comparator.rules.actions import ComparisonTime
from comparator.rules.run_times import Run, RunTimes
from comparator.tables import JsonColumn, Table, Volatile
from tests.support.comparisons import NOW, delete, insert, update
from tests.support.schemas import with_id

PLANS = compile_tables(
    {
        "passport": Table(natural_key=("address",)),
        "score": Table(
            natural_key=("passport_id",),
            references={"passport_id": "passport"},
            volatile={"at": Volatile(within_ms=1000), "seen": Volatile(ignore=True)},
            ignore_columns=("note",),
        ),
        "event": Table(
            natural_key=("address",),
            json={"data": JsonColumn(ignore=("id",), within_ms={"at": 1000}, references={"score": "score"})},
        ),
        "analytics": Table(
            natural_key=("path",), json={"response": JsonColumn(decode_text=True, within_ms={"at": 1000})}
        ),
        "counter": Table(natural_key=("name",), low_confidence=True),
    }
)
SCHEMAS = {
    "passport": with_id(),
    "score": with_id(passport_id="bigint", value="numeric", at="timestamp with time zone"),
    "event": with_id(data="jsonb"),
    "analytics": with_id(response="jsonb"),
    "counter": with_id(n="integer"),
    "audit": with_id(),
}
SCORE: dict[str, Any] = {
    "id": 1,
    "passport_id": 7,
    "value": "1.0",
    "at": "2026-03-04 12:00:00+00",
    "seen": None,
    "note": "a",
    "label": "1.0",
}


def compare(
    a: list[RowChange], b: list[RowChange], *, served: KeyLookup = no_lookup, mirrored: KeyLookup = no_lookup
) -> EffectsResult:
    left, right = (tuple(Transaction(i, i, i, i, (c,)) for i, c in enumerate(changes)) for changes in (a, b))
    return compare_effects(
        SideEffects(left, SCHEMAS, served), SideEffects(right, SCHEMAS, mirrored), PLANS, ComparisonTime(NOW.date())
    )


def kinds(result: EffectsResult) -> list[tuple[str, Kind]]:
    return [(d.place, d.kind) for d in result.differences]


def test_row_rewritten_unchanged_is_not_an_effect() -> None:
    result = compare([update("score", SCORE)], [])
    assert (result.differences, result.rows) == ((), (0, 0))


def test_row_reinserted_under_another_id_is_not_an_effect() -> None:
    assert compare([delete("score", **SCORE), insert("score", **{**SCORE, "id": 2})], []).differences == ()


def test_update_on_one_side_is_a_column_difference_with_the_old_value() -> None:
    (difference,) = compare([update("score", SCORE, value="2.0")], []).differences
    assert (difference.place, difference.served, difference.mirrored) == ("score.value", "2.0", "1.0")


def test_delete_on_one_side_is_a_row_difference() -> None:
    (difference,) = compare([delete("score", **SCORE)], []).differences
    assert (difference.kind, difference.served) == (Kind.EXTRA_ROW, ABSENT)


def test_insert_followed_by_delete_is_not_an_effect() -> None:
    assert compare([insert("score", **SCORE), delete("score", **SCORE)], []).differences == ()


def test_intermediate_images_do_not_matter() -> None:
    detour = [update("score", SCORE, value="5.0"), update("score", {**SCORE, "value": "5.0"}, value="2.0")]
    assert compare(detour, [update("score", SCORE, value="2.0")]).differences == ()


def test_updates_without_old_image_are_compared_by_the_new_image() -> None:
    bare = [RowChange("score", Op.UPDATE, None, update("score", SCORE, value=value).after) for value in ("2.0", "3.0")]
    assert compare([bare[0]], [bare[0]]).differences == ()
    assert kinds(compare([bare[0]], [bare[1]])) == [("score.value", Kind.COLUMN)]


def test_old_image_on_one_side_only_is_not_a_difference() -> None:
    full = update("score", SCORE, value="2.0")
    assert compare([full], [RowChange("score", Op.UPDATE, None, full.after)]).differences == ()


def test_omitted_toast_value_is_taken_from_the_image_before() -> None:
    before: Row = {"id": "1", "address": "a", "big": "long"}
    after: Row = {"id": "1", "address": "b"}
    change = RowChange("passport", Op.UPDATE, before, after)
    other = RowChange("passport", Op.UPDATE, before, {**after, "big": "long"})
    assert compare([change], [other]).differences == ()


def test_changed_primary_key_is_a_delete_and_an_insert() -> None:
    change = RowChange("passport", Op.UPDATE, {"id": "1", "address": "a"}, {"id": "2", "address": "a"})
    assert compare([change], []).differences == ()


@pytest.mark.parametrize(
    ("changed", "found"),
    [
        ({"at": "2026-03-04 12:00:01+00"}, []),
        ({"at": "2026-03-04 12:00:01.001+00"}, [("score.at", Kind.COLUMN)]),
        ({"at": None}, [("score.at", Kind.COLUMN)]),
        ({"seen": "x", "value": "2"}, [("score.value", Kind.COLUMN), ("score.seen", Kind.COLUMN)]),
        ({"note": "b"}, []),
        ({"value": "1.000"}, []),
        ({"value": "1.001"}, [("score.value", Kind.COLUMN)]),
        ({"label": "1.00"}, [("score.label", Kind.COLUMN)]),
        ({"label": "-0"}, [("score.label", Kind.COLUMN)]),
        ({"id": 99}, []),
    ],
)
def test_columns_are_compared_by_their_class(changed: dict[str, Any], found: list) -> None:
    assert kinds(compare([insert("score", **SCORE)], [insert("score", **{**SCORE, **changed})])) == found


def test_ignored_volatile_column_allows_any_two_values() -> None:
    a, b = (insert("score", **{**SCORE, "seen": value}) for value in ("x", "y"))
    assert compare([a], [b]).differences == ()


def passports(served_id: str, mirrored_id: str) -> tuple[KeyLookup, KeyLookup]:
    def lookup(own: str) -> KeyLookup:
        def find(table: str, key: str) -> NaturalKey | None:
            return ("0xabc",) if (table, key) == ("passport", own) else None

        return find

    return lookup(served_id), lookup(mirrored_id)


def test_foreign_ids_of_other_rows_are_looked_up_on_their_own_side() -> None:
    a, b = insert("score", **SCORE), insert("score", **{**SCORE, "passport_id": 8})
    served, mirrored = passports("7", "8")
    assert compare([a], [b], served=served, mirrored=mirrored).differences == ()
    assert len(compare([a], [b]).differences) == 2


def test_foreign_ids_of_changed_rows_need_no_lookup() -> None:
    a = [insert("passport", id=7, address="x"), insert("score", **SCORE)]
    b = [insert("score", **{**SCORE, "passport_id": 70}), insert("passport", id=70, address="x")]
    assert compare(a, b).differences == ()


def event(identity: int, **data: Any) -> RowChange:
    return insert("event", id=identity, address="a", data=data)


def test_rows_of_one_natural_key_are_a_multiset() -> None:
    a = [event(1, n=1), event(2, n=2), event(3, n=2)]
    assert compare(a, [event(9, n=2), event(8, n=1), event(7, n=2)]).differences == ()
    assert kinds(compare(a, [event(9, n=2), event(8, n=1), event(7, n=1)])) == [("event.data.n", Kind.CHANGED)]


def test_rows_of_one_natural_key_are_paired_by_similarity() -> None:
    a = [event(1, n=1, x=1, y=1), event(2, n=2, x=2, y=2)]
    b = [event(3, n=2, x=2, y=9), event(4, n=1, x=1, y=1)]
    (difference,) = compare(a, b).differences
    assert (difference.place, difference.served, difference.mirrored) == ("event.data.y", 2, 9)


def test_ids_and_times_inside_a_json_column_follow_its_rules() -> None:
    a = [
        insert("passport", id=7, address="x"),
        insert("score", **SCORE),
        event(1, id=5, score=1, at="2026-03-04T12:00:00Z"),
    ]
    b = [
        insert("passport", id=8, address="x"),
        insert("score", **{**SCORE, "id": 2, "passport_id": 8}),
        event(2, id=6, score=2, at="2026-03-04T12:00:00.900+00:00"),
    ]
    result = compare(a, b)
    assert result.differences == ()
    assert {touch.rule for touch in result.rule_hits} >= {"compare.tables.event.json.data.ignore[0]"}


def test_json_id_of_another_row_is_a_difference() -> None:
    a = [insert("passport", id=7, address="x"), insert("score", **SCORE), event(1, score=1)]
    assert kinds(compare(a, [*a[:2], event(1, score=3)])) == [("event.data.score", Kind.CHANGED)]


def test_json_inside_a_json_string_is_compared_by_structure() -> None:
    def row(at: str, score: int) -> RowChange:
        return RowChange(
            "analytics",
            Op.INSERT,
            None,
            {"id": "1", "path": "/", "response": f'"{{\\"at\\": \\"{at}\\", \\"score\\": {score}}}"'},
        )

    a, b, c = row("2026-03-04T12:00:00Z", 1), row("2026-03-04T12:00:00.5Z", 1), row("2026-03-04T12:00:00Z", 2)
    assert compare([a], [b]).differences == ()
    assert kinds(compare([a], [c])) == [("analytics.response.score", Kind.CHANGED)]


def test_invalid_json_column_is_compared_as_text() -> None:
    a, b = (RowChange("event", Op.INSERT, None, {"id": "1", "address": "a", "data": text}) for text in ("{", "{}"))
    assert kinds(compare([a], [b])) == [("event.data", Kind.COLUMN)]


def test_undescribed_table_is_reported() -> None:
    result = compare([insert("audit", id=1, what="x")], [insert("audit", id=2, what="y")])
    assert (kinds(result), result.undescribed) == ([("audit.what", Kind.COLUMN)], ("audit",))


def test_equal_rows_of_an_undescribed_table_are_not_a_difference() -> None:
    result = compare([insert("audit", id=1, what="x")], [insert("audit", id=2, what="x")])
    assert (result.differences, result.undescribed) == ((), ("audit",))


@pytest.mark.parametrize("table", ["item", "heap"])
def test_truncate_keeps_its_place_among_the_writes(table: str) -> None:
    row, empty = insert(table, owner="k", sku="a", v="x"), RowChange(table, Op.TRUNCATE, None, None)
    assert compare_items([row, empty], [empty]) == []
    assert compare_items([row, empty, row], [empty, row]) == []
    assert compare_items([empty, row], [row, empty]) == [(table, Kind.MISSING_ROW)]
    assert compare_items([row, empty], [empty, row]) == [(table, Kind.EXTRA_ROW)]


def test_truncate_on_one_side_is_a_difference() -> None:
    assert kinds(compare([RowChange("score", Op.TRUNCATE, None, None)], [])) == [("score", Kind.TRUNCATED_TABLE)]


def test_write_after_the_response_on_one_side_is_late() -> None:
    def side(lsn: int) -> SideEffects:
        return SideEffects(
            (Transaction(1, lsn, lsn, 1, (insert("passport", id=1, address="a"),)),), SCHEMAS, responded_lsn=100
        )

    late = compare_effects(side(50), side(150), PLANS, ComparisonTime(NOW.date()))
    both = compare_effects(side(150), side(150), PLANS, ComparisonTime(NOW.date()))
    assert (kinds(late), both.differences) == ([("passport", Kind.LATE)], ())


def test_differences_in_count_dependent_tables_are_of_low_confidence() -> None:
    result = compare([insert("counter", id=1, name="a", n=1)], [insert("counter", id=1, name="a", n=2)])
    assert result.low_confidence == ("counter",)


def test_unpaired_row_has_its_natural_key() -> None:
    (difference,) = compare([insert("passport", id=1, address="a")], []).differences
    assert (difference.kind, difference.natural_key, difference.served) == (Kind.MISSING_ROW, ("a",), {"address": "a"})


def test_too_many_rows_for_similarity_are_paired_in_order() -> None:
    a = [event(i, n=i) for i in range(60)]
    b = [event(i, n=-i) for i in range(1, 61)]
    assert len(compare(a, b).differences) == 60


def test_many_equal_rows_in_another_order_are_equal() -> None:
    a = [insert("counter", id=i, name="a", n=i) for i in range(500)]
    b = [insert("counter", id=1_000 + i, name="a", n=i) for i in reversed(range(500))]
    assert compare(a, b).differences == ()
    assert len(compare(a, b[1:]).differences) > 0


KEYED = TableSchema(("owner", "sku"), {"owner": "text", "sku": "text", "qty": "integer"})
KEYLESS = TableSchema((), {"owner": "text", "v": "text"})
ITEMS = compile_tables({name: Table(natural_key=("owner",)) for name in ("item", "log", "numbered")})


def compare_items(a: list[RowChange], b: list[RowChange]) -> list[tuple[str, Kind]]:
    schemas = {
        "item": KEYED,
        "log": KEYLESS,
        "unnamed": KEYED,
        "heap": KEYLESS,
        "numbered": with_id(),
        "audit": with_id(),
    }
    left, right = (SideEffects((Transaction(1, 1, 1, 1, tuple(changes)),), schemas) for changes in (a, b))
    return kinds(compare_effects(left, right, ITEMS, ComparisonTime(NOW.date())))


def test_rows_are_told_apart_by_the_catalogue_s_primary_key() -> None:
    candidate = [insert("item", owner="k", sku="a", qty=1), insert("item", owner="k", sku="b", qty=2)]
    legacy = [insert("item", owner="k", sku="a", qty=999), insert("item", owner="k", sku="b", qty=2)]
    assert compare_items(candidate, candidate) == []
    assert compare_items(candidate, legacy) == [("item.qty", Kind.COLUMN)]
    assert compare_items(candidate, legacy[1:]) == [("item", Kind.MISSING_ROW)]


def test_primary_key_that_the_application_chose_is_compared() -> None:
    one, other = insert("item", owner="k", sku="a", qty=1), insert("item", owner="k", sku="b", qty=1)
    assert compare_items([one], [other]) == [("item.sku", Kind.COLUMN)]


@pytest.mark.parametrize("table", ["log", "heap", "numbered", "audit", "item", "unnamed"])
def test_equal_rows_are_counted(table: str) -> None:
    """`log` and `heap` have no key, `numbered` and `audit` one that the database makes, `item` and `unnamed` one of the application."""
    first, second = (insert(table, id=n, owner="k", sku=str(n), v="x") for n in (1, 2))
    assert compare_items([first, second], [first, second]) == []
    assert len(compare_items([first, second], [first])) == 1
    assert len(compare_items([first], [first, second])) == 1
    assert len(compare_items([], [first])) == 1


EPOCH_TYPES = {"ms": "bigint", "s": "integer", "fine_s": "numeric", "float_ms": "double precision", "text_ms": "text"}
EPOCH = compile_tables(
    {
        "seen": Table(
            natural_key=("owner",),
            volatile={
                "ms": Volatile(within_ms=1000, epoch="ms"),
                "s": Volatile(within_ms=1000, epoch="s"),
                "fine_s": Volatile(within_ms=1000, epoch="s"),
                "float_ms": Volatile(within_ms=1000, epoch="ms"),
                "text_ms": Volatile(within_ms=1000, epoch="ms"),
                "path": Volatile(generated="[0-9a-f]{8}"),
            },
            json={
                "doc": JsonColumn(
                    within_ms={"at": 1000, "items.*.at": 1000},
                    epoch={"at": "ms", "items.*.at": "s"},
                    generated={"uri": "[0-9a-f]{8}"},
                    unordered=("who",),
                )
            },
        )
    }
)


def compare_seen(mirrored: dict[str, object], served: dict[str, object], *, delay_s: float = 0) -> list[str]:
    schema = TableSchema(("owner",), {"owner": "text", **EPOCH_TYPES, "path": "text", "doc": "jsonb"})
    began_us = round(delay_s * 1_000_000)
    when = ComparisonTime(NOW.date(), RunTimes(Run(0, 0), Run(began_us, began_us)))
    left, right = (
        SideEffects((Transaction(1, 1, 1, 1, (insert("seen", owner="k", **row),)),), {"seen": schema})
        for row in (served, mirrored)
    )
    return [d.place for d in compare_effects(left, right, EPOCH, when).differences]


@pytest.mark.parametrize(
    ("column", "served", "near", "far"),
    [
        ("ms", "1764491932000", "1764491933000", "1764491933001"),
        ("s", "1764491932", "1764491933", "1764491934"),
        ("fine_s", "1764491932.000001", "1764491933.0", "1764491933.5"),
        ("float_ms", "1764491932000.5", "1.764491933e+12", "1.764491934e+12"),
        ("text_ms", "1764491932000", "1764491932999", "1764491934000"),
        ("text_ms", "2026-03-04T12:00:00Z", "2026-03-04T12:00:01Z", "2026-03-04T12:00:02Z"),
        ("path", "/r/0cc175b9", "/r/92eb5ffe", "/s/92eb5ffe"),
        ("doc", {"at": 1764491932000}, {"at": 1764491932999}, {"at": 1764491934000}),
        ("doc", {"at": "1764491932000"}, {"at": "1764491932999"}, {"at": "1764491934000"}),
        ("doc", {"items": [{"at": 1764491932.5}]}, {"items": [{"at": 1764491933}]}, {"items": [{"at": 1764491934}]}),
        ("doc", {"uri": "/r/0cc175b9"}, {"uri": "/r/92eb5ffe"}, {"uri": "/r/tea"}),
        ("doc", {"who": ["a", "b"]}, {"who": ["b", "a"]}, {"who": ["b", "b"]}),
    ],
)
def test_epoch_and_generated_values_have_their_tolerance(column: str, served: Any, near: Any, far: Any) -> None:
    assert compare_seen({column: near}, {column: served}) == []
    assert len(compare_seen({column: far}, {column: served})) == 1
    assert len(compare_seen({column: None}, {column: served})) == 1


@pytest.mark.parametrize(
    ("column", "served", "later"),
    [
        ("ms", "1764491932000", "1764578332250"),
        ("s", "1764491932", "1764578332"),
        ("fine_s", "1764491932.5", "1764578332.75"),
        ("doc", {"at": 1764491932000}, {"at": 1764578332250}),
        ("doc", {"at": "1764491932000"}, {"at": "1764578332250"}),
    ],
)
def test_lag_is_taken_out_of_epoch_numbers(column: str, served: Any, later: Any) -> None:
    day_s = 86_400
    assert compare_seen({column: later}, {column: served}, delay_s=day_s) == []
    assert len(compare_seen({column: later}, {column: served}, delay_s=day_s + 10)) == 1
    assert len(compare_seen({column: later}, {column: served})) == 1


def test_updated_row_without_a_key_leaves_its_twin() -> None:
    row = insert("log", owner="k", v="1")
    changed = update("log", {"owner": "k", "v": "1"}, v="2")
    assert compare_items([row, row, changed], [row, insert("log", owner="k", v="2")]) == []
    assert compare_items([row, row, changed], [insert("log", owner="k", v="2")]) == [("log", Kind.MISSING_ROW)]


def test_undescribed_table_is_compared_with_the_key_that_the_application_chose() -> None:
    one, other = insert("unnamed", owner="k", sku="a", qty=1), insert("unnamed", owner="k", sku="b", qty=1)
    assert compare_items([one], [other]) == [("unnamed", Kind.MISSING_ROW), ("unnamed", Kind.EXTRA_ROW)]


@pytest.mark.parametrize(
    ("a", "b"), [("1.10", "1.1"), ("5", "5.0"), ("0", "-0"), ('{"a": 1}', '{"a":1}'), ("[1, 2]", "[1,2]")]
)
def test_texts_are_compared_by_their_characters(a: str, b: str) -> None:
    assert compare_items([insert("log", owner="k", v=a)], [insert("log", owner="k", v=b)]) == [("log.v", Kind.COLUMN)]
