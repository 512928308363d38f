"""The section `serve:` of config.yaml. Pure."""

from msgspec import Struct

from comparator.exchanges.model import Side
from proxy.config.constraints import Percent


class ServeSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """The side that serves clients, until an operator or the rollout changes it."""

    side: Side = Side.CANDIDATE
    """Side that serves `percent` of the clients."""
    percent: Percent = 100.0
    """Share of clients that `side` serves; the other side serves the rest. A client stays on its side."""
    salt: str = "shadow"
    """Salt of the hash that assigns clients to sides. Fixed for a migration: another salt moves clients to the other side."""
    state_file: str = "var/switch.json"
    """File that keeps a rollback over a restart."""
    sentinel_file: str = "var/rollback"
    """File that lets the legacy serve everything for as long as it exists."""
    fall_back: bool = False
    """Let the other side answer safe requests that the serving side failed (502, 504)."""
