"""proxy.cli.options: the configuration that the comparator's commands read."""

import argparse
from pathlib import Path

import pytest

from proxy.cli.options import add_common_options, read_configuration, read_trial_rules
from proxy.errors import SettingsError


def options(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_common_options(parser, store=True)
    return parser.parse_args(words)


def test_options_are_enough_without_the_usual_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert (
        read_configuration(options("--store-dsn", "postgresql:///store"), {}).databases.store == "postgresql:///store"
    )


def test_environment_names_the_store_without_the_usual_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert read_configuration(options(), {"SHADOW_STORE_DSN": "postgresql:///s"}).databases.store == "postgresql:///s"


def test_named_file_must_exist(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="No such file"):
        read_configuration(options("--config", str(tmp_path / "elsewhere.yaml")), {})


@pytest.mark.parametrize(
    ("text", "pool_max"), [('"${POOL:-4}"', 4), ("${POOL:-4}", 4), ('"${SET}"', 9), ("${SET:-4}", 9), ("7", 7)]
)
def test_number_of_the_store_may_come_from_a_variable(tmp_path: Path, text: str, pool_max: int) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(f"store:\n  pool_max: {text}\n")
    assert read_configuration(options("--config", str(path)), {"SET": "9"}).store.pool_max == pool_max


def test_variable_that_is_not_set_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("databases: {store: '${STORE}'}")
    with pytest.raises(SettingsError, match=r"databases\.store: the environment variable STORE is not set"):
        read_configuration(options("--config", str(path)), {})


CONFIGURED = """
compare:
  rules: [{path: a, ignore: true}]
  tables: {person: {natural_key: [id]}}
  redact: [x-api-key]
"""


def files(tmp_path: Path, own: str) -> tuple[argparse.Namespace, Path]:
    config, rules = tmp_path / "config.yaml", tmp_path / "rules.yaml"
    config.write_text(CONFIGURED)
    rules.write_text(own)
    return options("--config", str(config)), rules


def test_partial_file_of_rules_replaces_the_members_it_has(tmp_path: Path) -> None:
    args, rules = files(tmp_path, "compare: {rules: [{path: b, ignore: true}]}")
    compare = read_trial_rules(rules, args)
    assert [rule.path for rule in compare.rules] == ["b"]
    assert (list(compare.tables), compare.redact) == (["person"], ("x-api-key",))


def test_origin_of_the_rules_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    args, rules = files(tmp_path, "compare: {rules: [], dynamic: []}")
    read_trial_rules(rules, args)
    assert capsys.readouterr().err.splitlines() == [
        f"from {rules}: compare.rules, compare.dynamic",
        "from the configuration: compare.tables, compare.redact",
    ]


def test_rules_option_replaces_like_a_trial(tmp_path: Path) -> None:
    args, rules = files(tmp_path, "compare: {rules: []}")
    compare = read_configuration(options("--config", str(args.config), "--rules", str(rules)), {}).compare
    assert (compare.rules, list(compare.tables)) == ((), ["person"])


def test_file_without_the_section_is_refused(tmp_path: Path) -> None:
    args, rules = files(tmp_path, "rules: [{path: b, ignore: true}]")
    with pytest.raises(SettingsError, match="there is no section `compare:`"):
        read_trial_rules(rules, args)


@pytest.mark.parametrize("section", ["compare", "store", "databases"])
def test_section_that_is_a_list_is_refused(tmp_path: Path, section: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(f"{section}: [a]\n")
    with pytest.raises(SettingsError, match=f"{section}: expected a mapping, got `list`"):
        read_configuration(options("--config", str(path)), {})
