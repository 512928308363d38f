"""proxy.runner.resync: what a snapshot says of a transaction id."""

import pytest

from proxy.runner.resync import NOTHING_SEEN, TransactionSnapshot


@pytest.mark.parametrize("xid", [3, 2**31 - 1, 2**31 + 1, 3_000_000_000, 2**32 - 1])
def test_no_snapshot_covers_no_transaction(xid: int) -> None:
    assert not NOTHING_SEEN.covers(xid)


def test_ended_transaction_is_covered_and_running_one_is_not() -> None:
    seen = TransactionSnapshot.parse("100:110:104")
    assert [xid for xid in (99, 103, 104, 109, 110) if seen.covers(xid)] == [99, 103, 109]


def test_transaction_ids_beyond_the_first_round_are_told_apart() -> None:
    seen = TransactionSnapshot.parse(f"{2**32 + 10}:{2**32 + 12}:{2**32 + 10}")
    assert [xid for xid in (2**32 - 1, 10, 11, 12) if seen.covers(xid)] == [2**32 - 1, 11]
