"""Compare the rows that both sides committed for one request. Pure.

The databases are aligned: before the request both contained the same rows. Only changed rows are captured, and only by their images
before and after. With + as the sum of multisets, for each natural key:

    both databases are equal afterwards   <=>   after(served) + before(mirrored) = after(mirrored) + before(served)

because live then contains `rows + after(served) - before(served)` and the shadow `rows + after(mirrored) - before(mirrored)`. Example:
both contain the row {address 0xA, points 1}; the served side sets points to 2, the mirrored side to 3:

    left  = after(served)   + before(mirrored) = {points 2} + {points 1}
    right = after(mirrored) + before(served)   = {points 3} + {points 1}

{points 1} cancels, and {points 2} remains against {points 3}: a difference of the column `points`. If the mirrored side does not change
the row at all, left is {points 2} and right is {points 1}: the same kind of difference, without a special case for a row that only one
side changed. The same holds for rows that share a natural key, and for rows that were deleted and inserted again under another id.
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
from comparator.exchanges.table_schema import NO_SCHEMA, Schemas, TableSchema
from comparator.rules.actions import ComparisonTime

PAIRS_MAX: Final = 2_500
"""Above this many possible pairs of rows of one natural key, rows are paired in the order of their values instead of by similarity."""


@dataclass(frozen=True, slots=True)
class SideEffects:
    """The transactions of one side.

    Attributes:
        transactions: the committed transactions in commit order.
        schemas: schemas of the tables in the side's database.
        lookup: natural keys of rows that the transactions do not contain.
        responded_lsn: log position at the time of the response; what is committed behind it is late. None when it is unknown.
    """

    transactions: Sequence[Transaction]
    schemas: Schemas = field(default_factory=dict[str, TableSchema])
    lookup: KeyLookup = no_lookup
    responded_lsn: int | None = None


@dataclass(frozen=True, slots=True)
class EffectsResult:
    """The differences between the effects of both sides.

    Attributes:
        differences: differences that no rule allows.
        rule_hits: places where a rule allowed a difference, or has expired.
        rows: numbers of rows with a net change: served, mirrored.
        undescribed: changed tables without a description in `compare.tables`; they were compared as multisets of whole rows.
        low_confidence: tables with differences that are marked `low_confidence`.
    """

    differences: tuple[Difference, ...] = ()
    rule_hits: tuple[RuleHit, ...] = ()
    rows: tuple[int, int] = (0, 0)
    undescribed: tuple[str, ...] = ()
    low_confidence: tuple[str, ...] = ()


@dataclass(slots=True)
class _KeyGroup:
    """The two multisets of one natural key (see the docstring of the module)."""

    left: list[ComparableRow] = field(default_factory=list[ComparableRow])
    right: list[ComparableRow] = field(default_factory=list[ComparableRow])


def compare_effects(
    served: SideEffects, mirrored: SideEffects, plans: Mapping[str, TablePlan], when: ComparisonTime
) -> EffectsResult:
    """Compare the rows that both sides committed for one request.

    Args:
        served: the serving side's transactions.
        mirrored: the mirrored side's transactions.
        plans: compiled description by table name.
        when: time of the comparison, by which rules expire.
    """
    tables = {name: plan.table for name, plan in plans.items()}
    schemas = served.schemas if served.schemas is mirrored.schemas else {**mirrored.schemas, **served.schemas}
    nets = (
        net_changes(served.transactions, schemas, responded_lsn=served.responded_lsn),
        net_changes(mirrored.transactions, schemas, responded_lsn=mirrored.responded_lsn),
    )
    groups: dict[tuple[str, NaturalKey], _KeyGroup] = {}
    keys = NaturalKeys(nets[0], tables, schemas, served.lookup), NaturalKeys(nets[1], tables, schemas, mirrored.lookup)
    resolved: dict[str, TablePlan] = {}
    undescribed: dict[str, tuple[list[NetChange], list[NetChange]]] = {}
    for side in (0, 1):
        for net in nets[side]:
            plan = plans.get(net.table)
            if plan is None:
                undescribed.setdefault(net.table, ([], []))[side].append(net)
                continue
            plan = resolved.get(net.table) or plan.with_schema(schemas.get(net.table, NO_SCHEMA))
            resolved[net.table] = plan
            _add_images(groups, net, plan, keys[side], side)
    collector = _DifferenceCollector(when)
    for (table, key), group in groups.items():
        if group.left or group.right:
            collector.add_group(resolved[table], key, group)
    differences = collector.differences
    differences += _truncates(served.transactions, mirrored.transactions)
    differences += [
        d for table, sides in undescribed.items() for d in _undescribed(table, schemas.get(table, NO_SCHEMA), *sides)
    ]
    return EffectsResult(
        tuple(differences),
        tuple(collector.rule_hits),
        (len(nets[0]), len(nets[1])),
        tuple(sorted(undescribed)),
        tuple(sorted({d.table for d in differences if d.table in plans and plans[d.table].table.low_confidence})),
    )


def _add_images(
    groups: dict[tuple[str, NaturalKey], _KeyGroup], net: NetChange, plan: TablePlan, keys: NaturalKeys, side: int
) -> None:
    """Add the image after to the side's own multiset, and the image before to the other one."""
    if net.after is not None:
        row = comparable_row(plan, net.after, keys, late=net.late, partial=net.before is UNKNOWN)
        group = groups.setdefault((net.table, keys.of(plan.table, net.after)), _KeyGroup())
        _add_or_cancel(group.left if side == 0 else group.right, row, group.right if side == 0 else group.left)
    if isinstance(net.before, Mapping):
        row = comparable_row(plan, net.before, keys, before=True)
        group = groups.setdefault((net.table, keys.of(plan.table, net.before)), _KeyGroup())
        _add_or_cancel(group.right if side == 0 else group.left, row, group.left if side == 0 else group.right)


def _add_or_cancel(rows: list[ComparableRow], row: ComparableRow, other: list[ComparableRow]) -> None:
    """Add a row to a multiset, or remove an exactly equal one from the other multiset.

    A partial row is never cancelled: it states that an image before is missing from the other multiset.
    """
    for index, candidate in enumerate(other):
        if candidate.raw == row.raw and candidate.late == row.late and not (candidate.partial or row.partial):
            del other[index]
            return
    rows.append(row)


class _DifferenceCollector:
    """Collect differences and rule hits, one natural key after another."""

    __slots__ = ("_when", "differences", "rule_hits")

    def __init__(self, when: ComparisonTime) -> None:
        self._when = when
        self.differences: list[Difference] = []
        self.rule_hits: list[RuleHit] = []

    def add_group(self, plan: TablePlan, key: NaturalKey, group: _KeyGroup) -> None:
        left, right = _drop_unmatched_before(group.left), _drop_unmatched_before(group.right)
        if len(left) * len(right) > PAIRS_MAX:
            left.sort(key=plan.sort_key)
            right.sort(key=plan.sort_key)
            self._pair_in_order(plan, key, left, right)
        else:
            self._pair_equal(plan, left, right)
            self._pair_nearest(plan, key, left, right)
        for row in left:
            self._add_unpaired(plan, key, row, Kind.MISSING_ROW)
        for row in right:
            self._add_unpaired(plan, key, row, Kind.EXTRA_ROW)

    def _pair_equal(self, plan: TablePlan, left: list[ComparableRow], right: list[ComparableRow]) -> None:
        for served in tuple(left):
            for mirrored in right:
                diff = plan.diff(served, mirrored, self._when)
                if not diff.differences and served.late == mirrored.late:
                    self.rule_hits += diff.rule_hits
                    left.remove(served)
                    right.remove(mirrored)
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
        left[:] = [row for i, row in enumerate(left) if i not in taken]
        right[:] = [row for j, row in enumerate(right) if j not in matched]

    def _pair_in_order(
        self, plan: TablePlan, key: NaturalKey, left: list[ComparableRow], right: list[ComparableRow]
    ) -> None:
        for served, mirrored in zip(left, right, strict=False):
            self._pair(plan, key, served, mirrored)
        paired = min(len(left), len(right))
        del left[:paired], right[:paired]

    def _pair(self, plan: TablePlan, key: NaturalKey, served: ComparableRow, mirrored: ComparableRow) -> None:
        diff = plan.diff(served, mirrored, self._when, natural_key=key)
        self.rule_hits += diff.rule_hits
        self.differences += diff.differences
        if served.late != mirrored.late:
            text = {True: "after the response", False: "before the response"}
            self.differences.append(Difference(Kind.LATE, (), text[served.late], text[mirrored.late], plan.name, key))

    def _add_unpaired(self, plan: TablePlan, key: NaturalKey, row: ComparableRow, kind: Kind) -> None:
        image = row.raw
        values: Mapping[Kind, tuple[object, object]] = {
            Kind.MISSING_ROW: (image, ABSENT),
            Kind.EXTRA_ROW: (ABSENT, image),
        }
        served, mirrored = values[kind]
        self.differences.append(Difference(kind, (), served, mirrored, plan.name, key))


def _drop_unmatched_before(rows: list[ComparableRow]) -> list[ComparableRow]:
    """Drop one image before for each update whose own image before is unknown.

    The databases were aligned, so the unknown image equals the other side's. Example: the served side's log contains only the new image of
    an update, {points 2}, and the mirrored side's log both, {points 1} -> {points 3}. Then left is {points 2} + {points 1} and right is
    {points 3}: {points 1} has no counterpart and is dropped.
    """
    surplus = sum(row.partial for row in rows)
    remaining: list[ComparableRow] = []
    for row in rows:
        if row.before and surplus:
            surplus -= 1
            continue
        remaining.append(row)
    return remaining


def _truncates(served: Sequence[Transaction], mirrored: Sequence[Transaction]) -> list[Difference]:
    left, right = truncated_tables(served), truncated_tables(mirrored)
    return [
        Difference(Kind.TRUNCATED_TABLE, (), table in left, table in right, table) for table in sorted(left ^ right)
    ]


def _undescribed(
    table: str, schema: TableSchema, served: list[NetChange], mirrored: list[NetChange]
) -> list[Difference]:
    """Compare rows of a table without a description as multisets of rows without their surrogate key; return one difference, or none."""
    left, right = _multiset(served, schema), _multiset(mirrored, schema)
    if left == right:
        return []
    return [Difference(Kind.UNDESCRIBED, (), f"{len(served)} rows", f"{len(mirrored)} rows", table)]


def _multiset(nets: list[NetChange], schema: TableSchema) -> list[str]:
    surrogate = frozenset(schema.surrogate_key)

    def text(image: Row | Unknown | None) -> str:
        if not isinstance(image, Mapping):
            return str(image)
        return repr(sorted((column, value) for column, value in image.items() if column not in surrogate))

    return sorted(f"{text(net.before)} {text(net.after)}" for net in nets)
