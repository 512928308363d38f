"""Declare the sections `compare:` and `store:` of config.yaml. Pure. `comparator.rules.compile` checks their meaning."""

import datetime as dt
from typing import Final

import msgspec

from comparator.table_names import canonical_name
from comparator.tables import ROUTE_KIND, BackgroundRule, Struct, Table

DYNAMIC_PLACES: Final = ("**.stamps.*", "**.stamp_scores.*")
"""Default of `compare.dynamic`: places where the scorer's responses and rows have provider names as member names."""


class RuleSettings(Struct, frozen=True):
    """The difference that is allowed at one JSON path of a response's body. Exactly one action is given.

    Attributes:
        path: dotted path, `$` optional: `*` is any member or element, `**` any number of levels, `[3]` an element,
            `["a.b"]` a member, `[?provider=="x"]` an element or member that is an object with this member.
        ignore: action: allow anything, also absence.
        absolute: action: allow numbers, or texts of numbers, at most this far apart; decimal text, e.g. "0.001".
        relative: action: allow numbers at most this share of the larger one apart; decimal text, e.g. "0.01".
        places: action: allow numbers that are equal when rounded to this many decimal places.
        time_within_ms: action: allow ISO 8601 times at most this many milliseconds apart, besides the time between the two runs of the
            request: each side may have read its clock at any moment between receipt and response.
        epoch: with `time_within_ms`: numbers, and texts of numbers, count the time since 1970 in this unit: `s`, `ms`, `us`, `ns`.
        generated: action: allow texts that are equal outside of the parts that match this regular expression, e.g. an identifier that
            each side generates for itself.
        same: action: allow other notations: "number" (`1` and `"1.00000"`) or "time" (`Z` and `+00:00`).
        unordered: action: compare the array as a multiset.
        key_by: action: match the array's elements by the values of these members.
        owner: person or team in charge of the rule.
        reason: justification of the rule.
        expires: last day (UTC) on which the rule allows anything; none: it never expires.
    """

    path: str
    ignore: bool = False
    absolute: str | None = None
    relative: str | None = None
    places: int | None = None
    time_within_ms: int | None = None
    epoch: str = ""
    generated: str = ""
    same: str = ""
    unordered: bool = False
    key_by: tuple[str, ...] = ()
    owner: str = ""
    reason: str = ""
    expires: dt.date | None = None


class HeaderRules(Struct, frozen=True):
    """The response headers that are compared, besides the default ones (`comparator.rules.compile.COMPARED_HEADERS`).

    Values are compared by their header's grammar (`comparator.responses.header_values`): media types, lists, dates, cookies, directives and
    others are equal in any spelling. Headers without a known grammar are compared as text.

    Attributes:
        compare: names of further headers to compare, in any case.
        ignore: names of headers not to compare, in any case; also default ones.
    """

    compare: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()


class KnownPlace(Struct, frozen=True, kw_only=True):
    """A place at which the sides differ. One of `path`, `status`, `header` and `table` is required; the other fields narrow it down.

    Values are compared as text: a text as it is, anything else as JSON. Regular expressions match the whole text. `{name}` stands for
    each value that the conditions found under this name: as a segment of `path`, and as a whole value of `row`.

    Attributes:
        path: path in the response's body, or in a JSON column when `table` is given; the notation is that of `rules`.
        status: the difference is one of status codes.
        header: name of the header that differs.
        table: table whose rows differ; it has to be described in `compare.tables`.
        column: column that differs. Empty: any column, or whole rows.
        kind: kind of the difference (`comparator.exchanges.difference.Kind`) with the legacy as the model, whichever side serves: `extra`
            and `extra_row` are what only the candidate has, `missing` and `missing_row` what only the legacy has. Empty: any kind.
        row: regular expressions by column: the values of a row that only one side has, or of the natural key of a row that both have. A
            path leads into a JSON column: `data.provider`.
        candidate: regular expression of the candidate's value. Empty: any value, also none.
        legacy: regular expression of the legacy's value. Empty: any value, also none.
    """

    path: str = ""
    status: bool = False
    header: str = ""
    table: str = ""
    column: str = ""
    kind: str = ""
    row: dict[str, str] = msgspec.field(default_factory=dict[str, str])
    candidate: str = ""
    legacy: str = ""

    def __post_init__(self) -> None:
        """Give the table its canonical name.

        Raises:
            ValueError: the text does not name a table.
        """
        if self.table:
            msgspec.structs.force_setattr(self, "table", canonical_name(self.table))


class Condition(Struct, frozen=True, kw_only=True):
    """A condition on the request, its key, or what one side did. It holds if all that is given holds, of at least one selected value.

    `path`, `table` or `header` selects values; without them the condition is about the whole. Regular expressions match the whole text:
    of a text as it is, of anything else as JSON.

    Attributes:
        of: `request`, `key`, `candidate` or `legacy`.
        methods: of a request: its method is one of these. Empty: any.
        target: of a request: regular expression of its path and query.
        status: of a side: its status code is one of these. Empty: any.
        header: regular expression of the lower-case name of a header; selects its value.
        path: path in the JSON body of the request, or of the side's response; selects what is there.
        table: selects the rows of this table that the side changed, as they were before and after.
        ops: only rows that were changed so (insert, update, delete), and as they are then. Empty: any.
        having: regular expressions by path inside of the selected value, or by column of the row; a path leads on into a JSON column.
        other_than: JSON types by path, as in `having`: the value there is of none of these. The path `$` is the selected value itself; of a column that holds JSON, its document is looked at.
        matches: regular expression of the selected value.
        name: name under which the places of the difference use what is found.
        take: path, as in `having`, of the values to be found under `name`. Empty: the selected value itself.
    """

    of: str
    methods: tuple[str, ...] = ()
    target: str = ""
    status: tuple[int, ...] = ()
    header: str = ""
    path: str = ""
    table: str = ""
    ops: tuple[str, ...] = ()
    having: dict[str, str] = msgspec.field(default_factory=dict[str, str])
    other_than: dict[str, tuple[str, ...]] = msgspec.field(default_factory=dict[str, tuple[str, ...]])
    matches: str = ""
    name: str = ""
    take: str = ""

    def __post_init__(self) -> None:
        """Give the table its canonical name.

        Raises:
            ValueError: the text does not name a table.
        """
        if self.table:
            msgspec.structs.force_setattr(self, "table", canonical_name(self.table))


class KnownDifference(Struct, frozen=True, kw_only=True):
    """An expected difference: where the sides differ, for what reason, and under which conditions.

    It applies to a difference at one of its places, in an exchange that meets its conditions. That difference is counted as `known` instead
    of as a mismatch. Any other difference in the same exchange is still a mismatch.

    Attributes:
        name: unique name.
        reason: explanation of the difference; required.
        instead: what the candidate does where the legacy does otherwise.
        where: the places, at least one.
        when: conditions of which all have to hold. Empty: none.
        when_any: conditions of which at least one has to hold. Empty: none.
        routes: names of the routes. Empty: every route.
        ticket: issue in which it is discussed.
        owner: person or team in charge of the difference.
        expires: last day (UTC) on which the declaration holds; none: it never expires.
    """

    name: str
    reason: str
    where: tuple[KnownPlace, ...]
    instead: str = ""
    when: tuple[Condition, ...] = ()
    when_any: tuple[Condition, ...] = ()
    routes: tuple[str, ...] = ()
    ticket: str = ""
    owner: str = ""
    expires: dt.date | None = None


class RouteCompare(Struct, frozen=True):
    """Settings of one route, in addition to the global ones. The route's own rules take precedence.

    Attributes:
        rules: rules for the bodies of this route's responses.
        headers: headers of this route's responses to compare.
        body: body kind to use instead of the one that Content-Type names: json, form, multipart, text, binary.
    """

    rules: tuple[RuleSettings, ...] = ()
    headers: HeaderRules = HeaderRules()
    body: str = ""


class CompareSettings(Struct, frozen=True):
    """The section `compare:`.

    Attributes:
        rules: rules for the bodies of all routes' responses.
        headers: headers of all routes' responses to compare.
        routes: settings by name of a route.
        known_differences: expected differences.
        tables: description by table name. A table without one is compared by the keys and references of the catalogue; its rows as a
            whole where it has no key that the application chose.
        route_kind: kind of the routes' keys among the kinds in `tables.*.keys`.
        background: writers that are not requests.
        dynamic: paths at which the last member's name is data instead of structure; findings write `*` there. Places in rows are
            written `table.column.path`.
        redact: JSON paths and header names whose values are replaced by a keyed digest in findings and exported cases.
        body_max_bytes: greatest size of a decoded body that is compared by structure, in bytes; larger ones are compared by digest.
    """

    rules: tuple[RuleSettings, ...] = ()
    headers: HeaderRules = HeaderRules()
    routes: dict[str, RouteCompare] = msgspec.field(default_factory=dict[str, RouteCompare])
    known_differences: tuple[KnownDifference, ...] = ()
    tables: dict[str, Table] = msgspec.field(default_factory=dict[str, Table])
    route_kind: str = ROUTE_KIND
    background: tuple[BackgroundRule, ...] = ()
    dynamic: tuple[str, ...] = DYNAMIC_PLACES
    redact: tuple[str, ...] = ()
    body_max_bytes: int = 4_194_304

    def __post_init__(self) -> None:
        """Give the tables their canonical names.

        Raises:
            ValueError: a text does not name a table, or two name the same one.
        """
        tables: dict[str, Table] = {}
        for name, table in self.tables.items():
            canonical = canonical_name(name)
            if canonical in tables:
                raise ValueError(f"tables: {name!r} and {canonical!r} are the same table")
            tables[canonical] = table
        msgspec.structs.force_setattr(self, "tables", tables)


class StoreSettings(Struct, frozen=True):
    """The section `store:`: verdicts and findings, in the database `databases.store`.

    Attributes:
        retention_days: number of days for which comparisons are kept. Totals and findings are kept for ever.
        partition_max_rows: greatest number of comparisons kept of one day; beyond it matches are deleted first, the oldest first.
        exemplars_max: number of examples kept of one finding, a uniform sample of all its occurrences.
        exemplar_max_bytes: greatest size of a stored example, compressed, in bytes; larger ones are not kept.
        timeout_s: limit for connecting and for each statement, in seconds.
        pool_max: greatest number of connections.
    """

    retention_days: int = 14
    partition_max_rows: int = 5_000_000
    exemplars_max: int = 5
    exemplar_max_bytes: int = 262_144
    timeout_s: float = 5.0
    pool_max: int = 4
