"""The section `ui:` of config.yaml: the web UI, a process of its own. Pure."""

from msgspec import Struct

from proxy.config.constraints import Port, Positive
from proxy.config.listen import TlsSettings


class UiSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """The web UI, `shadow ui`."""

    host: str = "127.0.0.1"
    """Address to listen on. Beyond a loopback address it needs `admin.token` or `rollout.access`, as the control port does."""
    port: Port = 9903
    """Port to listen on."""
    hosts: tuple[str, ...] = ()
    """Names that it may be reached by, beside `localhost` and IP addresses; requests with another `Host` get 421."""
    tls: TlsSettings | None = None
    """Certificate to serve HTTPS with; without one, HTTP is served."""
    name: str = ""
    """Name of this installation, shown beside the logo, e.g. `staging`."""
    store: str = ""
    """URL of the store for a role that may only read, as a libpq URI. Empty: `databases.store`, in read-only transactions."""
    store_timeout_s: Positive = 5.0
    """Time for each query of the store."""
    refresh_s: Positive = 5.0
    """Time between two refreshes of a page that is visible."""
    session_s: Positive = 43_200.0
    """Time after which a person signs in again."""
