"""The section `databases:` of config.yaml. Pure."""

from msgspec import Struct


class DatabasesSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """PostgreSQL databases, as libpq URIs."""

    live: str = ""
    """Database that users see; live instances write it."""
    shadow: str = ""
    """Clone of live that shadow instances write."""
    store: str = ""
    """Database that verdicts, findings and the rollout's state are kept in."""
