"""Decide how causes are listed: their state in words, facets, filters, and what an empty list says. Pure.

The state that people set is stored; what time adds to it is decided here, from counts of the time range:

    stored new, first seen in the range                    new
    stored new, more often lately than before              growing      (the intervals of both rates do not overlap)
    stored new, else                                       ongoing
    regressed, acknowledged, fixed                         as stored
"""

import datetime as dt
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from comparator.findings.tokens import Level, Token
from comparator.stats.confidence import Interval, rate_interval
from comparator.store.rows import CauseRow

ALPHA: Final = 0.01
GROWING_MIN: Final = 10
"""Exchanges in the later half of the range below which nothing is called growing."""
NEW_AT_LEAST: Final = dt.timedelta(hours=1)
"""A cause is new for at least so long, however short the range."""
PAGE_SIZE: Final = 50
STATES: Final = ("regressed", "new", "growing", "ongoing", "acknowledged", "fixed")
OPEN: Final = ("regressed", "new", "growing", "ongoing")
SEVERITIES: Final = ("broken", "changed", "additive")
WHERE: Final = ("rows", "response", "status or header")
TOKENS_SHOWN: Final = 8
VALUES_SHOWN: Final = 8
"""Values of a facet that are shown before `more`."""


@dataclass(frozen=True, slots=True)
class TokenLine:
    """A place that a cause shows, and in how many of its exchanges."""

    where: str
    what: str
    exchanges: int


@dataclass(frozen=True, slots=True)
class CauseActivityText:
    """The activity of one cause as the list needs it: exchanges by bin, by serving side and by stage, in the range."""

    bins: tuple[int, ...]
    by_side: Mapping[str, int]
    by_stage: Mapping[str, int]

    @property
    def exchanges(self) -> int:
        """The exchanges in the range."""
        return sum(self.by_side.values())


NO_ACTIVITY: Final = CauseActivityText((), {}, {})


@dataclass(frozen=True, slots=True)
class ListedCause:
    """One cause in the list.

    Attributes:
        state: one of STATES.
        where: its first place.
        what: how the sides differ there.
        follows: what else it shows, in words.
        tokens: the places that it shows, the most telling first.
        exchanges: in the range; `kept` of all days that are kept.
        served_by: sides that served its exchanges.
        decided: who set its state, why, and until when.
        tables: tables whose rows it makes differ.
        places: WHERE it shows.
    """

    id: str
    state: str
    severity: str
    provisional: bool
    where: str
    what: str
    follows: str
    tokens: tuple[TokenLine, ...]
    findings: int
    exchanges: int
    kept: int
    keys: int
    bins: tuple[int, ...]
    served_by: tuple[str, ...]
    stages: tuple[str, ...]
    first_seen: dt.datetime
    last_seen: dt.datetime
    first_release: str
    decided: str
    routes: tuple[str, ...]
    tables: tuple[str, ...]
    places: tuple[str, ...]

    @property
    def open(self) -> bool:
        """True for a state that no person has decided on."""
        return self.state in OPEN


def trend(bins: Sequence[int], compared: Sequence[int]) -> tuple[Interval, Interval] | None:
    """Return the rates of both halves of a range, None where one half has no comparison.

    Args:
        bins: exchanges of the cause by bin.
        compared: comparisons by bin, as many bins.
    """
    middle = len(bins) // 2
    halves = (slice(None, middle), slice(middle, None))
    intervals: list[Interval] = []
    for half in halves:
        trials = sum(compared[half])
        if not trials:
            return None
        intervals.append(rate_interval(min(sum(bins[half]), trials), trials, alpha=ALPHA))
    return intervals[0], intervals[1]


def state_of(
    cause: CauseRow, activity: CauseActivityText, compared: Sequence[int], *, since: dt.datetime, now: dt.datetime
) -> str:
    """Return the state of a cause in words, one of STATES."""
    if cause.state != "new":
        return cause.state
    if cause.first_seen >= min(since, now - NEW_AT_LEAST):
        return "new"
    rates = trend(activity.bins, compared)
    later = sum(activity.bins[len(activity.bins) // 2 :])
    if rates is not None and later >= GROWING_MIN and rates[1].low > rates[0].high:
        return "growing"
    return "ongoing"


def cause_line(
    cause: CauseRow,
    activity: CauseActivityText,
    compared: Sequence[int],
    tables: Sequence[str],
    *,
    since: dt.datetime,
    now: dt.datetime,
) -> ListedCause:
    """Return a cause as the list shows it.

    Args:
        cause: the cause, with the exchanges of all days.
        activity: its activity in the range.
        compared: comparisons of the range by bin.
        tables: tables whose rows it makes differ; "" among them stands for the responses.
        since: begin of the range.
        now: present time.
    """
    body = cause.body
    shown = (*body.always, *body.sometimes)
    return ListedCause(
        id=cause.id,
        state=state_of(cause, activity, compared, since=since, now=now),
        severity=cause.severity,
        provisional=cause.provisional,
        where=body.title.where,
        what=body.title.what,
        follows=_follows(shown),
        tokens=tuple(TokenLine(one.token.where, one.token.what, round(one.share * cause.exchanges)) for one in shown),
        findings=len(cause.findings),
        exchanges=activity.exchanges,
        kept=cause.exchanges,
        keys=cause.keys,
        bins=activity.bins,
        served_by=tuple(sorted(activity.by_side)),
        stages=tuple(sorted(activity.by_stage)),
        first_seen=cause.first_seen,
        last_seen=cause.last_seen,
        first_release=cause.first_release,
        decided=decided_words(cause),
        routes=cause.routes,
        tables=tuple(table for table in tables if table),
        places=tuple(_places(token.token for token in shown)),
    )


def _follows(shown: Sequence[object]) -> str:
    rest = len(shown) - 1
    if rest <= 0:
        return "no other place differs"
    return f"{rest:,} more place{'s' if rest > 1 else ''} follow{'s' if rest == 1 else ''}"


def decided_words(cause: CauseRow) -> str:
    """Say who set the state of a cause, why, and until when; "" where no person has."""
    if not cause.state_by:
        return ""
    words = f"by {cause.state_by}: {cause.state_reason}" if cause.state_reason else f"by {cause.state_by}"
    words += f", owner {cause.owner}" if cause.owner else ""
    if cause.until_exchanges is not None:
        words += f", until it has had {cause.until_exchanges:,} exchanges"
    if cause.until_day is not None:
        words += f", until {cause.until_day}"
    return words


def _places(tokens: Iterable[Token]) -> Iterator[str]:
    levels = {token.level for token in tokens}
    if levels & {Level.ROW, Level.COLUMN}:
        yield "rows"
    if Level.FIELD in levels:
        yield "response"
    if levels & {Level.STATUS, Level.HEADER}:
        yield "status or header"


# Facets.


@dataclass(frozen=True, slots=True)
class FacetValue:
    """One value of a facet, the causes that have it beside the other filters, and the facet's selection after a press."""

    name: str
    count: int
    selected: bool
    toggled: str


@dataclass(frozen=True, slots=True)
class Facet:
    """One property by which causes are filtered: its parameter in the URL, its title, its values."""

    name: str
    title: str
    values: tuple[FacetValue, ...]


Getter = Callable[[ListedCause], Sequence[str]]
FACETS: Final[tuple[tuple[str, str, Getter, Sequence[str]], ...]] = (
    ("state", "State", lambda line: (line.state,), STATES),
    ("severity", "Severity", lambda line: (line.severity,), SEVERITIES),
    ("where", "Where", lambda line: line.places, WHERE),
    ("table", "Table", lambda line: line.tables, ()),
    ("side", "Served by", lambda line: line.served_by, ("candidate", "legacy")),
    ("route", "Route", lambda line: line.routes, ()),
    ("stage", "Stage", lambda line: line.stages, ()),
    ("version", "First seen in version", lambda line: (line.first_release,) if line.first_release else (), ()),
)
"""Parameter, title, values of a cause, and the values that are always shown."""


@dataclass(frozen=True, slots=True)
class Filters:
    """The filters of a URL: selected values by facet; `text` is looked for in places and ids."""

    selected: Mapping[str, tuple[str, ...]]
    text: str = ""

    @property
    def count(self) -> int:
        """The number of filters beside the default ones."""
        return sum(name != "state" or values != OPEN for name, values in self.selected.items()) + bool(self.text)


def filters_of(query: Mapping[str, str]) -> Filters:
    """Return the filters of a URL's query: values are separated by commas, `state=all` selects all states, none the open ones."""
    selected: dict[str, tuple[str, ...]] = {}
    for name, *_ in FACETS:
        values = tuple(value for value in query.get(name, "").split(",") if value)
        if name == "state":
            values = () if values == ("all",) else values or OPEN
        if values:
            selected[name] = values
    return Filters(selected, query.get("q", "").strip())


def matches(line: ListedCause, filters: Filters, *, without: str = "") -> bool:
    """Return whether a cause passes all filters, or all but those of one facet."""
    for name, _, values_of, _ in FACETS:
        wanted = filters.selected.get(name)
        if wanted and name != without and not set(wanted) & set(values_of(line)):
            return False
    text = filters.text.lower()
    return not text or any(
        text in part.lower() for part in (line.id, line.where, line.what, *line.routes, *(t.where for t in line.tokens))
    )


def facets_of(lines: Sequence[ListedCause], filters: Filters) -> tuple[Facet, ...]:
    """Return all facets with the number of causes of each value, under the other filters."""
    facets: list[Facet] = []
    for name, title, values_of, always in FACETS:
        counts = Counter(
            value for line in lines if matches(line, filters, without=name) for value in set(values_of(line))
        )
        selected = filters.selected.get(name, ())
        others = sorted(set(counts) | set(selected) - set(always), key=lambda value: (-counts[value], value))
        values = [*always, *(value for value in others if value not in always)]
        facets.append(
            Facet(
                name,
                title,
                tuple(
                    FacetValue(value, counts[value], value in selected, _toggled(name, selected, value))
                    for value in values
                ),
            )
        )
    return tuple(facet for facet in facets if facet.values)


def _toggled(name: str, selected: Sequence[str], value: str) -> str:
    """Return the facet's parameter after one value is pressed; "all" stands for every state."""
    values = [one for one in selected if one != value] if value in selected else [*selected, value]
    return ",".join(values) or ("all" if name == "state" else "")


def ordered(lines: Iterable[ListedCause]) -> list[ListedCause]:
    """Sort causes: those to be relied upon first, then by state, severity and exchanges."""
    return sorted(
        lines,
        key=lambda line: (
            line.provisional,
            STATES.index(line.state),
            SEVERITIES.index(line.severity),
            -line.exchanges,
            -line.kept,
            line.id,
        ),
    )


def page_of(lines: Sequence[ListedCause], after: str) -> tuple[Sequence[ListedCause], str]:
    """Return the causes behind the one with this id, at most PAGE_SIZE, and the id to go on from, "" at the end."""
    start = next((number + 1 for number, line in enumerate(lines) if line.id == after), 0)
    shown = lines[start : start + PAGE_SIZE]
    return shown, shown[-1].id if start + PAGE_SIZE < len(lines) else ""
