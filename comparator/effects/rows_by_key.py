"""Group the rows that both sides changed by table and natural key: as they were before, and which side changed them. Pure.

For people: the comparison itself needs no image of what was there before (see `comparator.effects.compare`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from comparator.effects.compare import SideEffects, net_effects
from comparator.effects.row_diff import TablePlan
from comparator.exchanges.difference import NaturalKey
from comparator.exchanges.model import Role
from comparator.exchanges.row_changes import Row


@dataclass(slots=True)
class KeyedRows:
    """The changed rows of one natural key.

    Attributes:
        before: each of them as it was before the request, each once.
        changed_by: the roles that changed any.
    """

    before: list[Row] = field(default_factory=list[Row])
    changed_by: set[Role] = field(default_factory=set[Role])


@dataclass(frozen=True, slots=True)
class RowsByKey:
    """The changed rows by table and natural key, and the columns of each table's natural key."""

    tables: Mapping[str, Mapping[NaturalKey, KeyedRows]]
    natural_keys: Mapping[str, tuple[str, ...]]


def rows_by_key(served: SideEffects, mirrored: SideEffects, plans: Mapping[str, TablePlan]) -> RowsByKey:
    """Group the rows that both sides changed.

    Args:
        served: the serving side's transactions.
        mirrored: the mirrored side's transactions.
        plans: compiled description by table name.
    """
    effects = net_effects(served, mirrored, plans)
    tables: dict[str, dict[NaturalKey, KeyedRows]] = {}
    for role, nets, keys in zip(Role, effects.nets, effects.keys, strict=True):
        for net in nets:
            plan = effects.plans[net.table]
            before = net.before if isinstance(net.before, Mapping) else None
            groups = tables.setdefault(net.table, {})
            if net.after is not None:
                groups.setdefault(plan.key_of(net.after, keys), KeyedRows()).changed_by.add(role)
            if before is not None:
                rows = groups.setdefault(plan.key_of(before, keys), KeyedRows())
                rows.changed_by.add(role)
                if before not in rows.before:
                    rows.before.append(before)
    return RowsByKey(tables, {name: tuple(plan.table.natural_key) for name, plan in effects.plans.items()})
