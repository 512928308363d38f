"""comparator.capture.attribution: what is attributed is right, what is unsure is said to be."""

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from comparator.capture.attribution import Attributor, Claim, KeyedTransaction, RequestWindow
from comparator.capture.attribution_keys import KeyIndex, RowReference, is_background
from comparator.exchanges.model import EffectsOutcome
from comparator.exchanges.row_changes import LogicalMessage, Op, RowChange, Transaction
from comparator.tables import AttributionKey, BackgroundRule, Table


def transaction(lsn: int, at_us: int, *, tag: str = "", changes: tuple[RowChange, ...] = ()) -> Transaction:
    messages = (LogicalMessage("shadow.request", tag),) if tag else ()
    return Transaction(lsn, lsn, lsn, at_us, changes, messages)


def keyed(lsn: int, at_us: int, *keys: tuple[str, str], tag: str = "", row: int | None = None) -> KeyedTransaction:
    rows = frozenset({("t", (str(lsn if row is None else row),))})
    return KeyedTransaction(transaction(lsn, at_us, tag=tag), frozenset(keys), rows)


def claimed(attributor: Attributor, window_id: str) -> Claim:
    claim = attributor.claim(window_id)
    assert claim is not None
    return claim


A, B, N = ("address", "a"), ("address", "b"), ("nullifier", "n")


@dataclass
class Planned:
    """One request of a simulation: who, when, and the times at which it commits."""

    id: str
    address: str
    opened: int
    closed: int
    commits: list[int]


@st.composite
def schedules(draw: st.DrawFn) -> list[Planned]:
    planned = []
    for number in range(draw(st.integers(1, 8))):
        opened = draw(st.integers(0, 60))
        closed = opened + draw(st.integers(1, 30))
        commits = sorted(draw(st.lists(st.integers(opened, closed), max_size=4)))
        planned.append(Planned(f"r{number}", draw(st.sampled_from("abcd")), opened, closed, commits))
    return planned


@given(schedules(), st.booleans())
def test_attributed_requests_have_exactly_their_own_transactions(planned: list[Planned], tagged: bool) -> None:
    attributor = Attributor()
    order = sorted((at, p.id, p) for p in planned for at in p.commits)
    truth: dict[str, list[int]] = {p.id: [] for p in planned}
    for lsn, (at, id_, p) in enumerate(order, start=1):
        truth[id_].append(lsn)
        attributor.add(keyed(lsn, at, ("address", p.address), tag=id_ if tagged else ""))
    for p in planned:
        attributor.open(RequestWindow(p.id, {("address", p.address)}, p.opened, p.closed, tagged))
    wrong = []
    for p in sorted(planned, key=lambda p: p.closed):
        claim = claimed(attributor, p.id)
        got = [k.transaction.end_lsn for k in claim.transactions]
        wrong += [p.id] if claim.outcome is EffectsOutcome.ATTRIBUTED and got != truth[p.id] else []
        assert not tagged or got == truth[p.id]
    assert wrong == []
    assert attributor.unclaimed == 0


@given(schedules())
def test_untagged_requests_that_share_key_and_time_are_never_attributed(planned: list[Planned]) -> None:
    attributor = Attributor()
    for p in planned:
        attributor.open(RequestWindow(p.id, {("address", p.address)}, p.opened, p.closed))
    outcomes = {p.id: claimed(attributor, p.id).outcome for p in planned}
    clashing = {
        p.id
        for p in planned
        for o in planned
        if o is not p and o.address == p.address and o.opened <= p.closed and p.opened <= o.closed
    }
    assert {i for i, o in outcomes.items() if o is EffectsOutcome.OVERLAPPED} == clashing


def test_back_filled_row_of_another_address_is_claimed_through_the_nullifier() -> None:
    attributor = Attributor()
    attributor.add(keyed(1, 10, B, N))
    attributor.add(keyed(2, 11, A, N))
    attributor.open(RequestWindow("r", {A}, 5, 20))
    claim = claimed(attributor, "r")
    assert [k.transaction.end_lsn for k in claim.transactions] == [1, 2]
    assert claim.outcome is EffectsOutcome.ATTRIBUTED


def test_row_of_another_address_is_not_claimed_before_all_requests_are_announced() -> None:
    attributor = Attributor()
    attributor.add(keyed(1, 10, A, N))
    attributor.add(keyed(2, 11, B, N))
    attributor.open(RequestWindow("a", {A}, 5, 20))
    assert attributor.claim("a", all_announced=False) is None
    attributor.open(RequestWindow("b", {B}, 6, 25))
    assert claimed(attributor, "a").outcome is EffectsOutcome.AMBIGUOUS
    assert claimed(attributor, "b").outcome is EffectsOutcome.OVERLAPPED


def test_background_write_on_a_row_of_the_request_inside_its_window_interferes() -> None:
    attributor = Attributor()
    attributor.add(keyed(1, 10, A, tag="r", row=7))
    attributor.add(keyed(2, 11, A, row=7))
    attributor.open(RequestWindow("r", {A}, 5, 20, tagged=True))
    claim = claimed(attributor, "r")
    assert claim.outcome is EffectsOutcome.INTERFERED
    assert [k.transaction.end_lsn for k in claim.transactions] == [1]
    assert attributor.unclaimed == 1


def test_background_write_elsewhere_does_not_interfere_with_a_tagged_request() -> None:
    attributor = Attributor()
    attributor.add(keyed(1, 10, A, tag="r"))
    attributor.add(keyed(2, 11, A))
    attributor.open(RequestWindow("r", {A}, 5, 20, tagged=True))
    assert claimed(attributor, "r").outcome is EffectsOutcome.ATTRIBUTED


def test_transaction_of_a_trace_belongs_to_the_request_of_that_trace_inside_its_window() -> None:
    attributor = Attributor()
    for lsn, at_us in ((1, 10), (2, 90)):
        traced = Transaction(lsn, lsn, lsn, at_us, (), (LogicalMessage("shadow.traceparent", "00-abc-01-01"),))
        attributor.add(KeyedTransaction(traced, frozenset({B}), frozenset()))
    attributor.open(RequestWindow("r", {A}, 5, 20, trace_id="abc"))
    attributor.open(RequestWindow("other", {B}, 5, 20))
    assert [k.transaction.end_lsn for k in claimed(attributor, "other").transactions] == []
    claim = claimed(attributor, "r")
    assert [k.transaction.end_lsn for k in claim.transactions] == [1]
    assert claim.outcome is EffectsOutcome.ATTRIBUTED


def test_release_keeps_transactions_of_known_windows() -> None:
    attributor = Attributor()
    attributor.add(keyed(1, 10, A))
    attributor.add(keyed(2, 10, B))
    attributor.open(RequestWindow("r", {A}, 5, 20))
    assert [k.transaction.end_lsn for k in attributor.release(before_us=100)] == [2]
    assert len(claimed(attributor, "r").transactions) == 1


def test_release_by_key_keeps_named_transactions_for_late_windows() -> None:
    attributor = Attributor()
    attributor.add(keyed(1, 10, A, tag="late"))
    attributor.add(keyed(2, 10, A))
    assert [k.transaction.end_lsn for k in attributor.release(before_us=50, key=A)] == [2]


IDS = {"passport": ("id",), "stamp": ("id",), "event": ("id",)}
TABLES = {
    "passport": Table(natural_key=("address",), keys=(AttributionKey(kind="address", column="address"),)),
    "stamp": Table(
        natural_key=("passport_id",),
        references={"passport_id": "passport"},
        keys=(AttributionKey(kind="address", through="passport_id"),),
    ),
    "event": Table(
        natural_key=("address",),
        keys=(
            AttributionKey(kind="address", column="address"),
            AttributionKey(kind="nullifier", column="data", path="nullifiers.*"),
        ),
    ),
    "analytics": Table(
        natural_key=("path",), keys=(AttributionKey(kind="address", column="path", regex="/score/(0x[0-9A-Fa-f]+)"),)
    ),
}


def insert(table: str, **row: str | None) -> RowChange:
    return RowChange(table, Op.INSERT, None, row)


def test_row_without_known_parent_names_the_missing_parent() -> None:
    index = KeyIndex(TABLES, IDS)
    assert index.keys_of([insert("stamp", id="1", passport_id="9")]) == (frozenset(), (RowReference("passport", "9"),))


def test_parent_seen_in_the_stream_gives_its_children_their_key() -> None:
    index = KeyIndex(TABLES, IDS)
    index.keys_of([insert("passport", id="9", address="0xAB")])
    assert index.keys_of([insert("stamp", id="1", passport_id="9")]) == (frozenset({("address", "0xab")}), ())


def test_keys_are_found_inside_json_and_by_pattern() -> None:
    index = KeyIndex(TABLES, IDS)
    event = insert("event", id="1", address="0xAB", data='{"nullifiers": ["v0:x", "v1:y"]}')
    path = insert("analytics", id="1", path="/v2/stamps/1/score/0xCD")
    keys, _ = index.keys_of([event, path])
    assert keys == {("address", "0xab"), ("nullifier", "v0:x"), ("nullifier", "v1:y"), ("address", "0xcd")}


def test_rows_and_routes_agree_on_keys_of_any_kind() -> None:
    table = Table(natural_key=("id",), keys=(AttributionKey(kind="customer", column="owner"),))
    index = KeyIndex({"thing": table}, {"thing": ("id",)}, route_kind="customer")
    keys, _ = index.keys_of([insert("thing", id="1", owner="Ann")])
    assert keys == index.of_route("aNN") == {("customer", "ann")}


def test_learned_parents_are_bounded() -> None:
    index = KeyIndex(TABLES, IDS, learned_max=2)
    index.keys_of([insert("passport", id=str(i), address=f"0x{i}") for i in range(3)])
    assert index.keys_of([insert("stamp", id="1", passport_id="0")])[1] == (RowReference("passport", "0"),)


def test_background_rule_matches_updates_of_its_columns_only() -> None:
    rule = BackgroundRule(table="passport", columns=("seen",))
    touched = RowChange("passport", Op.UPDATE, {"id": "1", "seen": "1", "v": "1"}, {"id": "1", "seen": "2", "v": "1"})
    changed = RowChange("passport", Op.UPDATE, {"id": "1", "seen": "1", "v": "1"}, {"id": "1", "seen": "2", "v": "2"})
    assert is_background(touched, [rule], "")
    assert not is_background(changed, [rule], "")
