"""The section `limits:` of config.yaml. Pure."""

from msgspec import Struct

from proxy.config.constraints import NonNegative, Positive, PositiveCount


class LimitSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Limits of a client's connection and request; a request beyond one is answered with the status code given there."""

    header_max_bytes: PositiveCount = 32 * 1024
    """Request line and header fields: 431."""
    headers_max: PositiveCount = 128
    """Header fields: 431."""
    target_max_bytes: PositiveCount = 8 * 1024
    """Request target: 414."""
    body_max_bytes: PositiveCount = 16 * 1024**2
    """Request body: 413."""
    header_s: Positive = 10.0
    """Time from the first byte of a request to the end of its header: 408."""
    body_idle_s: Positive = 30.0
    """Time without a byte of the request body: 408."""
    idle_s: Positive = 75.0
    """Time after which an unused client connection is closed."""
    ttfb_s: Positive = 30.0
    """Time from the request sent to the header of the backend's response: 504."""
    total_s: Positive = 120.0
    """Time from the header of the request to the end of the response: 504."""
    tunnel_idle_s: Positive = 600.0
    """Time without a byte after which an upgraded connection (WebSocket) is closed."""
    connections_max: PositiveCount = 4096
    """Client connections of one worker, as far as there are file descriptors for them; beyond that the one that was unused for longest is
    closed, and where there is none, the new one gets 503."""
    connections_per_address_max: PositiveCount = 1024
    """The same of one address, and at most three quarters of all; those of `listen.trusted_networks`, as load balancers, have no limit."""
    unused_per_address_max: PositiveCount = 512
    """Connections of one address that may wait for a request; the one that was unused for longest is closed first."""
    drain_s: Positive = 10.0
    """Time that requests in flight have after SIGTERM."""
    drain_idle_s: NonNegative = 2.0
    """Time after SIGTERM in which an unused connection may send one more request; its response says `Connection: close`."""
