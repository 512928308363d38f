"""A laboratory for shapes: databases, instances of both sides that run the statements they are sent, and the runner.

The instances are one generic service: a request's body lists statements, which it runs in one transaction that names the request. So
everything between the request and the verdict is the product's: journal, capture, attribution, mirroring, comparison, alignment.
"""

import asyncio
import io
import json
import logging
import tempfile
import time
import uuid
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from itertools import dropwhile, takewhile
from pathlib import Path

import asyncpg
from aiohttp import ClientSession

from comparator.capture.clone import CloneMethod, CloneOptions, clone
from comparator.capture.errors import CaptureError
from comparator.capture.settings import CaptureSettings, Driver, shadow_capture
from comparator.exchanges.model import Exchange, Request, Response, Side
from comparator.settings import CompareSettings, StoreSettings
from comparator.tables import Table
from proxy.cli import capture as capture_command
from proxy.cli.exit_codes import Exit
from proxy.config.databases import DatabasesSettings
from proxy.config.journal import JournalSettings
from proxy.config.runner import RunnerSettings
from proxy.config.settings import Settings
from proxy.demo.free_ports import free_port
from proxy.journal.driver import JournalWriter
from proxy.journal.registry import open_writer
from proxy.rollout.accounting import Samples, total
from proxy.runner.app import serve
from proxy.runner.shadow_state import ResyncReason
from tests.support import postgres
from tests.support.backends import backends_of
from tests.support.mirroring import settled
from tests.support.scraping import until
from tests.zoo.oracle import Problem, disagreements, judge, outcomes
from tests.zoo.service import Instance, encoded, run, serving
from tests.zoo.shape import Operation, Shape
from tests.zoo.visits import Numbers, Visit, Work, short_visits, visits

CLAIM_WAIT_MS = 3_000
HEAVY_CLAIM_WAIT_MS = 60_000
"""A request that takes longer than the wait is left out, and the statements of the heavy shapes cannot all be repeated."""
PATIENT_S = 120.0
"""Limit of a mirrored request and of a statement of the store: here they never hang, they are slow when the machine is busy."""
SETTLE_S = 300.0
HEAVY_SETTLE_S = 1_200.0
TOO_SLOW = frozenset(("late", "slow"))
"""Causes for which a busy machine leaves a request out; it is made once more, with other numbers."""
REPEATS_MAX = 200
STORED_POLL_S, STORED_POLLS_MAX = 0.2, 100
ROUTE = "statements"
Plan = Callable[[Shape], Iterable[Visit]]
NO_WORK = Work((), (), frozenset())


class Warnings(logging.Handler):
    """Keeps what the product logs at level WARNING and above."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        extra = {k: v for k, v in record.__dict__.items() if k in ("error", "reason", "do", "table", "rows", "what")}
        raised = f" {record.exc_info[1]!r}" if record.exc_info else ""
        line = f"{record.getMessage()} {extra}{raised}"
        if line not in self.lines:
            self.lines.append(line)


@dataclass(frozen=True)
class Refusal:
    """The answer of a preflight that does not capture the tables."""

    text: str

    def names(self, table: str, reason: str) -> bool:
        """Return whether one line names a table and a reason."""
        return any(table in line and reason in line for line in self.text.splitlines())


async def preflight(
    dsn: str, capture: CaptureSettings, described: Mapping[str, Table], *, shadow: bool = False
) -> Refusal | None:
    """Prepare a database with `shadow capture check --apply`; return its answer if that refuses."""
    capture = shadow_capture(capture) if shadow else capture
    out = io.StringIO()
    try:
        if await capture_command.check(dsn, capture, described, apply=True, shadow=shadow, out=out) is Exit.DONE:
            return None
    except CaptureError as error:
        return Refusal(f"FAILED {error}")
    return Refusal("\n".join(line for line in out.getvalue().splitlines() if line.startswith(("FAILED", "warning"))))


@dataclass
class ZooLab:
    """Databases of some shapes, with running instances. `instances` is by side and role."""

    live_dsn: str
    shadow_dsn: str
    store_dsn: str
    shapes: Sequence[Shape]
    instances: Mapping[tuple[Side, str], Instance]
    settings: Settings
    writer: JournalWriter
    requests: dict[str, tuple[Shape, Visit, Work]] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    sent: int = 0
    repeated: int = 0

    @property
    def tables(self) -> tuple[str, ...]:
        return tuple(table for shape in self.shapes for table in shape.tables)

    async def request(self, session: ClientSession, shape: Shape, visit: Visit, work: Work) -> tuple[str, int]:
        """Make one request and journal it, as the proxy does; return its id and the status of the response."""
        request_id = uuid.uuid4().hex
        self.requests[request_id] = (shape, visit, work)
        if work.mirrored != work.served:
            self.instances[visit.side.other, "shadow"].instead[request_id] = work.mirrored
        target, body = f"/{shape.name.replace(' ', '-')}", json.dumps(encoded(work.served)).encode()
        headers = {"X-Request-Id": request_id, "Content-Type": "application/json"}
        started = time.time_ns()
        url = self.instances[visit.side, "live"].url + target
        async with session.post(url, data=body, headers=headers) as response:
            answer = await response.read()
        exchange = Exchange(
            id=request_id,
            route=ROUTE,
            key=shape.name,
            served_by=visit.side,
            stage="test",
            started_ns=started,
            ended_ns=time.time_ns(),
            request=Request("POST", target, tuple(headers.items()), body),
            outcome=Response(response.status, (("Content-Type", "application/json; charset=utf-8"),), answer),
            overlapped=False,
        )
        assert self.writer.append(exchange)
        self.sent += 1
        return request_id, response.status

    def anomalies(self, samples: Samples, warnings: Warnings, *, emptied: bool = False) -> list[Problem]:
        """Return what the runner's metrics say that it should not have had to do; with its log, if there is any problem.

        Args:
            samples: of the metrics.
            warnings: of the log.
            emptied: the mirrored side alone truncated a table, whose rows only a resync brings back. A job may write one of them before.
        """
        everything = " + ".join(shape.name for shape in self.shapes)
        found = [
            Problem(everything, f"shadow_{metric} is {total(samples, f'shadow_{metric}'):g}")
            for metric in (() if emptied else ("drifted_rows_total",)) + ("errors_total",)
            if total(samples, f"shadow_{metric}")
        ]
        unexpected = {reason for reason in ResyncReason if total(samples, "shadow_resyncs_total", reason=reason)}
        unexpected -= {ResyncReason.START, ResyncReason.SCHEMA} | ({ResyncReason.DRIFT} if emptied else set())
        found += [Problem(everything, f"a resync because of {reason}") for reason in sorted(unexpected)]
        lines = [line for line in warnings.lines if "needs_clone" in line or found or self.problems]
        skipped = {str(dict(labels)): n for labels, n in samples.get("shadow_skipped_total", {}).items() if n}
        return [
            *found,
            *(Problem(everything, line) for line in (*lines, f"skipped {skipped}") if lines or found or self.problems),
        ]

    async def idle(self) -> Samples:
        """Wait until the runner has ended every exchange and has nothing left to do."""
        limit_s = HEAVY_SETTLE_S if any(shape.heavy for shape in self.shapes) else SETTLE_S
        return await until(self.settings.runner.port, lambda s: settled(s, self.sent), timeout_s=limit_s)

    async def take_missed(self, samples: Samples) -> list[tuple[Shape, Visit]]:
        """Forget the requests that were not compared because this machine was too slow, and return them."""
        slow = sum(total(samples, "shadow_skipped_total", cause=cause) for cause in TOO_SLOW) - self.repeated
        if not slow or self.repeated + slow > REPEATS_MAX:
            return []
        # A result is counted some time before it is stored.
        for _ in range(STORED_POLLS_MAX):
            compared = await outcomes(self.store_dsn)
            missed = [request_id for request_id in self.requests if request_id not in compared]
            if len(missed) <= slow:
                self.repeated += len(missed)
                return [self.requests.pop(request_id)[:2] for request_id in missed]
            await asyncio.sleep(STORED_POLL_S)
        return []


@asynccontextmanager
async def zoo_lab(
    server_dsn: str, shapes: Sequence[Shape], driver: Driver, folder: Path
) -> AsyncGenerator["ZooLab | Refusal", None]:
    """Create databases with the shapes, prepare them with the product's commands, and start instances.

    Yields:
        The laboratory; or the preflight's answer when it refuses a table.
    """
    tables = tuple(table for shape in shapes for table in shape.tables)
    described: dict[str, Table] = {name: table for shape in shapes for name, table in shape.described.items()}
    capture = CaptureSettings(driver=driver, tables=tables, poll_ms=20, lock_timeout_ms=10_000)
    async with AsyncExitStack() as stack:
        live = await stack.enter_async_context(postgres.temporary_database(server_dsn))
        store = await stack.enter_async_context(postgres.temporary_database(server_dsn))
        conn = await asyncpg.connect(live)
        for shape in shapes:
            await conn.execute(shape.ddl)
            await conn.execute(shape.seed)
        await conn.close()
        refusal = await preflight(live, capture, described)
        if refusal is not None:
            yield refusal
            return
        shadow = postgres.with_database(live, f"shadow_{uuid.uuid4().hex[:12]}")
        stack.push_async_callback(postgres.drop_database, shadow)
        await clone(live, shadow, CloneOptions(method=CloneMethod.TEMPLATE))
        refusal = await preflight(shadow, capture, described, shadow=True)
        if refusal is not None:
            yield refusal
            return
        by_path = {shape.name.replace(" ", "-"): shape for shape in shapes}
        instances = {
            (side, role): await stack.enter_async_context(serving(Instance(dsn, role, by_path)))
            for side in Side
            for role, dsn in (("live", live), ("shadow", shadow))
        }
        settings = Settings(
            backends=backends_of({key: one.url for key, one in instances.items()}),
            databases=DatabasesSettings(live=live, shadow=shadow, store=store),
            journal=JournalSettings(directory=str(folder / "journal"), flush_ms=2.0),
            capture=capture,
            runner=RunnerSettings(
                port=free_port(),
                timeout_s=PATIENT_S,
                claim_wait_ms=HEAVY_CLAIM_WAIT_MS if any(shape.heavy for shape in shapes) else CLAIM_WAIT_MS,
                confirm_per_s_max=10_000,
                tagged_sides=tuple(Side),
            ),
            compare=CompareSettings(tables=described),
            store=StoreSettings(timeout_s=PATIENT_S),
        )
        writer = open_writer(settings.journal, {})
        writer.start()
        stack.callback(writer.close)
        yield ZooLab(live, shadow, store, shapes, instances, settings, writer)


async def visit_shapes(server_dsn: str, shapes: Sequence[Shape], driver: Driver, plan: Plan = visits) -> list[Problem]:
    """Make all requests of these shapes, in one laboratory; return every promise that was not kept."""
    with tempfile.TemporaryDirectory(prefix="zoo-") as folder:
        async with zoo_lab(server_dsn, shapes, driver, Path(folder)) as lab:
            everything = " + ".join(shape.name for shape in shapes)
            if isinstance(lab, Refusal):
                return [Problem(everything, f"refused: {lab.text}")]
            warnings = Warnings()
            logging.getLogger().addHandler(warnings)
            try:
                return await _visited(lab, warnings, plan)
            except ExceptionGroup as errors:
                return [*lab.problems, Problem(everything, f"the runner ended, or never: {errors.exceptions}")]
            finally:
                logging.getLogger().removeHandler(warnings)


async def refuse_shape(server_dsn: str, shape: Shape, driver: Driver) -> list[Problem]:
    """Let the preflight of live or of the shadow refuse a shape by name; live's writes must work afterwards."""
    capture = CaptureSettings(driver=driver, tables=shape.tables, poll_ms=20, lock_timeout_ms=10_000)
    problems: list[Problem] = []
    async with AsyncExitStack() as stack:
        live = await stack.enter_async_context(postgres.temporary_database(server_dsn))
        conn = await asyncpg.connect(live)
        await conn.execute(shape.ddl)
        await conn.execute(shape.seed)
        await conn.close()
        refusal = await preflight(live, capture, shape.described)
        if refusal is None:
            shadow = postgres.with_database(live, f"shadow_{uuid.uuid4().hex[:12]}")
            stack.push_async_callback(postgres.drop_database, shadow)
            await clone(live, shadow, CloneOptions(method=CloneMethod.TEMPLATE))
            refusal = await preflight(shadow, capture, shape.described, shadow=True)
        if refusal is None or not refusal.names(shape.tables[0], shape.refused):
            problems.append(Problem(shape.name, f"not refused because of {shape.refused!r}: {refusal}"))
        conn = await asyncpg.connect(live, statement_cache_size=0)
        stack.push_async_callback(conn.close)
        numbers = Numbers(shape)
        for operation in Operation:
            try:
                await run(conn, shape, numbers.background(operation), role="live")
            except asyncpg.PostgresError as error:
                problems.append(Problem(shape.name, f"{operation} after the preflight: live failed: {error}"))
    return problems


async def keep_promise(server_dsn: str, shape: Shape, driver: Driver) -> list[Problem]:
    """Visit or refuse one shape, as it promises; return what was not kept. A shape that is declared broken must fail."""
    if shape.refused:
        problems = await refuse_shape(server_dsn, shape, driver)
    else:
        plan = short_visits if shape.heavy else visits
        problems = await visit_shapes(server_dsn, [shape], driver, plan)
    reason = shape.broken.get(driver.value, shape.broken.get("*", ""))
    if not reason:
        return problems
    return [] if problems else [Problem(shape.name, f"keeps its promise now; remove the mark: {reason}")]


async def _visited(lab: ZooLab, warnings: Warnings, plan: Plan) -> list[Problem]:
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(serve(lab.settings, {}, stop=stop), name="runner-under-test")
        try:
            await until(lab.settings.runner.port, lambda s: total(s, "shadow_resyncs_total") >= 1, timeout_s=SETTLE_S)
            samples = await _visit_all(lab, plan)
        finally:
            stop.set()
    lab.problems += await disagreements(lab.live_dsn, lab.shadow_dsn, lab.shapes)
    results = await outcomes(lab.store_dsn)
    for request_id, (shape, visit, work) in lab.requests.items():
        problem = judge(shape, visit, work, results.get(request_id))
        if problem:
            lab.problems.append(Problem(shape.name, f"{visit}: {problem}"))
    emptied = any(not fault.undoable for shape in lab.shapes for fault in shape.faults.values())
    lab.problems += lab.anomalies(samples, warnings, emptied=emptied)
    return lab.problems


async def _visit_all(lab: ZooLab, plan: Plan) -> Samples:
    numbers = {shape.name: Numbers(shape) for shape in lab.shapes}
    await _background(lab, numbers, (Operation.INSERT, Operation.UPDATE, Operation.DELETE, Operation.MIXED))
    async with ClientSession() as session:

        async def tour(shape: Shape, planned: Iterable[Visit]) -> None:
            for visit in planned:
                _, status = await lab.request(session, shape, visit, numbers[shape.name].work(visit))
                if shape.heavy:
                    # The promise holds for such a transaction alone: several at a time are more than `runner.rows_max`.
                    await lab.idle()
                if status != 200:
                    errors = [error for instance in lab.instances.values() for error in instance.errors]
                    lab.problems.append(Problem(shape.name, f"{visit}: live failed: {errors[-1:]}"))

        plans = {shape.name: list(plan(shape)) for shape in lab.shapes}
        # What is repeated needs rows of the seed, which a TRUNCATE takes away.
        for part in (_before_truncate, _from_truncate):
            async with asyncio.TaskGroup() as tasks:
                for shape in lab.shapes:
                    tasks.create_task(tour(shape, part(plans[shape.name])), name=shape.name)
            while missed := await lab.take_missed(await lab.idle()):
                for shape, visit in missed:
                    await tour(shape, [visit])
        await _background(lab, numbers, (Operation.TRUNCATE, Operation.INSERT, Operation.MIXED))
        # The fence of a last request, which writes nothing, makes sure that all of it has been captured.
        await lab.request(session, lab.shapes[0], Visit(Operation.INSERT, Side.CANDIDATE), NO_WORK)
        return await lab.idle()


def _before_truncate(planned: Iterable[Visit]) -> Iterable[Visit]:
    return takewhile(lambda visit: visit.operation is not Operation.TRUNCATE, planned)


def _from_truncate(planned: Iterable[Visit]) -> Iterable[Visit]:
    return dropwhile(lambda visit: visit.operation is not Operation.TRUNCATE, planned)


async def _background(lab: ZooLab, numbers: Mapping[str, Numbers], operations: Sequence[Operation]) -> None:
    """Let a job write to live, for each shape in turn; its writes must not fail."""
    conn = await asyncpg.connect(lab.live_dsn, statement_cache_size=0)
    try:
        for shape in lab.shapes:
            for operation in (Operation.MIXED,) if shape.heavy else operations:
                try:
                    await run(conn, shape, numbers[shape.name].background(operation), role="live")
                except asyncpg.PostgresError as error:
                    lab.problems.append(Problem(shape.name, f"{operation} by a job: live failed: {error}"))
    finally:
        await conn.close()
