"""The demo's configuration: the repository's config.yaml with this installation's addresses in it. Pure."""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class DemoAddresses:
    """Where the parts of one installation are: ports on 127.0.0.1, DSNs, and the folder for files."""

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
    live_dsn: str
    shadow_dsn: str
    store_dsn: str


def document(base: Mapping[str, Any], places: DemoAddresses, overrides: Mapping[str, Any]) -> Document:
    """The configuration document; members of `overrides` win, section by section."""
    return merged(merged(base, _own(places)), overrides)


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> Document:
    """A copy of `base` in which each member of `over` is set; mappings are merged, everything else is replaced."""
    result: Document = deepcopy(dict(base))
    for name, value in over.items():
        kept: object = result.get(name)
        if isinstance(kept, dict) and isinstance(value, dict):
            result[name] = merged(cast("Document", kept), cast("Document", value))
        else:
            result[name] = deepcopy(value)
    return result


def _own(places: DemoAddresses) -> Document:
    return {
        "listen": {"host": "127.0.0.1", "port": places.proxy, "override_token": ""},
        "admin": {"host": "127.0.0.1", "port": places.proxy_admin, "token": ""},
        "backends": {
            "candidate": {"live": _backend(places.candidate_live), "shadow": _backend(places.candidate_shadow)},
            "legacy": {"live": _backend(places.legacy_live), "shadow": _backend(places.legacy_shadow)},
        },
        "databases": {"live": places.live_dsn, "shadow": places.shadow_dsn, "store": places.store_dsn},
        "serve": {
            "side": "candidate",
            "percent": 100,
            "state_file": str(places.folder / "switch.json"),
            "sentinel_file": str(places.folder / "rollback"),
        },
        "journal": {"directory": str(places.folder / "journal")},
        "runner": {"host": "127.0.0.1", "port": places.runner},
    }


def _backend(port: int) -> Document:
    return {"url": f"http://127.0.0.1:{port}"}
