"""proxy.runner.transaction_snapshot: transactions that a snapshot covers."""

import pytest

from proxy.runner.transaction_snapshot import NOTHING_SEEN, TransactionSnapshot


@pytest.mark.parametrize("xid", [3, 2**31 - 1, 2**31 + 1, 3_000_000_000, 2**32 - 1])
def test_empty_snapshot_covers_no_transaction(xid: int) -> None:
    assert not NOTHING_SEEN.covers(xid)


def test_ended_transactions_are_covered_and_running_ones_are_not() -> None:
    seen = TransactionSnapshot.parse("100:110:104")
    assert [xid for xid in (99, 103, 104, 109, 110) if seen.covers(xid)] == [99, 103, 109]


def test_transaction_ids_of_different_rounds_are_distinguished() -> None:
    seen = TransactionSnapshot.parse(f"{2**32 + 10}:{2**32 + 12}:{2**32 + 10}")
    assert [xid for xid in (2**32 - 1, 10, 11, 12) if seen.covers(xid)] == [2**32 - 1, 11]
