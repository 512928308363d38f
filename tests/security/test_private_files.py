"""Files that hold traffic are written for their owner only, whatever the umask is."""

import ast
import os
from collections.abc import Generator, Iterator
from pathlib import Path

import msgspec
import pytest

from proxy.cli.main import main
from proxy.config.journal import JournalSettings
from proxy.journal.segment_writer import SegmentWriter
from proxy.private_file import open_private, replace_private_file, write_private
from tests.support.exchanges import exchange
from tests.support.paths import ROOT

OPENS = {
    # Files without traffic, or with a mode of their own (checked below).
    "proxy/private_file.py",
    "proxy/demo/embedded_postgres.py",
    "proxy/cli/demo.py",
}
WRITING = {"write_text", "write_bytes"}


@pytest.fixture(autouse=True)
def open_umask() -> Generator[None]:
    before = os.umask(0)
    try:
        yield
    finally:
        os.umask(before)


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def writes(tree: ast.AST) -> Iterator[str]:
    """Yield the calls that make a file readable for others under a usual umask."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute | ast.Name):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else node.func.id
        text = ast.unparse(node)
        modes = {a.value for a in ast.walk(node) if isinstance(a, ast.Constant) and isinstance(a.value, str)}
        creates = "O_CREAT" in text and "0o600" not in text and "384" not in text
        opens = name == "open" and bool(modes & {"w", "wb", "a", "ab", "x", "xb"}) and "opener=" not in text
        if name in WRITING or opens or (name == "open" and creates):
            yield text


def test_every_file_is_opened_for_its_owner() -> None:
    found = {
        f"{path.relative_to(ROOT)}: {call}"
        for package in ("proxy", "comparator", "scorer")
        for path in (ROOT / package).rglob("*.py")
        if str(path.relative_to(ROOT)) not in OPENS
        for call in writes(ast.parse(path.read_text()))
    }
    assert found == set()


def test_search_finds_what_opens_a_file() -> None:
    found = [list(writes(ast.parse(text))) for text in ("p.open('wb')", "p.write_text('')", "os.open(p, os.O_CREAT)")]
    assert all(found)


def test_file_is_private_also_when_it_was_there_before(tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.write_text("older and longer")
    path.chmod(0o644)
    write_private(path, b"new")
    assert (mode(path), path.read_bytes()) == (0o600, b"new")
    with open_private(path, "ab") as file:
        file.write(b"er")
    assert path.read_bytes() == b"newer"
    replace_private_file(tmp_path / "other", b"x")
    assert mode(tmp_path / "other") == 0o600
    assert sorted(tmp_path.iterdir()) == [tmp_path / "other", path]


def test_device_can_be_written(tmp_path: Path) -> None:
    write_private(Path("/dev/null"), b"x")


def test_journal_with_all_that_is_beside_it_and_its_exports_are_private(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = tmp_path / "journal"
    writer = SegmentWriter(msgspec.convert({"directory": str(directory)}, JournalSettings), environ={})
    writer.start()
    writer.append(exchange("a"))
    writer.close()
    where = ["journal", "--directory", str(directory)]
    for options in ([], ["--unseal"]):
        assert main([*where, "export", "--out", str(tmp_path / f"out{len(options)}"), *options]) == 0
    assert main([*where, "keys", "add"]) == 0
    assert main([*where, "scan", "--rewrite"]) == 0
    assert "in clear" in capsys.readouterr().err
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) >= 6
    assert {str(path): oct(mode(path)) for path in files if mode(path) != 0o600} == {}
