"""Which configuration the comparator's subcommands read."""

import argparse
from pathlib import Path

import pytest

from comparator.errors import RuleError
from proxy.cli.options import configure_common, read_rules, read_sections


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


def test_a_partial_file_of_rules_replaces_what_it_has_and_nothing_else(tmp_path: Path) -> None:
    args, rules = files(tmp_path, "compare: {rules: [{path: b, ignore: true}]}")
    found = read_rules(rules, args)
    assert [rule.path for rule in found.rules] == ["b"]
    assert (list(found.tables), found.redact) == (["person"], ("x-api-key",))


def test_what_is_the_files_and_what_is_configured_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    args, rules = files(tmp_path, "compare: {rules: [], dynamic: []}")
    read_rules(rules, args)
    assert capsys.readouterr().err.splitlines() == [
        f"as in {rules}, whole: compare.rules, compare.dynamic",
        "as configured: compare.tables, compare.redact",
    ]


def test_the_file_of_an_option_counts_like_that_of_a_trial(tmp_path: Path) -> None:
    args, rules = files(tmp_path, "compare: {rules: []}")
    found = read_sections(options("--config", str(args.config), "--rules", str(rules)), {}).compare
    assert (found.rules, list(found.tables)) == ((), ["person"])


def test_a_file_without_the_section_is_no_file_of_rules(tmp_path: Path) -> None:
    args, rules = files(tmp_path, "rules: [{path: b, ignore: true}]")
    with pytest.raises(RuleError, match="has no section `compare:`"):
        read_rules(rules, args)


@pytest.mark.parametrize("section", ["compare", "store", "databases"])
def test_a_section_that_is_a_list_is_refused(tmp_path: Path, section: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(f"{section}: [a]\n")
    with pytest.raises(RuleError, match=f"{section}: not a mapping"):
        read_sections(options("--config", str(path)), {})
