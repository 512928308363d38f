"""Write what a person wants to allow as lines for config.yaml; nothing is ever written there by the UI. Pure.

compare:
  known_differences:
  - name: registry-stamp-row-only-on-candidate
    reason: the candidate keeps stamps of revoked issuers
    where:
    - table: registry_stamp
      kind: extra_row
"""

import datetime as dt
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

import msgspec
import yaml

from comparator.exchanges.difference import Kind
from comparator.findings.tokens import Level, Token
from comparator.rules.actions import moment_of, number_of
from comparator.settings import CompareSettings, KnownDifference, KnownPlace, RuleSettings
from comparator.tables import Table, Volatile

PLACES_MAX: Final = 40
NAME_CHARS_MAX: Final = 60


@dataclass(frozen=True, slots=True)
class Declaration:
    """The words of a declaration: owner, reason, ticket and last day, "" and None for none."""

    owner: str = ""
    reason: str = ""
    ticket: str = ""
    expires: dt.date | None = None


@dataclass(frozen=True, slots=True)
class ConfigPatch:
    """Lines for config.yaml, and the section `compare:` as it would be with them.

    Attributes:
        text: YAML.
        compare: the whole section with the change; None where the lines are no valid change, for the reason in `problem`.
        problem: "" for none.
    """

    text: str
    compare: CompareSettings | None
    problem: str = ""


def known_patch(
    compare: CompareSettings, titles: Iterable[str], tokens: Iterable[Token], routes: Iterable[str], words: Declaration
) -> ConfigPatch:
    """Declare the places of causes as known.

    Args:
        compare: the section in force.
        titles: titles of the causes, for the name.
        tokens: the places that they show.
        routes: routes on which they show.
        words: owner, reason, ticket and last day.
    """
    places: list[KnownPlace] = []
    for token in tokens:
        place = _known_place(token)
        if place is not None and place not in places:
            places.append(place)
    undescribed = sorted({place.table for place in places if place.table and place.table not in compare.tables})
    known = KnownDifference(
        name=_name(" ".join(titles), {one.name for one in compare.known_differences}),
        reason=words.reason or "REASON",
        where=tuple(places[:PLACES_MAX]),
        routes=tuple(sorted(routes)),
        ticket=words.ticket,
        owner=words.owner,
        expires=words.expires,
    )
    after = msgspec.structs.replace(compare, known_differences=(*compare.known_differences, known))
    text = yaml_text({"compare": {"known_differences": [plain_section(known)]}})
    if undescribed:
        return ConfigPatch(
            text, None, f"{', '.join(undescribed)}: not described in compare.tables; describe it there first"
        )
    return ConfigPatch(text, after)


def _known_place(token: Token) -> KnownPlace | None:
    match token.level:
        case Level.STATUS:
            return KnownPlace(status=True)
        case Level.HEADER:
            return KnownPlace(header=token.place)
        case Level.ROW:
            parts = [part.partition("=") for part in token.discriminator.split(", ") if "=" in part]
            row = {column: re.escape(value) for column, _, value in parts}
            return KnownPlace(table=token.table, kind=token.kind.value, row=row)
        case Level.COLUMN:
            inside = token.place.removeprefix(token.table).removeprefix(".")
            column, _, path = inside.partition(".")
            return KnownPlace(table=token.table, column=column.partition("[")[0], path=path)
        case Level.FIELD:
            if token.kind is Kind.STATUS:
                return KnownPlace(status=True)
            return KnownPlace(path=token.place) if not token.place.startswith("(") else None


def rule_patch(
    compare: CompareSettings,
    route: str,
    place: str,
    *,
    table: str,
    column: str,
    values: tuple[object, object],
    words: Declaration,
) -> ConfigPatch:
    """Allow the difference at one place by a rule: times and numbers within a tolerance, anything else ignored.

    Args:
        compare: the section in force.
        route: name of the route.
        place: path in the response's body, or inside of a JSON column.
        table: table of a row, "" for the response.
        column: column of the row.
        values: both sides' values at the place, from which the tolerance is proposed.
        words: owner, reason and last day; a rule in a table has none of them.
    """
    if table:
        return _table_patch(compare, table, column, place, values)
    rule = _rule(place, values, words)
    own = compare.routes.get(route)
    document: Mapping[str, object]
    if own is not None:
        routes = {**compare.routes, route: msgspec.structs.replace(own, rules=(*own.rules, rule))}
        document = {"compare": {"routes": {route: {"rules": [plain_section(rule)]}}}}
        return ConfigPatch(yaml_text(document), msgspec.structs.replace(compare, routes=routes))
    document = {"compare": {"rules": [plain_section(rule)]}}
    return ConfigPatch(yaml_text(document), msgspec.structs.replace(compare, rules=(*compare.rules, rule)))


def _rule(place: str, values: tuple[object, object], words: Declaration) -> RuleSettings:
    reason = words.reason or "REASON"
    limit_ms = _time_limit_ms(values)
    if limit_ms is not None:
        return RuleSettings(
            path=place, time_within_ms=limit_ms, owner=words.owner, reason=reason, expires=words.expires
        )
    left, right = map(number_of, values)
    if left is not None and right is not None:
        apart = abs(left - right)
        return RuleSettings(
            path=place, absolute=f"{apart.normalize():f}", owner=words.owner, reason=reason, expires=words.expires
        )
    return RuleSettings(path=place, ignore=True, owner=words.owner, reason=reason, expires=words.expires)


def _time_limit_ms(values: tuple[object, object]) -> int | None:
    """Return a round tolerance for two times, None for other values."""
    left, right = map(moment_of, values)
    if left is None or right is None:
        return None
    apart_ms = abs((left - right).total_seconds()) * 1000
    return next((limit for limit in (1_000, 10_000, 60_000, 600_000, 3_600_000) if apart_ms <= limit), 86_400_000)


def _table_patch(
    compare: CompareSettings, table: str, column: str, path: str, values: tuple[object, object]
) -> ConfigPatch:
    described = compare.tables.get(table)
    if described is None:
        text = yaml_text({"compare": {"tables": {table: {"natural_key": ["COLUMN"]}}}})
        return ConfigPatch(text, None, f"{table} is not described in compare.tables: name its natural key first")
    limit_ms = _time_limit_ms(values)
    if not path:
        volatile = Volatile(within_ms=limit_ms) if limit_ms is not None else Volatile(ignore=True)
        change: dict[str, object] = {"volatile": {column: plain_section(volatile)}}
        after = msgspec.structs.replace(described, volatile={**described.volatile, column: volatile})
    else:
        own = described.json.get(column)
        inside: dict[str, object] = {"within_ms": {path: limit_ms}} if limit_ms is not None else {"ignore": [path]}
        change = {"json": {column: inside}}
        merged: dict[str, Any] = msgspec.to_builtins(own) if own is not None else {}
        merged["ignore"] = [*merged.get("ignore", ()), *([path] if limit_ms is None else [])]
        merged["within_ms"] = {**merged.get("within_ms", {}), **({path: limit_ms} if limit_ms is not None else {})}
        tables = msgspec.to_builtins(described)
        tables["json"] = {**tables.get("json", {}), column: merged}
        after = msgspec.convert(tables, Table)
    return ConfigPatch(
        yaml_text({"compare": {"tables": {table: change}}}),
        msgspec.structs.replace(compare, tables={**compare.tables, table: after}),
    )


def plain_section(value: Any) -> Any:
    """Return a section as plain data, without members that have their default; dates stay dates."""
    if isinstance(value, msgspec.Struct):
        return {
            field.name: plain_section(own)
            for field in msgspec.structs.fields(value)
            if (own := getattr(value, field.name)) != default_of(field)
        }
    if isinstance(value, Mapping):
        return {str(name): plain_section(own) for name, own in cast("Mapping[Any, Any]", value).items()}
    if isinstance(value, tuple | list | frozenset):
        return [plain_section(own) for own in cast("Iterable[Any]", value)]
    return str(value) if isinstance(value, str) else msgspec.to_builtins(value, builtin_types=(dt.date,))


def default_of(field: msgspec.structs.FieldInfo) -> object:
    """Return the default of a field; msgspec.NODEFAULT for one that must be given."""
    return field.default_factory() if field.default_factory is not msgspec.NODEFAULT else field.default


def yaml_text(document: object) -> str:
    """Write plain data as YAML, in the order of its members."""
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=120)


def _name(title: str, taken: set[str]) -> str:
    """Return a unique name for a declaration: `registry-stamp-row-only-on-candidate`."""
    base = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")[:NAME_CHARS_MAX].strip("-") or "known"
    names = [base, *(f"{base}-{number}" for number in range(2, len(taken) + 3))]
    return next(name for name in names if name not in taken)
