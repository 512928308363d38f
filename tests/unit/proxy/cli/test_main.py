"""The `shadow` command as a whole."""

import tomllib
from pathlib import Path

import pytest

from comparator.capture.errors import CaptureLostError
from proxy.cli.main import main, named_of
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


def test_without_a_command_all_commands_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert ended() == 0
    assert "show, ack, fix, export" in capsys.readouterr().out


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
    said = capsys.readouterr().err
    assert said.startswith(f"shadow {words.split(maxsplit=1)[0]}: ")
    assert said.count("\n") == 1


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
def test_what_is_away_ends_with_three(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words.split()) == 3
    captured = capsys.readouterr()
    assert captured.out or captured.err


def test_the_snapshots_server_away_ends_with_three(config: Path) -> None:
    config.write_text(f"databases: {{shadow: '{NOWHERE}'}}\n")
    assert main(["snapshot", "ls"]) == 3


@pytest.mark.usefixtures("config")
@pytest.mark.parametrize("option", [(), ("--json",)])
def test_a_rollout_without_a_history_says_so_beside_its_empty_output(
    option: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["history", *option]) == 0
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "nothing yet: the rollout has not changed\n")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("serve: {}", "the candidate serves 100 % of the clients"),
        ("serve: {side: legacy, percent: 95}", "the legacy serves 95 % of the clients, the candidate the rest"),
        ("rollout: {enabled: true}", "the rollout says who serves; at its first step the candidate serves 0 %"),
    ],
)
def test_checking_a_configuration_says_who_serves(
    config: Path, text: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    config.write_text(text)
    assert main(["proxy", "--check"]) == 0
    assert capsys.readouterr().out.splitlines()[1] == said


def test_checking_a_configuration_names_the_databases_that_are_not_set(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config.write_text("databases: {live: 'postgresql:///live'}")
    assert main(["proxy", "--check"]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == "empty, and the runner has a use for it: databases.shadow, databases.store"


def test_checking_responses_only_asks_for_no_database_but_the_store(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config.write_text("capture: {driver: off}")
    assert main(["proxy", "--check"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "empty, and the runner has a use for it: databases.store"


def test_checking_a_configuration_compiles_its_rules(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config.write_text("compare: {rules: [{path: 'a[', ignore: true}]}")
    assert main(["proxy", "--check"]) == 2
    assert "compare.rules[0]" in capsys.readouterr().err


def test_a_group_of_named_errors_says_the_first() -> None:
    first = SettingsError("first")
    assert named_of(ExceptionGroup("", [ExceptionGroup("", [first]), CaptureLostError("second")])) is first


def test_a_group_with_a_defect_among_named_errors_is_a_defect() -> None:
    assert named_of(ExceptionGroup("", [SettingsError("first"), ValueError("second")])) is None
