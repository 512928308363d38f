"""The sections `compare:` and `store:` of config.yaml.

Pure. What is written here is only read; `rules.compile_rules` says whether it makes sense.
"""

import datetime as dt
from typing import Final

import msgspec

from comparator.tables import ROUTE_KIND, BackgroundRule, Struct, Table

DYNAMIC_PLACES: Final = ("**.stamps.*", "**.stamp_scores.*")
"""Where the scorer's responses and rows have providers as member names."""


class RuleSettings(Struct, frozen=True):
    """What may differ at one JSON path of a response's body. Exactly one action.

    `path`: dotted, `$` optional; `*` any key or element, `**` any depth, `[3]`, `["a.b"]`, `[?provider=="x"]`.
    Actions: `ignore`; `absolute` or `relative` (decimal text) or `places` (decimal places) for numbers and numeric text;
    `time_within_ms` for ISO 8601 times; `same`: "number" (`1` and `"1.00000"`) or "time" (`Z` and `+00:00`);
    `unordered` for an array as a multiset; `key_by` for an array matched by these members of its elements.
    `owner`, `reason` and `expires` (the last day it holds, UTC) are kept with every verdict the rule touched.
    """

    path: str
    ignore: bool = False
    absolute: str | None = None
    relative: str | None = None
    places: int | None = None
    time_within_ms: int | None = None
    same: str = ""
    unordered: bool = False
    key_by: tuple[str, ...] = ()
    owner: str = ""
    reason: str = ""
    expires: dt.date | None = None


class HeaderRules(Struct, frozen=True):
    """Which response headers are compared beside those always compared (`rules.COMPARED_HEADERS`).

    Names are case-insensitive. `ignore` takes names out again, also the default ones.
    """

    compare: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()


class KnownDifference(Struct, frozen=True):
    """A difference the operator declared: its own verdict (`known`), never a mismatch.

    Of the response: `path` (as in `Rule`), or `status` / `header`. Of the effects: `table`, and optionally `column` and
    `path` inside the column. `kind` (a `comparator.exchanges.difference.Kind`), `route` and `candidate`/`legacy` (the exact JSON
    text of that side's value) narrow it.
    """

    reason: str
    ticket: str
    route: str = ""
    path: str = ""
    status: bool = False
    header: str = ""
    table: str = ""
    column: str = ""
    kind: str = ""
    candidate: str | None = None
    legacy: str | None = None
    owner: str = ""
    expires: dt.date | None = None


class RouteCompare(Struct, frozen=True):
    """What holds for one route, in addition to the global rules (the route's own are looked at first)."""

    rules: tuple[RuleSettings, ...] = ()
    headers: HeaderRules = HeaderRules()
    body: str = ""
    """Overrides the body kind that Content-Type names: json, form, multipart, text, binary."""


class CompareSettings(Struct, frozen=True):
    """The section `compare:`."""

    rules: tuple[RuleSettings, ...] = ()
    headers: HeaderRules = HeaderRules()
    routes: dict[str, RouteCompare] = msgspec.field(default_factory=dict[str, RouteCompare])
    known_differences: tuple[KnownDifference, ...] = ()
    tables: dict[str, Table] = msgspec.field(default_factory=dict[str, Table])
    route_kind: str = ROUTE_KIND
    """The kind of key, in `tables.*.keys`, that the routes' keys are: a name of the operator's choice."""
    background: tuple[BackgroundRule, ...] = ()
    dynamic: tuple[str, ...] = DYNAMIC_PLACES
    """Places whose member name is data, not structure: findings write `*` there. Of effects: `table.column.path`."""
    redact: tuple[str, ...] = ()
    """JSON paths and header names whose values findings and exported cases replace by a digest."""
    body_max_bytes: int = 4_194_304
    """Decoded bodies beyond this are compared by digest only."""


class StoreSettings(Struct, frozen=True):
    """The section `store:`: where verdicts are kept. An empty `dsn` is filled from the environment (SHADOW_STORE_DSN)."""

    dsn: str = ""
    retention_days: int = 14
    partition_max_rows: int = 5_000_000
    exemplars_max: int = 5
    exemplar_max_bytes: int = 262_144
    timeout_s: float = 5.0
    pool_max: int = 4
