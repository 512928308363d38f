from pathlib import Path
from typing import Any

import yaml

from proxy.config.loader import load
from proxy.demo.config import DemoAddresses, document, merged
from proxy.demo.installation import ROOT

ADDRESSES = DemoAddresses(
    Path("/x"),
    proxy=1001,
    proxy_admin=1002,
    runner=1003,
    candidate_live=1004,
    candidate_shadow=1005,
    legacy_live=1006,
    legacy_shadow=1007,
    candidate_live_admin=1008,
    candidate_shadow_admin=1009,
    ui=1010,
    live_dsn="postgresql://x/live",
    shadow_dsn="postgresql://x/shadow",
    store_dsn="postgresql://x/store",
)


def base() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "config.yaml").read_text())


def test_mappings_are_merged_and_lists_replaced() -> None:
    result = merged({"a": {"b": 1, "c": [1, 2]}, "d": 1}, {"a": {"c": [3]}, "e": 2})
    assert result == {"a": {"b": 1, "c": [3]}, "d": 1, "e": 2}


def test_merging_changes_neither_argument() -> None:
    one, other = {"a": {"b": 1}}, {"a": {"b": 2}}
    merged(one, other)["a"]["b"] = 3
    assert (one, other) == ({"a": {"b": 1}}, {"a": {"b": 2}})


def test_configuration_of_the_repository_is_valid_without_environment_variables() -> None:
    settings = load(yaml.safe_dump(document(base(), ADDRESSES, {})), {})
    assert settings.backends.legacy.shadow.url == "http://127.0.0.1:1007"
    assert settings.databases.shadow == "postgresql://x/shadow"
    assert settings.journal.directory == "/x/journal"
    assert settings.runner.port == 1003


def test_overrides_replace_the_demos_values() -> None:
    settings = load(yaml.safe_dump(document(base(), ADDRESSES, {"serve": {"side": "legacy"}})), {})
    assert settings.serve.side == "legacy"
    assert settings.serve.state_file == "/x/switch.json"
