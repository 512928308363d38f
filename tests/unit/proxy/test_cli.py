"""The `shadow` command as a whole."""

import tomllib
from pathlib import Path

import pytest

from proxy.cli import main

PYPROJECT = Path(__file__).parents[3] / "pyproject.toml"


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
