"""`shadow journal keys` and `scan`: keys are rotated while the journal is written and read, and old segments are sealed again."""

import asyncio
import shutil
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from proxy.cli.main import main
from proxy.config.journal import JournalSettings
from proxy.errors import JournalKeyError
from proxy.journal.keys import add_key, load_keys, retire_key
from proxy.journal.rewriting import rewrite
from proxy.journal.segment_reader import SegmentReader
from proxy.journal.segment_writer import SegmentWriter
from proxy.journal.segments import segments
from tests.support import waiting
from tests.support.exchanges import exchange
from tests.support.paths import ROOT

EARLIER = ROOT / "tests/data/journals/sealed-records"


@contextmanager
def writing(directory: Path, **changes: object) -> Generator[SegmentWriter]:
    """Write with a new segment for each exchange."""
    settings = {"directory": str(directory), "flush_ms": 0.2, "segment_max_s": 1e-6, **changes}
    writer = SegmentWriter(msgspec.convert(settings, JournalSettings), environ={})
    writer.start()
    try:
        yield writer
    finally:
        writer.close()


def wait_until(condition: Callable[[], bool]) -> None:
    asyncio.run(waiting.until(condition))


def append(writer: SegmentWriter, name: str) -> None:
    assert writer.append(exchange(name, headers=(("X-API-Key", f"secret of {name}"),)))
    wait_until(lambda: not writer.counts.queued)


def reader_of(directory: Path, name: str = "mirror") -> SegmentReader:
    return SegmentReader(
        directory,
        name,
        keys=load_keys(directory, {}),
        load_keys=lambda: load_keys(directory, {}),
        skip_undecodable=True,
    )


def ids(reader: SegmentReader) -> list[str]:
    return [entry.exchange.id for entry in reader.take(100)]


def run(directory: Path, *words: str) -> int:
    return main(["journal", "--directory", str(directory), *words])


def test_key_is_rotated_while_writer_and_reader_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with writing(tmp_path) as writer, reader_of(tmp_path) as reader:
        append(writer, "a")
        before = load_keys(tmp_path, {}).active.id
        assert run(tmp_path, "keys", "add") == 0
        after = load_keys(tmp_path, {}).active.id
        append(writer, "b")
        entries = reader.take(10)
        assert [entry.exchange.id for entry in entries] == ["a", "b"]
        reader.commit(entries[0].position)
        assert run(tmp_path, "keys", "list") == 0
        listed = capsys.readouterr().out
        assert [line.split()[:4] for line in listed.splitlines()[-2:]] == [
            [after, "active", "1", "1"],
            [before, "older", "1", "0"],
        ]
        assert run(tmp_path, "keys", "retire", before) == 0
        assert run(tmp_path, "keys", "retire", after) == 2
        assert "the active one" in capsys.readouterr().err
    assert [key.id for key in load_keys(tmp_path, {})] == [after]
    assert run(tmp_path, "stats") == 1


def test_key_of_something_unread_is_retired_by_force_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with writing(tmp_path) as writer:
        append(writer, "a")
        key = load_keys(tmp_path, {}).active.id
        add_key(tmp_path)
        append(writer, "b")
    with reader_of(tmp_path, "later"):
        assert run(tmp_path, "keys", "retire", key) == 2
    assert "1 exchanges that a reader has not read yet" in capsys.readouterr().err
    assert run(tmp_path, "keys", "retire", key, "--force") == 0
    assert "1 unread" not in capsys.readouterr().out
    with reader_of(tmp_path) as reader:
        # The runner starts, names what is lost and goes on.
        assert ids(reader) == ["b"]
        assert [unread.count for unread in reader.take_unread()] == [1]


def test_rewritten_segments_keep_offsets_and_need_the_new_key_only(tmp_path: Path) -> None:
    with writing(tmp_path) as writer:
        append(writer, "a")
        append(writer, "b")
        old = load_keys(tmp_path, {}).active.id
        with reader_of(tmp_path) as reader:
            reader.commit(reader.take(1)[0].position)
        add_key(tmp_path)
        append(writer, "c")
        # A reader that is in the middle of the old file.
        with reader_of(tmp_path, "beside") as beside:
            assert ids(beside)[:1] == ["a"]
            assert run(tmp_path, "scan", "--rewrite") == 0
            append(writer, "d")
            wait_until(lambda: "d" in ids(beside))
    retire_key(tmp_path, old)
    with reader_of(tmp_path) as reader:
        assert ids(reader) == ["b", "c", "d"]
        assert reader.take_unread() == []


def test_segment_that_a_proxy_writes_to_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with writing(tmp_path, segment_max_s=3600) as writer:
        append(writer, "a")
        before = segments(tmp_path / "w0")[0].read_bytes()
        run(tmp_path, "scan", "--rewrite")
        assert "left as it is: w0/00000000000000000001.seg: a running proxy writes to it" in capsys.readouterr().out
        assert segments(tmp_path / "w0")[0].read_bytes() == before


def test_damaged_segment_is_left_alone_and_the_others_rewritten(tmp_path: Path) -> None:
    with writing(tmp_path) as writer:
        append(writer, "a")
        append(writer, "b")
    first, second = segments(tmp_path / "w0")
    damaged = bytearray(first.read_bytes())
    damaged[-3] ^= 0xFF
    first.write_bytes(bytes(damaged))
    done = rewrite(tmp_path, load_keys(tmp_path, {}), lambda record: record, compression_level=1)
    assert [path.name for path in done.paths] == [second.name]
    assert [left.path.name for left in done.left_alone] == [first.name]
    assert first.read_bytes() == bytes(damaged)


def test_failed_rewrite_leaves_the_old_file_and_what_a_crash_left_is_removed(tmp_path: Path) -> None:
    with writing(tmp_path) as writer:
        append(writer, "a")
    [path] = segments(tmp_path / "w0")
    before, leftover = path.read_bytes(), path.with_suffix(".rewriting")
    leftover.write_bytes(b"half")

    def crash(_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rewrite(tmp_path, load_keys(tmp_path, {}), crash, compression_level=1)  # type: ignore[arg-type]
    assert path.read_bytes() == before
    assert not leftover.exists()


def test_scan_tells_what_an_earlier_version_left_readable_and_seals_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "journal"
    shutil.copytree(EARLIER, copy)
    assert run(copy, "scan") == 1
    shown = capsys.readouterr().out
    assert "1 frames are not sealed" in shown
    rows = {tuple(line.split()[:3]): line.split()[-2:] for line in shown.splitlines()}
    assert rows["request.header.x-auth-token", "named", "x-auth-token"] == ["2", "2"]
    assert rows["request.body", "named", "secret"] == ["2", "2"]
    assert "unnoticed" not in shown
    assert run(copy, "scan", "--rewrite") == 0
    shown = capsys.readouterr().out
    assert "1 segments rewritten, 2 exchanges" in shown
    assert "0 of them in frames that are not sealed" in shown
    [path] = segments(copy / "w0")
    assert path.stat().st_mode & 0o777 == 0o600
    with reader_of(copy) as reader:
        bodies = [entry.exchange.request.body for entry in reader.take(10)]
    assert bodies == [b'{"user":{"password":"in-the-body"},"secret":"unnoticed"}'] * 2


def test_scan_takes_secrets_out_in_mode_digest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copy, config = tmp_path / "journal", tmp_path / "config.yaml"
    shutil.copytree(EARLIER, copy)
    config.write_text(f"journal: {{directory: {copy}, redaction: {{mode: digest}}}}\n")
    assert main(["journal", "--config", str(config), "scan"]) == 1
    assert main(["journal", "--config", str(config), "scan", "--rewrite"]) == 0
    assert "\n0 secrets" in capsys.readouterr().out
    with reader_of(copy) as reader:
        [first, _] = reader.take(10)
    assert b"redacted:" in first.exchange.request.body
    assert b"unnoticed" not in first.exchange.request.body


def test_keys_of_the_environment_are_listed_and_not_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with writing(tmp_path) as writer:
        append(writer, "a")
    file_key = load_keys(tmp_path, {}).active.id
    monkeypatch.setenv("SHADOW_JOURNAL_KEY", "n" * 32 + ", " + "o" * 32)
    assert run(tmp_path, "keys", "add") == 2
    assert "first for the runners, then for the proxies" in capsys.readouterr().err
    assert run(tmp_path, "keys", "list") == 0
    states = [line.split()[:2] for line in capsys.readouterr().out.splitlines()[1:]]
    assert [state for _, state in states] == ["active", "older", "older"]
    assert states[2][0] == file_key
    assert run(tmp_path, "cat") == 0
    assert run(tmp_path, "keys", "retire", states[1][0]) == 0
    assert "take key" in capsys.readouterr().out
    assert run(tmp_path, "keys", "retire", "00000000") == 2


def test_unusable_older_key_keeps_nobody_from_starting(tmp_path: Path) -> None:
    with writing(tmp_path) as writer:
        append(writer, "a")
    (tmp_path / "key.00000000").write_text("short")
    with reader_of(tmp_path) as reader:
        assert ids(reader) == ["a"]
    (tmp_path / "key").write_text("short")
    with pytest.raises(JournalKeyError, match="too short"):
        load_keys(tmp_path, {})


def test_writer_keeps_its_key_while_the_file_is_unusable(tmp_path: Path) -> None:
    with writing(tmp_path) as writer:
        append(writer, "a")
        good = (tmp_path / "key").read_bytes()
        (tmp_path / "key").write_text("short")
        append(writer, "b")
        (tmp_path / "key").write_bytes(good)
    with reader_of(tmp_path) as reader:
        assert ids(reader) == ["a", "b"]
