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

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from comparator.effects.natural_keys import KeyLookup, NaturalKeys, no_lookup
from comparator.effects.net_changes import NetChange, net_changes, truncated_tables
from comparator.effects.row_diff import ComparableRow, TablePlan, comparable_row
from comparator.effects.row_fold import UNKNOWN
from comparator.exchanges.difference import Difference, Kind, NaturalKey, RuleHit
from comparator.exchanges.json_values import ABSENT
from comparator.exchanges.row_changes import Transaction
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
        undescribed: changed tables without a description in `compare.tables`; they were compared by the keys of the catalogue.
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


@dataclass(frozen=True, slots=True)
class NetEffects:
    """The net changes of both sides, with what identifies and compares their rows.

    Attributes:
        nets: net changes of the served and the mirrored side.
        plans: plan of each changed table.
        keys: natural keys of the served and the mirrored side's rows.
    """

    nets: tuple[Sequence[NetChange], Sequence[NetChange]]
    plans: Mapping[str, TablePlan]
    keys: tuple[NaturalKeys, NaturalKeys]


def net_effects(served: SideEffects, mirrored: SideEffects, plans: Mapping[str, TablePlan]) -> NetEffects:
    """Reduce the transactions of both sides to net changes, and find the natural keys of their rows.

    Args:
        served: the serving side's transactions.
        mirrored: the mirrored side's transactions.
        plans: compiled description by table name; other tables are identified by the catalogue.
    """
    schemas = served.schemas if served.schemas is mirrored.schemas else {**mirrored.schemas, **served.schemas}
    nets = (
        net_changes(served.transactions, schemas, responded_lsn=served.responded_lsn),
        net_changes(mirrored.transactions, schemas, responded_lsn=mirrored.responded_lsn),
    )
    changed = dict.fromkeys(net.table for net in (*nets[0], *nets[1]))
    resolved = {table: _plan(plans.get(table), table, schemas.get(table, NO_SCHEMA)) for table in changed}
    identities = {table: plan.identity for table, plan in resolved.items()}
    keys = (
        NaturalKeys(nets[0], nets[1], identities, schemas, served.lookup),
        NaturalKeys(nets[1], nets[0], identities, schemas, mirrored.lookup),
    )
    return NetEffects(nets, resolved, keys)


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
    effects = net_effects(served, mirrored, plans)
    nets, resolved, keys = effects.nets, effects.plans, effects.keys
    groups: dict[tuple[str, NaturalKey], _KeyGroup] = {}
    for side in (0, 1):
        for net in nets[side]:
            _add_images(groups, net, resolved[net.table], keys[side], side)
    collector = _DifferenceCollector(when)
    for (table, key), group in groups.items():
        collector.add_group(resolved[table], key, group)
    differences = collector.differences
    differences += _truncates(served.transactions, mirrored.transactions)
    return EffectsResult(
        tuple(differences),
        tuple(collector.rule_hits),
        (len(nets[0]), len(nets[1])),
        tuple(sorted(resolved.keys() - plans.keys())),
        tuple(sorted({d.table for d in differences if d.table in plans and plans[d.table].table.low_confidence})),
    )


def _plan(described: TablePlan | None, table: str, schema: TableSchema) -> TablePlan:
    return TablePlan(table, None, schema) if described is None else described.with_schema(schema)


def _add_images(
    groups: dict[tuple[str, NaturalKey], _KeyGroup], net: NetChange, plan: TablePlan, keys: NaturalKeys, side: int
) -> None:
    """Add the image after to the side's own multiset, and the image before to the other one."""
    if net.after is not None:
        row = comparable_row(plan, net.after, keys, late=net.late, partial=net.before is UNKNOWN)
        group = groups.setdefault((net.table, plan.key_of(net.after, keys)), _KeyGroup())
        (group.left if side == 0 else group.right).append(row)
    if isinstance(net.before, Mapping):
        row = comparable_row(plan, net.before, keys, before=True)
        group = groups.setdefault((net.table, plan.key_of(net.before, keys)), _KeyGroup())
        (group.right if side == 0 else group.left).append(row)


def _cancel(left: list[ComparableRow], right: list[ComparableRow]) -> tuple[list[ComparableRow], list[ComparableRow]]:
    """Return both multisets without the rows that are exactly equal.

    A partial row is never cancelled: it states that an image before is missing from the other multiset.
    """
    if not left or not right:
        return left, right
    if len(left) == len(right) == 1:
        (a,), (b,) = left, right
        return ([], []) if a.raw == b.raw and a.late == b.late and not (a.partial or b.partial) else (left, right)
    surplus: Counter[object] = Counter(_content(row) for row in right if not row.partial)
    cancelled: Counter[object] = Counter()
    remaining: list[ComparableRow] = []
    for row in left:
        content = _content(row)
        if not row.partial and surplus[content] > cancelled[content]:
            cancelled[content] += 1
        else:
            remaining.append(row)
    return remaining, [row for row in right if row.partial or not _taken(cancelled, _content(row))]


def _content(row: ComparableRow) -> object:
    return frozenset(row.raw.items()), row.late


def _taken(counts: Counter[object], content: object) -> bool:
    if not counts[content]:
        return False
    counts[content] -= 1
    return True


class _DifferenceCollector:
    """Collect differences and rule hits, one natural key after another."""

    __slots__ = ("_when", "differences", "rule_hits")

    def __init__(self, when: ComparisonTime) -> None:
        self._when = when
        self.differences: list[Difference] = []
        self.rule_hits: list[RuleHit] = []

    def add_group(self, plan: TablePlan, key: NaturalKey, group: _KeyGroup) -> None:
        left, right = _cancel(group.left, group.right)
        left, right = _drop_unmatched_before(left), _drop_unmatched_before(right)
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
