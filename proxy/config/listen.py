"""The sections `listen:` and `admin:` of config.yaml: the port for clients and the control port. Pure."""

from msgspec import Struct

from proxy.config.constraints import Port, PositiveCount


class TlsSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """The certificate of a listener. Its files are read again with the configuration, because certificates expire."""

    certificate: str
    """PEM file with the certificate and its chain."""
    key: str
    """PEM file with the private key."""


class ListenSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """The port that clients connect to."""

    host: str = "127.0.0.1"
    """Address to listen on."""
    port: Port = 8080
    """Port to listen on. With several `workers` it has to be a fixed one."""
    unix: str = ""
    """Path of a unix socket to listen on instead of `host` and `port`."""
    workers: PositiveCount = 1
    """Processes that share the port; use more than one to use more than one core."""
    tls: TlsSettings | None = None
    """Certificate to serve HTTPS with; without one, HTTP is served."""
    trusted_networks: tuple[str, ...] = ()
    """Networks (CIDR) whose clients may send `X-Forwarded-*`, `Forwarded`, `X-Serve-With` and `X-Use-Rust-Scorer`."""
    override_token: str = ""
    """Token that lets a client from any network choose the side, sent as `X-Shadow-Token`; empty accepts none."""


class AdminSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """The control port: health, metrics, status and the rollout's commands."""

    host: str = "127.0.0.1"
    """Address to listen on."""
    port: Port = 9901
    """Port of the first worker; each further worker listens on the next one."""
    hosts: tuple[str, ...] = ()
    """Names that the port may be reached by, beside `localhost`, `host` and IP addresses; requests with another `Host` get 421, because
    a page in a browser may have made its own name point here."""
    token: str = ""
    """Bearer token of an operator. Empty, and nothing in `rollout.access`: everyone who reaches the port may change the rollout, which
    is allowed on a loopback address only."""
    tls: TlsSettings | None = None
    """Certificate to serve HTTPS with; without one, HTTP is served."""
