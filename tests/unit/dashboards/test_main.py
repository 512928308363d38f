"""What `python -m dashboards` writes."""

from pathlib import Path

from dashboards.__main__ import write
from dashboards.files import generated


def test_all_files_are_written(tmp_path: Path) -> None:
    write(tmp_path / "generated")

    assert {path.name: path.read_text() for path in (tmp_path / "generated").iterdir()} == generated()


def test_what_is_up_to_date_is_left_alone(tmp_path: Path) -> None:
    write(tmp_path)

    assert write(tmp_path) == []


def test_what_is_no_longer_made_is_removed(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "shadow-old.json").write_text("{}")

    assert write(tmp_path) == ["removed shadow-old.json"]
    assert not (tmp_path / "shadow-old.json").exists()
