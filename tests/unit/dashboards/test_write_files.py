"""Writing the generated files."""

from pathlib import Path

from dashboards.generated_files import render_files, write_files


def test_all_files_are_written(tmp_path: Path) -> None:
    write_files(tmp_path / "generated")

    assert {path.name: path.read_text() for path in (tmp_path / "generated").iterdir()} == render_files()


def test_unchanged_file_is_not_written(tmp_path: Path) -> None:
    write_files(tmp_path)

    assert write_files(tmp_path) == []


def test_file_that_is_no_longer_generated_is_removed(tmp_path: Path) -> None:
    write_files(tmp_path)
    (tmp_path / "shadow-old.json").write_text("{}")

    assert write_files(tmp_path) == ["removed shadow-old.json"]
    assert not (tmp_path / "shadow-old.json").exists()
