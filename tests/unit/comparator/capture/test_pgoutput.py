"""The decoder, message by message."""

import pytest

from comparator.capture.errors import DecodeError
from comparator.capture.pgoutput import Decoder
from comparator.exchanges.row_changes import LogicalMessage, Op, RowChange, Transaction
from tests.support import pgoutput

COLUMNS = ("id", "address", "note")


def decoded(*inside: bytes, keys: tuple[str, ...] = COLUMNS) -> Transaction:
    """The transaction that holds these messages, on table 1 `account`."""
    decoder = Decoder()
    for one in (
        pgoutput.begin(final_lsn=8, committed_us=5, xid=3),
        pgoutput.relation(1, "account", COLUMNS, keys=keys),
    ):
        assert decoder.feed(one) is None
    for one in inside:
        assert decoder.feed(one) is None
    done = decoder.feed(pgoutput.commit(lsn=8, end_lsn=9, committed_us=5))
    assert done is not None
    return done


def refused(*messages: bytes) -> str:
    decoder = Decoder()
    with pytest.raises(DecodeError) as error:
        for one in messages:
            decoder.feed(one)
    return str(error.value)


BEGIN = pgoutput.begin(final_lsn=8, committed_us=5, xid=3)
RELATION = pgoutput.relation(1, "account", COLUMNS, keys=COLUMNS)


def test_transaction_carries_its_positions_and_its_time() -> None:
    assert decoded() == Transaction(xid=3, commit_lsn=8, end_lsn=9, committed_us=5, changes=())


def test_unchanged_value_is_filled_from_the_full_old_image() -> None:
    (change,) = decoded(pgoutput.update(1, ["1", "0xb", pgoutput.UNCHANGED], old=["1", "0xa", "long"])).changes
    assert change.after == {"id": "1", "address": "0xb", "note": "long"}


def test_unchanged_value_without_an_old_image_is_absent() -> None:
    (change,) = decoded(pgoutput.update(1, ["1", "0xb", pgoutput.UNCHANGED]), keys=("id",)).changes
    assert change.after == {"id": "1", "address": "0xb"}


def test_update_without_an_old_image_keeps_its_key() -> None:
    (change,) = decoded(pgoutput.update(1, ["1", "0xb", None]), keys=("id",)).changes
    assert change.before == {"id": "1"}


def test_key_image_contains_only_the_key() -> None:
    changes = decoded(
        pgoutput.update(1, ["2", "0xb", None], key=["1", None, None]),
        pgoutput.delete(1, ["2", None, None], kind=b"K"),
        keys=("id",),
    ).changes
    assert [change.before for change in changes] == [{"id": "1"}, {"id": "2"}]


def test_truncate_names_each_table() -> None:
    told = decoded(pgoutput.relation(2, "other.stamp", ["id"]), pgoutput.truncate(1, 2))
    assert told.changes == (
        RowChange("account", Op.TRUNCATE, None, None),
        RowChange("other.stamp", Op.TRUNCATE, None, None),
    )


def test_message_inside_a_transaction_is_kept() -> None:
    told = decoded(pgoutput.message("shadow.request", "r-1"))
    assert told.messages == (LogicalMessage("shadow.request", "r-1"),)
    assert told.request_id == "r-1"


def test_message_outside_of_transactions_is_ignored() -> None:
    assert Decoder().feed(pgoutput.message("other", "tool", transactional=False)) is None


def test_origins_and_types_are_ignored() -> None:
    assert decoded(pgoutput.origin("elsewhere"), pgoutput.type_of(7, "public", "mood")).changes == ()


def test_relation_described_again_is_decoded_by_its_new_columns() -> None:
    told = decoded(pgoutput.relation(1, "account", ["id"]), pgoutput.insert(1, ["1"]))
    assert told.changes == (RowChange("account", Op.INSERT, None, {"id": "1"}),)


def test_change_of_an_undescribed_table_is_refused() -> None:
    assert "relation 1, which was not described" in refused(BEGIN, pgoutput.insert(1, ["1"]))


def test_change_outside_a_transaction_is_refused() -> None:
    assert "outside of a transaction" in refused(RELATION, pgoutput.insert(1, ["1", "2", "3"]))


def test_row_with_too_few_columns_is_refused() -> None:
    assert "row of 2 columns in a relation of 3 columns" in refused(BEGIN, RELATION, pgoutput.insert(1, ["1", "2"]))


def test_begin_inside_a_transaction_is_refused() -> None:
    assert "inside of another" in refused(BEGIN, BEGIN)


def test_commit_that_was_not_announced_is_refused() -> None:
    assert "but the begin announced LSN" in refused(BEGIN, pgoutput.commit(lsn=7, end_lsn=9, committed_us=5))


def test_streamed_transaction_of_a_later_protocol_is_refused() -> None:
    assert "unknown message type b'S'" in refused(b"S\0\0\0\1\1")


def test_trailing_bytes_are_refused() -> None:
    assert "expected" in refused(BEGIN, RELATION + b"x")


def test_text_that_is_not_utf8_is_refused() -> None:
    spoiled = pgoutput.insert(1, ["1", "2", "zz"]).replace(b"zz", b"\xff\xfe")
    assert "malformed message" in refused(BEGIN, RELATION, spoiled)


def test_too_large_transaction_is_counted_and_has_no_changes() -> None:
    decoder = Decoder(changes_max=2)
    inserts = [pgoutput.insert(1, [str(number), "0xa", None]) for number in range(3)]
    end = pgoutput.commit(lsn=8, end_lsn=9, committed_us=5)
    told = [decoder.feed(one) for one in (RELATION, BEGIN, *inserts, end, BEGIN, *inserts[:2], end)]
    assert [len(one.changes) for one in told if one is not None] == [0, 2]
    assert decoder.overflows == 1
