"""Laws of the comparison of effects, and a hundred thousand pairs that differ in form alone."""

import datetime as dt
import itertools
import json
import random
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from comparator.effects.compare import SideEffects, compare_effects
from comparator.effects.net_changes import net_changes
from comparator.effects.row_diff import compile_tables
from comparator.exchanges.comparison import Verdict
from comparator.exchanges.difference import Kind
from comparator.exchanges.json_values import value_text
from comparator.exchanges.row_changes import Op, RowChange, Transaction
from comparator.rules.actions import ComparisonTime
from comparator.settings import CompareSettings, RuleSettings
from comparator.tables import Table, Volatile
from comparator.verdict import Comparator
from tests.support.comparison_faults import score_response
from tests.support.comparisons import NOW, mirrored, response, served
from tests.support.matrix import FULL
from tests.support.schemas import with_id

TODAY = ComparisonTime(NOW.date())
TABLES = {
    "parent": Table(natural_key=("name",)),
    "child": Table(natural_key=("parent_id", "label"), references={"parent_id": "parent"}),
    "log": Table(natural_key=("label",), volatile={"at": Volatile(within_ms=1000)}),
}
PLANS = compile_tables(TABLES)
SCHEMAS = {"parent": with_id(), "child": with_id(), "log": with_id(at="timestamp with time zone")}

State = dict[str, dict[str, dict[str, str | None]]]
statements = st.lists(
    st.tuples(
        st.sampled_from(["parent", "child", "log"]),
        st.sampled_from(["insert", "update", "delete"]),
        st.integers(0, 3),
        st.sampled_from(["x", "y", "z"]),
    ),
    max_size=12,
)


def row_of(table: str, identity: str, value: str) -> dict[str, str | None]:
    """A row of one of the three tables."""
    match table:
        case "parent":
            return {"id": identity, "name": f"p{identity[-1]}", "value": value}
        case "child":
            return {"id": identity, "parent_id": identity, "label": "c", "value": value}
        case _:
            return {"id": identity, "label": value, "at": "2026-03-04 12:00:00+00"}


def execute(
    start: State, program: list[tuple[str, str, int, str]], *, offset: int = 0
) -> tuple[list[RowChange], State]:
    """Run statements against a copy of the state as a database would; rows that are born get ids from `offset` on."""
    state: State = {table: dict(rows) for table, rows in start.items()}
    changes: list[RowChange] = []
    names: dict[tuple[str, int], str] = {}
    for table, op, number, value in program:
        identity = names.get((table, number), str(number))
        before = state[table].get(identity)
        if op == "insert" and before is None:
            identity = names[table, number] = str(offset + number)
            after = row_of(table, identity, value)
            state[table][identity] = after
            changes.append(RowChange(table, Op.INSERT, None, after))
        elif op == "update" and before is not None:
            after = {**before, **({"value": value} if "value" in before else {"label": value})}
            state[table][identity] = after
            changes.append(RowChange(table, Op.UPDATE, before, after))
        elif op == "delete" and before is not None:
            del state[table][identity]
            changes.append(RowChange(table, Op.DELETE, before, None))
    return changes, state


START: State = {
    "parent": {str(i): row_of("parent", str(i), "x") for i in (0, 1)},
    "child": {str(i): row_of("child", str(i), "x") for i in (0, 1)},
    "log": {str(i): row_of("log", str(i), "x") for i in (0, 1)},
}


def transactions(changes: list[RowChange]) -> tuple[Transaction, ...]:
    """One transaction a change, as an autocommitting service commits."""
    return tuple(Transaction(i, i, i, i, (change,)) for i, change in enumerate(changes))


def compare(a: list[RowChange], b: list[RowChange]):
    return compare_effects(SideEffects(transactions(a), SCHEMAS), SideEffects(transactions(b), SCHEMAS), PLANS, TODAY)


def meaning(state: State) -> list[str]:
    """What a database says, without surrogate ids."""
    names = {identity: row["name"] for identity, row in state["parent"].items()}
    rows = []
    for table, found in state.items():
        for row in found.values():
            kept = {c: v for c, v in row.items() if c not in {"id", "at"}}
            if "parent_id" in kept:
                kept["parent_id"] = names.get(str(kept["parent_id"]), f"p{str(kept['parent_id'])[-1]}")
            rows.append(f"{table} {sorted(kept.items())}")
    return sorted(rows)


@given(statements)
def test_same_statements_have_the_same_effects(program: Any) -> None:
    changes, _ = execute(START, program)
    assert compare(changes, changes).differences == ()


@given(statements, statements)
def test_effects_differ_exactly_if_the_databases_differ_afterwards(a: Any, b: Any) -> None:
    left, after_left = execute(START, a)
    right, after_right = execute(START, b)
    differ = bool(compare(left, right).differences)
    assert differ == (meaning(after_left) != meaning(after_right))


@given(statements, statements)
def test_swapping_the_sides_mirrors_the_differences(a: Any, b: Any) -> None:
    left, right = execute(START, a)[0], execute(START, b)[0]
    forth, back = compare(left, right).differences, compare(right, left).differences

    def shape(found: Any) -> list[tuple[str, ...]]:
        return sorted(
            (d.kind, d.place, str(d.natural_key), value_text(d.served), value_text(d.mirrored)) for d in found
        )

    assert shape(forth) == shape([d.swapped() for d in back])


@given(statements)
def test_net_changes_are_idempotent(program: Any) -> None:
    nets = net_changes(transactions(execute(START, program)[0]), SCHEMAS)
    again = [RowChange(n.table, Op.UPDATE, as_row(n.before), n.after) for n in nets if n.before and n.after]
    again += [RowChange(n.table, Op.INSERT, None, n.after) for n in nets if n.before is None]
    again += [RowChange(n.table, Op.DELETE, as_row(n.before), None) for n in nets if n.after is None]
    twice = net_changes(transactions(again), SCHEMAS)
    assert sorted(map(str, twice)) == sorted(map(str, nets))


def as_row(image: object) -> dict[str, str | None]:
    """The image, which these programs always carry."""
    assert isinstance(image, dict)
    return image


def test_equal_pairs_have_no_difference() -> None:
    """Layout, order of members and elements, notation of times and numbers, times within tolerance: all at random."""
    comparator = Comparator(
        CompareSettings(
            rules=(
                RuleSettings(path="last_score_timestamp", time_within_ms=5_000),
                RuleSettings(path="expiration_timestamp", same="time"),
                RuleSettings(path="score", same="number"),
                RuleSettings(path="stamps.*.score", absolute="0.00001"),
                RuleSettings(path="items", key_by=("id",)),
                RuleSettings(path="tags", unordered=True),
            )
        )
    )
    source = random.Random(20260304)
    truth = score_response(1) | {"items": [{"id": 1, "v": 1}, {"id": 2, "v": 2}], "tags": ["a", "b", "b"]}
    a = served(response(truth))
    variants = [mirrored(response(body=variant(truth, source))) for _ in range(2_000)]
    now = dt.datetime(2026, 3, 4, tzinfo=dt.UTC)
    verdicts = {
        comparator.compare("v2_score", a, b, now=now).verdict
        for b in itertools.islice(itertools.cycle(variants), 100_000 if FULL else 10_000)
    }
    assert verdicts == {Verdict.MATCH}


def variant(truth: dict[str, Any], source: random.Random) -> bytes:
    """The same meaning in another form."""
    name = next(iter(truth["stamps"]))
    form = {
        **truth,
        "last_score_timestamp": f"2026-03-04T12:00:0{source.randrange(1, 5)}.{source.randrange(1000):03}Z",
        "expiration_timestamp": source.choice(
            ["2099-12-31T23:59:59Z", "2100-01-01T00:59:59+01:00", "2099-12-31T23:59:59+00:00"]
        ),
        "score": source.choice(["28.75", "28.7500", 28.75, "2875e-2"]),
        "items": source.sample(truth["items"], 2),
        "tags": source.sample(truth["tags"], 3),
    }
    form["stamps"] = {name: {**truth["stamps"][name], "score": source.choice(["1.50000", "1.500004", "1.499999"])}}
    members = list(form.items())
    source.shuffle(members)
    layout: Any = source.choice([None, (",", ":"), (", ", ": ")])
    return json.dumps(dict(members), separators=layout, indent=source.choice([None, None, 2])).encode()


def test_difference_among_the_variants_is_detected() -> None:
    """The pairs above are not equal because nothing is looked at."""
    comparator = Comparator(CompareSettings())
    found = comparator.compare(
        "v2_score",
        served(response(score_response(1))),
        mirrored(response(body=variant(score_response(1) | {"items": [1, 2], "tags": "abc"}, random.Random(1)))),
        now=NOW,
    )
    assert {d.kind for d in found.differences} >= {Kind.CHANGED, Kind.EXTRA}
