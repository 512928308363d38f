"""proxy.runner.row_targets: after any changes of both sides, writing the targets makes the shadow equal to live."""

from hypothesis import given
from hypothesis import strategies as st

from comparator.exchanges.row_changes import Op, Row, RowChange
from proxy.runner.row_targets import alignment

KEYS = {"t": ("id",)}
Table = dict[str, dict[str, str | None]]
steps = st.lists(st.tuples(st.sampled_from(["put", "drop", "move"]), st.integers(0, 4), st.integers(0, 3)), max_size=12)
start = st.dictionaries(st.integers(0, 4).map(str), st.integers(0, 3).map(str), max_size=5)


def play(table: Table, work: list[tuple[str, int, int]]) -> list[RowChange]:
    """Apply the steps to the table as a database would; return the changes that its log would have."""
    log: list[RowChange] = []
    for kind, identity, value in work:
        log += do(table, kind, str(identity), str(value))
    return log


def do(table: Table, kind: str, identity: str, value: str) -> list[RowChange]:
    before = table.get(identity)
    if kind == "put":
        after: dict[str, str | None] = {"id": identity, "v": value}
        table[identity] = after
        return [RowChange("t", Op.UPDATE if before else Op.INSERT, before, after)]
    if before is None:
        return []
    if kind == "drop":
        del table[identity]
        return [RowChange("t", Op.DELETE, before, None)]
    other = str(int(value) + 10)
    if other in table:
        return []
    moved: Row = {"id": other, "v": before["v"]}
    table[other] = dict(moved)
    del table[identity]
    return [RowChange("t", Op.UPDATE, before, moved)]


@given(start=start, live_work=steps, shadow_work=steps)
def test_aligned_shadow_equals_live(start: dict[str, str], live_work, shadow_work) -> None:
    live: Table = {i: {"id": i, "v": v} for i, v in start.items()}
    shadow: Table = {i: dict(row) for i, row in live.items()}
    live_log, shadow_log = play(live, live_work), play(shadow, shadow_work)
    for row in alignment(live_log, shadow_log, KEYS).rows:
        identity = str(row.identity[0])
        assert shadow.get(identity) == row.current
        shadow.pop(identity, None)
        if row.target is not None:
            shadow[identity] = dict(row.target)
    assert shadow == live


@given(start=start, work=steps)
def test_equal_work_needs_no_alignment(start: dict[str, str], work) -> None:
    table: Table = {i: {"id": i, "v": v} for i, v in start.items()}
    log = play(table, work)
    assert not alignment(log, log, KEYS)


@given(start=start, work=steps)
def test_undoing_restores_the_state_before(start: dict[str, str], work) -> None:
    before: Table = {i: {"id": i, "v": v} for i, v in start.items()}
    shadow: Table = {i: dict(row) for i, row in before.items()}
    log = play(shadow, work)
    for row in alignment((), log, KEYS).rows:
        shadow.pop(str(row.identity[0]), None)
        if row.target is not None:
            shadow[str(row.identity[0])] = dict(row.target)
    assert shadow == before
