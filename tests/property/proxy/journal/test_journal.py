"""Journal then read is identity; retention deletes nothing unread below the disk limit."""

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from comparator.exchanges.model import Exchange, Failed, FailureCause, Request, Response, Side
from proxy.config.journal import JournalSettings, RedactionSettings, RetentionSettings
from proxy.journal.batch import frame_compressor
from proxy.journal.format import encode_frame, encode_payload, exchange_of, parse_frame_header, record_of
from proxy.journal.keys import load_keys
from proxy.journal.redaction import JournalRedactor
from proxy.journal.retention import SegmentFile, plan
from proxy.journal.sealing import keys_of, records_of, seal_payload
from proxy.journal.segment_reader import SegmentReader
from proxy.journal.segment_writer import SegmentWriter

text = st.text(st.characters(codec="utf-8"), max_size=30)
names = st.sampled_from(["X-API-Key", "authorization", "Cookie", "Accept", "x"]) | text
header_lists = st.lists(st.tuples(names, text), max_size=6).map(tuple)
bodies = st.binary(max_size=200) | st.just(b'{"user":{"password":"p","name":"n"}}')
targets = text | st.builds("/p?a=1&api_key={}".format, text)
times = st.integers(0, 2**63 - 1)
outcomes = st.builds(Response, st.integers(100, 599), header_lists, bodies, st.booleans()) | st.builds(
    Failed, st.sampled_from(FailureCause), text
)
exchanges = st.builds(
    Exchange,
    id=text,
    route=text,
    key=text,
    served_by=st.sampled_from(Side),
    stage=text,
    started_ns=times,
    ended_ns=times,
    request=st.builds(Request, text, targets, header_lists, bodies, st.booleans()),
    outcome=outcomes,
    overlapped=st.booleans(),
    skip=text,
)
COMPRESSOR = frame_compressor(1)
KEYS = keys_of(b"0123456789abcdef", [b"an older key, that is read with"])


@given(exchanges)
def test_record_holds_a_whole_exchange(exchange: Exchange) -> None:
    assert exchange_of(record_of(exchange)) == exchange


@given(exchanges, st.binary(min_size=12, max_size=12), st.integers(1, 2**40))
def test_sealed_frame_opens_to_its_records(exchange: Exchange, nonce: bytes, sequence: int) -> None:
    records = (record_of(exchange),)
    plain = encode_payload(records, compressor=COMPRESSOR)
    for key in KEYS:
        sealed = seal_payload(plain, key, nonce=nonce, first_sequence=sequence)
        header = parse_frame_header(encode_frame(sealed, count=1, first_sequence=sequence, last_ended_ns=1))
        assert header is not None
        assert records_of(header, sealed, KEYS) == records


@given(exchanges)
def test_redacting_twice_changes_nothing(exchange: Exchange) -> None:
    redactor = JournalRedactor(RedactionSettings(json_paths=("user.password",)), KEYS.active)
    once = redactor.redact(record_of(exchange))
    assert redactor.redact(once) == once


@settings(max_examples=25, deadline=None)
@given(st.lists(exchanges, min_size=1, max_size=20), st.integers(1, 7))
def test_written_exchanges_are_read_back(written: list[Exchange], batch_max: int) -> None:
    with tempfile.TemporaryDirectory() as directory:
        journal = JournalSettings(directory=directory, batch_max=batch_max, segment_max_bytes=400, flush_ms=0.1)
        writer = SegmentWriter(journal, environ={})
        writer.start()
        accepted = [writer.append(exchange) for exchange in written]
        writer.close()
        with SegmentReader(directory, "test", keys=load_keys(Path(directory), {})) as reader:
            entries = reader.take(100)
    assert all(accepted)
    assert [entry.exchange for entry in entries] == written
    assert [entry.sequence for entry in entries] == list(range(1, len(written) + 1))


segments = st.lists(
    st.builds(
        SegmentFile,
        st.integers(0, 10_000).map(lambda number: Path(f"{number}.seg")),
        st.integers(0, 1000),
        st.floats(0, 1000),
        st.integers(0, 3),
    ),
    max_size=10,
)


@given(segments, st.integers(0, 5000), st.integers(0, 5000))
def test_unread_segments_stay_below_the_disk_limit(closed: list[SegmentFile], size_max: int, disk_max: int) -> None:
    settings_ = RetentionSettings(age_max_s=100, size_max_bytes=size_max, disk_max_bytes=disk_max)
    doomed = plan(closed, settings_, now_s=1000, open_bytes=0)
    kept = sum(segment.size_bytes for segment in closed) - sum(segment.size_bytes for segment in doomed)
    unread = [segment for segment in doomed if segment.unread]
    assert not unread or kept + unread[-1].size_bytes > disk_max
    assert kept <= disk_max or not any(segment.size_bytes for segment in closed if segment not in doomed)
