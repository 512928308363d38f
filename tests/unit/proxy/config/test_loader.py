"""proxy.config.loader: the files that settings come from."""

from pathlib import Path

import pytest

from proxy.config.loader import SettingsFile, read_settings
from proxy.errors import SettingsError

CONFIGURED = """
compare:
  rules: [{path: a, ignore: true}]
  tables: {person: {natural_key: [id]}}
  redact: [x-api-key]
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(CONFIGURED)
    return path


def rules_file(config: Path, text: str) -> Path:
    path = config.with_name("rules.yaml")
    path.write_text(text)
    return path


@pytest.mark.parametrize(("raw", "reason"), [(b"", "empty"), (b"\n\n", "empty"), (b"\xff\xfe\x00", "not UTF-8")])
def test_unreadable_file_is_refused_by_name(tmp_path: Path, raw: bytes, reason: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes(raw)
    with pytest.raises(SettingsError, match=f"config.yaml: .*{reason}"):
        read_settings(path)


def test_missing_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"config\.yaml: No such file .*--config"):
        read_settings(tmp_path / "config.yaml")


def test_wrong_file_is_refused_by_name_and_place(config: Path) -> None:
    config.write_text("listen: {port: text}")
    with pytest.raises(SettingsError, match=r"/config\.yaml: listen\.port: expected `int`"):
        read_settings(config)


def test_file_of_rules_replaces_the_members_it_has(config: Path) -> None:
    rules = rules_file(config, "compare: {rules: [{path: '${NAME}', ignore: true}]}")
    compare = read_settings(config, {"NAME": "b"}, rules=[rules]).compare
    assert [rule.path for rule in compare.rules] == ["b"]
    assert (list(compare.tables), compare.redact) == (["person"], ("x-api-key",))


def test_file_of_rules_needs_no_configured_rules(config: Path) -> None:
    config.write_text("listen: {port: 1}")
    assert read_settings(config, {}, rules=[rules_file(config, "compare: {redact: [a]}")]).compare.redact == ("a",)


@pytest.mark.parametrize("text", ["rules: [{path: b, ignore: true}]", "compare: [a]", "compare:"])
def test_file_of_rules_without_the_section_is_refused(config: Path, text: str) -> None:
    with pytest.raises(SettingsError, match=r"rules\.yaml: there is no section `compare:`"):
        read_settings(config, {}, rules=[rules_file(config, text)])


def test_wrong_rule_is_named_with_its_file(config: Path) -> None:
    with pytest.raises(SettingsError, match=r"rules\.yaml: compare\.rules\[0\] \(b\): unknown field `ignor`"):
        read_settings(config, {}, rules=[rules_file(config, "compare: {rules: [{path: b, ignor: true}]}")])


def test_wrong_configuration_is_named_beside_a_file_of_rules(config: Path) -> None:
    config.write_text("listen: {prot: 1}")
    with pytest.raises(SettingsError, match=r"config\.yaml: listen: unknown field `prot`"):
        read_settings(config, {}, rules=[rules_file(config, "compare: {rules: []}")])


def test_refused_file_is_read_again_only_once_it_changes(config: Path) -> None:
    file = SettingsFile(config)
    assert not file.changed
    config.write_text("listen: {port: many}")
    assert file.changed
    with pytest.raises(SettingsError):
        file.read()
    assert not file.changed
