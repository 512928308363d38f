"""Define the values that `comparator.store.queries` reads from the store. Pure."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass

from comparator.exchanges.difference import Kind
from comparator.exchanges.model import LeftOutReason
from comparator.findings.causes import CauseBody
from comparator.findings.clustering import change_in_words
from comparator.store.comparison_detail import ComparisonDetail
from comparator.store.timeline import Timeline

LeftOutTables = tuple[tuple[str, LeftOutReason], ...]
"""Tables that were left out of a comparison, in alphabetical order, each with the reason."""


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
class RuleTotal:
    """The number of comparisons in which a rule allowed a difference.

    Attributes:
        rule: its path in config.yaml, by which it is counted; a rule that takes the place of another one goes on with its counts.
        hits: comparisons in which it allowed at least one difference.
        expired: comparisons in which it would have, but had expired.
        routes: routes of these comparisons.
    """

    rule: str
    hits: int
    expired: int
    routes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Finding:
    """A finding: like differences at one place.

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
        keys: number of different ordering keys with this finding; beyond 511 an estimate.
        route_keys: number of different ordering keys of the route since `first_seen`; beyond 511 an estimate.
        discriminator: values of the table's `discriminator` in its rows, "" for none.
        first_release: label of the releases with which it was first seen.
        last_release: label of the releases with which it was last seen.
        fixed_in: label of the releases in which it was fixed.
        regressed_in: label of the releases in which it came back.
        causes: ids of the causes that show it.
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
    route_keys: int = 0
    discriminator: str = ""
    first_release: str = ""
    last_release: str = ""
    fixed_in: str = ""
    regressed_in: str = ""
    causes: tuple[str, ...] = ()

    @property
    def where(self) -> str:
        """The place, with the discriminator of its row: `registry_event (action=SCU)`."""
        return f"{self.place} ({self.discriminator})" if self.discriminator else self.place

    @property
    def what(self) -> str:
        """The change in words."""
        return change_in_words(Kind(self.kind), self.shape)


@dataclass(frozen=True, slots=True)
class CauseRow:
    """A cause: what one fault makes differ.

    Attributes:
        id: short stable id.
        body: what it shows.
        severity: broken, changed or additive.
        provisional: there is too little of it to be sure that it is more than chance.
        state: new, acknowledged, fixed or regressed.
        state_by: person who set the state, "" for none.
        state_reason: reason given for the state.
        state_at: time at which the state was set.
        first_seen: time at which its first exchange was served.
        last_seen: time at which its last exchange was served.
        first_release: label of the releases with which it was first seen.
        last_release: label of the releases with which it was last seen.
        fixed_in: label of the releases in which it was fixed.
        regressed_in: label of the releases in which it came back.
        routes: routes on which it shows.
        findings: ids of the findings that it shows.
        joined: number of findings that it shows since it was acknowledged or fixed.
        exchanges: number of exchanges that have it, of the days that were asked for.
        keys: number of different ordering keys among those that are kept.
        gone_in: label of the first releases, after those it was last seen with, that had enough comparisons to show it and did not.
        former_ids: ids that have become this cause.
        owner: person or team in charge, "" for none.
        until_exchanges: number of exchanges beyond which an acknowledged cause is open again, None for no such end.
        until_day: last day (UTC) of an acknowledgement, None for no such end.
    """

    id: str
    body: CauseBody
    severity: str
    provisional: bool
    state: str
    state_by: str
    state_reason: str
    state_at: dt.datetime
    first_seen: dt.datetime
    last_seen: dt.datetime
    first_release: str
    last_release: str
    fixed_in: str
    regressed_in: str
    routes: tuple[str, ...]
    findings: tuple[str, ...]
    joined: int
    exchanges: int
    keys: int
    gone_in: str = ""
    former_ids: tuple[str, ...] = ()
    owner: str = ""
    until_exchanges: int | None = None
    until_day: dt.date | None = None

    @property
    def title(self) -> str:
        """The most telling place, and what differs there."""
        return f"{self.body.title.where}: {self.body.title.what}"


@dataclass(frozen=True, slots=True)
class CauseList:
    """Causes, and what is not attributed to any.

    Attributes:
        causes: causes, unhandled ones first, provisional ones last.
        mismatches: exchanges of the days that were asked for, each once.
        unattributed: of those, the ones whose causes are not solved yet.
        solved_at: time at which causes were solved last, None for never.
    """

    causes: tuple[CauseRow, ...] = ()
    mismatches: int = 0
    unattributed: int = 0
    solved_at: dt.datetime | None = None


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
class ComparisonLine:
    """One stored comparison without its differences; `cause` is "none" for none, durations are in microseconds.

    `left_out` are the tables that were not compared, each with the reason.
    """

    served_at: dt.datetime
    exchange_id: str
    route: str
    served_by: str
    stage: str
    verdict: str
    cause: str
    confirmed: bool | None
    effects_compared: bool
    served_status: int | None
    mirrored_status: int | None
    served_us: int
    mirrored_us: int
    rows_served: int
    rows_mirrored: int
    difference_count: int
    left_out: Mapping[str, LeftOutReason]


@dataclass(frozen=True, slots=True)
class ComparisonPage:
    """One page of comparisons, newest first; `searched_to` is where the search ended early, None where it did not."""

    lines: tuple[ComparisonLine, ...]
    searched_to: tuple[dt.datetime, str] | None = None


@dataclass(frozen=True, slots=True)
class ComparisonRow(ComparisonLine):
    """One stored comparison.

    `cause` is "none" for none, durations are in microseconds, `detail` is what differed, `finding_set` the id of the set of its findings,
    `release` the label of the releases of both sides, `timeline` and `stored_at` are None where they were not stored yet.
    """

    effects_note: str
    detail: ComparisonDetail
    finding_set: str = ""
    release: str = ""
    compared_at: dt.datetime | None = None
    stored_at: dt.datetime | None = None
    timeline: Timeline | None = None


@dataclass(frozen=True, slots=True)
class ComparisonFilter:
    """The comparisons to list; empty values do not restrict them.

    Attributes:
        route: name of the route.
        verdict: the verdict.
        served_by: the serving side.
        status: status code of one of the sides.
        served_us_min: least duration of the serving side, in microseconds.
        exchange_id: id of the exchange.
        key_digests: digests of its ordering key, one for each key of the journal; None for any key.
    """

    route: str = ""
    verdict: str = ""
    served_by: str = ""
    status: int | None = None
    served_us_min: int = 0
    exchange_id: str = ""
    key_digests: tuple[int, ...] | None = None
