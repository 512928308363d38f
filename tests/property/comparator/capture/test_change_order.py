"""comparator.capture.change_order: in whichever order changes are logged, the rows before and after them are found."""

from collections.abc import Sequence
from random import Random

from hypothesis import assume, given
from hypothesis import strategies as st

from comparator.capture.change_order import in_order
from comparator.exchanges.row_changes import Op, Row, RowChange, RowDescription

T = RowDescription(1, ("k", "v"), ((23, -1), (25, -1)))
KEYS = {1: ("k",)}


@st.composite
def histories(draw: st.DrawFn) -> list[RowChange]:
    """Draw changes of a few rows, in order. No value is written twice, and rows move to new keys, so that the images tell one way only."""
    rows: dict[str, str] = dict.fromkeys(draw(st.sets(st.sampled_from("abc"))), "seeded")
    changes: list[RowChange] = []
    for number in range(draw(st.integers(0, 8))):
        key, value = draw(st.sampled_from(sorted({*"abc", *rows}))), str(number)
        before: Row | None = {"k": key, "v": rows[key]} if key in rows else None
        if before is None:
            changes.append(RowChange("t", Op.INSERT, None, {"k": key, "v": value}, T))
            rows[key] = value
            continue
        target = draw(st.sampled_from((key, f"moved {number}", "")))
        del rows[key]
        if target:
            changes.append(RowChange("t", Op.UPDATE, before, {"k": target, "v": value}, T))
            rows[target] = value
        else:
            changes.append(RowChange("t", Op.DELETE, before, None, T))
    return changes


def ends(changes: Sequence[RowChange]) -> tuple[dict[str | None, Row | None], dict[str | None, Row | None]]:
    """Return each key's row before the changes and after them."""
    first: dict[str | None, Row | None] = {}
    last: dict[str | None, Row | None] = {}
    for change in changes:
        for row, side in ((change.before, None), (change.after, change.after)):
            if row is not None:
                first.setdefault(row["k"], change.before if row is change.before else None)
                last[row["k"]] = side
    return first, last


@given(histories())
def test_changes_in_order_stay(changes: list[RowChange]) -> None:
    assert in_order(changes, KEYS) == tuple(changes)


@given(histories(), st.randoms(use_true_random=False))
def test_rows_before_and_after_are_found_whatever_the_order(changes: list[RowChange], random: Random) -> None:
    first, last = ends(changes)
    assume(all(first[key] != last[key] for key in first))
    logged = list(changes)
    random.shuffle(logged)
    made = in_order(logged, KEYS)
    assert sorted(map(id, made)) == sorted(map(id, changes))
    assert ends(made) == ends(changes)
