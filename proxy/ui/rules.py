"""The comparison rules in force: bodies, headers, tables and declared known differences."""

import datetime as dt
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from comparator.settings import CompareSettings, KnownPlace, RuleSettings
from comparator.store import queries
from comparator.store.rows import KnownTotal
from proxy.ui.parts import PartAnswer, asked
from proxy.ui.screens import ScreenRequest


@dataclass(frozen=True, slots=True)
class RuleLine:
    """One rule.

    Attributes:
        place: path, header, or table and column.
        applies_to: the route, the table or `all routes`.
        action: what it allows, in words.
        declaration: its path in config.yaml.
        hits: comparisons that it applied to since `since`; None where that is not stored.
        owner: person or team; "" for none.
        expires: last day on which it holds; None for ever.
        is_known: it declares a known difference.
        reason: why, "" for none.
    """

    place: str
    applies_to: str
    action: str
    declaration: str
    hits: int | None
    owner: str
    expires: dt.date | None
    is_known: bool
    reason: str
    expired: bool


@dataclass(frozen=True, slots=True)
class RulesDocument:
    """All rules, filtered by `filter`; `total` without the filter."""

    rules: tuple[RuleLine, ...]
    total: int
    hits: PartAnswer[int]
    filter: str
    since: dt.date


async def read(request: ScreenRequest) -> RulesDocument:
    """Read the rules in force, the ones that apply most first."""
    since = (request.now - dt.timedelta(days=1)).date()

    async def totals() -> Mapping[str, int]:
        async with request.reader.store.connection() as conn:
            return _by_declaration(await queries.known_totals(conn, since=since))

    known = await asked(totals)
    lines = rule_lines(request.settings.compare, known.value or {}, today=request.now.date())
    wanted = request.query.get("filter", "").strip()
    shown = [line for line in lines if wanted.lower() in f"{line.place} {line.applies_to} {line.action}".lower()]
    shown.sort(key=lambda line: (-(line.hits or 0), line.declaration))
    hits = PartAnswer(None if known.value is None else sum(known.value.values()), known.error)
    return RulesDocument(tuple(shown), len(lines), hits, wanted, since)


def _by_declaration(totals: Iterable[KnownTotal]) -> Mapping[str, int]:
    counts: dict[str, int] = {}
    for total in totals:
        counts[total.declaration] = counts.get(total.declaration, 0) + total.count
    return counts


def rule_lines(compare: CompareSettings, hits: Mapping[str, int], *, today: dt.date) -> list[RuleLine]:
    """Return every rule of a section `compare:`, in the order of the file.

    Args:
        compare: the section.
        hits: comparisons by declaration.
        today: day by which rules expire.
    """
    lines = [
        _body_line(rule, "all routes", f"compare.rules[{index}]", hits, today)
        for index, rule in enumerate(compare.rules)
    ]
    for name, route in compare.routes.items():
        lines += [
            _body_line(rule, f"route {name}", f"compare.routes.{name}.rules[{index}]", hits, today)
            for index, rule in enumerate(route.rules)
        ]
        lines += _header_lines(route.headers.ignore, f"route {name}", f"compare.routes.{name}.headers.ignore", hits)
    lines += _header_lines(compare.headers.ignore, "all routes", "compare.headers.ignore", hits)
    lines += _table_lines(compare, hits)
    for known in compare.known_differences:
        declaration = f"compare.known_differences[{known.name}]"
        lines.append(
            RuleLine(
                "; ".join(place_text(place) for place in known.where),
                f"routes {', '.join(known.routes)}" if known.routes else "all routes",
                known.name,
                declaration,
                hits.get(declaration, 0),
                known.owner,
                known.expires,
                is_known=True,
                reason=known.reason + (f" [{known.ticket}]" if known.ticket else ""),
                expired=known.expires is not None and known.expires < today,
            )
        )
    return lines


def place_text(place: KnownPlace) -> str:
    """Return a place of a declared difference: `registry_event.data.provider (extra_row)`."""
    parts = (place.table, place.column, place.path, f"header {place.header}" if place.header else "")
    text = ".".join(part for part in parts if part) or "status"
    return f"{text} ({place.kind})" if place.kind else text


def _body_line(
    rule: RuleSettings, applies_to: str, declaration: str, hits: Mapping[str, int], today: dt.date
) -> RuleLine:
    expired = rule.expires is not None and rule.expires < today
    return RuleLine(
        rule.path,
        applies_to,
        action_of(rule),
        declaration,
        hits.get(declaration),
        rule.owner,
        rule.expires,
        is_known=False,
        reason=rule.reason,
        expired=expired,
    )


def action_of(rule: RuleSettings) -> str:
    """Return what a rule allows, in words."""
    if rule.ignore:
        return "ignored"
    if rule.time_within_ms is not None:
        return f"within {rule.time_within_ms / 1000:g} s"
    if rule.absolute is not None:
        return f"at most {rule.absolute} apart"
    if rule.relative is not None:
        return f"at most a share of {rule.relative} apart"
    if rule.places is not None:
        return f"equal at {rule.places} decimal places"
    if rule.generated:
        return f"but for {rule.generated}"
    if rule.same:
        return f"same {rule.same}"
    if rule.unordered:
        return "in any order"
    return f"keyed by {', '.join(rule.key_by)}"


def _header_lines(names: Iterable[str], applies_to: str, declaration: str, hits: Mapping[str, int]) -> list[RuleLine]:
    return [_plain_line(f"header {name}", applies_to, "ignored", declaration, hits) for name in names]


def _table_lines(compare: CompareSettings, hits: Mapping[str, int]) -> list[RuleLine]:
    lines: list[RuleLine] = []
    for name, table in compare.tables.items():
        place = f"compare.tables.{name}"
        lines += [
            _plain_line(column, f"table {name}", "ignored", f"{place}.ignore_columns", hits)
            for column in table.ignore_columns
        ]
        for column, volatile in table.volatile.items():
            action = (
                "ignored"
                if volatile.ignore
                else f"within {volatile.within_ms / 1000:g} s"
                if volatile.within_ms is not None
                else f"but for {volatile.generated}"
            )
            lines.append(_plain_line(column, f"table {name}", action, f"{place}.volatile.{column}", hits))
        for column, json in table.json.items():
            own = f"{place}.json.{column}"
            lines += [
                _plain_line(f"{column}.{path}", f"table {name}", "ignored", f"{own}.ignore", hits)
                for path in json.ignore
            ]
            lines += [
                _plain_line(f"{column}.{path}", f"table {name}", f"within {ms / 1000:g} s", f"{own}.within_ms", hits)
                for path, ms in json.within_ms.items()
            ]
    return lines


def _plain_line(place: str, applies_to: str, action: str, declaration: str, hits: Mapping[str, int]) -> RuleLine:
    return RuleLine(
        place,
        applies_to,
        action,
        declaration,
        hits.get(declaration),
        "",
        None,
        is_known=False,
        reason="",
        expired=False,
    )
