"""proxy.runner.ledger: transactions become mirrored runs or background, in the order of live's commits."""

from collections.abc import Sequence

import pytest

from comparator.capture.attribution import RequestWindow
from comparator.capture.attribution_keys import KeyIndex
from comparator.exchanges.model import EffectsOutcome, Exchange, Request, Response, Side
from comparator.exchanges.row_changes import (
    REQUEST_MESSAGE_PREFIX,
    LogicalMessage,
    Op,
    RowChange,
    Transaction,
)
from comparator.tables import AttributionKey, Table
from proxy.runner.ledger import BackgroundApply, Ledger, LiveCommit, MirrorRun

TABLES = {"score": Table(natural_key=("address",), keys=(AttributionKey(kind="address", column="address"),))}


def made_ledger() -> Ledger:
    return Ledger(KeyIndex(TABLES, {"score": ("id",)}), primary_keys={"score": ("id",)})


def deliver(ledger: Ledger, lsn: int, address: str, *, request_id: str = "", committed_us: int | None = None) -> None:
    """Deliver an insert into `score`, committed at `lsn` microseconds unless told otherwise."""
    change = RowChange("score", Op.INSERT, None, {"id": str(lsn), "address": address})
    messages = (LogicalMessage(REQUEST_MESSAGE_PREFIX, request_id),) if request_id else ()
    committed_us = lsn if committed_us is None else committed_us
    keyed, missing = ledger.keyed(Transaction(lsn, lsn, lsn, committed_us, (change,), messages))
    assert not missing
    ledger.deliver(keyed)


def exchange(request_id: str, address: str) -> Exchange:
    request, response = Request("GET", "/", (), b""), Response(200, (), b"")
    return Exchange(request_id, "r", address, Side.LEGACY, "", 0, 100_000, request, response)


def window(request_id: str, address: str, *, tagged: bool = False) -> RequestWindow:
    return RequestWindow(request_id, {("address", address)}, 0, 100, tagged=tagged)


def lsns(ledger: Ledger) -> Sequence[tuple[type, int]]:
    """Start everything that is ready; return the types and positions of the items."""
    return [(type(item), item.lsn) for _, item in ledger.start_ready(9)]


def carried_out(ledger: Ledger) -> Sequence[tuple[type, int]]:
    """Carry out everything, one round after the other; return the types and positions of the items."""
    done: list[tuple[type, int]] = []
    while started := ledger.start_ready(9):
        for number, item in started:
            done.append((type(item), item.lsn))
            ledger.finish(number)
    return done


def test_claimed_transactions_are_one_run_and_the_others_background() -> None:
    ledger, claimant = made_ledger(), window("x", "0xa1")
    for lsn, address in [(10, "0xa1"), (20, "0xb2"), (30, "0xa1")]:
        deliver(ledger, lsn, address)
    ledger.open(exchange("x", "0xa1"), claimant)
    claim = ledger.claim(exchange("x", "0xa1"), claimant, mirror=True)
    assert claim is not None
    assert [keyed.transaction.end_lsn for keyed in claim.transactions] == [10, 30]
    assert ledger.applied_lsn() == 9
    assert lsns(ledger) == [(MirrorRun, 10)]
    assert ledger.release_unclaimed(before_us=1_000) == 1
    assert lsns(ledger) == [(BackgroundApply, 20)]


@pytest.mark.parametrize("clock_ahead", [False, True])
def test_exchange_whose_clock_is_ahead_says_nothing_about_earlier_changes_on_its_key(*, clock_ahead: bool) -> None:
    ledger = made_ledger()
    deliver(ledger, 10, "0xa1")
    ahead, claimant = window("ahead", "0xa1"), window("x", "0xa1")
    ahead.opened_us, ahead.closed_us, ahead.clock_ahead = 5_000, 6_000, clock_ahead
    ledger.open(exchange("ahead", "0xa1"), ahead)
    assert ledger.claim(exchange("ahead", "0xa1"), ahead, mirror=False) is not None
    # The one that made the change is read behind it.
    ledger.open(exchange("x", "0xa1"), claimant)
    claim = ledger.claim(exchange("x", "0xa1"), claimant, mirror=True)
    assert claim is not None
    assert [keyed.transaction.end_lsn for keyed in claim.transactions] == ([10] if clock_ahead else [])


def test_changes_of_a_skipped_exchange_wait_for_what_came_before_on_its_key() -> None:
    ledger = made_ledger()
    deliver(ledger, 10, "0xa1")
    first, second = window("x", "0xa1"), window("y", "0xa1")
    second.opened_us, second.closed_us = 200, 300
    ledger.open(exchange("x", "0xa1"), first)
    ledger.open(exchange("y", "0xa1"), second)
    assert ledger.claim(exchange("x", "0xa1"), first, mirror=True)
    # A row without a key of its own, which a request on 0xa1 finds by another condition.
    change = RowChange("note", Op.INSERT, None, {"id": "1"})
    message = LogicalMessage(REQUEST_MESSAGE_PREFIX, "y")
    ledger.deliver(ledger.keyed(Transaction(250, 250, 250, 250, (change,), (message,)))[0])
    second.tagged = True
    assert ledger.claim(exchange("y", "0xa1"), second, mirror=False)
    [(number, run)] = ledger.start_ready(9)
    assert isinstance(run, MirrorRun)
    ledger.finish(number)
    assert lsns(ledger) == [(BackgroundApply, 250)]


def truncating(lsn: int) -> Transaction:
    change = RowChange("score", Op.TRUNCATE, None, None)
    behind = RowChange("score", Op.INSERT, None, {"id": str(lsn), "address": "0xb2"})
    return Transaction(lsn, lsn, lsn, lsn, (change, behind))


def test_transaction_that_truncates_is_applied_whole_and_alone() -> None:
    ledger = made_ledger()
    deliver(ledger, 10, "0xa1")
    ledger.deliver(ledger.keyed(truncating(20))[0])
    deliver(ledger, 30, "0xc3")
    ledger.release_unclaimed(before_us=1_000)
    order: list[list[RowChange]] = []
    while started := ledger.start_ready(9):
        order += [list(item.changes) for _, item in started if isinstance(item, BackgroundApply)]
        for number, _ in started:
            ledger.finish(number)
    assert [[change.op for change in changes] for changes in order] == [
        [Op.INSERT],
        [Op.TRUNCATE, Op.INSERT],
        [Op.INSERT],
    ]


def test_equal_rows_of_a_table_without_a_key_are_applied_one_after_the_other() -> None:
    ledger = Ledger(KeyIndex({}, {}), primary_keys={"log": ()})
    for lsn, value in [(10, "a"), (20, "a"), (30, "b")]:
        change = RowChange("log", Op.INSERT, None, {"v": value})
        ledger.deliver(ledger.keyed(Transaction(lsn, lsn, lsn, lsn, (change,)))[0])
    ledger.release_unclaimed(before_us=1_000)
    assert lsns(ledger) == [(BackgroundApply, 10), (BackgroundApply, 30)]


def test_transaction_on_rows_that_constrain_one_another_is_applied_whole() -> None:
    ledger = Ledger(KeyIndex(TABLES, {"score": ("id",)}), primary_keys={"score": ("id",)}, undivided={"score"})
    changes = tuple(
        RowChange("score", Op.UPDATE, {"id": i, "address": i, "place": i}, {"id": i, "address": i, "place": j})
        for i, j in [("1", "2"), ("2", "1")]
    )
    ledger.deliver(ledger.keyed(Transaction(10, 10, 10, 10, changes))[0])
    ledger.release_unclaimed(before_us=1_000)
    [(_, item)] = ledger.start_ready(9)
    assert isinstance(item, BackgroundApply)
    assert item.changes == changes


def inserts(lsn: int, *ids: str) -> Transaction:
    changes = tuple(RowChange("score", Op.INSERT, None, {"id": i, "address": f"0x{i}"}) for i in ids)
    return Transaction(lsn, lsn, lsn, lsn, changes)


def test_one_large_transaction_alone_is_not_too_much() -> None:
    ledger = made_ledger()
    ledger.deliver(ledger.keyed(inserts(10, "1", "2", "3", "4"))[0])
    ledger.release_unclaimed(before_us=1_000)
    assert ledger.rows == 4
    assert not ledger.is_overfull(1)
    ledger.deliver(ledger.keyed(inserts(20, "5", "6"))[0])
    ledger.release_unclaimed(before_us=1_000)
    assert ledger.is_overfull(1)
    assert not ledger.is_overfull(2)


def test_row_waits_while_its_table_is_about_to_be_emptied() -> None:
    ledger = made_ledger()
    ledger.deliver(ledger.keyed(truncating(20))[0])
    assert ledger.waits_for([("score", ("7",)), ("other", ("7",))]) == {("score", ("7",))}


def test_unclaimed_transaction_blocks_later_ones_on_its_keys() -> None:
    ledger, claimant = made_ledger(), window("x", "0xa1")
    deliver(ledger, 5, "0xa1")
    ledger.open(exchange("x", "0xa1"), claimant)
    ledger.claim(exchange("x", "0xa1"), claimant, mirror=False)
    deliver(ledger, 110, "0xa1")
    later = RequestWindow("y", {("address", "0xa1")}, 105, 120)
    ledger.open(exchange("y", "0xa1"), later)
    ledger.claim(exchange("y", "0xa1"), later, mirror=True)
    [(number, first)] = ledger.start_ready(9)
    assert first.lsn == 5
    ledger.finish(number)
    assert lsns(ledger) == [(MirrorRun, 110)]


def test_transaction_of_another_request_with_the_same_id_makes_a_claim_ambiguous() -> None:
    ledger, claimant = made_ledger(), window("x", "0xa1", tagged=True)
    deliver(ledger, 10, "0xa1", request_id="x")
    deliver(ledger, 20, "0xb2", request_id="x")
    ledger.open(exchange("x", "0xa1"), claimant)
    claim = ledger.claim(exchange("x", "0xa1"), claimant, mirror=True)
    assert claim is not None
    assert claim.outcome is EffectsOutcome.AMBIGUOUS
    assert carried_out(ledger) == [(BackgroundApply, 10), (BackgroundApply, 20)]


@pytest.mark.parametrize(("before_us", "commit"), [(25, LiveCommit(10, 10)), (10, None)])
def test_applied_commit_is_the_last_before_a_time_with_everything_on_the_shadow(
    before_us: int, commit: LiveCommit | None
) -> None:
    ledger, claimant = made_ledger(), window("x", "0xa1")
    for lsn, address in [(10, "0xa1"), (20, "0xb2")]:
        deliver(ledger, lsn, address)
    ledger.open(exchange("x", "0xa1"), claimant)
    ledger.claim(exchange("x", "0xa1"), claimant, mirror=True)
    [(number, _)] = ledger.start_ready(9)
    ledger.finish(number)
    assert ledger.applied_commit(before_us) == commit


@pytest.mark.parametrize(
    ("times_us", "before_us", "commit"),
    [
        pytest.param((150, 100), 120, None, id="the second took its time before the first, and was written after it"),
        pytest.param((150, 100), 151, LiveCommit(150, 2), id="both are before the time"),
        pytest.param((100, 150, 120), 130, LiveCommit(100, 1), id="one at a later time stands between them"),
        pytest.param((5_000_000, 100, 110), 120, LiveCommit(110, 3), id="the clock was set back"),
    ],
)
def test_no_commit_at_or_after_the_time_of_a_checkpoint_stands_before_it(
    times_us: Sequence[int], before_us: int, commit: LiveCommit | None
) -> None:
    ledger = made_ledger()
    for lsn, committed_us in enumerate(times_us, 1):
        deliver(ledger, lsn, "0xa1", committed_us=committed_us)
    ledger.release_unclaimed(before_us=10_000_000)
    while ready := ledger.start_ready(9):
        for number, _ in ready:
            ledger.finish(number)
    assert ledger.applied_commit(before_us) == commit


def ran(request_id: str, started_us: int, ended_us: int) -> Exchange:
    request, response = Request("GET", "/", (), b""), Response(200, (), b"")
    return Exchange(request_id, "r", "0xa1", Side.LEGACY, "", started_us * 1_000, ended_us * 1_000, request, response)


def opened(
    ledger: Ledger, run: Exchange, *, skew_us: int = 5, wait_us: int = 100, tagged: bool = True
) -> RequestWindow:
    """Open the window of an exchange, as the intake does."""
    began_us, ended_us = run.started_ns // 1_000 - skew_us, run.ended_ns // 1_000 + skew_us + wait_us
    window = RequestWindow(run.id, {("address", "0xa1")}, began_us, ended_us, tagged=tagged)
    ledger.open(run, window)
    return window


def order(ledger: Ledger) -> list[str]:
    """Carry everything out one by one; return the exchanges' ids, and the positions of what is applied as it is."""
    done: list[str] = []
    while started := ledger.start_ready(1):
        (number, item) = started[0]
        done.append(item.exchange.id if isinstance(item, MirrorRun) else str(item.lsn))
        ledger.finish(number)
    return done


def test_read_comes_behind_a_change_that_is_released_later() -> None:
    ledger, read = made_ledger(), ran("read", 1_000, 1_100)
    deliver(ledger, 900, "0xa1")
    assert ledger.claim(read, opened(ledger, read), mirror=True)
    assert order(ledger) == ["900", "read"]


def test_read_comes_behind_a_write_that_is_claimed_later() -> None:
    ledger, write, read = made_ledger(), ran("write", 800, 950), ran("read", 1_000, 1_100)
    deliver(ledger, 900, "0xa1", request_id="write")
    windows = {run.id: opened(ledger, run) for run in (write, read)}
    assert ledger.claim(read, windows["read"], mirror=True)
    assert order(ledger) == []
    assert ledger.claim(write, windows["write"], mirror=True)
    assert order(ledger) == ["write", "read"]


@pytest.mark.parametrize("committed_us", [1_150, 1_099], ids=["within the wait for late writes", "by a clock behind"])
def test_read_comes_before_a_write_that_began_behind_its_end(committed_us: int) -> None:
    ledger, read, write = made_ledger(), ran("read", 1_000, 1_100), ran("write", 1_101, 1_160)
    deliver(ledger, committed_us, "0xa1", request_id="write")
    windows = {run.id: opened(ledger, run) for run in (read, write)}
    assert ledger.claim(read, windows["read"], mirror=True)
    assert ledger.claim(write, windows["write"], mirror=True)
    assert order(ledger) == ["read", "write"]


@pytest.mark.parametrize(
    ("committed_us", "outcome"),
    [
        (990, EffectsOutcome.ATTRIBUTED),
        (996, EffectsOutcome.INTERFERED),
        (1_050, EffectsOutcome.INTERFERED),
        (1_104, EffectsOutcome.INTERFERED),
        (1_210, EffectsOutcome.ATTRIBUTED),
    ],
)
@pytest.mark.parametrize("released", [False, True])
def test_read_beside_a_change_of_no_request_is_not_judged(
    committed_us: int, outcome: EffectsOutcome, *, released: bool
) -> None:
    ledger, write, read = made_ledger(), ran("write", 100, 200), ran("read", 1_000, 1_100)
    deliver(ledger, 150, "0xa1", request_id="write")
    assert ledger.claim(write, opened(ledger, write), mirror=True)
    deliver(ledger, committed_us, "0xa1")
    if released:
        ledger.release_unclaimed(before_us=2_000)
    claim = ledger.claim(read, opened(ledger, read), mirror=True)
    assert claim is not None
    assert claim.outcome is outcome
