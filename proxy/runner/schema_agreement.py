"""Decide which tables both databases define alike, and which exchanges can be compared while they define some differently.

Pure; times are arguments in Unix microseconds. A table is *in force* while both databases define it alike: its rows are compared,
aligned and resynced. Otherwise it is *paused*: its rows are left alone, and every other table goes on. It ends by itself:

    live    ALTER TABLE score ADD email            shadow  ALTER TABLE score ADD email
              |                                      |
    ----------+--------------------------------------+--------- resync of score --------------> time
    in force  | paused: score.email is text in live  | paused: due for a resync |  in force, from `resumed_us` on
              | and missing in the shadow            |

A row shows a change of its table as soon as it is delivered, because it carries the definition that it was written under. What no row
shows is found by the readings of `schema_watch`, and no verdict is given before a reading that began after it (`verdict_queue`).

No log shows a TRUNCATE of a single partition, but it gives the partition another file. So does one of the whole table, which is in the
log; a file without one there pauses the table until a resync, and nothing that wrote meanwhile is compared, for it may have done that.

While tables are paused an exchange can be compared if nothing of it can have to do with them:

    wrote a paused table, on either side, or its route declares one   skipped
    wrote none, and both sides agree                                  compared: a match
    wrote none, but a paused table is not captured, and its route
        is known to write that table                                  skipped: its rows may be missing in both sides' changes
    wrote none, and rows of other tables differ                       compared: a mismatch
    wrote none, and only the responses differ                         compared if its route is known to write other tables, and none of
                                                                      its keys has rows that the shadow lacks; else skipped
    one side answered with an error of its own                        skipped: the column or table that it needs may be missing
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from typing import Final

from comparator.capture.attribution_keys import Key, KeyIndex
from comparator.capture.schema_difference import (
    ABSENT,
    Refilled,
    SchemaDifference,
    TableDefinition,
    behaviour_differences,
    differences,
    refilled,
)
from comparator.capture.table_shape import TableShape
from comparator.effects.catalog_check import contradictions
from comparator.exchanges.comparison import Comparison, Verdict
from comparator.exchanges.model import Exchange, Observation, Response, Role
from comparator.exchanges.row_changes import Op, RowChange, RowDescription, Transaction
from comparator.exchanges.skip import SAFE_METHODS
from comparator.exchanges.table_schema import TableSchema
from comparator.tables import Table
from proxy.runner.skip_causes import RunnerSkip
from proxy.runner.transaction_snapshot import TransactionSnapshot

SERVER_ERROR: Final = 500
EMPTIED_REMEMBERED: Final = 100
"""Times at which partitions were emptied that are remembered, for exchanges that are compared later."""
DECODED_EARLY_US: Final = 1_000_000
"""Time by which a transaction may be read from the log before a query sees what it committed."""
WITHHELD_KEYS_MAX: Final = 100_000
"""Keys of rows that the shadow lacks, by table; beyond it every exchange may read such a row."""

Definitions = Mapping[str, TableDefinition]


@dataclass(frozen=True, slots=True)
class SchemaState:
    """The definitions of one database, as far as they matter here.

    Attributes:
        definitions: of the captured tables, and of described ones.
        tables: names of all tables of applications.
        obstacles: what keeps rows of the shadow from becoming what is written, by table.
    """

    definitions: Definitions
    tables: AbstractSet[str]
    obstacles: Mapping[str, Sequence[str]] = field(default_factory=dict[str, Sequence[str]])


@dataclass(frozen=True, slots=True)
class PausedTable:
    """A table whose rows are not compared.

    Attributes:
        since_us: start of the pause.
        differences: how the databases define it differently.
        problems: what `compare.tables` says of it that the catalogue contradicts, and what keeps it from being written.
        captured: its rows are still captured in both databases.
        emptied: partitions whose rows are gone, or were written again, without a word in the log.
    """

    since_us: int
    differences: tuple[SchemaDifference, ...] = ()
    problems: tuple[str, ...] = ()
    captured: bool = True
    emptied: frozenset[str] = frozenset()

    @property
    def is_settled(self) -> bool:
        """True if nothing is known that the databases disagree on: only a resync is missing."""
        return not self.differences and not self.problems

    @property
    def reasons(self) -> tuple[str, ...]:
        """The differences, problems and emptied partitions in words."""
        emptied = (
            f"partition {name} was emptied or rewritten by itself, which is in no log" for name in sorted(self.emptied)
        )
        return (*map(str, self.differences), *self.problems, *emptied)


@dataclass(slots=True)
class SchemaAgreement:
    """The tables in force and the paused ones.

    Attributes:
        index: finds the keys of rows.
        described: returns the section `compare.tables` in force.
        touched: the tables that a route declares to read or write, by its name (`routes[].tables`).
        tables: shapes of the tables in force, as the shadow has them. Changed in place: others hold it.
        primary_keys: of the tables in force, `()` for none. Changed in place.
        schemas: of the tables in force, for comparisons. Changed in place.
        known: shapes of the tables in force and of the paused ones that both databases have. Changed in place.
        paused: the paused tables.
        not_captured: tables of applications whose rows are not captured, paused ones left out.
        version: number of readings that were taken.
        observations: number of times that a row has shown a changed definition.
    """

    index: KeyIndex
    described: Callable[[], Mapping[str, Table]]
    touched: Mapping[str, AbstractSet[str]] = field(default_factory=dict[str, AbstractSet[str]])
    tables: dict[str, TableShape] = field(default_factory=dict[str, TableShape])
    primary_keys: dict[str, Sequence[str]] = field(default_factory=dict[str, Sequence[str]])
    schemas: dict[str, TableSchema] = field(default_factory=dict[str, TableSchema])
    known: dict[str, TableShape] = field(default_factory=dict[str, TableShape])
    paused: dict[str, PausedTable] = field(default_factory=dict[str, PausedTable])
    not_captured: tuple[str, ...] = ()
    version: int = 0
    observations: int = 0
    _unread: dict[str, int] = field(default_factory=dict[str, int])
    _states: dict[Role, SchemaState] = field(default_factory=dict[Role, SchemaState])
    _tolerated: dict[str, frozenset[SchemaDifference]] = field(default_factory=dict[str, frozenset[SchemaDifference]])
    _one_sided_at_start: frozenset[str] = frozenset()
    _descriptions: dict[tuple[Role, str], RowDescription] = field(
        default_factory=dict[tuple[Role, str], RowDescription]
    )
    _resumed_us: dict[str, int] = field(default_factory=dict[str, int])
    _copied: dict[str, TransactionSnapshot] = field(default_factory=dict[str, TransactionSnapshot])
    _written: dict[str, set[str]] = field(default_factory=dict[str, set[str]])
    _withheld: dict[str, set[Key]] = field(default_factory=dict[str, set[Key]])
    _truncated_us: dict[tuple[Role, str], int] = field(default_factory=dict[tuple[Role, str], int])
    _emptied_us: deque[tuple[int, int]] = field(
        default_factory=lambda: deque[tuple[int, int]](maxlen=EMPTIED_REMEMBERED)
    )

    # What the databases define.

    def begin(self, live: SchemaState, shadow: SchemaState, now_us: int) -> None:
        """Take the first readings: tables that are defined alike are in force, the others paused."""
        self._states = {Role.SERVED: live, Role.MIRRORED: shadow}
        self._one_sided_at_start = frozenset(live.tables ^ shadow.tables)
        for name in {*live.definitions, *shadow.definitions}:
            here, there = self._pair(name)
            self._tolerated[name] = frozenset(behaviour_differences(name, here, there))
        self._take(now_us, first=True)

    def shows_refilled(self, live: SchemaState, shadow: SchemaState) -> bool:
        """Return whether these readings show partitions with other files than the last ones."""
        now = {Role.SERVED: live, Role.MIRRORED: shadow}
        return any(
            refilled(self._states[role].definitions.get(name, ABSENT), definition).partitions
            for role, state in now.items()
            for name, definition in state.definitions.items()
        )

    def update(
        self, live: SchemaState, shadow: SchemaState, now_us: int, *, observations: int, since_us: int = 0
    ) -> None:
        """Take new readings. Tables whose definition changed are paused until `resume`.

        Where they show partitions with other files, everything that was committed before them has been delivered to `observe`.

        Args:
            live: reading of live.
            shadow: reading of the shadow.
            now_us: the time.
            observations: value of `observations` when the readings began; what rows have shown since then, they may not contain.
            since_us: time before which everything that the readings show for the first time was not committed.
        """
        before = self._states
        self._unread = {name: number for name, number in self._unread.items() if number > observations}
        self._states = {Role.SERVED: live, Role.MIRRORED: shadow}
        changed = {
            name
            for role in Role
            for name in {*before[role].definitions, *self._states[role].definitions}
            if before[role].definitions.get(name) != self._states[role].definitions.get(name)
        }
        for name in changed & self.tables.keys():
            self._pause(name, PausedTable(now_us))
            self._remove(name)
        for role, state in self._states.items():
            for name in state.definitions.keys() - changed:
                found = refilled(before[role].definitions.get(name, ABSENT), state.definitions[name])
                if found.partitions and not self._is_truncation(role, name, found, since_us):
                    self._pause(name, PausedTable(now_us, emptied=found.partitions))
                    self._remove(name)
                    self._emptied_us.append((since_us, now_us))
        self._take(now_us)

    def _is_truncation(self, role: Role, name: str, found: Refilled, since_us: int) -> bool:
        """Return whether a TRUNCATE of the whole table that the log has shown explains the new files of its partitions."""
        return found.at_once and self._truncated_us.get((role, name), 0) >= since_us - DECODED_EARLY_US

    def redescribe(self, now_us: int) -> None:
        """Hold the tables against the descriptions in force, after these have changed."""
        self._take(now_us)

    @property
    def existing(self) -> AbstractSet[str]:
        """Names of the tables of applications that at least one database has."""
        return frozenset[str]().union(*(state.tables for state in self._states.values()))

    @property
    def watched(self) -> frozenset[str]:
        """Names of the tables whose definitions are read."""
        return frozenset({*self.tables, *self.paused, *self.described()})

    @property
    def settled(self) -> tuple[str, ...]:
        """The paused tables that are due for a resync."""
        return tuple(
            sorted(name for name, paused in self.paused.items() if paused.is_settled and name not in self._unread)
        )

    @property
    def has_unread(self) -> bool:
        """True if rows have shown a definition that no reading contains yet."""
        return bool(self._unread)

    def tolerated(self) -> Iterator[SchemaDifference]:
        """Yield the differences in behaviour that were there at the start."""
        for name in sorted(self._tolerated):
            yield from sorted(self._tolerated[name], key=str)

    def enter(self, tables: Iterable[str]) -> None:
        """Put settled tables in force for a resync; exchanges on them are still skipped."""
        for name in tables:
            self._put_in_force(name)

    def resume(self, tables: Iterable[str], copied: TransactionSnapshot, now_us: int) -> tuple[str, ...]:
        """End the pause of tables that a resync has made equal; return those that are compared again.

        A table that was paused once more meanwhile stays paused.

        Args:
            tables: those that were resynced.
            copied: the transactions of live that the resync has copied.
            now_us: the time.
        """
        resumed = tuple(name for name in tables if name in self.tables and self.paused[name].is_settled)
        for name in resumed:
            del self.paused[name]
            self._resumed_us[name] = now_us
            self._copied[name] = copied
            self._withheld.pop(name, None)
            # Parents that could not be looked up during the pause were learned as rows without keys.
            self.index.forget_table(name)
        return resumed

    def forget_copied(self) -> None:
        """Forget the transactions of earlier resyncs; their ids will be used again."""
        self._copied.clear()

    def _pair(self, name: str) -> tuple[TableDefinition, TableDefinition]:
        live, shadow = self._states[Role.SERVED], self._states[Role.MIRRORED]
        return live.definitions.get(name, ABSENT), shadow.definitions.get(name, ABSENT)

    def _take(self, now_us: int, *, first: bool = False) -> None:
        live, shadow = self._states[Role.SERVED], self._states[Role.MIRRORED]
        names = {*live.definitions, *shadow.definitions, *self.paused, *self.tables, *self.described()}
        both = {name for name in names if all(definition.captured for definition in self._pair(name))}
        schemas = {name: shape.comparison_schema for name in both if (shape := self._pair(name)[1].shape) is not None}
        one_sided = (live.tables ^ shadow.tables) - self._one_sided_at_start
        for name in sorted(names | one_sided):
            self._judge(name, schemas, now_us, first=first, is_one_sided=name in one_sided)
        for name, parent in self._without_keys():
            problem = f"{name} is attributed through {parent}, whose rows cannot be looked up in both databases"
            self._pause(name, PausedTable(now_us, problems=(problem,), captured=False))
        self.known.clear()
        for name in sorted(both):
            shape = self._pair(name)[1].shape
            if shape is not None:
                self.known[name] = shape
        self.index.redescribe(self.described(), {name: shape.primary_key for name, shape in self.known.items()})
        self.not_captured = tuple(sorted((live.tables | shadow.tables) - both - self.paused.keys()))
        self.version += 1

    def _without_keys(self) -> Iterator[tuple[str, str]]:
        """Yield the tables whose rows are attributed through a table that is defined too differently, with that table."""
        described = self.described()
        for name, table in described.items():
            for parent in (table.references.get(key.through, "") for key in table.keys if key.through):
                if parent in self.paused and parent in described and not self._is_readable(parent, described[parent]):
                    yield name, parent
                    break

    def _is_readable(self, name: str, described: Table) -> bool:
        """Return whether the columns that a look-up of its rows reads are there, and the key is the same, in both databases."""
        shapes = [definition.shape for definition in self._pair(name)]
        here, there = shapes
        if here is None or there is None or here.primary_key != there.primary_key:
            return False
        columns = {*described.natural_key, *(key.column for key in described.keys if key.column)}
        return columns <= here.types.keys() and columns <= there.types.keys()

    def _judge(
        self, name: str, schemas: Mapping[str, TableSchema], now_us: int, *, first: bool, is_one_sided: bool
    ) -> None:
        here, there = self._pair(name)
        described = self.described()
        contradicted = contradictions({name: described[name]}, schemas) if name in described else ()
        problems = (*contradicted, *self._states[Role.MIRRORED].obstacles.get(name, ()))
        captured = here.captured and there.captured
        if not here.captured and not there.captured and not problems:
            if is_one_sided:
                on_live = name in self._states[Role.SERVED].tables
                sides = ("a table", "missing") if on_live else ("missing", "a table")
                self._pause(name, PausedTable(now_us, (SchemaDifference(name, "", *sides),), captured=False))
            elif self.paused.pop(name, None) is not None or name in self.tables:
                # Dropped in both databases, or no longer captured in both: there is nothing to resync.
                self._remove(name)
                self._resumed_us[name] = now_us
            return
        found = differences(name, here, there, tolerated=self._tolerated.get(name, ()))
        if found or problems:
            self._pause(name, PausedTable(now_us, found, problems, captured))
        elif first:
            self._put_in_force(name)
        elif name in self.paused or name not in self.tables:
            self._pause(name, PausedTable(now_us))

    def _pause(self, name: str, paused: PausedTable) -> None:
        before = self.paused.get(name)
        since_us = paused.since_us if before is None else before.since_us
        emptied = paused.emptied if before is None else before.emptied | paused.emptied
        self.paused[name] = replace(paused, since_us=since_us, emptied=emptied)
        if not (before is not None and before.is_settled and paused.is_settled):
            self._remove(name)

    def _put_in_force(self, name: str) -> None:
        shape = self._pair(name)[1].shape
        assert shape is not None, "only a table that both databases have is put in force"
        self.tables[name] = shape
        self.primary_keys[name] = shape.primary_key
        self.schemas[name] = shape.comparison_schema

    def _remove(self, name: str) -> None:
        for mapping in (self.tables, self.primary_keys, self.schemas):
            mapping.pop(name, None)
        for role in Role:
            self._descriptions.pop((role, name), None)
        self.index.forget_table(name)

    # What the rows show.

    def observe(self, role: Role, transaction: Transaction, now_us: int) -> bool:
        """Pause the tables whose rows were written under another definition than the one that is known.

        Returns:
            Whether a table was paused, so that the definitions have to be read again.
        """
        found = False
        for change in transaction.changes:
            description = change.description
            if change.op is Op.TRUNCATE:
                self._truncated_us[role, change.table] = now_us
            if description is None or self._descriptions.get((role, change.table)) is description:
                continue
            if change.table in self.tables and self._fits(role, change.table, description):
                self._descriptions[role, change.table] = description
            elif change.table not in self.paused or change.table in self.tables:
                # In force and changed, or not known yet, or changed once more while its resync runs.
                self._pause(change.table, PausedTable(now_us))
                self._remove(change.table)
                self.observations += 1
                self._unread[change.table] = self.observations
                found = True
        return found

    def _fits(self, role: Role, table: str, description: RowDescription) -> bool:
        definition = self._states[role].definitions.get(table, ABSENT)
        return definition.shape is not None and definition.shape.describes(description)

    # Which exchanges can be compared.

    def affected(self, exchange: Exchange) -> AbstractSet[str]:
        """Return the tables that were not in force during the whole life of an exchange until now."""
        if not self.paused and not self._resumed_us:
            return frozenset()
        started_us = exchange.started_ns // 1_000
        return self.paused.keys() | {name for name, resumed_us in self._resumed_us.items() if resumed_us > started_us}

    def uncaptured(self, route: str) -> AbstractSet[str]:
        """Return the tables that a route declares, of which not every change is captured while both databases define them alike."""
        return self.touched.get(route, frozenset()) - self.tables.keys() - self.paused.keys()

    def refusal(self, exchange: Exchange, changes: Iterable[RowChange]) -> RunnerSkip | None:
        """Return the cause for which an exchange whose served side made these changes cannot be compared, None if it can be."""
        written = {change.table for change in changes}
        self._note_written(exchange.route, written)
        if self.uncaptured(exchange.route):
            return RunnerSkip.NOT_CAPTURABLE
        if self._may_have_emptied(exchange):
            return RunnerSkip.SCHEMA_DIFFERS
        affected = self.affected(exchange)
        if affected and (self._touches(exchange, written, affected) or self._may_write_unseen(exchange, affected)):
            return RunnerSkip.SCHEMA_DIFFERS
        return None

    def _touches(self, exchange: Exchange, written: AbstractSet[str], affected: AbstractSet[str]) -> bool:
        """Return whether the exchange wrote one of the affected tables, or its route declares one."""
        return not affected.isdisjoint(written | self.touched.get(exchange.route, frozenset()))

    def refuses_verdict(
        self,
        exchange: Exchange,
        keys: AbstractSet[Key],
        served: Observation,
        mirrored: Observation,
        comparison: Comparison,
    ) -> bool:
        """Return whether the verdict on an exchange may be due to a table that was not in force."""
        written = {c.table for o in (served, mirrored) for t in o.effects.transactions for c in t.changes}
        self._note_written(exchange.route, written)
        affected = self.affected(exchange)
        if self._may_have_emptied(exchange):
            return True
        if not affected:
            return False
        if self._touches(exchange, written, affected) or self._may_write_unseen(exchange, affected):
            return True
        if comparison.verdict in (Verdict.MATCH, Verdict.KNOWN):
            return False
        if comparison.verdict is Verdict.FAILED or _fails_alone(served, mirrored):
            return True
        if any(difference.table for difference in comparison.differences):
            return False
        return not self._written.get(exchange.route) or self._reads_withheld(exchange, keys, affected)

    def _may_have_emptied(self, exchange: Exchange) -> bool:
        """Return whether the exchange may have emptied a partition, on either side: it wrote when that happened."""
        if not self._emptied_us or exchange.request.method in SAFE_METHODS:
            return False
        began_us, ended_us = exchange.started_ns // 1_000, exchange.ended_ns // 1_000
        if any(from_us <= ended_us and began_us <= until_us for from_us, until_us in self._emptied_us):
            return True
        # It may have been mirrored later than it was served, while the shadow's partition was emptied.
        last_us = self._emptied_us[-1][1]
        return began_us <= last_us and any(paused.emptied for paused in self.paused.values())

    def _may_write_unseen(self, exchange: Exchange, affected: AbstractSet[str]) -> bool:
        """Return whether the exchange may have written a table whose rows are not captured."""
        unseen = {name for name in affected & self.paused.keys() if not self.paused[name].captured}
        if not unseen:
            return False
        written = self._written.get(exchange.route)
        if written:
            return bool(written & unseen)
        return exchange.request.method not in SAFE_METHODS

    def _reads_withheld(self, exchange: Exchange, keys: AbstractSet[Key], affected: AbstractSet[str]) -> bool:
        """Return whether the exchange's route writes an affected table, or the shadow lacks rows of one of its keys."""
        if self._written.get(exchange.route, set()) & affected:
            return True
        withheld = [self._withheld[name] for name in affected if name in self._withheld]
        return any(len(of_table) > WITHHELD_KEYS_MAX or not keys.isdisjoint(of_table) for of_table in withheld)

    def _note_written(self, route: str, tables: AbstractSet[str]) -> None:
        if tables:
            self._written.setdefault(route, set()).update(tables)

    # Which changes are applied.

    def applicable(self, changes: Sequence[RowChange], xid: int) -> Sequence[RowChange]:
        """Return the changes of a transaction of live that the shadow gets now.

        The others are of paused tables, whose resync brings them later, or a resync has brought them already.
        """
        if not self.paused and not self._copied:
            return changes
        result: list[RowChange] = []
        for change in changes:
            if change.table not in self.tables:
                self._withhold(change)
            elif change.table not in self._copied or not self._copied[change.table].covers(xid):
                result.append(change)
        return result

    def _withhold(self, change: RowChange) -> None:
        keys, _ = self.index.keys_of((change,))
        withheld = self._withheld.setdefault(change.table, set())
        if len(withheld) <= WITHHELD_KEYS_MAX:
            withheld |= keys


def _fails_alone(served: Observation, mirrored: Observation) -> bool:
    """Return whether exactly one side answered with an error of its own, e.g. for lack of a column."""
    errors = [
        not isinstance(observation.outcome, Response) or observation.outcome.status >= SERVER_ERROR
        for observation in (served, mirrored)
    ]
    return errors[0] != errors[1]
