"""proxy.cli.main: the `shadow` command as a whole."""

import tomllib
from pathlib import Path

import pytest

from comparator.capture.errors import CaptureLostError
from proxy.cli.main import COMMANDS, GROUPS, CommandEntry, known_error, main
from proxy.cli.proxy import host_warnings
from proxy.config.backends import BackendSettings, BackendsSettings, SideInstances
from proxy.errors import SettingsError
from tests.support.paths import ROOT

NOWHERE = "postgresql://127.0.0.1:1/none"
PYPROJECT = ROOT / "pyproject.toml"


def ended(*words: str) -> object:
    with pytest.raises(SystemExit) as caught:
        main(words)
    return caught.value.code


def test_version_is_that_of_pyproject(capsys: pytest.CaptureFixture[str]) -> None:
    assert ended("--version") == 0
    project = tomllib.loads(PYPROJECT.read_text())["project"]
    assert capsys.readouterr().out == f"{project['name']} {project['version']}\n"


def test_without_a_command_all_commands_are_listed_by_group(capsys: pytest.CaptureFixture[str]) -> None:
    assert ended() == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line[:-1] for line in lines if line.endswith(":")] == ["options", *GROUPS]
    listed = [line.split("  ")[1] for line in lines if line.startswith("  ") and not line.startswith("  -")]
    assert listed == [entry.name for entry in COMMANDS]


@pytest.mark.parametrize("entry", [entry for entry in COMMANDS if entry.module], ids=lambda entry: entry.name)
def test_command_describes_itself(entry: CommandEntry, capsys: pytest.CaptureFixture[str]) -> None:
    assert ended(*entry.name.split(), "--help") == 0
    assert entry.help[1:] in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("entry", COMMANDS, ids=lambda entry: entry.name)
def test_help_is_one_short_line(entry: CommandEntry) -> None:
    assert entry.help[0].islower()
    assert not entry.help.endswith(".")
    assert len(entry.help) < 80


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration beside which nothing runs."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "config.yaml"
    path.write_text("admin: {port: 1}\nrunner: {port: 1}\n")
    return path


@pytest.mark.usefixtures("config")
@pytest.mark.parametrize(
    "words",
    [
        "findings list",
        "rules explain x",
        "compare none.json",
        "align verify",
        "snapshot ls",
        "history --file none",
        "journal ls",
        "promote --config none.yaml",
        "replay none --to legacy",
    ],
)
def test_wrong_use_or_configuration_ends_with_two(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words.split()) == 2
    printed = capsys.readouterr().err
    assert printed.startswith(f"shadow {words.split(maxsplit=1)[0]}: ")
    assert printed.count("\n") == 1


@pytest.mark.usefixtures("config")
@pytest.mark.parametrize(
    "words",
    [
        f"findings list --store-dsn {NOWHERE}",
        f"rules explain x --store-dsn {NOWHERE}",
        f"capture check --dsn {NOWHERE}",
        f"align verify --live {NOWHERE} --shadow {NOWHERE}",
        "promote",
        "pause",
        "status",
    ],
)
def test_unavailable_service_ends_with_three(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words.split()) == 3
    captured = capsys.readouterr()
    assert captured.out or captured.err


def test_unavailable_snapshot_server_ends_with_three(config: Path) -> None:
    config.write_text(f"databases: {{shadow: '{NOWHERE}'}}\n")
    assert main(["snapshot", "ls"]) == 3


@pytest.mark.usefixtures("config")
@pytest.mark.parametrize("option", [(), ("--json",)])
def test_empty_history_is_noted_on_the_standard_error(
    option: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["history", *option]) == 0
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "the log is empty: the rollout has not changed yet\n")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("serve: {}", "the candidate serves 100 % of the clients"),
        ("serve: {side: legacy, percent: 95}", "the legacy serves 95 % of the clients, the candidate the rest"),
        ("rollout: {enabled: true}", "the rollout decides who serves; at its first step the candidate serves 0 %"),
    ],
)
def test_check_prints_who_serves(config: Path, text: str, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    config.write_text(text)
    assert main(["proxy", "--check"]) == 0
    assert capsys.readouterr().out.splitlines()[1] == line


def test_check_names_unset_databases(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config.write_text("databases: {live: 'postgresql:///live'}")
    assert main(["proxy", "--check"]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == "not set, but needed by the runner: databases.shadow, databases.store"


def test_check_without_capture_needs_only_the_store(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config.write_text("capture: {driver: off}")
    assert main(["proxy", "--check"]) == 0
    missing, capture, rollback = capsys.readouterr().out.splitlines()[-3:]
    assert missing == "not set, but needed by the runner: databases.store"
    assert capture.startswith("capture.driver is off: only responses are compared; writes are skipped")
    assert rollback.endswith("do not roll back unless rollout.auto_rollback.without_rows is true")


def test_check_compiles_the_rules(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config.write_text("compare: {rules: [{path: 'a[', ignore: true}]}")
    assert main(["proxy", "--check"]) == 2
    assert "compare.rules[0]" in capsys.readouterr().err


def test_group_of_known_errors_prints_the_first() -> None:
    first = SettingsError("first")
    assert known_error(ExceptionGroup("", [ExceptionGroup("", [first]), CaptureLostError("second")])) is first


def test_group_with_an_unknown_error_is_a_defect() -> None:
    assert known_error(ExceptionGroup("", [SettingsError("first"), ValueError("second")])) is None


def test_check_warns_of_instances_with_different_host_headers() -> None:
    live = BackendSettings(url="http://127.0.0.1:8001")
    own = BackendSettings(url="http://127.0.0.1:8004", host="backend")
    same = BackendsSettings(candidate=SideInstances(live=live), legacy=SideInstances(shadow=live))
    assert host_warnings(same) == []
    (warning,) = host_warnings(BackendsSettings(candidate=SideInstances(live=live), legacy=SideInstances(shadow=own)))
    assert "the client's to candidate.live; 127.0.0.1:8004 to legacy.shadow" in warning


def test_name_that_is_too_long_for_a_file_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["journal", "verify", "--directory", "a" * 5_000]) == 2
    error = capsys.readouterr().err
    assert "File name too long" in error
    assert error.count("\n") == 1
