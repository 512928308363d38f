import argparse
from pathlib import Path

import pytest

from proxy.cli import snapshot as snapshot_command


def arguments(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    snapshot_command.configure(parser)
    return parser.parse_args(words)


@pytest.mark.parametrize("words", [("--config", "own.yaml", "ls"), ("ls", "--config", "own.yaml")])
def test_config_is_accepted_before_and_after_the_action(words: tuple[str, ...]) -> None:
    assert arguments(*words).config == Path("own.yaml")


def test_default_configuration_is_config_yaml() -> None:
    recorded = arguments("create", "before")
    assert (recorded.name, recorded.config, recorded.programs) == ("before", Path("config.yaml"), None)


def test_empty_snapshot_list_says_how_to_create_one() -> None:
    assert snapshot_command.render([]).endswith("shadow snapshot create NAME")
