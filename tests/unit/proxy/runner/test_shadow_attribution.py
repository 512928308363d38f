"""Late commits of a mirrored request that gave no response belong to no other request, and nothing on its keys is compared meanwhile."""

from dataclasses import dataclass

import pytest

from comparator.capture.attribution import Claim, KeyedTransaction
from comparator.exchanges.model import EffectsOutcome, Side
from comparator.exchanges.row_changes import LogicalMessage, Op, RowChange, Transaction
from proxy.runner.shadow_attribution import GIVEN_UP_MAX, GivenUpEnd, ShadowAttribution
from proxy.runner.transaction_snapshot import TransactionSnapshot

A, B = ("address", "0xa1"), ("address", "0xb2")
ROW = ("score", ("7",))
QUIET_US, LOST_US = 100, 1_000


def shadow() -> ShadowAttribution:
    return ShadowAttribution(0, quiet_us=QUIET_US, lost_after_us=LOST_US)


def commit(lsn: int, *keys: tuple[str, str], at: int, name: str = "") -> KeyedTransaction:
    messages = (LogicalMessage("shadow.request", name),) if name else ()
    change = RowChange("score", Op.UPDATE, {"id": "7", "v": "1"}, {"id": "7", "v": str(lsn)})
    return KeyedTransaction(Transaction(lsn, lsn, lsn, at, (change,), messages), frozenset(keys), frozenset({ROW}))


def run(effects: ShadowAttribution, run_id: str, key: tuple[str, str], *, at: int, tagged: bool = False) -> None:
    effects.open(run_id, frozenset({key}), tagged=tagged, now_us=at, side=Side.CANDIDATE)


def lsns(claim: Claim) -> list[int]:
    return [keyed.transaction.end_lsn for keyed in claim.transactions]


@dataclass
class Awaited:
    """A late response, which has come, cannot come any more, or is still awaited."""

    has_come: bool | None = None


def strays(effects: ShadowAttribution, *, at: int) -> list[int]:
    return [keyed.transaction.end_lsn for keyed in effects.take_strays(now_us=at)]


@pytest.mark.parametrize("tagged", [False, True])
def test_late_writes_are_strays_and_release_the_keys_when_nothing_follows(tagged: bool) -> None:
    effects = shadow()
    name = "slow" if tagged else ""
    run(effects, "slow", A, at=10, tagged=tagged)
    effects.deliver(commit(1, A, at=15, name=name))
    assert lsns(effects.give_up("slow", [ROW], now_us=20)) == [1]
    assert effects.is_unsettled(frozenset({A}))
    assert not effects.is_unsettled(frozenset({B}))

    effects.deliver(commit(2, A, at=500, name=name))
    assert strays(effects, at=510) == [2]
    assert effects.end_given_up(now_us=500 + QUIET_US - 1) == []
    effects.deliver(commit(3, A, at=590, name=name))
    assert strays(effects, at=595) == [3]
    assert effects.end_given_up(now_us=500 + QUIET_US) == []
    assert effects.is_unsettled(frozenset({A}))
    assert effects.end_given_up(now_us=590 + QUIET_US) == [(GivenUpEnd.SEEN, None)]
    assert not effects.is_unsettled(frozenset({A}))


def test_request_that_never_writes_is_taken_for_lost_and_its_rows_are_repaired() -> None:
    effects = shadow()
    run(effects, "slow", A, at=10)
    effects.give_up("slow", [ROW], now_us=20)
    assert effects.end_given_up(now_us=20 + LOST_US - 1) == []
    ((end, stand_in),) = effects.end_given_up(now_us=20 + LOST_US)
    assert stand_in is not None
    assert (end, stand_in.keys, stand_in.rows) == (GivenUpEnd.LOST, {A}, {ROW})
    assert effects.unsettled == 0


def test_late_response_is_awaited_however_late_it_comes() -> None:
    effects, late = shadow(), Awaited()
    run(effects, "slow", A, at=10)
    effects.give_up("slow", [ROW], now_us=20, late=late)
    effects.deliver(commit(1, A, at=30))
    assert strays(effects, at=40) == [1]
    assert effects.end_given_up(now_us=1_000 * LOST_US) == []
    assert effects.answered() == []
    late.has_come = True
    (answered,) = effects.answered()
    # What it has committed before its response may not have been delivered yet.
    assert effects.end_given_up(now_us=1_000 * LOST_US) == []
    assert effects.is_unsettled(frozenset({A}))
    effects.deliver(commit(2, A, at=1_000 * LOST_US))
    assert strays(effects, at=1_000 * LOST_US + 1) == [2]
    effects.end_answered([answered])
    assert effects.answered() == []
    assert effects.end_given_up(now_us=1_000 * LOST_US + 2) == [(GivenUpEnd.ANSWERED, None)]
    assert effects.unsettled == 0


@pytest.mark.parametrize("seen", [True, False])
def test_time_counts_from_the_moment_at_which_the_connection_breaks(seen: bool) -> None:
    effects, late, broken_us = shadow(), Awaited(), 50 * LOST_US
    run(effects, "slow", A, at=10)
    effects.give_up("slow", [ROW], now_us=20, late=late)
    if seen:
        effects.deliver(commit(1, A, at=30))
        assert strays(effects, at=40) == [1]
    late.has_come = False
    wait_us = QUIET_US if seen else LOST_US
    assert effects.end_given_up(now_us=broken_us) == []
    assert effects.end_given_up(now_us=broken_us + wait_us - 1) == []
    ((end, _),) = effects.end_given_up(now_us=broken_us + wait_us)
    assert end is (GivenUpEnd.SEEN if seen else GivenUpEnd.LOST)


@pytest.mark.parametrize("tagged", [True, False])
@pytest.mark.parametrize(("last", "old"), [(700, 700), (700, 690), (5, 2**32 - 3)])
def test_transaction_that_had_its_id_before_the_request_was_sent_is_another_s(
    last: int, old: int, *, tagged: bool
) -> None:
    """As after a lock that was held for longer than anything waits; the second run of a request has its name too."""
    effects, name = shadow(), "x" if tagged else ""
    effects.deliver(commit(last, B, at=10))
    strays(effects, at=20)
    run(effects, "x", A, at=30, tagged=tagged)
    effects.deliver(commit(old, A, at=31, name=name))
    effects.deliver(commit(last + 1, A, at=32, name=name))
    claim = effects.collect("x")
    assert (claim.outcome, lsns(claim)) == (EffectsOutcome.INTERFERED, [last + 1])
    assert strays(effects, at=50) == [old]


def test_late_write_is_not_attributed_to_a_request_of_another_key() -> None:
    effects = shadow()
    run(effects, "slow", A, at=10)
    effects.give_up("slow", [], now_us=20)
    run(effects, "other", B, at=30)
    effects.deliver(commit(1, A, B, at=35))
    assert effects.collect("other").outcome is not EffectsOutcome.ATTRIBUTED


def test_write_after_the_wait_disturbs_the_request_that_runs_on_its_keys() -> None:
    """A tagged request that read the late rows is not judged: the stray is named after another request."""
    effects = shadow()
    for stray_taken_while_running in (False, True):
        run(effects, "get", A, at=30, tagged=True)
        effects.deliver(commit(1 + stray_taken_while_running, A, at=25, name="gone"))
        if stray_taken_while_running:
            assert strays(effects, at=40) == [2]
        assert effects.collect("get").outcome is EffectsOutcome.INTERFERED
        strays(effects, at=50)
    run(effects, "next", A, at=60, tagged=True)
    assert effects.collect("next").outcome is EffectsOutcome.ATTRIBUTED


def test_stray_between_two_runs_disturbs_the_second() -> None:
    effects = shadow()
    run(effects, "x", A, at=30, tagged=True)
    assert effects.collect("x").outcome is EffectsOutcome.ATTRIBUTED
    effects.deliver(commit(1, A, at=35, name="gone"))
    assert strays(effects, at=40) == [1]
    run(effects, "x", A, at=50, tagged=True)
    assert effects.collect("x", since_us=30).outcome is EffectsOutcome.INTERFERED


def test_running_request_with_a_common_row_key_does_not_disturb() -> None:
    effects = shadow()
    run(effects, "a", A, at=10, tagged=True)
    run(effects, "b", B, at=10, tagged=True)
    shared = ("nullifier", "n")
    effects.deliver(commit(1, A, shared, at=15, name="a"))
    effects.deliver(KeyedTransaction(commit(2, at=16, name="b").transaction, frozenset({B, shared}), frozenset()))
    claim = effects.collect("a")
    assert (claim.outcome, lsns(claim)) == (EffectsOutcome.ATTRIBUTED, [1])


def test_resync_counts_the_late_writes_that_it_overwrites_as_seen() -> None:
    effects = shadow()
    run(effects, "slow", A, at=10)
    effects.give_up("slow", [], now_us=20)
    effects.deliver(commit(1, A, at=30))
    effects.deliver(commit(2, A, at=31))
    effects.discard(TransactionSnapshot(2, 2, frozenset()))
    assert strays(effects, at=40) == [2]
    assert effects.end_given_up(now_us=31 + QUIET_US) == [(GivenUpEnd.SEEN, None)]


def test_requests_that_are_waited_for_are_bounded() -> None:
    effects = shadow()
    for number in range(GIVEN_UP_MAX + 1):
        run(effects, f"r{number}", ("address", str(number)), at=10)
        effects.give_up(f"r{number}", [], now_us=20)
    assert [end for end, _ in effects.end_given_up(now_us=21)] == [GivenUpEnd.LOST]
    assert not effects.is_unsettled(frozenset({("address", "0")}))
    assert effects.unsettled == GIVEN_UP_MAX


def test_untagged_side_is_reported_and_its_writes_are_taken_back() -> None:
    effects = shadow()
    run(effects, "x", A, at=10, tagged=True)
    effects.deliver(commit(1, A, at=15))
    claim = effects.collect("x")
    assert (claim.outcome, lsns(claim)) == (EffectsOutcome.UNTAGGED, [1])
    assert effects.untagged_sides == {Side.CANDIDATE}
