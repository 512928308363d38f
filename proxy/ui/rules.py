"""The rules in force with their hits, and a draft of a change: its effect on stored comparisons, and the patch for config.yaml."""

import asyncio
import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from comparator.findings.cases import open_case
from comparator.findings.rule_trial import ChangedPlace, changed_places
from comparator.settings import CompareSettings
from comparator.store import queries
from comparator.store.rows import RuleTotal
from comparator.store.stored_rule_trial import StoredRow, StoredTrial, try_on_stored
from comparator.verdict import Comparator
from proxy.ui.parts import PartAnswer, asked
from proxy.ui.rule_draft import DRAFT_CHARS_MAX, TEMPLATES, RuleDraft, draft_of, present_text
from proxy.ui.rule_words import rules_in_words
from proxy.ui.screens import FRESH_S, ScreenNotFoundError, ScreenRequest

TRIED_DAYS: Final = 14
TRIED_MAX: Final = 500
"""Comparisons that differ, and comparisons of any verdict, on which a draft is tried."""
EXEMPLARS_MAX: Final = 60
"""Stored examples that are compared again as a whole."""
PLACES_SHOWN: Final = 50
DRAFT_FRESH_S: Final = 30.0
"""Age at which the effect of a draft is computed again while its page is open: it is compared with hundreds of stored comparisons."""


@dataclass(frozen=True, slots=True)
class RuleLine:
    """One rule.

    Attributes:
        place: path, header, or table and column; of a known difference, its name.
        applies_to: the route, the table or `all routes`.
        action: what it allows, in words.
        declaration: its path in config.yaml.
        hits: comparisons that it applied to since `since`; None where the store does not answer.
        missed: comparisons that it would have applied to, but it had expired.
        owner: person or team; "" for none.
        expires: last day on which it holds; None for ever.
        is_known: it declares a known difference.
        reason: why, "" for none.
        places: of a known difference.
    """

    place: str
    applies_to: str
    action: str
    declaration: str
    hits: int | None
    missed: int
    owner: str
    expires: dt.date | None
    is_known: bool
    reason: str
    expired: bool
    places: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DraftEffect:
    """The effect of a draft on stored comparisons: the differences that it hides and reveals, by place."""

    tried: StoredTrial
    hidden: tuple[ChangedPlace, ...]
    revealed: tuple[ChangedPlace, ...]


@dataclass(frozen=True, slots=True)
class RulesDocument:
    """All rules, filtered by `filter`; `total` without the filter, `unused` without a hit; with a draft, and its effect."""

    rules: tuple[RuleLine, ...]
    total: int
    unused: int
    hits: PartAnswer[int]
    filter: str
    since: dt.date
    draft: RuleDraft | None
    effect: PartAnswer[DraftEffect]
    templates: tuple[str, ...] = tuple(TEMPLATES)


def fresh_s(query: Mapping[str, str]) -> float:
    """Return the age at which the document of a URL is read again."""
    return DRAFT_FRESH_S if "draft" in query or "edit" in query else FRESH_S


async def read(request: ScreenRequest) -> RulesDocument:
    """Read the rules in force, the ones that apply most first, and try the draft of the URL.

    Raises:
        ScreenNotFoundError: the URL names a rule that is not in force.
    """
    since = (request.now - dt.timedelta(days=1)).date()

    async def totals() -> Mapping[str, RuleTotal]:
        async with request.reader.store.connection() as conn:
            applied = {total.rule: total for total in await queries.rule_totals(conn, since=since)}
            for known in await queries.known_totals(conn, since=since):
                before = applied.get(known.declaration) or RuleTotal(known.declaration, 0, 0, ())
                applied[known.declaration] = RuleTotal(known.declaration, before.hits + known.count, before.expired, ())
            return applied

    answer = await asked(totals)
    lines = rule_lines(request.settings.compare, answer.value, today=request.now.date())
    wanted = request.query.get("filter", "").strip()
    shown = [
        line
        for line in lines
        if wanted.lower() in " ".join((line.place, line.applies_to, line.action, *line.places)).lower()
    ]
    shown.sort(key=lambda line: (-(line.hits or 0), line.declaration))
    draft = _draft(request)
    nothing: PartAnswer[DraftEffect] = PartAnswer()
    after = draft.patch.compare if draft and draft.patch.text else None
    return RulesDocument(
        tuple(shown),
        len(lines),
        sum(line.hits == 0 for line in lines),
        PartAnswer(None if answer.value is None else sum(total.hits for total in answer.value.values()), answer.error),
        wanted,
        since,
        draft,
        nothing if after is None else await asked(lambda: _tried(request, after)),
    )


def _draft(request: ScreenRequest) -> RuleDraft | None:
    """Return the draft of a URL: `edit` names the rule that is changed, `new` the kind of one that is added, `draft` is its text."""
    compare, query = request.settings.compare, request.query
    edited, kind, text = query.get("edit", ""), query.get("new", ""), query.get("draft")
    if not edited and kind not in TEMPLATES:
        return None
    present = present_text(compare, edited) if edited else TEMPLATES[kind]
    if present is None:
        raise ScreenNotFoundError(f"no rule {edited[:200]!r} is in force")
    if text is None and not edited:
        # (a template is nothing to be tried: its names stand for others)
        return RuleDraft("", present, draft_of(compare, "", "{}").patch)
    return draft_of(compare, edited, (present if text is None else text)[:DRAFT_CHARS_MAX])


async def _tried(request: ScreenRequest, after: CompareSettings) -> DraftEffect:
    since = request.now - dt.timedelta(days=TRIED_DAYS)
    async with request.reader.store.connection() as conn:
        details = await queries.newest_details(conn, since=since, limit=TRIED_MAX)
        cases = await queries.newest_exemplars(conn, limit=EXEMPLARS_MAX)
    rows = [StoredRow(*one) for one in details]
    ids = list(dict.fromkeys([*(row.exchange_id for row in rows), *(case.exchange for case in cases)]))

    def tried() -> StoredTrial:
        old, new = Comparator(request.settings.compare), Comparator(after)
        return try_on_stored(old, new, ids, rows, [open_case(case) for case in cases], now=request.now)

    result = await asyncio.to_thread(tried)
    hidden, revealed = changed_places(result.trial.hidden), changed_places(result.trial.revealed)
    return DraftEffect(result, hidden[:PLACES_SHOWN], revealed[:PLACES_SHOWN])


def rule_lines(compare: CompareSettings, totals: Mapping[str, RuleTotal] | None, *, today: dt.date) -> list[RuleLine]:
    """Return every rule of a section `compare:`, in the order of the file.

    Args:
        compare: the section.
        totals: comparisons by the path of the rule; None where the store does not answer.
        today: day by which rules expire.
    """
    nothing = RuleTotal("", 0, 0, ())
    return [
        RuleLine(
            rule.path,
            rule.applies_to,
            rule.allows,
            declaration,
            totals.get(declaration, nothing).hits if totals is not None else None,
            totals.get(declaration, nothing).expired if totals is not None else 0,
            rule.owner,
            rule.expires,
            rule.is_known,
            rule.reason,
            expired=rule.expires is not None and rule.expires < today,
            places=rule.places,
        )
        for declaration, rule in rules_in_words(compare).items()
    ]
