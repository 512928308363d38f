"""proxy.ui.row_view: rows by table and natural key, before, candidate, legacy, and which side changed them."""

from dataclasses import replace

import pytest

from comparator.exchanges.model import Effects, EffectsOutcome, Observation, Side
from comparator.exchanges.row_changes import REQUEST_MESSAGE_PREFIX, LogicalMessage, RowChange
from comparator.settings import CompareSettings, KnownDifference, KnownPlace
from comparator.tables import JsonColumn, Table, Volatile
from comparator.verdict import Comparator
from proxy.ui.marked_text import Parts
from proxy.ui.row_view import TABLE_LINES_MAX, RowsView, attribution_in_words, row_text, rows_view
from proxy.ui.rule_words import rules_in_words
from tests.support.comparisons import NOW, delete, effects, insert, mirrored, response, served, update

TABLES = {
    "stamp": Table(natural_key=("address", "provider"), ignore_columns=("id",)),
    "score": Table(
        natural_key=("address",),
        ignore_columns=("id",),
        volatile={"at": Volatile(within_ms=60_000)},
        json={"evidence": JsonColumn(ignore=("debug",))},
    ),
}
ENS = {"id": 1, "address": "0xa", "provider": "Ens", "score": "1.0"}
GOLD = {"id": 2, "address": "0xa", "provider": "Gold", "score": "2.7"}
SCORE = {
    "id": 7,
    "address": "0xa",
    "points": "6.4",
    "at": "2026-03-04 12:00:00+00",
    "evidence": {"raw": 6.4, "debug": 1},
}


def shown(
    candidate: tuple[RowChange, ...],
    legacy: tuple[RowChange, ...],
    *,
    served_by: Side = Side.CANDIDATE,
    known: tuple[KnownDifference, ...] = (),
) -> RowsView:
    settings = CompareSettings(tables=TABLES, known_differences=known)
    by_side = {Side.CANDIDATE: effects(*candidate), Side.LEGACY: effects(*legacy)}
    own = served(response({}), by_side[served_by], side=served_by)
    other = mirrored(response({}), by_side[served_by.other], side=served_by.other)
    comparator = Comparator(settings)
    comparison = comparator.compare("r", own, other, now=NOW)
    return rows_view(comparison, own, other, comparator.rows_by_key(own, other), rules_in_words(settings))


def text(parts: Parts | None) -> str:
    return "-" if parts is None else "".join(part.text for part in parts)


def written(view: RowsView) -> list[str]:
    lines: list[str] = []
    for table in view.tables:
        lines.append(f"{table.name} ({', '.join(table.natural_key)}) {table.verdict}")
        for line in table.lines:
            cells = " | ".join(f"{'Δ ' if c.changed else ''}{text(c.parts)}" for c in (line.candidate, line.legacy))
            lines.append(f"  {line.key}: {line.name} | {line.before} | {cells} ({line.why})")
        lines += [f"  ... {table.equal}"] if table.equal else []
        lines += [f"  ~ {allowed}" for allowed in table.allowed]
    return lines


@pytest.mark.parametrize("served_by", list(Side))
def test_rows_stand_by_natural_key_with_the_candidate_first_whoever_served(served_by: Side) -> None:
    again = (delete("stamp", **GOLD), delete("stamp", **ENS), insert("stamp", **{**ENS, "id": 11}))
    view = shown(
        (*again, insert("stamp", **{**GOLD, "id": 12}), update("score", SCORE, at="2026-03-04 12:00:05+00")),
        (*again, update("score", SCORE, points="3.7", at="2026-03-04 12:00:06+00", evidence={"raw": 3.7, "debug": 2})),
        served_by=served_by,
    )
    assert written(view) == [
        "score (address) 2 places differ",
        "  0xa: points | 6.4 | 6.4 | Δ 3.7 (2.7 apart)",
        "  0xa: evidence.raw | 6.4 | 6.4 | Δ 3.7 (2.7 apart)",
        "  ~ at within 60 s",
        "  ~ evidence.debug ignored",
        "stamp (address, provider) 1 row only on candidate, 1 equal",
        "  : 0xa, Gold | 1 row | Δ address 0xa, provider Gold, score 2.7 | Δ - (only on candidate)",
        "  ... 1 equal row: 0xa, Ens",
    ]


def test_known_difference_is_suppressed_and_does_not_make_a_table_differ() -> None:
    declared = KnownDifference(
        name="rounding", reason="rounding", ticket="T-1", where=(KnownPlace(table="score", column="points"),)
    )
    (table,) = shown(
        (update("score", SCORE, points="1"),), (update("score", SCORE, points="2"),), known=(declared,)
    ).tables
    assert table.lines[0].suppressed
    assert table.differs is False
    assert "known [T-1]: rounding" in table.lines[0].why


def test_inserted_row_has_no_before() -> None:
    (table,) = shown((insert("score", **SCORE),), (insert("score", **{**SCORE, "id": 8, "points": "1"}),)).tables
    (line,) = table.lines
    assert (line.before, line.candidate.changed, line.legacy.changed) == ("", True, True)


def test_ten_thousand_rows_are_bounded_and_counted() -> None:
    rows = tuple(insert("stamp", id=n, address="0xa", provider=f"p{n}", score="1") for n in range(10_000))
    (table,) = shown(rows, ()).tables
    assert len(table.lines) == TABLE_LINES_MAX
    assert table.left_out == 10_000 - TABLE_LINES_MAX
    assert table.verdict == "10,000 rows only on candidate"


def test_ten_thousand_equal_rows_are_one_line() -> None:
    rows = tuple(insert("stamp", id=n, address="0xa", provider=f"p{n}", score="1") for n in range(10_000))
    (table,) = shown(rows, rows).tables
    assert table.lines == ()
    assert table.equal.startswith("10,000 equal rows: 0xa, p0; ")
    assert table.equal.endswith(" and 9,992 more")


def observation(outcome: EffectsOutcome, *messages: LogicalMessage) -> Observation:
    one = served(response({}), effects(insert("stamp", **ENS)))
    transactions = tuple(replace(t, messages=messages) for t in one.effects.transactions)
    return replace(one, effects=Effects(outcome, transactions))


def test_attribution_is_said_with_its_certainty() -> None:
    named = LogicalMessage(REQUEST_MESSAGE_PREFIX, "x1")
    assert attribution_in_words(observation(EffectsOutcome.ATTRIBUTED, named)) == "by request id, certain"
    assert attribution_in_words(observation(EffectsOutcome.ATTRIBUTED)) == "alone on its keys at the time, certain"
    assert attribution_in_words(served(response({}))) == "no rows, certain"
    for outcome in EffectsOutcome:
        assert attribution_in_words(observation(outcome))


def test_row_is_written_in_one_line() -> None:
    assert row_text({"a": "1", "b": None}) == "a 1, b null"


@pytest.mark.parametrize("before", [{"x": 1}, [1, 2], {}, None, "1"])
def test_value_before_may_be_of_any_type(before: object) -> None:
    old = {**SCORE, "evidence": {"raw": before}}
    (table,) = shown(
        (update("score", old, evidence={"raw": {"x": 2}}),), (update("score", old, evidence={"raw": {"x": 3}}),)
    ).tables
    assert table.lines
    assert all(line.candidate.changed and line.legacy.changed for line in table.lines)
    removed = shown((update("score", old, evidence={}),), (update("score", old, evidence={"raw": 7}),)).tables
    assert removed[0].lines
