import argparse
from pathlib import Path

import pytest

from proxy.cli import snapshot as snapshot_command


def arguments(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    snapshot_command.configure(parser)
    return parser.parse_args(words)


@pytest.mark.parametrize("words", [("--config", "own.yaml", "ls"), ("ls", "--config", "own.yaml")])
def test_the_configuration_may_stand_before_and_behind_the_action(words: tuple[str, ...]) -> None:
    assert arguments(*words).config == Path("own.yaml")


def test_without_options_the_configuration_is_the_one_here() -> None:
    asked = arguments("create", "before")
    assert (asked.name, asked.config, asked.programs) == ("before", Path("config.yaml"), None)


def test_where_nothing_is_kept_the_list_says_how_to_keep_something() -> None:
    assert snapshot_command.render([]).startswith("nothing yet: shadow snapshot create NAME")
