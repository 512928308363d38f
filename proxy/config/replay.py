"""The section `replay:` of config.yaml. Pure."""

from msgspec import Struct

from proxy.config.constraints import PositiveCount


class ReplaySettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Reports of replays, and the credentials that a replay puts in place of those which a recording holds only as digests."""

    reports_directory: str = ""
    """Folder to which every replay writes its JSON report as well, and from which the web UI shows them; empty for none."""

    credentials: dict[str, str] = {}
    """Digest in the recording (`redacted:<32 hex>`) to the name of the environment variable that holds the value."""
    headers: dict[str, str] = {}
    """Name of a request header to the environment variable with its value, for each request whose own value is gone: it is a digest
    that `credentials` does not name, or a placeholder such as `REDACTED` or `***`."""
    jwt_key: str = ""
    """Environment variable with the key that bearer tokens are signed with again; empty leaves tokens as they are."""
    jwt_algorithm: str = "HS256"
    """Algorithm of the new signature."""
    jwt_lifetime_s: PositiveCount = 300
    """Lifetime of a new token where the recorded one does not say how long it was valid."""
