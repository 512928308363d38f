"""Settings of health checks and of outlier ejection."""

from typing import Annotated

from msgspec import Meta, Struct

Positive = Annotated[float, Meta(gt=0)]


Count = Annotated[int, Meta(ge=1)]


Share = Annotated[float, Meta(gt=0, le=1)]


class HealthCheckSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """How a backend is asked whether it is well: GET `path`; 2xx and 3xx are yes. "" asks nothing.

    Attributes:
        down: this many checks in a row must fail until it is unhealthy.
        up: this many in a row must succeed until it is healthy again.
    """

    path: Annotated[str, Meta(pattern="^(/[!-~]*)?$")] = ""
    interval_s: Positive = 2.0
    timeout_s: Positive = 1.0
    down: Count = 3
    up: Count = 2


class OutlierDetection(Struct, frozen=True, forbid_unknown_fields=True):
    """When a backend that fails requests is spared for a while. A failure: no response, or a 502, 503, 504 of its own.

    Attributes:
        consecutive: this many failures without a response between them; 0: never for this reason.
        share: this share of all requests of the last `window_s`, if they were `requests_min`.
        base_s: how long it is spared at first; doubled each time that it was of no use.
        refuse: whether requests that the other side may not answer are refused at once (503 with Retry-After) while it lasts;
            otherwise they are tried, because nothing else could serve them.
    """

    consecutive: Annotated[int, Meta(ge=0)] = 5
    share: Share = 0.5
    window_s: Positive = 10.0
    requests_min: Count = 20
    base_s: Positive = 1.0
    max_s: Positive = 30.0
    refuse: bool = False
