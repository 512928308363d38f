"""What `shadow capture` and `shadow align` take from config.yaml."""

import argparse
from pathlib import Path

import pytest

from comparator.capture.settings import Driver
from comparator.errors import RuleError
from proxy.cli import capture as command
from proxy.cli.capture_config import read_configured
from proxy.cli.main import main

CONFIG = """
databases: {live: "${LIVE:-postgresql://live}", shadow: postgresql://shadow}
capture: {driver: triggers, publication: other}
compare:
  tables:
    account: {natural_key: [id]}
    event: {natural_key: [id]}
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG)
    return path


def arguments(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    command.configure(parser)
    return parser.parse_args(words)


def test_the_tables_are_those_that_are_compared(config: Path) -> None:
    assert read_configured(config, {}).capture.tables == ("account", "event")


def test_a_bare_off_is_the_driver_of_that_name(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("capture: {driver: off}")
    assert read_configured(path, {}).capture.driver is Driver.OFF


def test_a_dsn_may_come_from_the_environment(config: Path) -> None:
    assert read_configured(config, {"LIVE": "postgresql://elsewhere"}).live == "postgresql://elsewhere"


def test_check_looks_at_both_databases_and_never_at_triggers_of_the_shadow(config: Path) -> None:
    live, shadow = command.targets_of(arguments("check", "--config", str(config)))
    assert (live.dsn, live.settings.driver) == ("postgresql://live", Driver.TRIGGERS)
    assert (shadow.dsn, shadow.settings.driver) == ("postgresql://shadow", Driver.SQL)


def test_install_works_on_live_only(config: Path) -> None:
    assert [target.name for target in command.targets_of(arguments("install", "--config", str(config)))] == ["live"]


def test_an_option_wins_over_the_configuration(config: Path) -> None:
    words = ("check", "--config", str(config), "--database", "live", "--publication", "mine", "--table", "event")
    (target,) = command.targets_of(arguments(*words))
    assert (target.settings.publication, target.settings.tables) == ("mine", ("event",))


def test_a_dsn_alone_needs_no_configuration() -> None:
    (target,) = command.targets_of(arguments("check", "--dsn", "postgresql://x"))
    assert (target.dsn, target.settings.tables) == ("postgresql://x", ())


def test_a_configuration_without_the_database_says_what_to_set(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("databases: {live: ''}")
    with pytest.raises(RuleError, match=r"databases\.live: empty; set it in .*SHADOW_LIVE_DSN.*--dsn"):
        command.targets_of(arguments("check", "--config", str(path)))


def test_align_without_a_configuration_ends_with_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["align", "verify", "--config", str(tmp_path / "none.yaml")]) == 2
    assert "none.yaml: No such file or directory" in capsys.readouterr().err
