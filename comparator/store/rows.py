"""Define the values that `comparator.store.queries` reads from the store. Pure."""

import datetime as dt
from dataclasses import dataclass

from comparator.store.comparison_detail import ComparisonDetail


@dataclass(frozen=True, slots=True)
class VerdictTotal:
    """The number of comparisons of one route and serving side with one verdict and cause; `cause` is "none" for none."""

    route: str
    served_by: str
    verdict: str
    cause: str
    count: int


@dataclass(frozen=True, slots=True)
class KnownTotal:
    """The number of comparisons of one route with a known difference; `declaration` is its configuration path."""

    route: str
    declaration: str
    reason: str
    ticket: str
    count: int


@dataclass(frozen=True, slots=True)
class Finding:
    """A finding: differences with one cause.

    Attributes:
        id: short stable id.
        route: name of the route.
        kind: kind of the difference, as the candidate's relative to the legacy's.
        place: template of the place.
        shape: shape of the change, e.g. `text → null`.
        severity: broken, changed or additive.
        state: new, acknowledged, fixed or regressed.
        state_by: person who set the state, "" for none.
        state_reason: reason given for the state.
        state_at: time at which the state was set.
        first_seen: time at which the first occurrence was served.
        last_seen: time at which the last occurrence was served.
        count: number of comparisons in which it occurred.
        example: description of one occurrence in one line.
        keys: number of different ordering keys with this finding.
        route_keys: number of different ordering keys of the route since `first_seen`.
    """

    id: str
    route: str
    kind: str
    place: str
    shape: str
    severity: str
    state: str
    state_by: str
    state_reason: str
    state_at: dt.datetime
    first_seen: dt.datetime
    last_seen: dt.datetime
    count: int
    example: str
    keys: int
    route_keys: int


@dataclass(frozen=True, slots=True)
class RouteLatency:
    """Quantiles of both roles' durations on one route, in microseconds.

    Attributes:
        route: name of the route.
        served_by: the side that served.
        count: number of comparisons.
        quantiles: the quantiles, between 0 and 1.
        served_us: duration of the serving side at each quantile.
        mirrored_us: duration of the mirrored side at each quantile.
    """

    route: str
    served_by: str
    count: int
    quantiles: tuple[float, ...]
    served_us: tuple[float, ...]
    mirrored_us: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class ComparisonRow:
    """One stored comparison; `cause` is "none" for none, durations are in microseconds, `detail` is what differed."""

    served_at: dt.datetime
    exchange_id: str
    route: str
    served_by: str
    stage: str
    verdict: str
    cause: str
    confirmed: bool | None
    effects_compared: bool
    effects_note: str
    served_status: int | None
    mirrored_status: int | None
    served_us: int
    mirrored_us: int
    rows_served: int
    rows_mirrored: int
    difference_count: int
    detail: ComparisonDetail


@dataclass(frozen=True, slots=True)
class EvidenceRow:
    """A stored judgement of a route's evidence; `summary` is JSON."""

    route: str
    served_by: str
    taken_at: dt.datetime
    outcome: str
    reason: str
    summary: bytes
