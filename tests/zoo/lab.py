"""A laboratory for shapes: databases, instances of both sides that run the statements they are sent, and the runner.

The instances are one generic service: a request's body lists statements, which it runs in one transaction that names the request. So
everything between the request and the verdict is the product's: journal, capture, attribution, mirroring, comparison, alignment.
"""

import asyncio
import io
import json
import logging
import re
import tempfile
import time
import uuid
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg
import zstandard
from aiohttp import ClientSession, web

from comparator.capture.clone import CloneMethod, CloneOptions, clone
from comparator.capture.session import connect
from comparator.capture.settings import CaptureSettings, Driver, shadow_capture
from comparator.capture.verify import DatabasePair, verify
from comparator.exchanges.model import Exchange, Request, Response, Side
from comparator.settings import CompareSettings
from comparator.tables import Table
from proxy.cli import capture as capture_command
from proxy.cli.exit_codes import Exit
from proxy.config.backends import BackendSettings, BackendsSettings, SideInstances
from proxy.config.databases import DatabasesSettings
from proxy.config.journal import JournalSettings
from proxy.config.runner import RunnerSettings
from proxy.config.settings import Settings
from proxy.journal.driver import JournalWriter
from proxy.journal.registry import open_writer
from proxy.rollout.accounting import Samples, total
from proxy.runner.app import serve
from tests.support import postgres
from tests.support.mirroring import settled
from tests.support.scraping import free_port, until
from tests.zoo.shape import Copy, Operation, Shape, Statement
from tests.zoo.visits import EQUAL, Numbers, Visit, Work, visits

TAG = "SELECT pg_logical_emit_message(true, 'shadow.request', $1), set_config('shadow.request', $1, true)"
CLAIM_WAIT_MS = 1_500
TOO_SLOW = frozenset(("late", "slow"))
"""Causes for which a busy machine leaves a request out; it is made once more, with other numbers."""
REPEATS_MAX = 6
ROUTE = "statements"
NO_WORK = Work((), (), frozenset())


@dataclass(frozen=True)
class Problem:
    """A promise that was not kept."""

    shape: str
    text: str

    def __str__(self) -> str:
        return f"{self.shape}: {self.text}"


@dataclass
class Instance:
    """One instance of one side: it runs the statements of a request's body, or those that it was told to run instead."""

    dsn: str
    role: str
    shapes: Mapping[str, Shape]
    instead: dict[str, tuple[Statement, ...]] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)
    url: str = ""
    pool: asyncpg.Pool | None = None

    async def handle(self, request: web.Request) -> web.Response:
        request_id = request.headers["X-Request-Id"]
        shape = self.shapes[request.match_info["shape"]]
        statements = self.instead.get(request_id)
        if statements is None:
            statements = decoded(await request.json())
        assert self.pool is not None
        async with self.pool.acquire() as conn:
            try:
                await run(conn, shape, statements, role=self.role, request_id=request_id)
            except asyncpg.PostgresError as error:
                self.errors.append(f"{shape.name}: {self.role}: {type(error).__name__}: {error}")
                return web.json_response({"error": error.sqlstate}, status=500)
        return web.json_response({"ok": True})


async def run(
    conn: asyncpg.pool.PoolConnectionProxy | asyncpg.Connection,
    shape: Shape,
    statements: Iterable[Statement],
    *,
    role: str,
    request_id: str = "",
) -> None:
    """Run statements in one transaction, which names the request if there is one."""
    work_id = request_id or uuid.uuid4().hex
    await conn.execute(shape.begin)
    try:
        if request_id:
            await conn.execute(TAG, request_id)
        for statement in statements:
            if isinstance(statement, Copy):
                lines = io.BytesIO(statement.lines.encode())
                await conn.copy_to_table(statement.table, source=lines)
            else:
                await conn.execute(statement.replace("{role}", role))
        for statement in shape.commit:
            await conn.execute(statement.replace("{role}", role).replace("{id}", work_id))
    except BaseException:
        await conn.execute("ROLLBACK")
        raise


def encoded(statements: Iterable[Statement]) -> list[object]:
    return [[s.table, s.lines] if isinstance(s, Copy) else s for s in statements]


def decoded(items: Iterable[object]) -> tuple[Statement, ...]:
    return tuple(item if isinstance(item, str) else Copy(*item) for item in items)  # pyright: ignore[reportGeneralTypeIssues]


@dataclass(frozen=True)
class Refusal:
    """The answer of a preflight that does not capture the tables."""

    text: str


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

    @property
    def tables(self) -> tuple[str, ...]:
        return tuple(table for shape in self.shapes for table in shape.tables)

    async def request(self, session: ClientSession, shape: Shape, visit: Visit, work: Work) -> str:
        """Make one request and journal it, as the proxy does; return its id."""
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
        if response.status != 200:
            self.problems.append(Problem(shape.name, f"{visit}: live failed: {answer.decode()}"))
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
        return request_id

    async def idle(self, count: int) -> Samples:
        """Wait until the runner has ended `count` exchanges and has nothing left to do."""
        return await until(self.settings.runner.port, lambda s: settled(s, count), timeout_s=240)


COMPARISONS = (
    "SELECT exchange_id, verdict, confirmed, effects_compared, effects_note, rows_served, detail FROM shadow.comparison"
)


@dataclass(frozen=True)
class Outcome:
    """The stored result of one request."""

    verdict: str
    confirmed: bool | None
    effects: bool
    note: str
    rows: int
    places: tuple[str, ...]
    kinds: tuple[str, ...]


async def outcomes(lab: ZooLab) -> dict[str, Outcome]:
    """Read the results from the store."""
    conn = await asyncpg.connect(lab.store_dsn)
    try:
        return {record["exchange_id"]: _outcome(record) for record in await conn.fetch(COMPARISONS)}
    finally:
        await conn.close()


def _outcome(record: asyncpg.Record) -> Outcome:
    detail = json.loads(zstandard.decompress(record["detail"])) if record["detail"] else {}
    differences = detail.get("differences", [])
    return Outcome(
        record["verdict"],
        record["confirmed"],
        record["effects_compared"],
        record["effects_note"],
        record["rows_served"],
        tuple(sorted(d["place"] for d in differences)),
        tuple(sorted(d["kind"] for d in differences)),
    )


def judge(shape: Shape, visit: Visit, work: Work, outcome: Outcome | None) -> str:
    """Return what is wrong with the result of a request; "" for nothing."""
    if outcome is None:
        return "not compared"
    if not outcome.effects:
        return f"{outcome.verdict}, rows not compared: {outcome.note}"
    if visit.deviation == EQUAL:
        if outcome.verdict != "match":
            return f"equal sides: {outcome.verdict} {outcome.kinds} at {outcome.places}"
        return "" if outcome.rows or visit.operation is Operation.TRUNCATE or not work.served else "match of no rows"
    if (outcome.verdict, outcome.confirmed) != ("mismatch", True):
        return f"one difference: {outcome.verdict}, confirmed {outcome.confirmed}"
    places = set(outcome.places)
    if visit.deviation in shape.faults:
        return "" if places == work.places and len(outcome.places) == 1 else f"one difference: named {outcome.places}"
    return "" if {place.partition(".")[0] for place in places} <= work.places else f"idle side: named {outcome.places}"


CONTENT = """
SELECT count(*) || ' ' || coalesce(md5(string_agg(md5(t::text), '' ORDER BY md5(t::text))), '') FROM {} t
"""


async def contents(dsn: str, tables: Iterable[str]) -> dict[str, str]:
    """Return number and digest of the rows of each table, read without the product."""
    conn = await asyncpg.connect(dsn, server_settings={"timezone": "UTC"})
    try:
        return {table: await conn.fetchval(CONTENT.format(quoted(table))) for table in tables}
    finally:
        await conn.close()


def quoted(table: str) -> str:
    """Quote the name of a table as the configuration writes it."""
    parts = re.findall(r'"((?:[^"]|"")*)"|([^.]+)', table)
    return ".".join(f'"{a or b}"' for a, b in parts)


async def disagreements(lab: ZooLab) -> list[Problem]:
    """Compare both databases, with `verify` and without; both have to say that they are equal."""
    problems: list[Problem] = []
    one, other = await connect(lab.live_dsn, timeout_s=30), await connect(lab.shadow_dsn, timeout_s=30)
    try:
        reports = {report.table: report for report in await verify(DatabasePair(one, other), lab.tables)}
    finally:
        await one.close()
        await other.close()
    live, shadow = await contents(lab.live_dsn, lab.tables), await contents(lab.shadow_dsn, lab.tables)
    for shape in lab.shapes:
        for table in shape.tables:
            report = reports[table]
            if live[table] != shadow[table]:
                first = [(d.kind.value, d.key) for d in report.first[:4]]
                problems.append(
                    Problem(
                        shape.name,
                        f"{table} differs after all: live {live[table]}, shadow {shadow[table]}, {report.problem} {first}",
                    )
                )
            if report.equal != (live[table] == shadow[table]):
                problems.append(Problem(shape.name, f"verify says equal={report.equal} of {table}: {report.problem}"))
            if report.rows_live != int(live[table].split()[0]):
                problems.append(Problem(shape.name, f"verify counts {report.rows_live} rows of {table} in live"))
    return problems


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
        out = io.StringIO()
        if await capture_command.check(live, capture, described, apply=True, out=out) is not Exit.DONE:
            yield Refusal(out.getvalue())
            return
        shadow = postgres.with_database(live, f"shadow_{uuid.uuid4().hex[:12]}")
        stack.push_async_callback(postgres.drop_database, shadow)
        await clone(live, shadow, CloneOptions(method=CloneMethod.TEMPLATE))
        out = io.StringIO()
        if (
            await capture_command.check(shadow, shadow_capture(capture), described, apply=True, out=out)
            is not Exit.DONE
        ):
            yield Refusal(out.getvalue())
            return
        by_path = {shape.name.replace(" ", "-"): shape for shape in shapes}
        instances = {
            (side, role): await stack.enter_async_context(_serving(Instance(dsn, role, by_path)))
            for side in Side
            for role, dsn in (("live", live), ("shadow", shadow))
        }
        backends = {
            side: SideInstances(
                live=BackendSettings(url=instances[side, "live"].url),
                shadow=BackendSettings(url=instances[side, "shadow"].url),
            )
            for side in Side
        }
        settings = Settings(
            backends=BackendsSettings(candidate=backends[Side.CANDIDATE], legacy=backends[Side.LEGACY]),
            databases=DatabasesSettings(live=live, shadow=shadow, store=store),
            journal=JournalSettings(directory=str(folder / "journal"), flush_ms=2.0),
            capture=capture,
            runner=RunnerSettings(
                port=free_port(),
                claim_wait_ms=CLAIM_WAIT_MS,
                confirm_per_s_max=10_000,
                tagged_sides=tuple(Side),
            ),
            compare=CompareSettings(tables=described),
        )
        writer = open_writer(settings.journal, {})
        writer.start()
        stack.callback(writer.close)
        yield ZooLab(live, shadow, store, shapes, instances, settings, writer)


@asynccontextmanager
async def _serving(instance: Instance) -> AsyncGenerator[Instance, None]:
    app = web.Application(client_max_size=2**26)
    app.router.add_post("/{shape}", instance.handle)
    async with asyncpg.create_pool(instance.dsn, min_size=1, max_size=16, statement_cache_size=0) as pool:
        instance.pool = pool
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        instance.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield instance
        finally:
            await runner.cleanup()


async def visit_shapes(server_dsn: str, shapes: Sequence[Shape], driver: Driver) -> list[Problem]:
    """Make all requests of these shapes, in one laboratory; return every promise that was not kept."""
    with tempfile.TemporaryDirectory(prefix="zoo-") as folder:
        async with zoo_lab(server_dsn, shapes, driver, Path(folder)) as lab:
            if isinstance(lab, Refusal):
                return [Problem(" + ".join(shape.name for shape in shapes), f"refused: {lab.text}")]
            warnings = Warnings()
            logging.getLogger().addHandler(warnings)
            try:
                return await _visited(lab, warnings)
            finally:
                logging.getLogger().removeHandler(warnings)


async def _visited(lab: ZooLab, warnings: Warnings) -> list[Problem]:
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(serve(lab.settings, {}, stop=stop), name="runner-under-test")
        try:
            await until(lab.settings.runner.port, lambda s: total(s, "shadow_resyncs_total") >= 1, timeout_s=120)
            samples = await _visit_all(lab)
        finally:
            stop.set()
            if running.done():
                running.result()
    lab.problems += await disagreements(lab)
    results = await outcomes(lab)
    for request_id, (shape, visit, work) in lab.requests.items():
        problem = judge(shape, visit, work, results.get(request_id))
        if problem:
            lab.problems.append(Problem(shape.name, f"{visit}: {problem}"))
    everything = " + ".join(shape.name for shape in lab.shapes)
    for metric, allowed in (("resyncs_total", 1), ("drifted_rows_total", 0), ("errors_total", 0)):
        if total(samples, f"shadow_{metric}") > allowed:
            lab.problems.append(Problem(everything, f"shadow_{metric} {total(samples, f'shadow_{metric}'):g}"))
    lab.problems += [Problem(everything, line) for line in warnings.lines if "needs_clone" in line or lab.problems]
    return lab.problems


async def _visit_all(lab: ZooLab) -> Samples:
    numbers = {shape.name: Numbers(shape) for shape in lab.shapes}
    await _background(lab, numbers, (Operation.INSERT, Operation.UPDATE, Operation.DELETE, Operation.MIXED))
    async with ClientSession() as session:

        async def tour(shape: Shape) -> None:
            for visit in visits(shape):
                await lab.request(session, shape, visit, numbers[shape.name].work(visit))

        async with asyncio.TaskGroup() as tasks:
            for shape in lab.shapes:
                tasks.create_task(tour(shape), name=shape.name)
        await lab.idle(len(lab.requests))
        await _background(lab, numbers, (Operation.TRUNCATE, Operation.INSERT, Operation.MIXED))
        # The fence of a last request, which writes nothing, makes sure that all of it has been captured.
        await lab.request(session, lab.shapes[0], Visit(Operation.INSERT, Side.CANDIDATE), NO_WORK)
        return await lab.idle(len(lab.requests))


async def _background(lab: ZooLab, numbers: Mapping[str, Numbers], operations: Sequence[Operation]) -> None:
    """Let a job write to live, for each shape in turn; its writes must not fail."""
    conn = await asyncpg.connect(lab.live_dsn, statement_cache_size=0)
    try:
        for shape in lab.shapes:
            for operation in operations:
                try:
                    await run(conn, shape, numbers[shape.name].background(operation), role="live")
                except asyncpg.PostgresError as error:
                    lab.problems.append(Problem(shape.name, f"{operation} by a job: live failed: {error}"))
    finally:
        await conn.close()
