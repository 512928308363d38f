"""The section `backends:` of config.yaml: both sides, each with a live and a shadow instance. Pure."""

from typing import Annotated

from msgspec import Meta, Struct

from comparator.exchanges.model import Role, Side
from proxy.config.constraints import Count, Positive, PositiveCount, PositiveShare


class HealthCheckSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Active checks of a live instance: GET `path`, healthy by a 2xx or 3xx.

    A failed check alone fails no request: it makes the proxy prefer the other side where that may answer (`serve.fall_back`).
    """

    path: Annotated[str, Meta(pattern="^(/[!-~]*)?$")] = ""
    """Path to request; empty checks nothing."""
    interval_s: Positive = 2.0
    """Time between two checks."""
    timeout_s: Positive = 1.0
    """Time after which a check has failed."""
    unhealthy_after: PositiveCount = 3
    """Failed checks in a row until the instance is unhealthy."""
    healthy_after: PositiveCount = 2
    """Successful checks in a row until the instance is healthy again."""


class OutlierDetection(Struct, frozen=True, forbid_unknown_fields=True):
    """Ejection of a live instance that fails requests: no response, or a 502, 503 or 504 of its own.

    While it is ejected, safe requests go to the other side (`serve.fall_back`). After `ejection_base_s` one request probes it; the
    time doubles with each failed probe.
    """

    consecutive_failures: Count = 5
    """Failures without a response in between that eject; 0 never ejects for this reason."""
    failure_share: PositiveShare = 0.5
    """Share of failures among the requests of the last `window_s` that ejects."""
    window_s: Positive = 10.0
    """Time over which `failure_share` is counted."""
    requests_min: PositiveCount = 20
    """Requests within `window_s` below which `failure_share` does not eject."""
    ejection_base_s: Positive = 1.0
    """Length of the first ejection, and the time between two probes."""
    ejection_max_s: Positive = 30.0
    """Longest ejection. An instance without a request for that long after its ejection counts as healthy again."""
    refuse: bool = False
    """Answer requests that the other side may not serve with 503 and Retry-After; `false` forwards them all the same."""


class BackendSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """One instance of one side."""

    url: str = ""
    """Base URL, http or https, without a query; empty: the side has no such instance."""
    socket: str = ""
    """Path of a unix socket to connect to instead of the URL's host and port (live instances only)."""
    host: str = "preserve"
    """Host header to send: `preserve` for the client's, `backend` for the URL's, or a literal name. Instances that get different
    names build different links: those are reported as differences."""
    connect_s: Positive = 2.0
    """Time to connect."""
    connections_max: PositiveCount = 256
    """Connections of one worker at a time; requests beyond it wait."""
    idle_s: Positive = 1.0
    """Time an unused connection is kept; less than the backend keeps it (gunicorn: 2 s, uvicorn: 5 s)."""
    retries: Annotated[int, Meta(ge=0, le=1)] = 1
    """Retries after a stale connection, where nothing was sent or the method is safe."""
    health_check: HealthCheckSettings = HealthCheckSettings()
    outlier_detection: OutlierDetection = OutlierDetection()


class SideInstances(Struct, frozen=True, forbid_unknown_fields=True):
    """The two instances of one side."""

    live: BackendSettings = BackendSettings()
    """Instance on the live database, which serves clients."""
    shadow: BackendSettings = BackendSettings()
    """Instance on the shadow database, which gets mirrored requests."""
    version: str = ""
    """Release of this side, e.g. `2.1.0`: findings and causes say in which releases they were seen first and last."""
    version_header: Annotated[str, Meta(pattern="^[!#$%&'*+.^_`|~0-9A-Za-z-]*$")] = ""
    """Response header that names the release instead, e.g. `X-Version`; a response without it has `version`."""


class BackendsSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Both sides."""

    candidate: SideInstances = SideInstances()
    """The new implementation."""
    legacy: SideInstances = SideInstances()
    """The present implementation."""

    def of(self, side: Side, role: Role) -> BackendSettings:
        """Return the instance of `side` for `role`: the live one serves, the shadow one gets mirrored requests."""
        instances = self.candidate if side is Side.CANDIDATE else self.legacy
        return instances.live if role is Role.SERVED else instances.shadow
