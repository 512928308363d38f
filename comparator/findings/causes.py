"""Name the causes that were solved, and keep their names while the evidence grows. Pure.

A cause is named after its title: the most telling of the tokens that it always shows, and its id is a digest of it, so two installations agree.
When causes are solved again, each keeps its id by its title, or else by the exchanges that it has in common with before. An id that no
cause carries any more points to the cause that has most of its exchanges, so that an acknowledgement does not vanish.
"""

import datetime as dt
import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec

from comparator.findings.cause_solver import SETS_SOLVED_MAX, Solution, SolvedCause, solve
from comparator.findings.clustering import Severity, severity_of
from comparator.findings.tokens import Token
from comparator.stats.distinct_sketch import distinct, merged

PROVISIONAL_BELOW: Final = 3
"""With fewer exchanges a cause may be chance: it is shown below the others, and raises no alert."""
ONE_KEY_BELOW: Final = 30
"""As long as all of a cause's exchanges have one key, it needs this many to be more than provisional."""
_SEVERITIES: Final = tuple(Severity)


@dataclass(frozen=True, slots=True)
class FindingSet:
    """Findings that occurred together, and the exchanges in which just they did.

    Attributes:
        id: id of the set.
        route: route of its exchanges.
        findings: token of each finding, by the finding's id.
        count: number of exchanges.
        first_seen: time at which the first of them was served.
        last_seen: time at which the last of them was served.
        first_release: label of the releases of the first one.
        last_release: label of the releases of the last one.
        keys: sketch of their ordering keys.
        has_exemplar: an exchange of it is stored as an example.
    """

    id: str
    route: str
    findings: Mapping[str, Token]
    count: int
    first_seen: dt.datetime
    last_seen: dt.datetime
    first_release: str = ""
    last_release: str = ""
    keys: Sequence[int] = ()
    has_exemplar: bool = True

    @property
    def tokens(self) -> frozenset[Token]:
        """The tokens of the findings."""
        return frozenset(self.findings.values())


class ShownToken(msgspec.Struct, frozen=True):
    """A token that a cause shows, and the share of its exchanges in which it does."""

    token: Token
    share: float


class CauseBody(msgspec.Struct, frozen=True):
    """The places that a cause shows: `title` is the most telling token, `always` and `sometimes` begin with the most telling."""

    title: Token
    always: tuple[ShownToken, ...]
    sometimes: tuple[ShownToken, ...] = ()
    exemplar: str = ""


@dataclass(frozen=True, slots=True)
class KnownCause:
    """A cause of the last solution: its id, its title, and the sets that were assigned to it."""

    id: str
    title: Token
    sets: frozenset[str]
    first_seen: dt.datetime
    merged: bool = False


@dataclass(frozen=True, slots=True)
class Cause:
    """A cause: what one fault makes differ, over fields, tables and routes.

    Attributes:
        id: short stable id.
        body: what it shows.
        severity: the gravest of what it always shows.
        exchanges: number of exchanges that have it.
        keys: number of different ordering keys among them.
        provisional: there is too little of it to be sure that it is more than chance.
        sets: ids of the sets of findings that have it.
        findings: ids of the findings that it shows.
        first_seen: time at which its first exchange was served.
        last_seen: time at which its last exchange was served.
        first_release: label of the releases with which it was first seen.
        last_release: label of the releases with which it was last seen.
    """

    id: str
    body: CauseBody
    severity: Severity
    exchanges: int
    keys: int
    provisional: bool
    sets: frozenset[str]
    findings: frozenset[str]
    first_seen: dt.datetime
    last_seen: dt.datetime
    first_release: str
    last_release: str


@dataclass(frozen=True, slots=True)
class NamedCauses:
    """Causes, the largest first; and for each id that none of them carries any more, the id of the cause that it has become."""

    causes: tuple[Cause, ...] = ()
    merged: Mapping[str, str] = field(default_factory=dict[str, str])


def cause_id(title: Token, number: int = 0) -> str:
    """Return the id of a cause by its title; `number` tells causes apart that have no other title left."""
    text = title.name + (f"#{number}" if number else "")
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:12]


def find_causes(
    sets: Sequence[FindingSet], known: Iterable[KnownCause] = (), *, sets_max: int = SETS_SOLVED_MAX
) -> NamedCauses:
    """Solve the causes of sets, and name them as they were named before.

    Args:
        sets: all sets of findings.
        known: the causes of the last solution, and the ids that were merged into others.
        sets_max: distinct sets to solve from.
    """
    tokens = {one.id: one.tokens for one in sets}
    counts = Counter[frozenset[Token]]()
    for one in sets:
        counts[tokens[one.id]] += one.count
    solution = solve(counts, sets_max=sets_max)
    members: list[list[FindingSet]] = [[] for _ in solution.causes]
    causes_of: dict[str, int] = {}
    for one in sets:
        own = solution.assigned[tokens[one.id]]
        causes_of[one.id] = len(own)
        for number in own:
            members[number].append(one)
    titles = _titles(solution, members, sets)
    ids, merged_ids = _carry_over(titles, members, tuple(known))
    return NamedCauses(
        tuple(
            _cause(ids[number], title, solution.causes[number], members[number], causes_of)
            for number, title in enumerate(titles)
        ),
        merged_ids,
    )


# Titles.


def _titles(solution: Solution, members: Sequence[Sequence[FindingSet]], sets: Sequence[FindingSet]) -> list[Token]:
    """Choose a title for each cause, the largest first: no two have the same as long as there are others to choose from."""
    totals = Counter[Token]()
    for one in sets:
        totals.update(dict.fromkeys(one.tokens, one.count))
    taken: set[Token] = set()
    titles: list[Token] = []
    for number, cause in enumerate(solution.causes):
        own = Counter[Token]()
        for one in members[number]:
            own.update(dict.fromkeys(one.tokens, one.count))
        anchor = sorted(cause.anchor, key=lambda token: _telling(token, own, totals))
        rest = sorted(cause.core - cause.anchor, key=lambda token: _telling(token, own, totals))
        title = next((token for token in (*anchor, *rest) if token not in taken), anchor[0])
        taken.add(title)
        titles.append(title)
    return titles


def _telling(token: Token, own: Counter[Token], totals: Counter[Token]) -> tuple[int, int, int, int, str]:
    """Sort tokens by how much they tell: the level, then how specific to the cause, in fifths, then the depth of the place."""
    specific = own[token] / max(1, totals[token])
    return int(token.level), -int(specific * 5), token.place.count("."), token.place.count("*"), token.name


# Ids.


def _carry_over(
    titles: Sequence[Token], members: Sequence[Sequence[FindingSet]], known: Sequence[KnownCause]
) -> tuple[list[str], dict[str, str]]:
    """Return the id of each cause, and what has become of the ids that none carries any more."""
    ids = _by_title(titles, known)
    shared = [
        {one.id: sum(s.count for s in sets if s.id in one.sets) for one in known if not one.merged} for sets in members
    ]
    counts = {s.id: s.count for sets in members for s in sets}
    oldest_first = sorted((one for one in known if not one.merged), key=lambda one: (one.first_seen, one.id))
    for one in oldest_first:
        unnamed = [number for number in range(len(titles)) if number not in ids]
        if one.id in ids.values() or not unnamed:
            continue
        own = sum(counts.get(identity, 0) for identity in one.sets)
        best = max(unnamed, key=lambda number, one=one: (shared[number][one.id], -number))
        if 2 * shared[best][one.id] >= max(1, min(own, sum(s.count for s in members[best]))):
            ids[best] = one.id
    reserved = {one.id for one in known}
    for number, title in enumerate(titles):
        if number not in ids:
            ids[number] = _new_id(title, reserved | set(ids.values()))
    heirs: dict[str, str] = {}
    for one in oldest_first:
        heir = max(range(len(titles)), key=lambda number, one=one: (shared[number][one.id], -number), default=None)
        if one.id not in ids.values() and heir is not None and shared[heir][one.id]:
            heirs[one.id] = ids[heir]
    return [ids[number] for number in range(len(titles))], heirs


def _by_title(titles: Sequence[Token], known: Sequence[KnownCause]) -> dict[int, str]:
    """Return the ids of the causes that have the title of a known one; the largest comes first."""
    by_title = {one.title: one.id for one in known}
    ids: dict[int, str] = {}
    for number, title in enumerate(titles):
        identity = by_title.get(title)
        if identity is not None and identity not in ids.values():
            ids[number] = identity
    return ids


def _new_id(title: Token, reserved: set[str]) -> str:
    number = 0
    while (identity := cause_id(title, number)) in reserved:
        number += 1
    return identity


# Figures.


def _cause(
    identity: str,
    title: Token,
    solved: SolvedCause,
    members: Sequence[FindingSet],
    causes_of: Mapping[str, int],
) -> Cause:
    exchanges = sum(one.count for one in members)
    keys = merged(one.keys for one in members)
    shown = solved.core | solved.conditional
    oldest, newest = min(members, key=_first), max(members, key=_last)
    return Cause(
        id=identity,
        body=CauseBody(
            title,
            _shown(solved.core, members, first=title),
            _shown(solved.conditional, members),
            _exemplar(title, members, causes_of),
        ),
        severity=min((severity_of(token.kind) for token in solved.core), key=_SEVERITIES.index),
        exchanges=exchanges,
        keys=distinct(keys),
        provisional=exchanges < PROVISIONAL_BELOW or (len(keys) == 1 and exchanges < ONE_KEY_BELOW),
        sets=frozenset(one.id for one in members),
        findings=frozenset(f for one in members for f, token in one.findings.items() if token in shown),
        first_seen=oldest.first_seen,
        last_seen=newest.last_seen,
        first_release=oldest.first_release,
        last_release=newest.last_release,
    )


def _first(one: FindingSet) -> tuple[dt.datetime, str]:
    return one.first_seen, one.id


def _last(one: FindingSet) -> tuple[dt.datetime, str]:
    return one.last_seen, one.id


def _shown(
    tokens: Iterable[Token], members: Sequence[FindingSet], *, first: Token | None = None
) -> tuple[ShownToken, ...]:
    """Return tokens with their shares: `first`, then by level and share."""
    total = sum(one.count for one in members)
    seen = Counter[Token]()
    for one in members:
        seen.update(dict.fromkeys(one.tokens, one.count))
    shown = [ShownToken(token, seen[token] / max(1, total)) for token in tokens if seen[token]]
    return tuple(sorted(shown, key=lambda s: (s.token != first, s.token.level, -s.share, s.token.name)))


def _exemplar(title: Token, members: Sequence[FindingSet], causes_of: Mapping[str, int]) -> str:
    """Return the set that shows the cause best: the title and the fewest other causes, then the fewest findings, then the newest."""
    best = min(
        members,
        key=lambda one: (
            not one.has_exemplar,
            title not in one.tokens,
            causes_of[one.id],
            len(one.findings),
            -one.last_seen.timestamp(),
            one.id,
        ),
    )
    return best.id


# Comparison of two runs or days.


@dataclass(frozen=True, slots=True)
class CauseChange:
    """The exchanges of a cause on two sides of a comparison: two days, or two runs."""

    id: str
    title: str
    before: int
    after: int

    @property
    def outcome(self) -> str:
        """`new`, `gone` or `both`."""
        if not self.before:
            return "new"
        return "both" if self.after else "gone"


def compare_causes(
    before: Mapping[str, int], after: Mapping[str, int], titles: Mapping[str, str]
) -> tuple[CauseChange, ...]:
    """Compare the exchanges of each cause on two sides: new causes first, then the gone ones, then the largest.

    Args:
        before: exchanges by id.
        after: exchanges by id.
        titles: title by id.
    """
    changes = [
        CauseChange(identity, titles.get(identity, ""), before.get(identity, 0), after.get(identity, 0))
        for identity in before.keys() | after.keys()
        if before.get(identity) or after.get(identity)
    ]
    order = ("new", "gone", "both")
    return tuple(sorted(changes, key=lambda c: (order.index(c.outcome), -max(c.before, c.after), c.id)))
