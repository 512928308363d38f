"""Settings of the mirroring rate limit."""

from typing import Annotated

from msgspec import Meta, Struct

PerSecond = Annotated[float, Meta(ge=0)]


class MirroringSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """What the mirrored side has to bear at most; beyond it exchanges are served, journaled and skipped (`rate_limited`).

    Attributes:
        per_s_max: of all routes together, shared evenly by the workers; 0 is no limit. A route has its own beside it.
        burst_s: so many seconds' worth may come at once after a quiet time.
    """

    per_s_max: PerSecond = 0.0
    burst_s: Annotated[float, Meta(gt=0)] = 1.0
