"""The demo's configuration: config.yaml of the repository, with the addresses of one installation. Pure."""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class DemoAddresses:
    """Addresses of the parts of one installation: ports on 127.0.0.1, DSNs, and the folder for files."""

    folder: Path
    proxy: int
    proxy_admin: int
    runner: int
    candidate_live: int
    candidate_shadow: int
    legacy_live: int
    legacy_shadow: int
    candidate_live_admin: int
    candidate_shadow_admin: int
    ui: int
    live_dsn: str
    shadow_dsn: str
    store_dsn: str


def document(base: Mapping[str, Any], addresses: DemoAddresses, overrides: Mapping[str, Any]) -> Document:
    """Return the configuration document; members of `overrides` replace those of `base` and of the addresses."""
    return merged(merged(base, _own(addresses)), overrides)


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> Document:
    """Return a copy of `base` with each member of `over`: mappings are merged, other values replaced."""
    result: Document = deepcopy(dict(base))
    for name, value in over.items():
        before: object = result.get(name)
        if isinstance(before, dict) and isinstance(value, dict):
            result[name] = merged(cast("Document", before), cast("Document", value))
        else:
            result[name] = deepcopy(value)
    return result


def _own(addresses: DemoAddresses) -> Document:
    return {
        "listen": {"host": "127.0.0.1", "port": addresses.proxy, "override_token": ""},
        "admin": {"host": "127.0.0.1", "port": addresses.proxy_admin, "token": ""},
        "backends": {
            "candidate": {"live": _backend(addresses.candidate_live), "shadow": _backend(addresses.candidate_shadow)},
            "legacy": {"live": _backend(addresses.legacy_live), "shadow": _backend(addresses.legacy_shadow)},
        },
        "databases": {"live": addresses.live_dsn, "shadow": addresses.shadow_dsn, "store": addresses.store_dsn},
        "serve": {
            "side": "candidate",
            "percent": 100,
            "state_file": str(addresses.folder / "switch.json"),
            "sentinel_file": str(addresses.folder / "rollback"),
        },
        "journal": {"directory": str(addresses.folder / "journal")},
        "runner": {"host": "127.0.0.1", "port": addresses.runner},
        "ui": {"host": "127.0.0.1", "port": addresses.ui, "name": "demo"},
    }


def _backend(port: int) -> Document:
    return {"url": f"http://127.0.0.1:{port}"}
