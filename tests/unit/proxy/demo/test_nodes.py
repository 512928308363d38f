"""proxy.demo.nodes: configurations of several proxies, and of two runners that share the mirroring."""

import os
from pathlib import Path

import yaml

from proxy.config.loader import load, read_settings
from proxy.config.slices import slice_settings
from proxy.demo import nodes
from proxy.demo.config import document, merged
from tests.unit.proxy.demo.test_config import ADDRESSES, base


def test_slices_are_valid_settings_with_shadows_and_instances_of_their_own() -> None:
    second = nodes.SecondSlice("postgresql://x/shadow_b")
    text = yaml.safe_dump(document(base(), ADDRESSES, nodes.overrides(ADDRESSES, second, 7000)))
    settings = load(text, {})
    a, b = (slice_settings(settings, name) for name in nodes.SLICES)
    assert (a.databases.shadow, b.databases.shadow) == (ADDRESSES.shadow_dsn, "postgresql://x/shadow_b")
    assert a.backends.legacy.shadow.url == f"http://127.0.0.1:{ADDRESSES.legacy_shadow}"
    assert b.backends.candidate.shadow.url == f"http://127.0.0.1:{second.candidate}"
    assert (a.runner.port, b.runner.port) == (ADDRESSES.runner, second.runner)


def test_every_proxy_has_ports_and_files_of_its_own_and_all_are_peers(tmp_path: Path) -> None:
    first = tmp_path / "config.yaml"
    second = nodes.SecondSlice("postgresql://x/shadow_b")
    first.write_text(yaml.safe_dump(document(base(), ADDRESSES, merged(nodes.overrides(ADDRESSES, second, 7000), {}))))
    written = nodes.write_node_configs(first, 3)
    settings = [read_settings(path, dict(os.environ)) for path, _, _ in written]
    assert len({(one.listen.port, one.admin.port) for one in settings}) == 3
    assert len({one.journal.directory for one in settings}) == len({one.serve.state_file for one in settings}) == 3
    admins = {one.admin.port for one in settings}
    assert [{peer.port for peer in one.rollout.peers} for one in settings] == [
        admins - {one.admin.port} for one in settings
    ]
    assert {one.runner for one in settings} == {settings[0].runner}


def test_broker_of_the_environment_is_found_and_all_processes_get_one_key() -> None:
    assert os.access(nodes.broker_program(), os.X_OK)
    environment: dict[str, str] = {}
    nodes.set_common_key(environment)
    before = dict(environment)
    nodes.set_common_key(environment)
    assert environment == before != {}
