"""TODO."""

import datetime as dt
from dataclasses import dataclass

from comparator.store.comparison_detail import ComparisonDetail


@dataclass(frozen=True, slots=True)
class VerdictTotal:
    """How many comparisons of one route had one verdict for one cause."""

    route: str
    served_by: str
    verdict: str
    cause: str
    count: int


@dataclass(frozen=True, slots=True)
class KnownTotal:
    """How many comparisons a declared known difference explains."""

    route: str
    declaration: str
    reason: str
    ticket: str
    count: int


@dataclass(frozen=True, slots=True)
class Finding:
    """A cluster of like differences, as it stands. `keys` counts different ordering keys, of `route_keys` on the route."""

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
    """Quantiles of both roles' durations on one route, in microseconds, over `count` comparisons."""

    route: str
    served_by: str
    count: int
    quantiles: tuple[float, ...]
    served_us: tuple[float, ...]
    mirrored_us: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class ComparisonRow:
    """One stored comparison."""

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
    """A stored evidence summary; `summary` is what the writer made of it (JSON)."""

    route: str
    served_by: str
    taken_at: dt.datetime
    outcome: str
    reason: str
    summary: bytes
