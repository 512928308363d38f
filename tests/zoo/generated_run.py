"""Runs generated schemas: what each request should have left behind comes from a third database, which the product never sees.

The control database runs the statements of both sides from one state, the mirrored ones in a transaction that is rolled back. Where it has
other rows afterwards, the comparison has to name a table of those; where it has the same, there is nothing to find. And live must hold what
the control holds: capturing it has made no statement fail.
"""

import asyncio
import logging
import tempfile
from collections import Counter
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import asyncpg
from aiohttp import ClientSession
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from comparator.capture.settings import Driver
from comparator.exchanges.model import Side
from proxy.rollout.accounting import total
from proxy.runner.app import serve
from tests.support import postgres
from tests.support.scraping import until
from tests.zoo.generated_schema import SURROGATE, GeneratedSchema, GeneratedTable, Step, schemas
from tests.zoo.lab import NO_WORK, SETTLE_S, TOO_SLOW, Refusal, Warnings, ZooLab, zoo_lab
from tests.zoo.oracle import Outcome, Problem, disagreements, outcomes, within
from tests.zoo.service import perform, run
from tests.zoo.shape import Operation, Shape
from tests.zoo.visits import Visit, Work

Contents = Mapping[str, Counter[tuple[object, ...]]]


def generate(count: int, *, number: int = 0, migrated: bool = False) -> list[GeneratedSchema]:
    """Return `count` schemas, with migrations or without; the same for the same number."""
    made: list[GeneratedSchema] = []

    @seed(number)
    @settings(
        max_examples=count,
        phases=[Phase.generate],
        database=None,
        deadline=None,
        suppress_health_check=[*HealthCheck],  # pyright: ignore[reportArgumentType],
    )
    @given(st.data())
    def collect(data: st.DataObject) -> None:
        if len(made) < count:
            made.append(data.draw(schemas(number=len(made), migrated=migrated)))

    collect()
    return made


@dataclass(frozen=True)
class Expected:
    """The outcome that a request must have.

    Attributes:
        tables: tables whose rows differ between the sides afterwards.
        truncated: tables that one side alone has truncated.
        failed: the served and the mirrored transaction fail at their end.
        emptied: the mirrored side truncates a table. What was in it cannot be put back for a second run, so that a mismatch stays
            unconfirmed.
    """

    tables: frozenset[str]
    truncated: frozenset[str]
    failed: tuple[bool, bool]
    emptied: bool

    @property
    def match(self) -> bool:
        return not self.tables and not self.truncated and self.failed[0] == self.failed[1]


class Control:
    """The control database of one schema. `tables` are those of the round that runs."""

    def __init__(self, conn: asyncpg.Connection, schema: GeneratedSchema) -> None:
        self.conn = conn
        self.tables = schema.tables
        self._shape = schema.shape

    async def carry_out(self, step: Step) -> Expected:
        """Run a step; return what must come of it, if it is a request."""
        before = await self.contents(self.conn)
        mirrored = await self._attempt((*step.statements, *step.deviation), before, keep=False)
        served = await self._attempt(step.statements, before, keep=True)
        differing = frozenset(table for table in served[0] if served[0][table] != mirrored[0][table])
        return Expected(differing, served[1] ^ mirrored[1], (served[2], mirrored[2]), bool(mirrored[1]))

    async def contents(self, conn: asyncpg.Connection) -> Contents:
        """Return the rows of each table as values that do not depend on ids which the database made."""
        tables = {table.name: table for table in self.tables}
        keys: dict[tuple[str, str], object] = {}
        return {
            name: Counter(_canonical(row, tables.get(name), keys) for row in await _texts(conn, name))
            for name in self._shape.tables
        }

    async def _attempt(
        self, statements: Sequence[str], before: Contents, *, keep: bool
    ) -> tuple[Contents, frozenset[str], bool]:
        """Return the rows after a transaction, the tables that it truncated, and whether it fails at its end."""
        await self.conn.execute("BEGIN")
        failures = await perform(self.conn, self._shape, statements, role="control")
        try:
            await self.conn.execute("SET CONSTRAINTS ALL IMMEDIATE")
        except asyncpg.PostgresError:
            await self.conn.execute("ROLLBACK")
            return before, frozenset(), True
        after = await self.contents(self.conn)
        await self.conn.execute("COMMIT" if keep else "ROLLBACK")
        done = [statement for number, statement in enumerate(statements) if number not in failures]
        return after, frozenset(name for s in done for name in truncated(s, self.tables)), False


def truncated(statement: str, tables: Iterable[GeneratedTable]) -> set[str]:
    """Return the tables that a statement truncates, those that reference them included."""
    if not statement.startswith("TRUNCATE"):
        return set()
    names = {statement.split()[1]}
    for table in tables:
        if table.parent is not None and table.parent.name in names:
            names.add(table.name)
    return names


async def _texts(conn: asyncpg.Connection, table: str) -> list[dict[str, str | None]]:
    columns = [
        record["attname"]
        for record in await conn.fetch(
            "SELECT attname FROM pg_attribute WHERE attrelid = $1::text::regclass AND attnum > 0 AND NOT attisdropped",
            table,
        )
    ]
    listed = ", ".join(f'"{column}"::text' for column in columns)
    return [dict(record) for record in await conn.fetch(f"SELECT {listed} FROM {table}")]


def _canonical(
    row: Mapping[str, str | None], table: GeneratedTable | None, keys: dict[tuple[str, str], object]
) -> tuple[object, ...]:
    values: list[object] = []
    for column, text in sorted(row.items()):
        if column == "id":
            if table is not None and text is not None:
                keys[table.name, text] = row["k"]
            continue
        value: object = text
        if table is not None and text is not None:
            if column == "ref" and table.parent is not None and table.parent.key in SURROGATE:
                value = keys[table.parent.name, text]
            elif dict(table.columns).get(column) == "numeric" and text != "NaN":
                value = Decimal(text).normalize()
        values.append((column, value))
    return tuple(values)


def judge(expected: Expected, outcome: Outcome | None) -> str:
    """Return what is wrong with the result of a request; "" for nothing."""
    if outcome is None:
        return "not compared"
    if not outcome.effects:
        return f"{outcome.verdict}, rows not compared: {outcome.note}"
    if expected.match:
        return (
            "" if outcome.verdict == "match" else f"equal sides: {outcome.verdict} {outcome.kinds} at {outcome.places}"
        )
    if outcome.verdict != "mismatch" or not (outcome.confirmed or expected.emptied):
        differing = sorted(expected.tables | expected.truncated)
        return f"sides that differ in {differing}: {outcome.verdict}, confirmed {outcome.confirmed}"
    if expected.failed[0] != expected.failed[1]:
        return ""
    allowed = expected.tables | expected.truncated
    return (
        ""
        if outcome.places and within(outcome.places, allowed)
        else f"differs in {sorted(allowed)}, named {outcome.places}"
    )


async def run_schemas(server_dsn: str, generated: Sequence[GeneratedSchema], driver: Driver) -> list[Problem]:
    """Carry out the work of all schemas in one laboratory; return every promise that was not kept."""
    shapes = [schema.shape for schema in generated]
    everything = " + ".join(shape.name for shape in shapes)
    with tempfile.TemporaryDirectory(prefix="zoo-") as folder:
        async with (
            postgres.temporary_database(server_dsn) as control,
            zoo_lab(server_dsn, shapes, driver, Path(folder)) as lab,
        ):
            if isinstance(lab, Refusal):
                return [Problem(everything, f"refused: {lab.text}")]
            warnings = Warnings()
            logging.getLogger().addHandler(warnings)
            try:
                return await _worked(lab, control, generated, warnings)
            except ExceptionGroup as errors:
                lines = [Problem(everything, line) for line in warnings.lines]
                return [
                    *lab.problems,
                    Problem(everything, f"the runner ended, or never: {errors.exceptions}"),
                    *lines,
                ]
            finally:
                logging.getLogger().removeHandler(warnings)


async def _worked(lab: ZooLab, control: str, generated: Sequence[GeneratedSchema], warnings: Warnings) -> list[Problem]:
    stop = asyncio.Event()
    expected: dict[str, Expected] = {}
    async with AsyncExitStack() as stack:
        workers = [await stack.enter_async_context(_worker(lab, control, schema, expected)) for schema in generated]
        tasks = await stack.enter_async_context(asyncio.TaskGroup())
        tasks.create_task(serve(lab.settings, {}, stop=stop), name="runner-under-test")
        stack.callback(stop.set)
        await until(lab.settings.runner.port, lambda s: total(s, "shadow_resyncs_total") >= 1, timeout_s=SETTLE_S)
        session = await stack.enter_async_context(ClientSession())
        for number in range(max(len(schema.rounds) for schema in generated)):
            for part in (Worker.run_jobs, Worker.make_requests, Worker.migrate):
                async with asyncio.TaskGroup() as working:
                    for worker in workers:
                        working.create_task(part(worker, session, number), name=worker.shape.name)
                # The fence of a request that writes nothing makes sure that all of it has been captured.
                await lab.request(session, lab.shapes[0], Visit(Operation.MIXED, Side.CANDIDATE), NO_WORK)
                samples = await lab.idle()
        for worker in workers:
            await worker.compare_with_control()
    lab.problems += await disagreements(lab.live_dsn, lab.shadow_dsn, lab.shapes)
    results = await outcomes(lab.store_dsn)
    # What a busy machine made the runner leave out cannot be repeated: the tables hold something else by now.
    slow = sum(total(samples, "shadow_skipped_total", cause=cause) for cause in TOO_SLOW)
    for request_id, (shape, visit, work) in lab.requests.items():
        if request_id not in expected or (request_id not in results and slow):
            continue
        problem = judge(expected[request_id], results.get(request_id))
        if problem:
            lab.problems.append(Problem(shape.name, f"served by {visit.side}: {problem}\n{work}"))
    emptied = any(one.emptied and one.truncated for one in expected.values())
    lab.problems += lab.anomalies(samples, warnings, emptied=emptied)
    return lab.problems


@dataclass
class Worker:
    """Carries out the work of one schema, each step on the control database first."""

    lab: ZooLab
    schema: GeneratedSchema
    live: asyncpg.Connection
    control: Control
    expected: dict[str, Expected]

    @property
    def shape(self) -> Shape:
        return self.schema.shape

    async def run_jobs(self, _session: ClientSession, number: int) -> None:
        """Write to live without a request."""
        self.control.tables = self.schema.rounds[number].tables
        for step in self.schema.rounds[number].jobs:
            outcome = await self.control.carry_out(step)
            try:
                await run(self.live, self.shape, step.statements, role="live")
                self._check(step, outcome, failed=False)
            except asyncpg.PostgresError:
                self._check(step, outcome, failed=True)

    async def make_requests(self, session: ClientSession, number: int) -> None:
        """Let one side serve each request."""
        for step in self.schema.rounds[number].requests:
            assert step.side is not None
            outcome = await self.control.carry_out(step)
            visit = Visit(Operation.MIXED, step.side, "generated" if step.deviation else "")
            work = Work(step.statements, step.statements + step.deviation, frozenset())
            request_id, status = await self.lab.request(session, self.shape, visit, work)
            self.expected[request_id] = outcome
            self._check(step, outcome, failed=status != 200)

    async def migrate(self, _session: ClientSession, number: int) -> None:
        """Change a table in all three databases."""
        migration = self.schema.rounds[number].migration
        if migration is None:
            return
        shadow = await asyncpg.connect(self.lab.shadow_dsn)
        try:
            for conn in (shadow, self.live) if migration.shadow_first else (self.live, shadow):
                await conn.execute(migration.statement)
            await self.control.conn.execute(migration.statement)
        finally:
            await shadow.close()

    async def compare_with_control(self) -> None:
        """Compare live with the control database."""
        if await self.control.contents(self.live) != await self.control.contents(self.control.conn):
            text = "live and the control database differ: capturing changed what live's statements do"
            self.lab.problems.append(Problem(self.shape.name, text))

    def _check(self, step: Step, outcome: Expected, *, failed: bool) -> None:
        if failed != outcome.failed[0]:
            text = f"live failed: {failed}, control failed: {outcome.failed[0]}: {step.statements}"
            self.lab.problems.append(Problem(self.shape.name, text))


@asynccontextmanager
async def _worker(
    lab: ZooLab, control: str, schema: GeneratedSchema, expected: dict[str, Expected]
) -> AsyncGenerator[Worker, None]:
    live = await asyncpg.connect(lab.live_dsn, statement_cache_size=0, server_settings={"timezone": "UTC"})
    other = await asyncpg.connect(control, statement_cache_size=0, server_settings={"timezone": "UTC"})
    try:
        await other.execute(schema.shape.ddl)
        await other.execute(schema.shape.seed)
        yield Worker(lab, schema, live, Control(other, schema), expected)
    finally:
        await live.close()
        await other.close()
