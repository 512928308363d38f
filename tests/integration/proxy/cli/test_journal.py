"""`shadow journal` with wrong folders, damaged files, and a journal that is being written."""

from collections.abc import Callable
from pathlib import Path

import pytest

from proxy.cli.main import main
from proxy.config.journal import JournalSettings
from proxy.journal.keys import load_keys
from proxy.journal.registry import open_writer
from proxy.journal.segment_reader import SegmentReader
from proxy.journal.segments import segments
from tests.support.exchanges import exchange


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """A journal of three segments with one exchange each."""
    for number in range(3):
        writer = open_writer(JournalSettings(directory=str(tmp_path / "journal")), {})
        writer.start()
        assert writer.append(exchange(f"id-{number}"))
        writer.close()
    assert len(segments(tmp_path / "journal" / "w0")) == 3
    return tmp_path / "journal"


def run(directory: Path, *arguments: str) -> int:
    return main(["journal", *arguments, "--directory", str(directory)])


def flip(data: bytes) -> bytes:
    return data[:-3] + bytes([data[-3] ^ 0xFF]) + data[-2:]


def damage(path: Path, change: Callable[[bytes], bytes]) -> None:
    path.write_bytes(change(path.read_bytes()))


DAMAGE = [
    (flip, "the checksum does not match"),
    (lambda _: b"not what was written", "not a journal segment"),
    (lambda data: data[:7] + b"\x63" + data[8:], "unknown format version 99"),
]


@pytest.mark.parametrize(("change", "output"), DAMAGE)
def test_verify_reports_each_damage(journal: Path, capsys: pytest.CaptureFixture[str], change, output: str) -> None:
    damage(segments(journal / "w0")[1], change)
    assert run(journal, "verify") == 1
    assert output in capsys.readouterr().out


@pytest.mark.parametrize("action", ["cat", "stats"])
@pytest.mark.parametrize(("change", "output"), DAMAGE)
def test_skipped_damage_is_reported(
    journal: Path, capsys: pytest.CaptureFixture[str], action: str, change, output: str
) -> None:
    damage(segments(journal / "w0")[1], change)
    assert run(journal, action) == 1
    shown = capsys.readouterr()
    assert f"left out: {segments(journal / 'w0')[1]}" in shown.err
    assert output in shown.err
    assert shown.out


@pytest.mark.parametrize(("change", "output"), DAMAGE)
def test_export_reports_skipped_damage(journal: Path, capsys: pytest.CaptureFixture[str], change, output: str) -> None:
    damage(segments(journal / "w0")[1], change)
    assert run(journal, "export") == 1
    shown = capsys.readouterr()
    assert output in shown.err
    assert len(shown.out.splitlines()) == 2


def test_ls_marks_a_file_that_is_not_a_segment(journal: Path, capsys: pytest.CaptureFixture[str]) -> None:
    damage(segments(journal / "w0")[1], lambda _: b"not what was written")
    assert run(journal, "ls") == 0
    assert "not a journal segment" in capsys.readouterr().out.splitlines()[2]


def test_frame_being_written_is_not_damage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    writer = open_writer(JournalSettings(directory=str(tmp_path / "journal")), {})
    writer.start()
    writer.append(exchange())
    writer.close()
    [path] = segments(tmp_path / "journal" / "w0")
    torn = path.read_bytes() + b"\xa5FRM"
    path.write_bytes(torn)
    assert run(tmp_path / "journal", "verify") == 1
    writer.start()
    # The start of the writer has cut the torn tail; it is put back, like a frame that is being written.
    path.write_bytes(torn)
    try:
        assert run(tmp_path / "journal", "verify") == 0
    finally:
        writer.close()
    assert "4 bytes after the last whole frame" in capsys.readouterr().out


@pytest.mark.parametrize("action", ["ls", "cat", "tail", "stats", "verify", "prune", "export"])
def test_folder_that_is_not_a_journal_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], action: str
) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    assert run(tmp_path, action) == 2
    assert "is not the folder of a journal" in capsys.readouterr().err


def test_folder_of_one_writer_is_refused(journal: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(journal / "w0", "ls") == 2
    assert f"the journal is {journal}" in capsys.readouterr().err


def test_empty_folder_is_an_empty_journal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, "verify") == 0
    assert capsys.readouterr().out == "0 exchanges, 0 faults\n"


@pytest.mark.parametrize("part", ["", "w0"])
def test_import_of_a_journal_into_itself_is_refused(
    journal: Path, capsys: pytest.CaptureFixture[str], part: str
) -> None:
    assert run(journal, "import", str(journal / part)) == 2
    assert "cannot import the journal into itself" in capsys.readouterr().err


def test_unwritable_output_is_reported_in_one_line(
    journal: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(journal, "export", "--out", str(tmp_path / "none" / "x")) == 2
    assert capsys.readouterr().err.endswith("none/x: No such file or directory\n")


def test_active_reader_cannot_be_forgotten(journal: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with SegmentReader(journal, "mirror", keys=load_keys(journal, {})) as reader:
        reader.commit(reader.take(1)[0].position)
        assert run(journal, "prune", "--forget-reader", "mirror") == 2
    assert "stop it first" in capsys.readouterr().err
    assert run(journal, "prune", "--forget-reader", "mirror") == 0


def test_unknown_reader_is_refused_with_the_known_ones(journal: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with SegmentReader(journal, "mirror", keys=load_keys(journal, {})) as reader:
        reader.commit(reader.take(1)[0].position)
    assert run(journal, "prune", "--forget-reader", "miror") == 2
    assert "known readers: mirror" in capsys.readouterr().err
