"""Which configuration the comparator's subcommands read."""

import argparse
from pathlib import Path

import pytest

from comparator.command_options import configure_common, read_sections
from comparator.errors import RuleError


def options(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    configure_common(parser, store=True)
    return parser.parse_args(words)


def test_without_the_usual_file_options_may_say_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert read_sections(options("--store-dsn", "postgresql:///store"), {}).store.dsn == "postgresql:///store"


def test_a_file_that_was_named_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(RuleError, match="No such file"):
        read_sections(options("--config", str(tmp_path / "elsewhere.yaml")), {})
