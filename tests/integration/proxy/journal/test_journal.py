"""The journal on a real disk: crashes, faults, secrets, rotation, retention, readers, commands."""

import asyncio
import os
import random
import resource
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
import zstandard

from comparator.exchanges.model import Exchange, Response
from proxy.cli.main import main
from proxy.config.journal import JournalSettings, RetentionSettings
from proxy.errors import JournalBusyError, JournalFormatError, JournalKeyError, SealedError
from proxy.journal import retention
from proxy.journal.driver import LossCause, UnreadCause
from proxy.journal.format import SEGMENT_HEADER
from proxy.journal.keys import load_keys
from proxy.journal.sealing import keys_of, records_of
from proxy.journal.segment_reader import SegmentReader
from proxy.journal.segment_writer import SegmentWriter
from proxy.journal.segments import frames, next_frame, read_payload, repair, segment_path, segments
from tests.support.exchanges import HEADERS, exchange
from tests.support.paths import ROOT

WAIT_S = 10


def settings_of(directory: Path, **changes: object) -> JournalSettings:
    return msgspec.convert({"directory": str(directory), "flush_ms": 0.2, **changes}, JournalSettings)


@contextmanager
def writing(directory: Path, **changes: object) -> Iterator[SegmentWriter]:
    writer = SegmentWriter(settings_of(directory, **changes), environ={})
    writer.start()
    try:
        yield writer
    finally:
        writer.close()


def write(directory: Path, count: int, *, first: int = 0, **changes: object) -> None:
    with writing(directory, **changes) as writer:
        for number in range(first, first + count):
            assert writer.append(exchange(f"id-{number}"))
            # One exchange in each frame, so that segments rotate.
            wait_for(lambda: not writer.counts.queued)


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def reader_of(directory: Path, name: str = "test") -> SegmentReader:
    return SegmentReader(directory, name, keys=load_keys(directory, {}))


def ids(directory: Path, name: str = "test") -> list[str]:
    with reader_of(directory, name) as reader:
        return [entry.exchange.id for entry in reader.take(100_000)]


def raw(directory: Path) -> bytes:
    """Return all bytes on disk: the files, and their frames opened and decompressed."""
    data, keys = b"", load_keys(directory, {})
    for path in [path for path in directory.rglob("*") if path.is_file()]:
        data += path.read_bytes()
        if path.suffix == ".seg":
            for offset, header in frames(path):
                data += msgspec.msgpack.encode(records_of(header, read_payload(path, offset, header) or b"", keys))
    return data


# Crashes


def test_torn_tail_is_truncated_and_counted(tmp_path: Path) -> None:
    write(tmp_path, 5)
    [path] = segments(tmp_path / "w0")
    last = list(frames(path))[-1]
    os.truncate(path, path.stat().st_size - 7)
    with writing(tmp_path) as writer:
        assert writer.counts.torn_bytes == last[1].size - 7
        writer.append(exchange("after"))
    assert ids(tmp_path) == ["id-0", "id-1", "id-2", "id-3", "after"]


def test_recovery_leaves_an_intact_segment_unchanged(tmp_path: Path) -> None:
    write(tmp_path, 2)
    [path] = segments(tmp_path / "w0")
    assert repair(path) is None


def test_every_truncation_leaves_a_readable_journal(tmp_path: Path) -> None:
    write(tmp_path, 3)
    [path] = segments(tmp_path / "w0")
    whole = path.read_bytes()
    ends = [offset + header.size for offset, header in frames(path)]
    for size in range(0, len(whole), 5):
        path.write_bytes(whole[:size])
        repair(path)
        assert ids(tmp_path, f"reader-{size}") == [f"id-{number}" for number, end in enumerate(ends) if end <= size]


def test_corrupted_frame_is_lost_alone(tmp_path: Path) -> None:
    write(tmp_path, 5)
    [path] = segments(tmp_path / "w0")
    offset, header = list(frames(path))[2]
    data = bytearray(path.read_bytes())
    data[offset + header.size - 3] ^= 0xFF
    path.write_bytes(bytes(data))
    with reader_of(tmp_path) as reader:
        assert [entry.exchange.id for entry in reader.take(10)] == ["id-0", "id-1", "id-3", "id-4"]
        assert reader.lost == 1


def test_frame_completed_during_the_search_is_not_damage(tmp_path: Path) -> None:
    write(tmp_path, 3)
    (path,) = segments(tmp_path / "w0")
    offsets = [offset for offset, _ in frames(path)]
    assert [next_frame(path, offset) for offset in offsets] == offsets


def test_frame_completed_during_iteration_ends_it(tmp_path: Path) -> None:
    write(tmp_path, 3)
    (path,) = segments(tmp_path / "w0")
    whole = path.read_bytes()
    offsets = [offset for offset, _ in frames(path)]
    os.truncate(path, offsets[-1] + 60)
    walk = frames(path)
    assert [next(walk)[0] for _ in offsets[:-1]] == offsets[:-1]
    path.write_bytes(whole)
    assert [offset for offset, _ in walk] == offsets[-1:]


def test_reader_beside_a_busy_writer_misses_nothing(tmp_path: Path) -> None:
    body = random.Random(1).randbytes(60_000)
    seen: list[int] = []
    with (
        writing(tmp_path, batch_max=1) as writer,
        SegmentReader(tmp_path, "beside", keys=load_keys(tmp_path, {}, create=True)) as reader,
    ):
        for number in range(400):
            assert writer.append(exchange(f"id-{number}", body=body))
            seen += [entry.sequence for entry in reader.take(100)]
        wait_for(lambda: not writer.counts.queued)
        while entries := reader.take(100):
            seen += [entry.sequence for entry in entries]
        assert reader.lost == 0
    assert seen == list(range(1, 401))


def test_segment_of_a_later_version_is_neither_read_nor_overwritten(tmp_path: Path) -> None:
    write(tmp_path, 1)
    [path] = segments(tmp_path / "w0")
    later = bytearray(path.read_bytes())
    later[7] = 99
    path.write_bytes(bytes(later))
    write(tmp_path, 1, first=1)
    assert path.read_bytes() == bytes(later)
    with reader_of(tmp_path) as reader, pytest.raises(JournalFormatError, match="version 99"):
        reader.take(1)


# Faults of the disk


@contextmanager
def file_size_limit(max_bytes: int) -> Iterator[None]:
    """Limit the size of files of this process, which looks like a full disk to the writer."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (max_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_full_disk_is_counted_and_writing_resumes(tmp_path: Path) -> None:
    with writing(tmp_path) as writer:
        writer.append(exchange("before"))
        wait_for(lambda: writer.counts.written == 1)
        with file_size_limit(segments(tmp_path / "w0")[0].stat().st_size + 10):
            accepted = [writer.append(exchange(f"lost-{number}")) for number in range(50)]
            wait_for(lambda: writer.counts.dropped[LossCause.DISK_FULL] == 50)
            assert writer.counts.losses_by_route() == {exchange().route: 50}
        assert all(accepted)
        assert not writer.healthy
        wait_for(lambda: writer.append(exchange("after")) and writer.counts.written > 1)
        assert writer.healthy
    result = ids(tmp_path)
    assert (result[0], set(result[1:])) == ("before", {"after"})


@pytest.mark.parametrize("read_before", [True, False])
@pytest.mark.parametrize("left", [b"", b"SHDW"])
def test_segment_that_a_full_disk_left_without_a_header_stops_no_reader(
    tmp_path: Path, *, read_before: bool, left: bytes
) -> None:
    write(tmp_path, 3)
    with reader_of(tmp_path) as reader:
        if read_before:
            assert len(reader.take(10)) == 3
        segment_path(tmp_path / "w0", 4).write_bytes(left)
        assert [entry.number for entry in reader.take(10)] == ([] if read_before else [1, 2, 3])
        # (a writer goes on behind the last segment, which it makes again)
        segment_path(tmp_path / "w0", 9).touch()
        write(tmp_path, 2, first=8)
        assert [entry.number for entry in reader.take(10)] == [9, 10]
        (unread,) = reader.take_unread()
        assert (unread.first, unread.last) == (4, 8)


def test_clock_of_a_writer_that_is_ahead_holds_nothing_back(tmp_path: Path) -> None:
    with writing(tmp_path) as ahead, writing(tmp_path) as right:
        ahead.append(exchange("ahead", ended_ns=time.time_ns() + 3_600 * 10**9))
        right.append(exchange("right", ended_ns=time.time_ns()))
    with reader_of(tmp_path) as reader:
        read: list[str] = []
        wait_for(lambda: read.extend(entry.exchange.id for entry in reader.take(10)) or len(read) == 2)
    assert read == ["right", "ahead"]


def test_unusable_directory_drops_and_never_raises(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with writing(tmp_path / "file" / "journal") as writer:
        assert writer.append(exchange())
        wait_for(lambda: writer.counts.dropped[LossCause.DISK_ERROR] == 1)


@pytest.mark.parametrize("obstacle", ["id", "sessions"])
def test_folder_that_could_be_taken_by_half_only_is_taken_again_as_a_whole(tmp_path: Path, obstacle: str) -> None:
    write(tmp_path, 3)
    with reader_of(tmp_path) as reader:
        reader.commit(reader.take(10)[-1].position)
    path = tmp_path / "w0" / obstacle
    kept = path.read_bytes() if path.exists() else None
    path.unlink(missing_ok=True)
    path.mkdir()
    with writing(tmp_path) as writer:
        writer.append(exchange("lost"))
        wait_for(lambda: writer.counts.dropped[LossCause.DISK_ERROR] == 1)
        path.rmdir()
        if kept is not None:
            path.write_bytes(kept)
        wait_for(lambda: writer.append(exchange("after")) and writer.counts.written)
        wait_for(lambda: not writer.counts.queued)
        dropped = sum(writer.counts.dropped.values())
    with reader_of(tmp_path) as reader:
        entries = reader.take(100_000)
        assert {entry.exchange.id for entry in entries} == {"after"}
        assert entries[0].number == 4 + dropped


def test_removed_directory_is_created_again(tmp_path: Path) -> None:
    directory = tmp_path / "journal"
    with writing(directory) as writer:
        writer.append(exchange("before"))
        wait_for(lambda: writer.counts.written == 1)
        for path in sorted(directory.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        directory.rmdir()
        wait_for(lambda: writer.append(exchange("after")) and writer.counts.written > 1)
    assert "after" in ids(directory)


def test_append_does_not_wait_for_a_file_that_takes_nothing(tmp_path: Path) -> None:
    with writing(tmp_path, queue_max=100) as writer:
        writer.append(exchange())
        wait_for(lambda: writer.counts.written == 1)
        [path] = segments(tmp_path / "w0")
        path.unlink()
        os.mkfifo(path.with_name("00000000000000000002.seg"))
        # The pipe has no reader: an append that waited for it would never return.
        for number in range(1000):
            writer.append(exchange(str(number)))
        wait_for(lambda: not writer.counts.queued)
        counts = writer.counts
        assert (counts.offered, counts.written, counts.dropped.total()) == (1001, 1, 1000)
        assert counts.dropped[LossCause.DISK_ERROR]


def test_damaged_offset_file_does_not_stop_the_writer(tmp_path: Path) -> None:
    readers = tmp_path / "readers"
    readers.mkdir()
    (readers / "damaged.json").write_text("{")
    (readers / "whole.json").write_text('{"sequences":{"w0":41}}')
    write(tmp_path, 2)
    assert [path.name for path in segments(tmp_path / "w0")] == [f"{42:020d}.seg"]


@pytest.mark.parametrize(
    ("damage", "kept"),
    [
        (lambda data: b"\0" + data[1:], 3),
        (lambda data: bytes(len(data)), 0),
        (lambda data: b"<html>" * 50, 0),
    ],
    ids=["head", "zeros", "another file"],
)
def test_segment_without_its_head_stops_neither_reader_nor_writer(
    tmp_path: Path, damage: Callable[[bytes], bytes], kept: int
) -> None:
    """As after a power failure. What frames are left is read, and no number is given twice."""
    write(tmp_path, 3)
    with SegmentReader(tmp_path, "before", keys=load_keys(tmp_path, {})) as before:
        before.commit(before.take(10)[-1].position)
    [path] = segments(tmp_path / "w0")
    path.write_bytes(damage(path.read_bytes()))
    # (the mark in memory does not outlive the machine either)
    (tmp_path / "w0" / "id").unlink()
    with SegmentReader(tmp_path, "new", keys=load_keys(tmp_path, {})) as new:
        assert len(new.take(10)) == kept
        write(tmp_path, 2, first=3)
        assert [entry.sequence for entry in new.take(10)] == [4, 5]
    with SegmentReader(tmp_path, "before", keys=load_keys(tmp_path, {})) as before:
        assert [entry.sequence for entry in before.take(10)] == [4, 5]


def test_unexpected_error_drops_and_counts_one_batch(tmp_path: Path) -> None:
    folder = tmp_path / "w0"
    folder.mkdir()
    # The largest sequence: the frame after it cannot be encoded.
    (folder / f"{'9' * 30}.seg").touch()
    with writing(tmp_path) as writer:
        for number in range(3):
            assert writer.append(exchange(str(number)))
        wait_for(lambda: not writer.counts.queued)
        assert writer.counts.losses()[LossCause.DISK_ERROR] == 3


# Secrets

SECRETS = ("key.SECRET-1", "Bearer SECRET-2", "SESSION-SECRET-3", "COOKIE-SECRET-4", "QUERY-SECRET-5", "BODY-SECRET-6")


def secretive() -> Exchange:
    return exchange(
        target=f"/p?x=1&api%5Fkey={SECRETS[4]}",
        headers=(*HEADERS, ("x-api-KEY", SECRETS[0]), ("Authorization", SECRETS[1]), ("Cookie", SECRETS[2])),
        body=f'{{"user":{{"password":"{SECRETS[5]}"}}}}'.encode(),
        outcome=Response(200, (("Set-Cookie", SECRETS[3]),), b"{}"),
    )


@pytest.mark.parametrize("mode", ["seal", "digest"])
def test_no_secret_reaches_the_disk_in_clear(tmp_path: Path, mode: str) -> None:
    with writing(tmp_path, redaction={"mode": mode}) as writer:
        writer.append(secretive())
    disk = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    [path] = segments(tmp_path / "w0")
    assert zstandard.FRAME_HEADER not in path.read_bytes()
    assert [secret for secret in (*SECRETS, "api.example") if secret.encode() in disk] == []


def test_in_mode_digest_secrets_are_gone_from_the_sealed_frames_too(tmp_path: Path) -> None:
    with writing(tmp_path, redaction={"mode": "digest"}) as writer:
        writer.append(secretive())
        writer.append(exchange(key="key.secret-1", headers=(("X-API-Key", "key.SECRET-1"),)))
    opened = raw(tmp_path)
    assert b"api.example" in opened
    assert [secret for secret in SECRETS if secret.split()[-1].lower().encode() in opened.lower()] == []


def test_sealed_frames_need_the_right_key(tmp_path: Path) -> None:
    with writing(tmp_path) as writer:
        writer.append(secretive())
    with reader_of(tmp_path) as reader:
        assert reader.take(1)[0].exchange == secretive()
    for name, keys in (("other", keys_of(b"another key that is not it")), ("none", None)):
        with SegmentReader(tmp_path, name, keys=keys) as reader, pytest.raises(SealedError, match="SHADOW_JOURNAL_KEY"):
            reader.take(1)


def test_equal_secrets_have_equal_digests(tmp_path: Path) -> None:
    with writing(tmp_path, redaction={"mode": "digest"}) as writer:
        for value in ("a", "a", "b"):
            writer.append(exchange(headers=(("X-API-Key", value),)))
    with reader_of(tmp_path) as reader:
        digests = [entry.exchange.request.headers[0][1] for entry in reader.take(3)]
    assert digests[0] == digests[1] != digests[2]


def test_sealed_frame_is_bound_to_its_place(tmp_path: Path) -> None:
    with writing(tmp_path) as writer:
        writer.append(secretive())
    [path] = segments(tmp_path / "w0")
    [(offset, header)] = frames(path)
    payload, keys = read_payload(path, offset, header) or b"", load_keys(tmp_path, {})
    assert len(records_of(header, payload, keys)) == 1
    with pytest.raises(SealedError, match="changed"):
        records_of(replace(header, first_sequence=2), payload, keys)


def test_journal_of_an_earlier_version_is_read(tmp_path: Path) -> None:
    copy = tmp_path / "journal"
    shutil.copytree(ROOT / "tests/data/journals/sealed-records", copy)
    with reader_of(copy) as reader:
        first, second = [entry.exchange for entry in reader.take(10)]
    assert (first.id, second.id) == ("old-1", "old-2")
    assert first.request.target == "/p?x=1&api_key=in-the-query"
    assert first.request.headers[1] == ("X-API-Key", "very-secret-key")
    assert first.request.body == b'{"user":{"password":"in-the-body"},"secret":"unnoticed"}'
    assert isinstance(first.outcome, Response)
    assert first.outcome.headers == (("Set-Cookie", "s=in-the-cookie"),)


def test_key_file_is_private_and_stable(tmp_path: Path) -> None:
    write(tmp_path, 1)
    key = (tmp_path / "key").read_bytes()
    write(tmp_path, 1)
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "key").read_bytes() == key


def test_key_from_the_environment_takes_precedence_and_a_short_one_is_refused(tmp_path: Path) -> None:
    environ = {"SHADOW_JOURNAL_KEY": "0123456789abcdef"}
    writer = SegmentWriter(settings_of(tmp_path), environ=environ)
    writer.start()
    writer.append(secretive())
    writer.close()
    assert not (tmp_path / "key").exists()
    with SegmentReader(tmp_path, "test", keys=load_keys(tmp_path, environ)) as reader:
        assert reader.take(1)[0].exchange == secretive()
    with pytest.raises(JournalKeyError):
        load_keys(tmp_path, {"SHADOW_JOURNAL_KEY": "short"})


# Readers


def test_reader_continues_after_its_commit(tmp_path: Path) -> None:
    write(tmp_path, 6, segment_max_bytes=300)
    with reader_of(tmp_path) as reader:
        entries = reader.take(4)
        reader.commit(entries[2].position)
    assert ids(tmp_path) == ["id-3", "id-4", "id-5"]
    assert ids(tmp_path, "another") == [f"id-{number}" for number in range(6)]


def test_backlog_is_tail_minus_committed(tmp_path: Path) -> None:
    write(tmp_path, 5)
    with reader_of(tmp_path) as reader:
        reader.commit(reader.take(2)[-1].position)
        assert (reader.committed_sequence, reader.tail_sequence()) == (2, 5)


def test_reader_waits_for_later_exchanges(tmp_path: Path) -> None:
    async def follow() -> list[str]:
        with writing(tmp_path) as writer, reader_of(tmp_path) as reader:
            assert await reader.read(10, 0.02) == []
            writer.append(exchange("later"))
            return [entry.exchange.id for entry in await reader.read(10, WAIT_S)]

    assert asyncio.run(follow()) == ["later"]


def test_second_reader_of_a_name_is_refused(tmp_path: Path) -> None:
    write(tmp_path, 1)
    with reader_of(tmp_path), pytest.raises(JournalBusyError):
        reader_of(tmp_path)


def test_two_writers_are_merged_by_time(tmp_path: Path) -> None:
    with writing(tmp_path) as item, writing(tmp_path) as two:
        for number in range(0, 10, 2):
            item.append(exchange(f"id-{number}", ended_ns=number))
            two.append(exchange(f"id-{number + 1}", ended_ns=number + 1))
    assert ids(tmp_path) == [f"id-{number}" for number in range(10)]
    with reader_of(tmp_path) as reader:
        entries = reader.take(10)
        reader.commit(entries[6].position)
        assert [entry.sequence for entry in entries] == list(range(1, 11))
    assert ids(tmp_path) == ["id-7", "id-8", "id-9"]


def test_deleted_unread_exchanges_count_as_lost(tmp_path: Path) -> None:
    write(tmp_path, 6, segment_max_bytes=300)
    with reader_of(tmp_path) as reader:
        reader.commit(reader.take(1)[0].position)
        first, second, *_ = segments(tmp_path / "w0")
        second.unlink()
        first.unlink()
        rest = reader.take(10)
        assert reader.lost > 0
        assert rest[-1].sequence == 6


def test_new_reader_has_not_lost_older_exchanges(tmp_path: Path) -> None:
    write(tmp_path, 4, segment_max_s=1e-6)
    segments(tmp_path / "w0")[0].unlink()
    with reader_of(tmp_path) as reader:
        assert [entry.sequence for entry in reader.take(10)] == [2, 3, 4]
        assert (reader.lost, reader.tail_sequence() - reader.committed_sequence) == (0, 3)


# Rotation and retention


def test_large_bodies_make_frames_of_few_exchanges(tmp_path: Path) -> None:
    with writing(tmp_path, flush_ms=50) as writer:
        for number in range(12):
            writer.append(exchange(f"id-{number}", body=bytes(1024 * 1024)))
    [path] = segments(tmp_path / "w0")
    assert max(header.count for _, header in frames(path)) <= 4
    assert len(ids(tmp_path)) == 12


def test_segments_rotate_by_size_and_by_age(tmp_path: Path) -> None:
    write(tmp_path / "size", 4, segment_max_bytes=SEGMENT_HEADER.size + 1)
    write(tmp_path / "age", 4, segment_max_s=1e-6)
    assert len(segments(tmp_path / "size" / "w0")) == 4
    assert len(segments(tmp_path / "age" / "w0")) == 4


def test_old_read_segments_are_deleted_and_unread_ones_stay(tmp_path: Path) -> None:
    write(tmp_path, 4, segment_max_s=1e-6)
    with reader_of(tmp_path) as reader:
        reader.commit(reader.take(2)[-1].position)
    pruned = retention.prune(tmp_path, RetentionSettings(age_max_s=1), now_s=time.time() + 100)
    assert (len(pruned.deleted), pruned.unread) == (2, 0)
    assert ids(tmp_path) == ["id-2", "id-3"]


def test_unread_segments_above_the_disk_limit_are_deleted_and_counted(tmp_path: Path) -> None:
    write(tmp_path, 4, segment_max_s=1e-6)
    with reader_of(tmp_path) as reader:
        reader.commit(reader.take(1)[0].position)
        pruned = retention.prune(tmp_path, RetentionSettings(size_max_bytes=1, disk_max_bytes=1), now_s=time.time())
        assert (len(pruned.deleted), pruned.unread) == (3, 2)


# The command


def test_command_lists_verifies_and_prunes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with writing(tmp_path, redaction={"json_paths": ["user.password"]}) as writer:
        writer.append(secretive())
    where = ["journal", "--directory", str(tmp_path)]
    assert [main([*where, *action]) for action in (["ls"], ["stats"], ["verify"], ["prune"])] == [0, 0, 0, 0]
    shown = capsys.readouterr().out
    assert "1 exchanges, 0 faults" in shown
    assert main([*where, "cat"]) == 0
    [line] = capsys.readouterr().out.splitlines()
    assert msgspec.json.decode(line)["id"] == "id-1"
    assert "SECRET" not in line
    assert main([*where, "cat", "--unseal"]) == 0
    assert "QUERY-SECRET-5" in capsys.readouterr().out


def test_verify_reports_damage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, 3)
    [path] = segments(tmp_path / "w0")
    data = bytearray(path.read_bytes())
    data[-3] ^= 0xFF
    path.write_bytes(bytes(data))
    assert main(["journal", "--directory", str(tmp_path), "verify"]) == 1
    assert "the checksum does not match" in capsys.readouterr().out


def test_options_are_accepted_before_and_after_the_action(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, 1)
    assert main(["journal", "verify", "--directory", str(tmp_path)]) == 0
    assert main(["journal", "--directory", str(tmp_path), "verify"]) == 0
    assert capsys.readouterr().out == "1 exchanges, 0 faults\n" * 2


def test_missing_journal_is_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["journal", "ls", "--directory", str(tmp_path / "none")]) == 2
    assert "no journal at" in capsys.readouterr().err


def test_calibrate_is_refused_while_the_runner_reads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "journal", 1)
    config = tmp_path / "config.yaml"
    text = (ROOT / "config.yaml").read_text()
    config.write_text(text.replace("directory: var/journal", f"directory: {tmp_path / 'journal'}"))
    with reader_of(tmp_path / "journal", "mirror"):
        assert main(["calibrate", "--config", str(config)]) == 2
    assert "the runner is up; stop it first" in capsys.readouterr().err


def test_frame_that_cannot_be_opened_is_noted_and_the_next_one_read(tmp_path: Path) -> None:
    write(tmp_path, 2)
    sealed_with = (tmp_path / "key").read_bytes()
    (tmp_path / "key").unlink()
    write(tmp_path, 1, first=2)
    with SegmentReader(tmp_path, "other", keys=load_keys(tmp_path, {}), skip_undecodable=True) as reader:
        entries = reader.take(10)
        (unread,) = reader.take_unread()
        assert [entry.exchange.id for entry in entries] == ["id-2"]
        assert (unread.first, unread.last, unread.cause) == (1, 2, UnreadCause.UNDECODABLE)
        assert (entries[0].writer, entries[0].number) == (unread.writer, 3)
        assert reader.take_unread() == []
    (tmp_path / "key.0badc0de").write_bytes(sealed_with)
    assert ids(tmp_path, "again") == ["id-0", "id-1", "id-2"]


def test_dropped_exchanges_leave_a_gap_that_readers_report(tmp_path: Path) -> None:
    with writing(tmp_path, queue_max=2, flush_ms=200) as writer:
        refused = sum(not writer.append(exchange(f"id-{number}")) for number in range(50))
        wait_for(lambda: not writer.counts.queued)
        assert writer.append(exchange("last"))
    with reader_of(tmp_path) as reader:
        entries = reader.take(100)
        assert refused > 0
        assert entries[-1].exchange.id == "last"
        assert entries[-1].number == 51
        unread = reader.take_unread()
        assert sum(part.count for part in unread) == reader.lost == refused
        assert {part.cause for part in unread} == {UnreadCause.LOST}


def test_another_journal_at_the_same_place_has_writers_of_other_names(tmp_path: Path) -> None:
    names: set[str] = set()
    for _ in range(2):
        folder = tmp_path / "journal"
        with writing(folder) as writer:
            writer.append(exchange("one"))
        with reader_of(folder) as reader:
            (entry,) = reader.take(10)
            assert (entry.number, reader.take_unread()) == (1, [])
            names.add(entry.writer)
        shutil.rmtree(folder)
    assert len(names) == 2
