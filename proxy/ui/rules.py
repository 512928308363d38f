"""The comparison rules in force: bodies, headers, tables and declared known differences."""

import datetime as dt
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from comparator.settings import CompareSettings
from comparator.store import queries
from comparator.store.rows import KnownTotal
from proxy.ui.parts import PartAnswer, asked
from proxy.ui.rule_words import rules_in_words
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
    lines = rule_lines(request.settings.compare, known.value, today=request.now.date())
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


def rule_lines(compare: CompareSettings, hits: Mapping[str, int] | None, *, today: dt.date) -> list[RuleLine]:
    """Return every rule of a section `compare:`, in the order of the file.

    Args:
        compare: the section.
        hits: comparisons by declaration, which are stored for declared differences only; None where the store does not answer.
        today: day by which rules expire.
    """
    return [
        RuleLine(
            rule.path,
            rule.applies_to,
            rule.allows,
            declaration,
            hits.get(declaration, 0) if rule.is_known and hits is not None else None,
            rule.owner,
            rule.expires,
            rule.is_known,
            rule.reason,
            expired=rule.expires is not None and rule.expires < today,
        )
        for declaration, rule in rules_in_words(compare).items()
    ]
