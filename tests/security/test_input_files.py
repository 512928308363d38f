"""Every file that a command is told to read may be anything: each is refused in one line, soon, and without its content in memory."""

import os
import re
import resource
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path

import pytest

from proxy.cli.exit_codes import Exit
from proxy.cli.main import main
from proxy.errors import InputFileError
from proxy.input_file import INPUT_MAX_BYTES, read_input_text
from proxy.replay import resume_state
from proxy.replay.errors import ResumeStateError

CONFIG = """
backends: {candidate: {live: {url: "http://127.0.0.1:9"}}, legacy: {live: {url: "http://127.0.0.1:9"}}}
journal: {directory: journal}
"""
RECORDING = b"GET http://127.0.0.1:9/\n"
MEMORY_MAX_BYTES = 8 * INPUT_MAX_BYTES


def endless(_: Path) -> Path:
    return Path("/dev/zero")


def pipe(folder: Path) -> Path:
    os.mkfifo(folder / "pipe")
    return folder / "pipe"


def directory(folder: Path) -> Path:
    (folder / "folder").mkdir()
    return folder / "folder"


def missing(folder: Path) -> Path:
    return folder / "missing"


def binary(folder: Path) -> Path:
    (folder / "binary").write_bytes(b'{"\xff\xfe": "\xc3("}\n' * 10)
    return folder / "binary"


def empty(folder: Path) -> Path:
    (folder / "empty").touch()
    return folder / "empty"


def too_large(folder: Path) -> Path:
    path = folder / "large"
    path.touch()
    os.truncate(path, 1 << 40)
    return path


SHAPES = (endless, pipe, directory, missing, binary, empty, too_large)
ANSWERED = {
    # What is no file is an exchange's id; an empty log tells of no change.
    ("explain", "missing"),
    ("history", "empty"),
    # Every line of a recording is judged by itself.
    ("replay", "binary"),
    ("import", "binary"),
}
COMMANDS = (
    ("compare", "FILE"),
    ("rules", "explain", "FILE"),
    ("rules", "test", "FILE", "--against", "."),
    ("rules", "test", "rules.yaml", "--against", "FILE"),
    ("causes", "diff", "FILE", "FILE"),
    ("replay", "diff", "FILE", "FILE"),
    ("replay", "recording.txt", "--to", "both", "--baseline", "FILE"),
    ("replay", "recording.txt", "--to", "both", "--same-as", "FILE"),
    ("history", "--file", "FILE"),
    ("status", "--config", "FILE"),
    ("compare", "case.json", "--rules", "FILE"),
    ("replay", "FILE", "--to", "both"),
    ("journal", "import", "FILE"),
)


@pytest.fixture(autouse=True)
def memory_limit() -> Iterator[None]:
    """Let an endless file fail here, and not in the memory of the machine."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY_MAX_BYTES, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.mark.parametrize(
    ("words", "shape"),
    [
        pytest.param(words, shape, id=f"{' '.join(words)} {shape.__name__}")
        for words, shape in product(COMMANDS, SHAPES)
        if not any((word, shape.__name__) in ANSWERED for word in words)
    ],
)
def test_file_that_cannot_be_read_is_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    shape: Callable[[Path], Path],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.yaml").write_text(CONFIG)
    (tmp_path / "rules.yaml").write_text("compare: {}\n")
    (tmp_path / "recording.txt").write_bytes(RECORDING)
    path = str(shape(tmp_path))
    code = main([path if word == "FILE" else word for word in words])
    output = capsys.readouterr()
    assert code == Exit.USAGE
    assert "Traceback" not in output.err
    last = output.err.splitlines()[-1]
    assert last.startswith(f"shadow {words[0]}")
    assert path in last


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.__name__)
def test_document_that_cannot_be_read_is_one_line(tmp_path: Path, shape: Callable[[Path], Path]) -> None:
    path = shape(tmp_path)
    with pytest.raises(InputFileError, match=re.escape(str(path))) as raised:
        read_input_text(path)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("shape", [shape for shape in SHAPES if shape is not missing], ids=lambda shape: shape.__name__)
def test_progress_of_a_replay_that_cannot_be_read_is_one_line(tmp_path: Path, shape: Callable[[Path], Path]) -> None:
    path = shape(tmp_path)
    with pytest.raises(ResumeStateError, match=re.escape(str(path))):
        resume_state.load(path, "replay")


def test_pipe_of_the_shell_is_read_like_a_file(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.write(writing, b"text")
    os.close(writing)
    assert read_input_text(Path(f"/dev/fd/{reading}")) == "text"
    os.close(reading)
