"""Tables in force while definitions change, and the exchanges that can be compared meanwhile."""

from collections.abc import Mapping
from dataclasses import replace

import pytest

from comparator.capture.attribution_keys import KeyIndex
from comparator.capture.schema_difference import Behaviour, TableDefinition
from comparator.capture.table_shape import Column, Partition, ReplicaIdentity, TableKind, TableShape
from comparator.exchanges.comparison import Comparison, Verdict
from comparator.exchanges.difference import Difference, Kind
from comparator.exchanges.model import (
    Effects,
    EffectsOutcome,
    Exchange,
    Failed,
    FailureCause,
    Observation,
    Request,
    Response,
    Role,
    Side,
)
from comparator.exchanges.row_changes import Op, RowChange, RowDescription, Transaction
from comparator.tables import AttributionKey, Table
from proxy.runner.schema_agreement import SchemaAgreement, SchemaState
from proxy.runner.skip_causes import RunnerSkip
from proxy.runner.transaction_snapshot import TransactionSnapshot

INTEGER, TEXT = (23, -1), (25, -1)
SEEN = TransactionSnapshot.parse("100:100:")


def table(name: str, *, oid: int = 1, key: tuple[str, ...] = ("id",), **types: tuple[int, int]) -> TableShape:
    columns = {"id": INTEGER, **types}
    names = {INTEGER: "integer", TEXT: "text"}
    return TableShape(
        name=name,
        schema="public",
        relation=name,
        kind=TableKind.TABLE,
        logged=True,
        owned=True,
        replica_identity=ReplicaIdentity.FULL,
        primary_key=key,
        columns=tuple(
            Column(column, names[kind], generated=False, identity="", not_null=False, type_id=kind)
            for column, kind in columns.items()
        ),
        foreign_keys=(),
        triggers=(),
        oid=oid,
    )


def state(*shapes: TableShape, captured: bool = True, also: tuple[str, ...] = (), **behaviour: str) -> SchemaState:
    """Return the definitions of a database; `behaviour` is a default, by table."""
    return SchemaState(
        {
            shape.name: TableDefinition(
                shape,
                captured,
                frozenset([Behaviour("id", behaviour[shape.name])] if shape.name in behaviour else ()),
            )
            for shape in shapes
        },
        frozenset([*(shape.name for shape in shapes), *also]),
    )


A, B = table("a", v=TEXT), table("b", oid=2)
WIDER = table("a", v=TEXT, n=INTEGER)
DESCRIBED: dict[str, Table] = {"a": Table(natural_key=("id",), keys=(AttributionKey(kind="address", column="v"),))}


def agreement(
    live: SchemaState | None = None, shadow: SchemaState | None = None, described: Mapping[str, Table] | None = None
) -> SchemaAgreement:
    described = DESCRIBED if described is None else described
    made = SchemaAgreement(KeyIndex(described, {}), lambda: described)
    made.begin(live or state(A, B), shadow or state(A, B), 10)
    return made


def changed(made: SchemaAgreement, live: SchemaState, shadow: SchemaState, *, at: int = 20) -> None:
    made.update(live, shadow, at, observations=made.observations)


def described(shape: TableShape) -> RowDescription:
    return RowDescription(shape.oid, shape.column_names, tuple(column.type_id for column in shape.columns))


def insert(shape: TableShape, *, v: str = "0xa") -> RowChange:
    return RowChange(shape.name, Op.INSERT, None, {"id": "1", "v": v}, described(shape))


def transaction(*changes: RowChange, xid: int = 1) -> Transaction:
    return Transaction(xid=xid, commit_lsn=1, end_lsn=2, committed_us=1, changes=changes)


def exchange(*, route: str = "r", started_us: int = 100, method: str = "POST") -> Exchange:
    return Exchange(
        id="x",
        route=route,
        key="0xa",
        served_by=Side.LEGACY,
        stage="s",
        started_ns=started_us * 1_000,
        ended_ns=started_us * 1_000,
        request=Request(method, "/", (), b""),
        outcome=Response(200, (), b""),
    )


def observation(role: Role, *changes: RowChange, status: int = 200) -> Observation:
    effects = Effects(EffectsOutcome.ATTRIBUTED, (transaction(*changes),), {})
    return Observation(Side.LEGACY, role, Response(status, (), b""), 1, effects)


RESPONSE = Difference(Kind.CHANGED, path=("v",))
ROW = Difference(Kind.COLUMN, table="b", column="v")


def refuses(
    made: SchemaAgreement,
    *differences: Difference,
    served: Observation | None = None,
    mirrored: Observation | None = None,
    verdict: Verdict | None = None,
    of: Exchange | None = None,
    keys: frozenset[tuple[str, str]] = frozenset(),
) -> bool:
    verdict = verdict or (Verdict.MISMATCH if differences else Verdict.MATCH)
    comparison = Comparison(verdict, None, Side.LEGACY, differences=differences)
    served = served or observation(Role.SERVED)
    return made.refuses_verdict(of or exchange(), keys, served, mirrored or observation(Role.MIRRORED), comparison)


def test_tables_that_are_defined_alike_are_in_force() -> None:
    made = agreement()
    assert sorted(made.tables) == sorted(made.primary_keys) == sorted(made.schemas) == ["a", "b"]
    assert not made.paused
    assert not refuses(made, RESPONSE, ROW)


DIFFERENT = {
    "a.n is integer in live and missing in the shadow": (state(WIDER, B), state(A, B)),
    "a.n is missing in live and integer in the shadow": (state(A, B), state(WIDER, B)),
    "a.v is integer in live and text in the shadow": (state(table("a", v=INTEGER), B), state(A, B)),
    "a is keyed by id in live and keyed by id, v in the shadow": (
        state(A, B),
        state(table("a", key=("id", "v"), v=TEXT), B),
    ),
    "a is missing in live and a table in the shadow": (state(B), state(A, B)),
    "a.id is DEFAULT 1 in live and missing in the shadow": (state(A, B, a="DEFAULT 1"), state(A, B)),
    "c is a table in live and missing in the shadow": (state(A, B, also=("c",)), state(A, B)),
}


@pytest.mark.parametrize("reason", DIFFERENT)
def test_difference_pauses_its_table_only_and_names_the_place(reason: str) -> None:
    made = agreement()
    changed(made, *DIFFERENT[reason])
    name = reason.split(maxsplit=1)[0].split(".", maxsplit=1)[0]
    assert list(made.paused) == [name]
    assert reason in made.paused[name].reasons
    assert made.settled == ()
    assert "b" in made.tables
    assert name not in made.tables


def test_table_captured_on_one_side_only_is_paused() -> None:
    made = agreement(described={})
    live = state(A, B)
    shadow = SchemaState({**live.definitions, "a": TableDefinition(A, captured=False)}, live.tables)
    changed(made, live, shadow)
    assert made.paused["a"].reasons == ("a is captured in live and not captured in the shadow",)
    assert not made.paused["a"].captured


def test_table_captured_on_neither_side_is_named_unless_it_is_described() -> None:
    made = agreement()
    neither = SchemaState({"b": TableDefinition(B, captured=True), "a": TableDefinition(A)}, frozenset("abc"))
    changed(made, neither, neither)
    assert made.not_captured == ("c",)
    assert "table a is not captured" in made.paused["a"].reasons[0]


def test_description_that_the_new_definition_contradicts_pauses_its_table() -> None:
    made = agreement()
    renamed = state(table("a", w=TEXT), B)
    changed(made, renamed, renamed)
    assert "table a has no column v" in made.paused["a"].reasons[0]


def test_differences_in_behaviour_at_the_start_are_tolerated() -> None:
    made = agreement(state(A, B, a="DEFAULT 1"), state(A, B))
    assert not made.paused
    assert [str(d) for d in made.tolerated()] == ["a.id is DEFAULT 1 in live and missing in the shadow"]
    changed(made, state(A, B, a="DEFAULT 1", b="DEFAULT 2"), state(A, B))
    assert list(made.paused) == ["b"]


def test_table_that_changed_on_both_sides_is_due_for_a_resync_and_then_in_force() -> None:
    made = agreement()
    changed(made, state(WIDER, B), state(A, B))
    changed(made, state(WIDER, B), state(WIDER, B), at=30)
    assert made.settled == ("a",)
    assert made.paused["a"].since_us == 20
    made.enter(["a"])
    assert made.resume(["a"], SEEN, 40) == ("a",)
    assert not made.paused
    assert made.tables["a"] == WIDER


def test_change_during_the_resync_keeps_the_table_paused() -> None:
    made = agreement()
    changed(made, state(WIDER, B), state(WIDER, B))
    made.enter(["a"])
    changed(made, state(A, B), state(A, B))
    assert made.resume(["a"], SEEN, 40) == ()
    assert made.settled == ("a",)


def test_row_of_another_definition_pauses_its_table_until_a_later_reading() -> None:
    made = agreement()
    assert not made.observe(Role.SERVED, transaction(insert(A)), 20)
    begun = made.observations
    assert made.observe(Role.SERVED, transaction(insert(WIDER)), 20)
    assert "a" not in made.tables
    made.update(state(A, B), state(A, B), 21, observations=begun)
    assert made.settled == (), "the reading began before the row was seen"
    changed(made, state(WIDER, B), state(WIDER, B))
    assert made.settled == ("a",)
    assert not made.observe(Role.SERVED, transaction(insert(WIDER)), 22)


def test_row_of_a_table_with_another_oid_pauses_its_table() -> None:
    made = agreement()
    assert made.observe(Role.MIRRORED, transaction(insert(table("a", oid=9, v=TEXT))), 20)
    assert list(made.paused) == ["a"]


def test_exchange_that_wrote_a_paused_table_is_refused() -> None:
    made = agreement()
    changed(made, state(WIDER, B), state(A, B))
    assert made.refusal(exchange(), [insert(A)])
    assert not made.refusal(exchange(route="other"), [insert(B)])
    assert refuses(made, mirrored=observation(Role.MIRRORED, insert(A)))
    assert not refuses(made)


def test_exchange_that_began_before_the_resync_is_refused_still() -> None:
    made = agreement()
    changed(made, state(WIDER, B), state(WIDER, B))
    made.enter(["a"])
    made.resume(["a"], SEEN, 150)
    assert made.refusal(exchange(started_us=100), [insert(A)])
    assert not made.refusal(exchange(started_us=200), [insert(A)])


def test_route_that_declares_a_table_which_is_not_captured_is_skipped() -> None:
    made = agreement(state(A, B, also=("c",)), state(A, B, also=("c",)))
    made.touched = {"r": frozenset({"b", "c"}), "other": frozenset({"b"})}
    assert made.refusal(exchange(), [insert(B)]) is RunnerSkip.NOT_CAPTURABLE
    assert made.refusal(exchange(route="other"), [insert(B)]) is None
    assert made.existing == {"a", "b", "c"}


def test_route_that_declares_a_paused_table_is_skipped_though_it_wrote_nothing() -> None:
    made = agreement()
    made.touched = {"r": frozenset({"a"})}
    changed(made, state(WIDER, B), state(A, B))
    assert made.refusal(exchange(method="GET"), []) is RunnerSkip.SCHEMA_DIFFERS
    assert made.refusal(exchange(route="other", method="GET"), []) is None
    assert refuses(made, of=exchange(method="GET"))


def parted(*files: tuple[int, int]) -> TableShape:
    """Return a partitioned table; each partition has this file since this transaction."""
    leaves = tuple(
        Partition(f"a_{n}", f'"a_{n}"', TableKind.TABLE, True, ReplicaIdentity.FULL, True, file, since)
        for n, (file, since) in enumerate(files)
    )
    return replace(A, kind=TableKind.PARTITIONED, partitions=leaves)


TRUNCATED = RowChange("a", Op.TRUNCATE, None, None)
REFILLED = {
    "one partition alone": ([(11, 7), (20, 1)], [], {"a_0"}),
    "one partition alone, beside a TRUNCATE that a reading has shown": ([(11, 7), (20, 1)], [10], {"a_0"}),
    "all partitions, one by one": ([(11, 7), (21, 8)], [150], {"a_0", "a_1"}),
    "all partitions, which is in no log": ([(11, 7), (21, 7)], [], {"a_0", "a_1"}),
    "the whole table": ([(11, 7), (21, 7)], [150], set()),
    "none": ([(10, 7), (20, 1)], [], set()),
}


@pytest.mark.parametrize("case", REFILLED)
@pytest.mark.parametrize("role", Role)
def test_partition_that_was_emptied_by_itself_pauses_its_table(case: str, role: Role) -> None:
    files, truncated_ms, emptied = REFILLED[case]
    before, now = state(parted((10, 1), (20, 1)), B), state(parted(*files), B)
    made = agreement(before, before)
    for at in truncated_ms:
        made.observe(role, transaction(TRUNCATED), at * 1_000_000)
    readings = (now, before) if role is Role.SERVED else (before, now)
    assert made.shows_refilled(*readings) is bool(files[0][0] != 10)
    made.update(*readings, 200_000_000, observations=0, since_us=100_000_000)
    assert (made.paused["a"].emptied if "a" in made.paused else set()) == emptied
    assert made.settled == (("a",) if emptied else ())


def test_exchange_that_may_have_emptied_a_partition_is_skipped() -> None:
    before = state(parted((10, 1), (20, 1)), B)
    made = agreement(before, before)
    made.refusal(exchange(), [insert(B)])
    made.update(state(parted((11, 7), (20, 1)), B), before, 200, observations=0, since_us=100)
    assert "partition a_0 was emptied or rewritten by itself" in made.paused["a"].reasons[0]
    assert made.refusal(exchange(started_us=150), [insert(B)]) is RunnerSkip.SCHEMA_DIFFERS
    assert refuses(made, of=exchange(started_us=50))
    assert not refuses(made, of=exchange(started_us=50, method="GET"))
    assert not refuses(made, of=exchange(started_us=250))
    made.enter(["a"])
    assert made.resume(["a"], SEEN, 300) == ("a",)
    assert refuses(made, of=exchange(started_us=150))
    assert not refuses(made, of=exchange(started_us=50))


JUDGED = {
    "rows of another table differ": (False, (ROW,), 200, "POST", [B]),
    "the response of a route that writes other tables differs": (False, (RESPONSE,), 200, "POST", [B]),
    "the response of a route that writes it differs": (True, (RESPONSE,), 200, "POST", [A]),
    "the response of a route that reads differs": (True, (RESPONSE,), 200, "GET", []),
    "one side fails": (True, (RESPONSE, ROW), 500, "POST", [B]),
}


@pytest.mark.parametrize("case", JUDGED)
def test_mismatch_stands_where_the_paused_table_cannot_be_its_cause(case: str) -> None:
    refused, differences, status, method, before = JUDGED[case]
    made = agreement()
    made.refusal(exchange(), [insert(shape) for shape in before])
    changed(made, state(WIDER, B), state(A, B))
    mirrored = observation(Role.MIRRORED, status=status)
    assert refuses(made, *differences, mirrored=mirrored, of=exchange(method=method)) is refused


def test_failed_run_is_no_evidence_while_a_table_is_paused() -> None:
    made = agreement()
    changed(made, state(WIDER, B), state(A, B))
    failed = Observation(Side.LEGACY, Role.MIRRORED, Failed(FailureCause.TIMEOUT, ""), 1)
    assert refuses(made, mirrored=failed, verdict=Verdict.FAILED)


def test_response_that_may_contain_withheld_rows_is_refused() -> None:
    made = agreement()
    made.refusal(exchange(), [insert(B)])
    changed(made, state(WIDER, B), state(A, B))
    kept = made.applicable([insert(WIDER, v="0xa"), insert(B)], 7)
    assert [change.table for change in kept] == ["b"]
    assert refuses(made, RESPONSE, keys=frozenset({("address", "0xa")}))
    assert not refuses(made, RESPONSE, keys=frozenset({("address", "0xb")}))


def test_match_is_refused_where_writes_may_be_unseen() -> None:
    made = agreement()
    made.refusal(exchange(route="writes-a"), [insert(A)])
    made.refusal(exchange(route="writes-b"), [insert(B)])
    changed(made, state(B), state(B))
    assert not made.paused["a"].captured
    assert made.refusal(exchange(route="writes-a"), [])
    assert not refuses(made, of=exchange(route="writes-b"))
    assert refuses(made, of=exchange(route="unknown"))
    assert not refuses(made, of=exchange(route="reads", method="GET"))


def test_changes_that_a_resync_has_copied_are_not_applied_again() -> None:
    made = agreement()
    changed(made, state(WIDER, B), state(WIDER, B))
    made.enter(["a"])
    made.resume(["a"], SEEN, 40)
    assert not made.applicable([insert(WIDER)], 99)
    assert len(made.applicable([insert(WIDER)], 100)) == 1
    assert len(made.applicable([insert(B)], 99)) == 1


def test_table_that_both_databases_dropped_is_forgotten() -> None:
    made = agreement(described={})
    changed(made, state(B), state(A, B))
    changed(made, state(B), state(B))
    assert not made.paused
    assert list(made.tables) == ["b"]


def test_new_table_that_both_sides_capture_is_resynced_first() -> None:
    made = agreement()
    new = table("c", oid=3)
    changed(made, state(A, B, new), state(A, B, new))
    assert made.settled == ("c",)


CHILD = table("b", oid=2, a_id=INTEGER)
WITH_CHILD = {
    "a": DESCRIBED["a"],
    "b": Table(natural_key=("id",), references={"a_id": "a"}, keys=(AttributionKey(kind="address", through="a_id"),)),
}


def test_parents_of_a_changed_table_are_looked_up_again() -> None:
    made = agreement(state(A, CHILD), state(A, CHILD), WITH_CHILD)
    made.index.learn_row("a", {"id": "1", "v": "0xa"})
    child = RowChange("b", Op.INSERT, None, {"id": "1", "a_id": "1"})
    assert made.index.keys_of([child])[0] == {("address", "0xa")}
    changed(made, state(WIDER, CHILD), state(A, CHILD))
    assert made.index.keys_of([child])[1]
    assert "b" in made.tables


def test_children_are_paused_while_their_parents_cannot_be_looked_up() -> None:
    made = agreement(state(A, CHILD), state(A, CHILD), WITH_CHILD)
    renamed = table("a", w=TEXT)
    changed(made, state(renamed, CHILD), state(A, CHILD))
    assert "b is attributed through a" in made.paused["b"].reasons[0]
    assert refuses(made)
    changed(made, state(A, CHILD), state(A, CHILD))
    assert made.settled == ("a", "b")
