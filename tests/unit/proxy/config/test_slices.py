"""`runner.slices`: the settings of one slice, and what is refused."""

from typing import Any

import pytest
import yaml

from comparator.exchanges.model import Role, Side
from proxy.config.loader import load
from proxy.config.settings import Settings
from proxy.config.slices import slice_settings
from proxy.errors import SettingsError

A = {"name": "a", "shadow": "postgresql:///shadow_a", "candidate": "http://10.0.0.1:1", "port": 9902}
B = {"name": "b", "shadow": "postgresql:///shadow_b", "legacy": "http://10.0.0.2:2", "port": 9903, "host": "10.0.0.2"}


def loaded(**changes: Any) -> Settings:
    document: dict[str, Any] = {
        "journal": {"driver": "valkey", "valkey": {"url": "valkey://broker/0"}},
        "databases": {"live": "postgresql:///live", "store": "postgresql:///store"},
        "capture": {"driver": "stream", "slot": {"kind": "persistent", "name": "shadow"}},
        "runner": {"name": "mirror", "slices": [A, B]},
    }
    return load(yaml.safe_dump(document | changes), {})


def test_slice_has_its_own_shadow_instances_slot_and_port() -> None:
    own = slice_settings(loaded(), "b")
    assert own.databases.shadow == "postgresql:///shadow_b"
    assert own.backends.of(Side.LEGACY, Role.MIRRORED).url == "http://10.0.0.2:2"
    assert own.backends.of(Side.CANDIDATE, Role.MIRRORED).url == ""
    assert own.capture.slot.name == "shadow_b"
    assert (own.runner.reader, own.runner.host, own.runner.port) == ("mirror.b", "10.0.0.2", 9903)


def test_names_and_addresses_of_all_runners_are_known_to_every_part() -> None:
    for settings in (loaded(), slice_settings(loaded(), "a")):
        assert settings.runner.readers == ("mirror.a", "mirror.b")
        assert settings.runner.urls == ("http://127.0.0.1:9902", "http://10.0.0.2:9903")
    alone = loaded(runner={"name": "mirror", "port": 9}).runner
    assert (alone.reader, alone.readers, alone.urls) == ("mirror", ("mirror",), ("http://127.0.0.1:9",))


def test_without_slices_nothing_changes() -> None:
    settings = loaded(runner={})
    assert slice_settings(settings, "") is settings


@pytest.mark.parametrize(
    ("name", "runner", "problem"),
    [
        ("", {"slices": [A, B]}, "choose the slice by --slice: one of a, b"),
        ("c", {"slices": [A, B]}, "no slice 'c': runner.slices has a, b"),
        ("a", {}, "no slice 'a': runner.slices is empty"),
    ],
)
def test_slice_has_to_be_named_right(name: str, runner: dict[str, Any], problem: str) -> None:
    with pytest.raises(SettingsError, match=problem):
        slice_settings(loaded(runner=runner), name)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"runner": {"slices": [A, {**B, "name": "a"}]}}, "duplicate slice name `a`"),
        ({"runner": {"slices": [A, {**B, "shadow": A["shadow"]}]}}, "a shadow database of its own"),
        ({"runner": {"slices": [A, {**B, "shadow": "postgresql:///live"}]}}, "a shadow database of its own"),
        ({"runner": {"slices": [A, {**B, "shadow": ""}]}}, "a shadow database of its own"),
        ({"runner": {"slices": [A, {**B, "host": "127.0.0.1", "port": 9902}]}}, "the admin port 127.0.0.1:9902"),
        ({"runner": {"slices": [A, {**B, "legacy": "ftp://x"}]}}, r"slices\[1\]\.legacy: `ftp://x` is not an http"),
        ({"journal": {}}, "need `journal.driver: valkey`"),
        ({"capture": {"driver": "triggers"}}, "only the capture driver `stream`"),
    ],
)
def test_contradictions_are_refused(changes: dict[str, Any], problem: str) -> None:
    with pytest.raises(SettingsError, match=problem):
        loaded(**changes)
