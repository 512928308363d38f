"""Decoding undoes encoding, and no bytes whatever make the decoder fail in any way but its own."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from comparator.capture.errors import DecodeError
from comparator.capture.pgoutput import Decoder
from comparator.capture.row_text import parse
from comparator.exchanges.row_changes import LogicalMessage, Op, RowChange, Transaction
from tests.support import pgoutput

texts = st.text(st.characters(exclude_characters="\x00", exclude_categories=("Cs",)), max_size=20)
values = st.none() | texts
COLUMNS: dict[str, Sequence[str]] = {
    "account": ("id", "address"),
    "other.stamp": ("id", "note", "credential"),
    "bare": (),
}
lsns = st.integers(1, 2**63 - 1)


def images(table: str) -> st.SearchStrategy[dict[str, str | None]]:
    return st.fixed_dictionaries(dict.fromkeys(COLUMNS[table], values))


@st.composite
def changes(draw: st.DrawFn) -> RowChange:
    table = draw(st.sampled_from(sorted(COLUMNS)))
    op = draw(st.sampled_from(Op))
    before = draw(images(table)) if op in (Op.UPDATE, Op.DELETE) else None
    after = draw(images(table)) if op in (Op.UPDATE, Op.INSERT) else None
    return RowChange(table, op, before, after)


transactions = st.builds(
    Transaction,
    xid=st.integers(1, 2**32 - 1),
    commit_lsn=lsns,
    end_lsn=lsns,
    committed_us=st.integers(0, 2**52),
    changes=st.lists(changes(), max_size=6).map(tuple),
    messages=st.lists(st.builds(LogicalMessage, texts, texts), max_size=2).map(tuple),
)


def decode(messages: Sequence[bytes]) -> list[Transaction]:
    decoder = Decoder()
    return [done for one in messages if (done := decoder.feed(one)) is not None]


@given(transactions)
def test_decoding_inverts_encoding(transaction: Transaction) -> None:
    assert decode(pgoutput.encode(transaction, COLUMNS)) == [transaction]


@given(st.lists(transactions, min_size=2, max_size=3))
def test_transactions_keep_their_order(several: list[Transaction]) -> None:
    messages = [one for transaction in several for one in pgoutput.encode(transaction, COLUMNS)]
    assert decode(messages) == several


def survives(messages: Sequence[bytes]) -> bool:
    """Decode; only the named error may come."""
    try:
        decode(messages)
    except DecodeError:
        return False
    return True


@given(transactions, st.data())
def test_truncated_message_raises_decode_error(transaction: Transaction, data: st.DataObject) -> None:
    messages = pgoutput.encode(transaction, COLUMNS)
    broken = data.draw(st.integers(0, len(messages) - 1))
    kept = data.draw(st.integers(0, len(messages[broken]) - 1))
    messages[broken] = messages[broken][:kept]
    assert not survives(messages)


@given(transactions, st.data())
def test_changed_byte_is_decoded_or_raises_decode_error(transaction: Transaction, data: st.DataObject) -> None:
    messages = pgoutput.encode(transaction, COLUMNS)
    broken = data.draw(st.integers(0, len(messages) - 1))
    spoiled = bytearray(messages[broken])
    spoiled[data.draw(st.integers(0, len(spoiled) - 1))] = data.draw(st.integers(0, 255))
    messages[broken] = bytes(spoiled)
    assert survives(messages) in (True, False)


@given(st.lists(st.binary(max_size=60), max_size=5))
def test_garbage_is_decoded_or_raises_decode_error(messages: list[bytes]) -> None:
    assert survives(messages) in (True, False)


@given(st.lists(values, min_size=1, max_size=6))
def test_parsing_a_row_inverts_writing_it(fields: list[str | None]) -> None:
    assert parse(pgoutput.row_text(fields)) == fields


@given(st.text(alphabet='(),"\\ a', max_size=12))
def test_any_text_is_parsed_as_a_row_or_raises_decode_error(text: str) -> None:
    try:
        assert parse(text)
    except DecodeError:
        return
