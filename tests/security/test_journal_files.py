"""Files of a journal that were cut, damaged, or replaced by something that is no file: nothing hangs, fills the memory or has a traceback."""

import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from proxy.cli.main import main
from proxy.config.journal import JournalSettings
from proxy.errors import ProxyError
from proxy.journal.registry import journal_keys, open_reader, open_writer
from proxy.journal.segment_reader import SegmentReader, writer_states
from proxy.journal.segments import CommittedOffset, offset_path, segments, store_committed
from tests.support.exchanges import exchange

WRITTEN = 20
READER = "runner"


def fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def dangling(path: Path) -> None:
    path.unlink()
    path.symlink_to("/nonexistent/file")


def loop(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.name)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def cut(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


def flipped(path: Path) -> None:
    data, draw = bytearray(path.read_bytes()), random.Random(path.name)
    for _ in range(4):
        data[draw.randrange(len(data))] ^= 0x80
    path.write_bytes(data)


def garbage(path: Path) -> None:
    path.write_bytes(random.Random(1).randbytes(3_000))


def sparse(path: Path) -> None:
    os.truncate(path, 1 << 40)


DAMAGES: tuple[Callable[[Path], None], ...] = (fifo, folder, dangling, loop, empty, cut, flipped, garbage, sparse)
FILES: dict[str, Callable[[Path], Path]] = {
    "key": lambda journal: journal / "key",
    "offset": lambda journal: offset_path(journal, READER),
    "id": lambda journal: journal / "w0" / "id",
    "oldest segment": lambda journal: segments(journal / "w0")[0],
    "newest segment": lambda journal: segments(journal / "w0")[-1],
}


def written(journal: Path) -> JournalSettings:
    """Return the settings of a journal with some segments, and a reader that has committed something."""
    settings = JournalSettings(directory=str(journal), segment_max_bytes=2_000, flush_ms=1.0)
    writer = open_writer(settings, {})
    writer.start()
    for number in range(WRITTEN):
        writer.append(exchange(f"exchange-{number}"))
    writer.close()
    store_committed(offset_path(journal, READER), CommittedOffset({"w0": 3}))
    return settings


def read(settings: JournalSettings) -> int | None:
    """Return how many exchanges a reader gets; None where it is refused in words."""
    try:
        keys = journal_keys(settings, {})
        with open_reader(settings, READER, keys=keys, environ={}, skip_undecodable=True) as reader:
            assert isinstance(reader, SegmentReader)
            return sum(len(reader.take(WRITTEN)) for _ in range(WRITTEN))
    except ProxyError as error:
        assert str(error).count("\n") == 0
        return None


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
@pytest.mark.parametrize("name", FILES)
def test_damaged_file_is_read_around_or_refused(tmp_path: Path, name: str, damage: Callable[[Path], None]) -> None:
    settings = written(tmp_path / "journal")
    damage(FILES[name](tmp_path / "journal"))
    found = read(settings)
    assert found is None or 0 <= found <= WRITTEN
    writer_states(Path(settings.directory))
    writer = open_writer(settings, {})
    try:
        writer.start()
    except ProxyError:
        return
    for number in range(5):
        writer.append(exchange(f"later-{number}"))
    writer.close()
    counts = writer.counts
    assert counts.written + sum(counts.dropped.values()) == counts.offered == 5


def test_damaged_id_is_replaced(tmp_path: Path) -> None:
    settings = written(tmp_path)
    garbage(tmp_path / "w0" / "id")
    writer = open_writer(settings, {})
    writer.start()
    writer.append(exchange("later"))
    writer.close()
    assert writer.counts.written == 1
    assert len((tmp_path / "w0" / "id").read_text()) == 16


def test_configuration_without_an_end_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--config", "/dev/zero"]) == 2
    assert "/dev/zero: a device, which may never end" in capsys.readouterr().err
