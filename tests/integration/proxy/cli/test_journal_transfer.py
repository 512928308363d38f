"""`shadow journal export` and `shadow journal import`."""

import json
from pathlib import Path

import pytest

from proxy.cli.main import main
from proxy.config.journal import JournalSettings
from proxy.journal.keys import load_keys
from proxy.journal.registry import open_writer
from proxy.recordings.model import RecordedExchange, from_exchange
from proxy.recordings.reader import JOURNAL, read
from tests.support.exchanges import exchange

SECRET = (("Host", "api.example"), ("X-API-Key", "very-secret-key"))
CONFIG = """
routes:
  - {name: score, path: "/v2/stamps/{scorer}/score/{address}", key: address}
  - {name: batch, path: /batch, methods: [POST], key: "json:who"}
"""


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    directory = tmp_path / "journal"
    writer = open_writer(JournalSettings(directory=str(directory)), {})
    writer.start()
    for number in range(5):
        assert writer.append(exchange(f"id-{number}", headers=SECRET, ended_ns=2_000 + number))
    writer.close()
    return directory


def run(*arguments: object) -> int:
    return main(["journal", *map(str, arguments)])


def exported(directory: Path, tmp_path: Path, sink: str, *arguments: str) -> Path:
    path = tmp_path / f"out.{sink}"
    assert run("--directory", directory, "export", "--to", sink, "--out", path, *arguments) == 0
    return path


@pytest.mark.parametrize("sink", ["ndjson", "har"])
def test_export_and_import_round_trip(journal: Path, tmp_path: Path, sink: str) -> None:
    path = exported(journal, tmp_path, sink, "--unseal")
    again = tmp_path / "again"
    assert run("--config", tmp_path / "none", "--directory", again, "import", path, "--mirror") == 0
    result = list(read(str(again), keys=load_keys(again, {})))
    assert result == [from_exchange(exchange(f"id-{n}", headers=SECRET, ended_ns=2_000 + n)) for n in range(5)]


@pytest.mark.parametrize("folder", [".", "w0"])
def test_journal_is_imported_with_its_own_keys(journal: Path, tmp_path: Path, folder: str) -> None:
    again = tmp_path / "again"
    words = ("--config", tmp_path / "none", "--directory", again, "import", journal / folder, "--mirror", "--strict")
    assert run(*words) == 0
    result = list(read(str(again), keys=load_keys(again, {})))
    assert result == [from_exchange(exchange(f"id-{n}", headers=SECRET, ended_ns=2_000 + n)) for n in range(5)]
    assert (again / "key").read_bytes() != (journal / "key").read_bytes()


def test_export_contains_secrets_only_with_unseal(journal: Path, tmp_path: Path) -> None:
    assert b"very-secret-key" not in exported(journal, tmp_path, "gor").read_bytes()
    assert b"very-secret-key" in exported(journal, tmp_path, "har", "--unseal").read_bytes()


def test_imported_secret_is_sealed(journal: Path, tmp_path: Path) -> None:
    path = exported(journal, tmp_path, "gor", "--unseal")
    again = tmp_path / "again"
    run("--config", tmp_path / "none", "--directory", again, "import", path)
    assert not [item for item in again.rglob("*.seg") if b"very-secret-key" in item.read_bytes()]


def test_imported_recording_gets_route_and_key_and_is_not_mirrored(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(CONFIG)
    path = tmp_path / "targets.json"
    targets = [
        {"method": "GET", "url": "http://a/v2/stamps/1/score/0xAB"},
        {"method": "POST", "url": "http://a/batch", "body": "eyJ3aG8iOiAiMHhDRCJ9"},
    ]
    path.write_text("\n".join(map(json.dumps, targets)))
    again = tmp_path / "again"
    assert run("--config", config, "--directory", again, "import", path) == 0
    found = read(str(again), format_name=JOURNAL, keys=load_keys(again, {}))
    result = [item for item in found if isinstance(item, RecordedExchange)]
    assert [(item.route, item.key, item.skip) for item in result] == [
        ("score", "0xab", "imported"),
        ("batch", "0xcd", "imported"),
    ]
    assert len({item.id for item in result}) == 2


def test_malformed_records_are_reported_with_exit_code_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "targets.json"
    path.write_text('{"method":"GET","url":"http://a/"}\n{"nonsense": 1}\n')
    assert (
        run("--config", tmp_path / "none", "--directory", tmp_path / "again", "import", path, "--format", "vegeta-json")
        == 1
    )
    output = capsys.readouterr()
    assert "1 exchanges imported (1 without response), 1 malformed" in output.out
    assert "line 2" in output.err
