"""proxy.runner.row_sampler: only rows that were left alone between two readings are judged."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry

from comparator.capture.attribution import KeyedTransaction
from comparator.capture.attribution_keys import Key, KeyIndex, RowId
from comparator.capture.table_shape import Catalog, Column, ReplicaIdentity, TableKind, TableShape
from comparator.exchanges.model import Role
from comparator.exchanges.row_changes import Row, Transaction
from comparator.tables import AttributionKey, Table
from proxy.runner.metrics import RunnerMetrics
from proxy.runner.no_capture import EmptyFeed
from proxy.runner.parent_lookup import ParentLookup
from proxy.runner.row_sampler import REPAIRED_MAX, Cursor, RowSampler, RowWatch, SampledPage, page_sql
from proxy.runner.shadow_state import ShadowState

TABLES = {"score": Table(natural_key=("owner",), keys=(AttributionKey(kind="address", column="owner"),))}


def shape(name: str, *key: str) -> TableShape:
    columns = tuple(Column(c, "text", False, "", True) for c in (*key, "owner"))
    full = ReplicaIdentity.FULL
    return TableShape(name, "public", name, TableKind.TABLE, True, True, full, key, columns, (), ())


def row(number: int) -> RowId:
    return "score", (str(number),)


@dataclass
class FakeTables:
    """Both databases: the rows of `differ` differ; `meanwhile` is called between the two readings."""

    differ: Collection[RowId]
    meanwhile: Callable[[], None] = lambda: None
    shape: TableShape = field(default_factory=lambda: shape("score", "id"))
    pages: list[Cursor | None] = field(default_factory=list)

    @property
    def catalog(self) -> Callable[[], Catalog]:
        return lambda: Catalog({self.shape.name: self.shape})

    async def page(self, table: str, after: Cursor | None, rows_max: int) -> SampledPage:
        self.pages.append(after)
        return SampledPage(rows_max, frozenset(self.differ), None if after else ("9",))

    async def differing(self, table: str, rows: Collection[RowId]) -> tuple[frozenset[RowId], list[Row]]:
        self.meanwhile()
        still = frozenset(rows) & frozenset(self.differ)
        return still, [{"id": identity[0], "owner": "0xA1"} for _, identity in still]


@dataclass
class FakeWork:
    waiting: Collection[RowId] = ()
    repaired: list[tuple[frozenset[RowId], frozenset[Key]]] = field(default_factory=list)
    runs: list[frozenset[int]] = field(default_factory=list)

    def waits_for(self, rows: Collection[RowId]) -> frozenset[RowId]:
        return frozenset(rows) & frozenset(self.waiting)

    def running(self) -> frozenset[int]:
        return self.runs.pop(0) if self.runs else frozenset()

    def repair_rows(self, rows: Collection[RowId], keys: Collection[Key]) -> None:
        self.repaired.append((frozenset(rows), frozenset(keys)))


def sampler(tables: FakeTables, work: FakeWork, watch: RowWatch | None = None) -> RowSampler:
    metrics = RunnerMetrics(CollectorRegistry())
    state = ShadowState({role: EmptyFeed() for role in Role}, metrics)
    index = KeyIndex(TABLES, {"score": ("id",)})
    parents = ParentLookup(index, Catalog({}), ())
    return RowSampler(1.0, 100, tables, work, watch or RowWatch(), state, metrics, index, parents)


def drifted(made: RowSampler) -> float:
    return made.metrics.drifted_rows._value.get()


def touching(watch: RowWatch, *rows: RowId) -> Callable[[], None]:
    deliver = watch.through(lambda keyed: None)
    keyed = KeyedTransaction(Transaction(1, 1, 1, 1, ()), frozenset(), frozenset(rows))
    return lambda: deliver(keyed)


async def test_row_that_differs_twice_is_counted_and_repaired() -> None:
    work = FakeWork()
    made = sampler(FakeTables([row(7)]), work)
    await made.sample()
    assert drifted(made) == 1
    assert work.repaired == [({row(7)}, {("address", "0xa1")})]


async def test_row_that_waits_for_a_change_of_live_is_left_for_its_next_turn() -> None:
    work = FakeWork(waiting=[row(7)])
    made = sampler(FakeTables([row(7), row(8)]), work)
    await made.sample()
    assert [rows for rows, _ in work.repaired] == [{row(8)}]


async def test_row_that_is_touched_between_the_readings_is_left_for_its_next_turn() -> None:
    work, watch = FakeWork(), RowWatch()
    made = sampler(FakeTables([row(7), row(8)], touching(watch, row(8), row(9))), work, watch)
    await made.sample()
    assert [rows for rows, _ in work.repaired] == [{row(7)}]


async def test_rows_of_a_table_that_is_emptied_meanwhile_are_left_alone() -> None:
    work, watch = FakeWork(), RowWatch()
    made = sampler(FakeTables([row(7)], touching(watch, ("score", ()))), work, watch)
    await made.sample()
    assert (work.repaired, drifted(made)) == ([], 0)


async def test_items_that_ran_at_first_have_ended_before_rows_are_judged() -> None:
    work = FakeWork(runs=[frozenset({1, 2}), frozenset({2, 3}), frozenset({3})])
    made = sampler(FakeTables([row(7)], lambda: work.runs.append(frozenset({99}))), work)
    await made.sample()
    assert work.runs == [frozenset({99})]
    assert drifted(made) == 1


async def test_many_rows_are_resynced_as_a_table() -> None:
    work = FakeWork()
    made = sampler(FakeTables([row(n) for n in range(REPAIRED_MAX + 1)]), work)
    await made.sample()
    assert work.repaired == []
    assert made.state.resync_tables == {"score"}


async def test_rows_without_a_primary_key_are_resynced_as_a_table() -> None:
    work = FakeWork()
    made = sampler(FakeTables([row(7)], shape=shape("score")), work)
    await made.sample()
    assert made.state.resync_tables == {"score"}


async def test_pages_follow_one_another_and_begin_again_at_the_end() -> None:
    tables = FakeTables([])
    made = sampler(tables, FakeWork())
    for _ in range(4):
        await made.sample()
    assert tables.pages == [None, ("9",), None, ("9",)]


def test_page_is_read_along_the_primary_key() -> None:
    sql, values = page_sql(shape("score", "a", "b"), after=("1", "x"), up_to=("2", "y"), limit=5)
    assert 'WHERE ROW(t."a", t."b") > ROW($1::text::text, $2::text::text)' in sql
    assert 'ROW(t."a", t."b") <= ROW($3::text::text, $4::text::text) ORDER BY t."a", t."b" LIMIT 5' in sql
    assert values == ["1", "x", "2", "y"]
