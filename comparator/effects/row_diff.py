"""Compare two rows of one natural key column by column. Pure.

The columns of a table belong to classes, which are decided once: ignored, referenced (compared by natural key), volatile (compared within
a tolerance), JSON (compared as a document if the texts differ), plain. A column is JSON by its type, or because the description declares
JSON in a text column. Plain values are equal as the column's type has it (`value_equality`): `1.50` and `1.5` are one numeric and two texts.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from comparator.effects.natural_keys import NaturalKeys, RowIdentity
from comparator.effects.value_equality import ValueEquality, equality_of, is_json
from comparator.errors import RuleError
from comparator.exchanges.difference import Difference, Kind, NaturalKey, RuleHit
from comparator.exchanges.json_values import ABSENT
from comparator.exchanges.row_changes import Row
from comparator.exchanges.table_schema import NO_SCHEMA, SurrogateReference, TableSchema
from comparator.responses.exact_json import InvalidJsonError, parse
from comparator.responses.json_diff import Walk
from comparator.rules.actions import Action, ComparisonTime, Ignore, Unordered, allows
from comparator.rules.compile import NO_RULES, CompiledRule, RuleSet, generated_text, time_within
from comparator.rules.json_paths import Automaton, Pattern, parse_pattern
from comparator.tables import JsonColumn, Table, Volatile

_NO_REFERENCES: Final[tuple[Automaton, tuple[str, ...]]] = (Automaton(()), ())


@dataclass(frozen=True, slots=True)
class ComparableRow:
    """One image of a row, prepared for comparison.

    Attributes:
        raw: compared values by column, foreign ids replaced by natural keys. Rows with equal `raw` are equal.
        keys: resolver of ids inside of JSON columns.
        late: the row was committed after the response.
        partial: the row was written by an update whose image before is unknown.
        before: this is an image before, not after.
    """

    raw: dict[str, object]
    keys: NaturalKeys
    late: bool = False
    partial: bool = False
    before: bool = False


@dataclass(slots=True)
class RowDiff:
    """The result of comparing two rows."""

    differences: list[Difference] = field(default_factory=list[Difference])
    rule_hits: list[RuleHit] = field(default_factory=list[RuleHit])


def comparable_row(
    plan: "TablePlan", row: Row, keys: NaturalKeys, *, late: bool = False, partial: bool = False, before: bool = False
) -> ComparableRow:
    """Prepare an image of a row: drop columns that are not compared, and replace foreign ids by natural keys."""
    ignored = plan.ignored
    raw: dict[str, object] = {column: value for column, value in row.items() if column not in ignored}
    for column, reference in plan.identity.references.items():
        if column in raw:
            raw[column] = keys.referenced(reference, row)
    return ComparableRow(raw, keys, late, partial, before)


class TablePlan:
    """The compiled description of a table: what the configuration says, and what the catalogue says beside it.

    Args:
        name: name of the table.
        table: its description; None for a table without one, whose natural key is that of the catalogue.
        schema: its keys and column types.

    Attributes:
        ignored: columns that are not compared: declared ones, and those that the database computes or, in the primary key, fills
            itself, unless they belong to the natural key.
        identity: identifies its rows by meaning.

    Raises:
        RuleError: the description is invalid.
    """

    __slots__ = (
        "_equalities",
        "_json",
        "_references",
        "_volatile",
        "_with_schema",
        "identity",
        "ignored",
        "name",
        "schema",
        "table",
    )

    def __init__(self, name: str, table: Table | None, schema: TableSchema = NO_SCHEMA) -> None:
        self.name = name
        described, table = table is not None, table or Table(natural_key=schema.natural_key)
        self.table = table
        self.schema = schema
        self._equalities: dict[str, ValueEquality] = {}
        self._with_schema: TablePlan | None = None
        where = f"compare.tables.{name}"
        if described and not table.natural_key:
            raise RuleError(f"{where}.natural_key", "is empty: name at least one column")
        for column in table.discriminator:
            if column not in table.natural_key or column in table.references:
                raise RuleError(
                    f"{where}.discriminator", f"{column!r} is not a plain column of natural_key: name one that is"
                )
        made = {*schema.surrogate_key, *schema.computed} - set(table.natural_key)
        self.ignored = frozenset({*table.ignore_columns, *made})
        self._volatile: dict[str, CompiledRule] = {
            column: CompiledRule(f"{where}.volatile.{column}", _tolerance(volatile, f"{where}.volatile.{column}"))
            for column, volatile in table.volatile.items()
        }
        self._json = {column: _json_rules(json, f"{where}.json.{column}") for column, json in table.json.items()}
        self._references = {
            column: _references(json, f"{where}.json.{column}.references")
            for column, json in table.json.items()
            if json.references
        }
        id_tables = tuple(name for json in table.json.values() for name in json.references.values())
        own = set(schema.types).difference(schema.generated, schema.computed)
        natural_key = table.natural_key or tuple(column for column in schema.types if column in own)
        self.identity = RowIdentity(natural_key, self._foreign_keys(), id_tables)

    def _foreign_keys(self) -> dict[str, SurrogateReference]:
        """Return the declared references, and the catalogue's for compared columns that have none."""
        declared, always = self.table.references, {c for c, v in self.table.volatile.items() if v.ignore}
        of_catalog = {r.column: r for r in self.schema.references if r.column not in self.ignored | always}
        return {
            **of_catalog,
            **{column: SurrogateReference(column, table, (column,), ()) for column, table in declared.items()},
        }

    def key_of(self, row: Row, keys: NaturalKeys) -> NaturalKey:
        """Return the natural key by which rows of both sides are matched; () for all rows of a table that has none."""
        return keys.of(self.name, row) if self.table.natural_key else ()

    def with_schema(self, schema: TableSchema) -> "TablePlan":
        """Return the plan for a table of this schema; the one made last is kept."""
        if self.schema is schema:
            return self
        plan = self._with_schema
        if plan is None or plan.schema != schema:
            plan = self._with_schema = TablePlan(self.name, self.table, schema)
        return plan

    def diff(
        self, served: ComparableRow, mirrored: ComparableRow, when: ComparisonTime, *, natural_key: NaturalKey = ()
    ) -> RowDiff:
        """Compare two rows; return the columns that differ beyond the tolerances. NULL against a value always differs.

        Only columns that both images contain are compared: the log omits unchanged TOAST values.
        """
        diff = RowDiff()
        left, right = served.raw, mirrored.raw
        if left == right:
            return diff
        for column in (*left, *(c for c in right if c not in left)):
            a, b = left.get(column, ABSENT), right.get(column, ABSENT)
            if a != b and a is not ABSENT and b is not ABSENT:
                self._column(diff, column, a, b, when, natural_key)
        if diff.differences and self._references:
            diff.differences[:] = [d for d in diff.differences if not self._same_row(d, served.keys, mirrored.keys)]
        return diff

    def sort_key(self, row: ComparableRow) -> str:
        """Return a text by which to sort rows so that equal ones meet: all columns except for volatile and JSON columns."""
        loose = self._volatile.keys() | self._json.keys()
        return repr(sorted((column, str(value)) for column, value in row.raw.items() if column not in loose))

    def _same_row(self, difference: Difference, served: NaturalKeys, mirrored: NaturalKeys) -> bool:
        """Return whether two ids inside of a JSON column refer to rows with the same natural key."""
        if type(difference.served) is not int or type(difference.mirrored) is not int:
            return False
        automaton, tables = self._references.get(difference.column, _NO_REFERENCES)
        for index in automaton.rules_at(difference.path):
            left = served.of_id(tables[index], str(difference.served))
            if type(left) is tuple and left == mirrored.of_id(tables[index], str(difference.mirrored)):
                return True
        return False

    def _column(
        self, diff: RowDiff, column: str, a: object, b: object, when: ComparisonTime, natural_key: NaturalKey
    ) -> None:
        rule = self._volatile.get(column)
        if rule is not None and (a is None) == (b is None) and allows(rule.action, a, b, when.runs):
            diff.rule_hits.append(RuleHit(rule.id, table=self.name, column=column))
            return
        if type(a) is str and type(b) is str:
            if rule is None and self._equal(column, a, b):
                return
            documents = self._documents(column, a, b)
            if documents is not None:
                rules = self._json.get(column, (NO_RULES, False))[0]
                walk = Walk(rules, when, table=self.name, natural_key=natural_key, column=column)
                walk.compare(*documents)
                diff.differences += walk.bounded_differences(a.encode(), b.encode())
                diff.rule_hits += walk.rule_hits
                return
        diff.differences.append(
            Difference(Kind.COLUMN, (), a, b, self.name, natural_key, column, rule.id if rule is not None else "")
        )

    def _equal(self, column: str, a: str, b: str) -> bool:
        equality = self._equalities.get(column)
        if equality is None:
            equality = self._equalities[column] = equality_of(self.schema.types.get(column, "text"))
        return equality(a, b)

    def _documents(self, column: str, a: str, b: str) -> tuple[object, object] | None:
        """Parse both values as JSON if the column is JSON, by type or by description; None if they cannot be parsed."""
        declared = self._json.get(column)
        if declared is None and not is_json(self.schema.types.get(column, "text")):
            return None
        try:
            documents: tuple[Any, Any] = parse(a.encode()), parse(b.encode())
            if declared is not None and declared[1]:
                documents = (_unwrapped(documents[0]), _unwrapped(documents[1]))
        except (InvalidJsonError, UnicodeEncodeError):
            return None
        return documents


def _unwrapped(value: Any) -> object:
    return parse(value.encode()) if type(value) is str else value


def _tolerance(volatile: Volatile, where: str) -> Action:
    """Return the action of a volatile column."""
    if (volatile.within_ms is not None) + bool(volatile.generated) + volatile.ignore != 1:
        raise RuleError(where, "requires exactly one of `within_ms`, `generated` and `ignore: true`")
    if volatile.epoch and volatile.within_ms is None:
        raise RuleError(f"{where}.epoch", "requires within_ms")
    if volatile.within_ms is not None:
        return time_within(volatile.within_ms, volatile.epoch, where=f"{where}.within_ms", unit_at=f"{where}.epoch")
    return generated_text(volatile.generated, f"{where}.generated") if volatile.generated else Ignore()


def _json_rules(column: JsonColumn, where: str) -> tuple[RuleSet, bool]:
    def compiled() -> Iterable[tuple[Pattern, CompiledRule]]:
        for index, path in enumerate(column.ignore):
            yield _pattern(path, f"{where}.ignore[{index}]"), CompiledRule(f"{where}.ignore[{index}]", Ignore())
        for path, within_ms in column.within_ms.items():
            rule, unit_at = f"{where}.within_ms.{path}", f"{where}.epoch.{path}"
            action = time_within(within_ms, column.epoch.get(path, ""), where=rule, unit_at=unit_at)
            yield _pattern(path, rule), CompiledRule(rule, action)
        for path, pattern in column.generated.items():
            rule = f"{where}.generated.{path}"
            yield _pattern(path, rule), CompiledRule(rule, generated_text(pattern, rule))
        for index, path in enumerate(column.unordered):
            rule = f"{where}.unordered[{index}]"
            yield _pattern(path, rule), CompiledRule(rule, Unordered())

    for path in column.epoch:
        if path not in column.within_ms:
            raise RuleError(f"{where}.epoch.{path}", "requires within_ms of the same path")
    return RuleSet(compiled()), column.decode_text


def _references(column: JsonColumn, where: str) -> tuple[Automaton, tuple[str, ...]]:
    patterns = [_pattern(path, f"{where}.{path}") for path in column.references]
    return Automaton(patterns), tuple(column.references.values())


def _pattern(path: str, where: str) -> Pattern:
    try:
        return parse_pattern(path)
    except ValueError as error:
        raise RuleError(where, str(error)) from error


def compile_tables(tables: Mapping[str, Table]) -> Mapping[str, TablePlan]:
    """Compile the descriptions of all tables.

    Raises:
        RuleError: a description is invalid.
    """
    plans = {name: TablePlan(name, table) for name, table in tables.items()}
    for name, table in tables.items():
        for column, referenced in table.references.items():
            where = f"compare.tables.{name}.references.{column}"
            if referenced not in tables:
                raise RuleError(where, f"table {referenced!r} is not described in compare.tables")
            if referenced == name and column in table.natural_key:
                raise RuleError(where, "the natural key would contain itself")
        for column, json in table.json.items():
            for path, referenced in json.references.items():
                if referenced not in tables:
                    where = f"compare.tables.{name}.json.{column}.references.{path}"
                    raise RuleError(where, f"table {referenced!r} is not described in compare.tables")
    return plans
