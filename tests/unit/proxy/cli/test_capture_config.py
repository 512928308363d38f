"""proxy.cli.capture_config, and the options that override it."""

import argparse
from pathlib import Path

import pytest

from comparator.capture.settings import Driver
from proxy.cli import capture as command
from proxy.cli.capture_config import read_capture_config
from proxy.cli.main import main
from proxy.errors import SettingsError

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


def test_captured_tables_are_those_compared(config: Path) -> None:
    assert read_capture_config(config, {}).capture.tables == ("account", "event")


def test_bare_off_is_the_driver_of_that_name(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("capture: {driver: off}")
    assert read_capture_config(path, {}).capture.driver is Driver.OFF


def test_dsn_may_come_from_the_environment(config: Path) -> None:
    assert read_capture_config(config, {"LIVE": "postgresql://elsewhere"}).databases.live == "postgresql://elsewhere"


def test_check_covers_both_databases_without_triggers_on_the_shadow(config: Path) -> None:
    live, shadow = command.targets_of(arguments("check", "--config", str(config)))
    assert (live.dsn, live.settings.driver) == ("postgresql://live", Driver.TRIGGERS)
    assert (shadow.dsn, shadow.settings.driver) == ("postgresql://shadow", Driver.SQL)


def test_install_works_on_live_only(config: Path) -> None:
    assert [target.name for target in command.targets_of(arguments("install", "--config", str(config)))] == ["live"]


def test_option_overrides_the_configuration(config: Path) -> None:
    words = ("check", "--config", str(config), "--database", "live", "--publication", "mine", "--table", "event")
    (target,) = command.targets_of(arguments(*words))
    assert (target.settings.publication, target.settings.tables) == ("mine", ("event",))


def test_dsn_alone_needs_no_configuration() -> None:
    (target,) = command.targets_of(arguments("check", "--dsn", "postgresql://x"))
    assert (target.dsn, target.settings.tables) == ("postgresql://x", ())


def test_missing_database_is_named_with_its_variable(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("databases: {live: ''}")
    with pytest.raises(SettingsError, match=r"databases\.live: empty; set it in .*SHADOW_LIVE_DSN.*--dsn"):
        command.targets_of(arguments("check", "--config", str(path)))


def test_align_without_a_configuration_names_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["align", "verify", "--config", str(tmp_path / "none.yaml")]) == 2
    assert "none.yaml: No such file or directory" in capsys.readouterr().err
