"""Find whom the requests are about: the key that most requests and most rows carry. Pure.

Requests and rows carry the same thing under different names. Each gets a label; what has the same label is taken for the same:

    /customers/{id}/orders          the id of a customer             customer_id
    ?customerId=7                                                    customer_id
    customers.id                    a key that the database makes    customer_id
    orders.buyer -> customers.id    a foreign key                    customer_id
    wallets.address                 any other column, by its name    address
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from proxy.initial_config.names import entity_of, singular, snake_case
from proxy.initial_config.operations import ApiOperation, parent_of
from proxy.initial_config.table_facts import TableFacts

_ID_WORDS: Final = ("id", "pk", "uuid", "key", "uid")
_KEY_TYPES: Final = ("text", "uuid", "bigint", "integer", "smallint", "citext", "inet")
_NOT_KEYS: Final = frozenset(
    {"name", "status", "state", "type", "kind", "description", "title", "note", "value", "body", "data"}
)


@dataclass(frozen=True, slots=True)
class KeySourceProposal:
    """A part of a request that carries a key.

    Attributes:
        label: what it is the key of.
        key: as `routes[].key` has it.
    """

    label: str
    key: str


@dataclass(frozen=True, slots=True)
class KeyProposal:
    """The key of the routes.

    Attributes:
        label: its label, for `compare.route_kind`; "" where requests and rows share none.
        columns: columns that hold it, by table.
        operations: number of operations that carry it.
    """

    label: str
    columns: Mapping[str, tuple[str, ...]]
    operations: int


def column_labels(tables: Iterable[TableFacts]) -> dict[str, dict[str, tuple[str, ...]]]:
    """Return the columns that may hold a key: by label and table."""
    by_name = {table.name: table for table in tables}
    labels: dict[str, dict[str, tuple[str, ...]]] = {}
    for table in by_name.values():
        for column in table.shape.columns:
            if column.generated or not column.value_type.startswith((*_KEY_TYPES, "character")):
                continue
            label = _label(by_name, table, column.name)
            if label and label not in _NOT_KEYS:
                places = labels.setdefault(label, {})
                places[table.name] = (*places.get(table.name, ()), column.name)
    return labels


def _label(tables: Mapping[str, TableFacts], table: TableFacts, column: str) -> str:
    """Return the label of a column; a foreign key has that of the key which it references."""
    for _ in range(8):
        target = tables.get(table.reference_of(column))
        if target is None or len(target.shape.primary_key) != 1 or target is table:
            break
        table, column = target, target.shape.primary_key[0]
    surrogate = table.surrogate
    if surrogate is not None and surrogate.name == column:
        return f"{entity_of(table.name)}_id"
    return snake_case(column)


def telling_labels(tables: Sequence[TableFacts]) -> frozenset[str]:
    """Return the labels of columns that tell one row of some table from all others: keys, and what is unique.

    A member `item` of a body is not a key because a table has a column of this name; `email` may be one, where it is unique.
    """
    labels = column_labels(tables)
    telling = {
        (table.name, columns[0])
        for table in tables
        for columns in (table.shape.primary_key, *table.shape.unique)
        if len(columns) == 1
    }
    return frozenset(
        label
        for label, places in labels.items()
        if any((table, column) in telling for table, columns in places.items() for column in columns)
    )


def sources_of(operation: ApiOperation, labels: Iterable[str], telling: frozenset[str]) -> Iterator[KeySourceProposal]:
    """Yield the parts of a request that carry one of these labels, the most reliable ones first.

    Args:
        operation: of the request.
        labels: of columns.
        telling: those of them that parameters of the query and members of the body may carry (`telling_labels`).
    """
    known = frozenset(labels)
    for parameter in operation.parameters:
        yield from _source(_path_labels(operation.template, parameter), known, parameter)
    for place, names in (("json", operation.members), ("query", operation.query)):
        for name in sorted(names):
            if place == "query" or "." not in name:
                yield from _source(_name_labels(snake_case(name)), telling, f"{place}:{name}")
    for claim in sorted(operation.claims):
        own = ("user_id", "account_id", "customer_id", "member_id") if claim == "sub" else ()
        yield from _source((*own, *_name_labels(snake_case(claim))), known, f"jwt:{claim}")
    for header in sorted(operation.headers):
        yield from _source(_name_labels(snake_case(header.removeprefix("x-"))), known, f"header:{header}")


def _source(candidates: Sequence[str], known: frozenset[str], key: str) -> Iterator[KeySourceProposal]:
    label = next((one for one in candidates if one in known), None)
    if label is not None:
        yield KeySourceProposal(label, key)


def _path_labels(template: str, parameter: str) -> tuple[str, ...]:
    """Return the labels that a path parameter may have: `{id}` behind `/customers/` is `customer_id`, `{slug}` is `slug`."""
    name, entity = snake_case(parameter), singular(snake_case(parent_of(template, parameter)))
    if name in _ID_WORDS and entity:
        return (f"{entity}_id", f"{entity}_{name}", entity, name)
    return (name, f"{name}_id", name.removesuffix("_id"), *((f"{entity}_{name}",) if entity else ()))


def _name_labels(name: str) -> tuple[str, ...]:
    """Return the labels of a member, parameter, claim or header. `id` alone may be anything's."""
    return () if name in _ID_WORDS else (name, f"{name}_id", name.removesuffix("_id"))


def propose_key(operations: Sequence[ApiOperation], tables: Sequence[TableFacts]) -> KeyProposal:
    """Return the key that most operations and tables share; of equals the one that more paths have, then by name."""
    labels, telling = column_labels(tables), telling_labels(tables)
    carried: Counter[str] = Counter()
    in_paths: Counter[str] = Counter()
    for operation in operations:
        sources = list(sources_of(operation, labels, telling))
        carried.update({source.label for source in sources})
        in_paths.update({source.label for source in sources if ":" not in source.key})
    if not carried:
        return KeyProposal("", {}, 0)
    best = max(carried, key=lambda label: (carried[label] + in_paths[label] + _reach(label, labels, tables), label))
    return KeyProposal(best, labels[best], carried[best])


def _reach(label: str, labels: Mapping[str, Mapping[str, tuple[str, ...]]], tables: Sequence[TableFacts]) -> int:
    """Return the number of tables whose rows carry a label, by themselves or through the rows that they reference."""
    return len(carriers(labels[label], tables))


def carriers(columns: Mapping[str, Sequence[str]], tables: Sequence[TableFacts]) -> dict[str, str]:
    """Return the tables whose rows carry a key, each with the foreign key by which they do, "" for a column of their own."""
    found = dict.fromkeys(columns, "")
    grows = True
    while grows:
        grows = False
        for table in tables:
            if table.name in found:
                continue
            through = next((column for column, parent in single_references(table, tables) if parent in found), "")
            if through:
                found[table.name] = through
                grows = True
    return found


def single_references(table: TableFacts, tables: Sequence[TableFacts]) -> Iterator[tuple[str, str]]:
    """Yield the foreign keys of one column that reference the whole primary key of another of these tables."""
    keys = {one.name: one.shape.primary_key for one in tables}
    for key in table.shape.foreign_keys:
        if len(key.columns) == 1 and keys.get(key.references, ()) == key.referenced and key.references != table.name:
            yield key.columns[0], key.references
