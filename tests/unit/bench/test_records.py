"""Counting the exchange records that peers write."""

from pathlib import Path

import pytest

from bench.proxy.records import Records


def append(path: Path, text: bytes) -> None:
    with path.open("ab") as file:
        file.write(text)


def test_records_are_counted_by_their_mark(tmp_path: Path) -> None:
    append(tmp_path / "file", b'{"trace": 1}\n{"trace": 2}\n')
    assert Records(tmp_path / "file", b'"trace"').count() == 2


def test_mark_split_over_two_reads_counts_once(tmp_path: Path) -> None:
    records = Records(tmp_path / "file", b'"trace"')
    append(tmp_path / "file", b'{"trace": 1}\n{"tra')
    first = records.count()
    append(tmp_path / "file", b'ce": 2}\n')
    assert (first, records.count(), records.count()) == (1, 2, 2)


def test_cleared_records_stay_counted(tmp_path: Path) -> None:
    records = Records(tmp_path / "file", b"\n")
    append(tmp_path / "file", b"a\nb\n")
    records.clear()
    append(tmp_path / "file", b"c\n")
    assert (records.count(), (tmp_path / "file").read_bytes()) == (3, b"c\n")


@pytest.mark.parametrize(("text", "ready"), [(b"", False), (b"200 OK", True)])
def test_peer_with_a_ready_message_is_waited_for(tmp_path: Path, text: bytes, ready: bool) -> None:
    append(tmp_path / "file", b"")
    append(tmp_path / "first", text)
    assert Records(tmp_path / "file", b"\n", tmp_path / "first").ready() is ready


def test_missing_file_is_not_ready(tmp_path: Path) -> None:
    assert not Records(tmp_path / "file", b"\n").ready()
