"""comparator.capture.attribution: what is attributed is right, what is unsure is said to be."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comparator.capture.attribution import Attributor, Claim, KeyedTransaction, RequestWindow
from comparator.capture.attribution_keys import KeyIndex, RowReference, is_background
from comparator.exchanges.model import EffectsOutcome, LeftOutReason, Side
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


def test_row_behind_the_response_may_be_of_the_next_request_on_the_key() -> None:
    attributor = Attributor()
    attributor.add(keyed(1, 10, A))
    attributor.add(keyed(2, 17, A))
    attributor.open(RequestWindow("first", {A}, 5, 20, began_us=10, ended_us=15))
    assert attributor.claim("first", all_announced=False) is None
    attributor.open(RequestWindow("next", {A}, 11, 40, began_us=16, ended_us=35))
    assert claimed(attributor, "first").outcome is EffectsOutcome.OVERLAPPED
    assert claimed(attributor, "next").outcome is EffectsOutcome.OVERLAPPED


@pytest.mark.parametrize("tag", ["", "first"])
def test_row_behind_the_response_is_the_only_request_s_in_the_end(tag: str) -> None:
    attributor = Attributor()
    attributor.add(keyed(1, 10, A, tag=tag))
    attributor.add(keyed(2, 17, A, tag=tag))
    attributor.open(RequestWindow("first", {A}, 5, 20, bool(tag), began_us=10, ended_us=15))
    early = attributor.claim("first", all_announced=False)
    # One that names its request needs no wait.
    assert (early is not None) == bool(tag)
    claim = early or claimed(attributor, "first")
    assert (claim.outcome, len(claim.transactions)) == (EffectsOutcome.ATTRIBUTED, 2)


@pytest.mark.parametrize(
    ("committed_us", "known_alone", "tag", "waits"),
    [
        (12, True, "", False),
        (7, True, "", True),
        (17, True, "", True),
        (12, False, "", True),
        (7, True, "first", False),
        (12, False, "first", False),
    ],
)
def test_row_that_may_be_of_a_request_not_read_yet_waits(
    committed_us: int, known_alone: bool, tag: str, waits: bool
) -> None:
    attributor = Attributor()
    attributor.add(keyed(1, committed_us, A, tag=tag))
    window = RequestWindow("first", {A}, 5, 20, bool(tag), began_us=10, ended_us=15, known_alone=known_alone)
    attributor.open(window)
    assert (attributor.claim("first", all_announced=False) is None) is waits
    if waits:
        assert claimed(attributor, "first").outcome is EffectsOutcome.ATTRIBUTED


@pytest.mark.parametrize("tagged", [False, True])
@pytest.mark.parametrize(
    ("rows", "outcome"),
    [
        # Without a row on its keys, nothing tells of another request.
        ((), EffectsOutcome.ATTRIBUTED),
        (((10, "own"),), EffectsOutcome.UNJOURNALED),
        # A client whose connection broke has sent the same id again.
        (((10, "own"), (12, "own")), EffectsOutcome.UNJOURNALED),
        (((12, ""),), EffectsOutcome.UNJOURNALED),
        (((30, ""),), EffectsOutcome.ATTRIBUTED),
    ],
)
def test_rows_may_be_those_of_a_request_that_is_in_no_journal(
    rows: tuple[tuple[int, str], ...], outcome: EffectsOutcome, tagged: bool
) -> None:
    attributor = Attributor()
    for number, (committed_us, tag) in enumerate(rows, 1):
        attributor.add(keyed(number, committed_us, A, tag=tag, row=number))
    attributor.open(RequestWindow("own", {A}, 5, 20, tagged, unjournaled=True))
    claim = claimed(attributor, "own")
    assert claim.outcome is outcome


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


def keyless(lsn: int, at_us: int, *, table: str = "audit", tag: str = "") -> KeyedTransaction:
    changes = (RowChange(table, Op.INSERT, None, {"id": str(lsn)}),)
    return KeyedTransaction(
        transaction(lsn, at_us, tag=tag, changes=changes), frozenset(), frozenset({(table, (str(lsn),))})
    )


def lsns(claim: Claim) -> list[int]:
    return [k.transaction.end_lsn for k in claim.transactions]


def test_row_without_a_key_belongs_to_the_only_request_of_its_time() -> None:
    attributor = Attributor()
    attributor.add(keyed(1, 10, A))
    attributor.add(keyless(2, 11))
    attributor.add(keyless(3, 30))
    attributor.open(RequestWindow("a", {A}, 5, 20))
    attributor.open(RequestWindow("b", {B}, 25, 40))
    a, b = claimed(attributor, "a"), claimed(attributor, "b")
    assert (lsns(a), lsns(b)) == ([1, 2], [3])
    assert (a.outcome, a.left_out, b.left_out) == (EffectsOutcome.ATTRIBUTED, {}, {})


def test_row_without_a_key_in_the_time_of_two_requests_leaves_its_table_out_of_both() -> None:
    attributor = Attributor()
    attributor.add(keyed(1, 10, A))
    attributor.add(keyless(2, 11))
    attributor.open(RequestWindow("a", {A}, 5, 20))
    attributor.open(RequestWindow("b", {B}, 11, 40))
    claims = [claimed(attributor, "a"), claimed(attributor, "b")]
    assert [lsns(claim) for claim in claims] == [[1], []]
    assert [claim.left_out for claim in claims] == [{"audit": LeftOutReason.SHARED}] * 2
    assert [claim.outcome for claim in claims] == [EffectsOutcome.ATTRIBUTED] * 2
    assert [k.transaction.end_lsn for k in attributor.release(before_us=100)] == [2]


def test_row_without_a_key_waits_until_all_requests_of_its_time_are_announced() -> None:
    attributor = Attributor()
    attributor.add(keyless(1, 10))
    attributor.open(RequestWindow("a", {A}, 5, 20))
    assert attributor.claim("a", all_announced=False) is None
    assert attributor.release(before_us=100) == []
    attributor.open(RequestWindow("b", {B}, 6, 25))
    assert claimed(attributor, "a").left_out == claimed(attributor, "b").left_out == {"audit": LeftOutReason.SHARED}


def test_closed_window_is_remembered_where_a_row_without_a_key_was_shared() -> None:
    attributor = Attributor()
    attributor.open(RequestWindow("a", {A}, 5, None))
    attributor.open(RequestWindow("b", {B}, 6, None))
    attributor.add(keyless(1, 10))
    assert claimed(attributor, "a").left_out == {"audit": LeftOutReason.SHARED}
    attributor.close("a")
    assert claimed(attributor, "b").left_out == {"audit": LeftOutReason.SHARED}


def test_row_without_a_key_is_not_of_a_side_that_names_its_requests() -> None:
    attributor = Attributor()
    for lsn, at_us in ((1, 10), (3, 50)):
        attributor.open(RequestWindow(f"t{lsn}", {B}, at_us - 5, at_us + 5, tagged=True, side=Side.CANDIDATE))
        attributor.add(keyed(lsn, at_us, B, tag=f"t{lsn}"))
    assert lsns(claimed(attributor, "t1")) == [1]
    attributor.open(RequestWindow("a", {A}, 44, 60))
    attributor.add(keyless(4, 51))
    assert lsns(claimed(attributor, "a")) == [4]
    assert claimed(attributor, "t3").left_out == {}


def test_table_with_another_writer_is_left_out() -> None:
    attributor = Attributor()
    attributor.add(keyless(1, 10))
    assert len(attributor.release(before_us=50)) == 1
    attributor.open(RequestWindow("a", {A}, 55, 70))
    attributor.add(keyless(2, 60))
    attributor.add(keyless(3, 61, table="other"))
    claim = claimed(attributor, "a")
    assert (lsns(claim), claim.left_out) == ([3], {"audit": LeftOutReason.OTHER_WRITER})


def test_truncate_is_never_attributed_by_its_time() -> None:
    attributor = Attributor()
    truncate = transaction(1, 10, changes=(RowChange("audit", Op.TRUNCATE, None, None),))
    attributor.add(KeyedTransaction(truncate, frozenset(), frozenset()))
    attributor.open(RequestWindow("a", {A}, 5, 20))
    claim = claimed(attributor, "a")
    assert (lsns(claim), claim.left_out) == ([], {"audit": LeftOutReason.EMPTIED})


@given(schedules())
def test_rows_without_a_key_are_attributed_rightly_or_left_out(planned: list[Planned]) -> None:
    """Each commit has no key at all: what is attributed is right, and what is not is said by every request that may have made it."""
    attributor = Attributor()
    order = sorted((at, p.id) for p in planned for at in p.commits)
    for lsn, (at, _) in enumerate(order, start=1):
        attributor.add(keyless(lsn, at))
    for p in planned:
        attributor.open(RequestWindow(p.id, {("address", p.id)}, p.opened, p.closed))
    for p in sorted(planned, key=lambda p: p.closed):
        claim = claimed(attributor, p.id)
        own = [lsn for lsn, (_, id_) in enumerate(order, start=1) if id_ == p.id]
        assert set(lsns(claim)) <= set(own)
        assert lsns(claim) == own or claim.left_out == {"audit": LeftOutReason.SHARED}


def tagged(request_id: str, opened: int, closed: int, key: tuple[str, str] = A) -> RequestWindow:
    return RequestWindow(request_id, {key}, opened, closed, tagged=True, side=Side.CANDIDATE)


def test_side_that_never_named_a_request_is_untagged_since_its_first_write() -> None:
    attributor = Attributor()
    attributor.open(tagged("reads", 0, 4))
    assert claimed(attributor, "reads").outcome is EffectsOutcome.ATTRIBUTED
    assert attributor.untagged_sides == frozenset()
    attributor.open(tagged("writes", 5, 20))
    attributor.add(keyed(1, 10, A))
    claim = claimed(attributor, "writes")
    assert (claim.outcome, lsns(claim)) == (EffectsOutcome.UNTAGGED, [1])
    assert attributor.untagged_sides == {Side.CANDIDATE}


def test_evidence_is_kept_until_the_request_is_decided() -> None:
    attributor = Attributor()
    attributor.add(keyed(1, 10, A))
    attributor.open(tagged("t", 5, 20))
    assert attributor.claim("t", all_announced=False) is None
    assert attributor.release(before_us=100) == []
    assert claimed(attributor, "t").outcome is EffectsOutcome.UNTAGGED
    assert attributor.unclaimed == 0


def test_write_of_an_untagged_request_is_no_evidence_against_the_other_side() -> None:
    attributor = Attributor()
    attributor.add(keyed(1, 10, A))
    attributor.open(tagged("t", 5, 20))
    assert attributor.claim("t", all_announced=False) is None
    attributor.open(RequestWindow("legacy", {A}, 6, 19, side=Side.LEGACY))
    assert claimed(attributor, "t").outcome is EffectsOutcome.OVERLAPPED
    assert attributor.untagged_sides == frozenset()


def test_row_without_a_key_is_evidence_while_the_side_never_named_a_request() -> None:
    attributor = Attributor()
    attributor.add(keyless(1, 10))
    attributor.open(tagged("t", 5, 20))
    assert claimed(attributor, "t").outcome is EffectsOutcome.UNTAGGED


def test_side_that_stops_naming_its_requests_is_found() -> None:
    attributor = Attributor()
    attributor.add(keyed(1, 10, A, tag="r1"))
    attributor.open(tagged("r1", 5, 15))
    assert claimed(attributor, "r1").outcome is EffectsOutcome.ATTRIBUTED
    outcomes = []
    for number in range(2, 8):
        attributor.add(keyed(number, 10 * number, A))
        attributor.open(tagged(f"r{number}", 10 * number - 5, 10 * number + 4))
        outcomes.append(claimed(attributor, f"r{number}").outcome)
    assert outcomes == [EffectsOutcome.ATTRIBUTED] * 4 + [EffectsOutcome.UNTAGGED] * 2
    attributor.add(keyed(9, 90, A, tag="r9"))
    attributor.open(tagged("r9", 85, 95))
    assert claimed(attributor, "r9").outcome is EffectsOutcome.ATTRIBUTED
    assert attributor.untagged_sides == frozenset()


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
