"""Compares the committed effects of both sides of one request.

Pure. The databases are aligned: before the request both held the same rows. So the rows after it are the same exactly when
`after(served) + before(mirrored)` and `after(mirrored) + before(served)` are the same multisets of meaning, for each natural
key. This covers rows that only one side touched, multisets and rows deleted and inserted again, without special cases.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from comparator.effects.net_changes import (
    KeyLookup,
    NaturalKeys,
    NetChange,
    net_changes,
    no_lookup,
    truncated_tables,
)
from comparator.effects.row_diff import ComparableRow, TablePlan, comparable_row
from comparator.effects.row_fold import UNKNOWN, Unknown
from comparator.exchanges.difference import Difference, Kind, NaturalKey, RuleHit
from comparator.exchanges.json_values import ABSENT
from comparator.exchanges.row_changes import Row, Transaction
from comparator.rules.actions import ComparisonTime

PAIRS_MAX: Final = 2_500
"""Beyond this many candidate pairs of rows of one natural key, rows are paired in the order of their values, not by likeness."""


@dataclass(frozen=True, slots=True)
class SideEffects:
    """What one side committed, and what is needed to read it.

    `lookup` knows natural keys of rows outside the set. `responded_lsn` is the log position at the time of the response:
    what commits beyond it is late; None when it was not taken.
    """

    transactions: Sequence[Transaction]
    lookup: KeyLookup = no_lookup
    responded_lsn: int | None = None


@dataclass(frozen=True, slots=True)
class EffectsResult:
    """What differs between two effect sets.

    `rows` counts net changed rows (served, mirrored). `undescribed` names tables that the configuration does not
    describe: they were compared as multisets of whole rows. `low_confidence` names differing tables so marked.
    """

    differences: tuple[Difference, ...] = ()
    rule_hits: tuple[RuleHit, ...] = ()
    rows: tuple[int, int] = (0, 0)
    undescribed: tuple[str, ...] = ()
    low_confidence: tuple[str, ...] = ()


@dataclass(slots=True)
class _KeyGroup:
    """The rows of one natural key: what each multiset holds (see the module's docstring)."""

    left: list[ComparableRow] = field(default_factory=list[ComparableRow])
    right: list[ComparableRow] = field(default_factory=list[ComparableRow])


def compare_effects(
    served: SideEffects, mirrored: SideEffects, plans: Mapping[str, TablePlan], when: ComparisonTime
) -> EffectsResult:
    """Compare what both sides committed for one request."""
    tables = {name: plan.table for name, plan in plans.items()}
    nets = (
        net_changes(served.transactions, tables, responded_lsn=served.responded_lsn),
        net_changes(mirrored.transactions, tables, responded_lsn=mirrored.responded_lsn),
    )
    groups: dict[tuple[str, NaturalKey], _KeyGroup] = {}
    keys = NaturalKeys(nets[0], tables, served.lookup), NaturalKeys(nets[1], tables, mirrored.lookup)
    unknown: dict[str, tuple[list[NetChange], list[NetChange]]] = {}
    for side in (0, 1):
        for net in nets[side]:
            plan = plans.get(net.table)
            if plan is None:
                unknown.setdefault(net.table, ([], []))[side].append(net)
                continue
            _add_images(groups, net, plan, keys[side], side)
    found = _DifferenceCollector(when)
    for (table, key), group in groups.items():
        if group.left or group.right:
            found.add_group(plans[table], key, group)
    differences = found.differences
    differences += _truncates(served.transactions, mirrored.transactions)
    differences += [d for table, sides in unknown.items() for d in _undescribed(table, *sides)]
    return EffectsResult(
        tuple(differences),
        tuple(found.rule_hits),
        (len(nets[0]), len(nets[1])),
        tuple(sorted(unknown)),
        tuple(sorted({d.table for d in differences if d.table in plans and plans[d.table].table.low_confidence})),
    )


def _add_images(
    groups: dict[tuple[str, NaturalKey], _KeyGroup], net: NetChange, plan: TablePlan, keys: NaturalKeys, side: int
) -> None:
    """Put both images of a row into the multisets they belong to."""
    if net.after is not None:
        meaning = comparable_row(plan, net.after, keys, late=net.late, partial=net.before is UNKNOWN)
        group = groups.setdefault((net.table, keys.of(plan.table, net.after)), _KeyGroup())
        _add_or_cancel(group.left if side == 0 else group.right, meaning, group.right if side == 0 else group.left)
    if isinstance(net.before, Mapping):
        meaning = comparable_row(plan, net.before, keys, before=True)
        group = groups.setdefault((net.table, keys.of(plan.table, net.before)), _KeyGroup())
        _add_or_cancel(group.right if side == 0 else group.left, meaning, group.left if side == 0 else group.right)


def _add_or_cancel(to: list[ComparableRow], meaning: ComparableRow, other: list[ComparableRow]) -> None:
    """Add a row, or cancel it against an exactly equal one of the other multiset.

    A partial one stays: it says that an image before is missing from the other multiset.
    """
    for index, candidate in enumerate(other):
        if (
            candidate.raw == meaning.raw
            and candidate.late == meaning.late
            and not (candidate.partial or meaning.partial)
        ):
            del other[index]
            return
    to.append(meaning)


class _DifferenceCollector:
    """Collects what differs, group by group."""

    __slots__ = ("_when", "differences", "rule_hits")

    def __init__(self, when: ComparisonTime) -> None:
        self._when = when
        self.differences: list[Difference] = []
        self.rule_hits: list[RuleHit] = []

    def add_group(self, plan: TablePlan, key: NaturalKey, group: _KeyGroup) -> None:
        left, right = _without_unmatched_befores(group.left), _without_unmatched_befores(group.right)
        if len(left) * len(right) > PAIRS_MAX:
            left.sort(key=plan.sort_key)
            right.sort(key=plan.sort_key)
            self._pair_in_order(plan, key, left, right)
        else:
            self._pair_equal(plan, left, right)
            self._pair_nearest(plan, key, left, right)
        for meaning in left:
            self._add_unpaired(plan, key, meaning, Kind.MISSING_ROW)
        for meaning in right:
            self._add_unpaired(plan, key, meaning, Kind.EXTRA_ROW)

    def _pair_equal(self, plan: TablePlan, left: list[ComparableRow], right: list[ComparableRow]) -> None:
        for mine in tuple(left):
            for theirs in right:
                cells = plan.diff(mine, theirs, self._when)
                if not cells.differences and mine.late == theirs.late:
                    self.rule_hits += cells.rule_hits
                    left.remove(mine)
                    right.remove(theirs)
                    break

    def _pair_nearest(
        self, plan: TablePlan, key: NaturalKey, left: list[ComparableRow], right: list[ComparableRow]
    ) -> None:
        pairs = [(i, j) for i in range(len(left)) for j in range(len(right))]
        if len(pairs) > 1:
            pairs.sort(key=lambda p: len(plan.diff(left[p[0]], right[p[1]], self._when).differences))
        taken: set[int] = set()
        matched: set[int] = set()
        for i, j in pairs:
            if i in taken or j in matched:
                continue
            taken.add(i)
            matched.add(j)
            self._pair(plan, key, left[i], right[j])
        left[:] = [meaning for i, meaning in enumerate(left) if i not in taken]
        right[:] = [meaning for j, meaning in enumerate(right) if j not in matched]

    def _pair_in_order(
        self, plan: TablePlan, key: NaturalKey, left: list[ComparableRow], right: list[ComparableRow]
    ) -> None:
        for mine, theirs in zip(left, right, strict=False):
            self._pair(plan, key, mine, theirs)
        paired = min(len(left), len(right))
        del left[:paired], right[:paired]

    def _pair(self, plan: TablePlan, key: NaturalKey, mine: ComparableRow, theirs: ComparableRow) -> None:
        cells = plan.diff(mine, theirs, self._when, natural_key=key)
        self.rule_hits += cells.rule_hits
        self.differences += cells.differences
        if mine.late != theirs.late:
            words = {True: "after the response", False: "before the response"}
            self.differences.append(Difference(Kind.LATE, (), words[mine.late], words[theirs.late], plan.name, key))

    def _add_unpaired(self, plan: TablePlan, key: NaturalKey, meaning: ComparableRow, kind: Kind) -> None:
        row = meaning.display()
        values: Mapping[Kind, tuple[object, object]] = {
            Kind.MISSING_ROW: (row, ABSENT),
            Kind.EXTRA_ROW: (ABSENT, row),
        }
        served, mirrored = values[kind]
        self.differences.append(Difference(kind, (), served, mirrored, plan.name, key))


def _without_unmatched_befores(rows: list[ComparableRow]) -> list[ComparableRow]:
    """Drop as many images before (of the other side) as there are updates whose own image before is unknown.

    The databases were aligned, so the unknown image is the one the other side carries.
    """
    spare = sum(meaning.partial for meaning in rows)
    kept: list[ComparableRow] = []
    for meaning in rows:
        if meaning.before and spare:
            spare -= 1
            continue
        kept.append(meaning)
    return kept


def _truncates(served: Sequence[Transaction], mirrored: Sequence[Transaction]) -> list[Difference]:
    left, right = truncated_tables(served), truncated_tables(mirrored)
    return [
        Difference(Kind.TRUNCATED_TABLE, (), table in left, table in right, table) for table in sorted(left ^ right)
    ]


def _undescribed(table: str, served: list[NetChange], mirrored: list[NetChange]) -> list[Difference]:
    """Rows of a table nobody described: equal as multisets of rows without `id`, or one difference that says so."""
    left, right = _without_id(served), _without_id(mirrored)
    if left == right:
        return []
    return [Difference(Kind.UNDESCRIBED, (), f"{len(served)} rows", f"{len(mirrored)} rows", table)]


def _without_id(nets: list[NetChange]) -> list[str]:
    def text(image: Row | Unknown | None) -> str:
        if not isinstance(image, Mapping):
            return str(image)
        return repr(sorted((column, value) for column, value in image.items() if column != "id"))

    return sorted(f"{text(net.before)} {text(net.after)}" for net in nets)
