"""The section `mirroring:` of config.yaml. Pure."""

from msgspec import Struct

from proxy.config.constraints import NonNegative, Positive


class MirroringSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Rate limit of mirroring. Exchanges beyond it are served, journaled and skipped (`rate_limited`)."""

    per_s_max: NonNegative = 0.0
    """Exchanges per second, all routes and workers together; 0: unlimited. A route has its own limit beside it."""
    burst_s: Positive = 1.0
    """Size of the token bucket, in seconds of the rate: what may come at once after an idle time."""
