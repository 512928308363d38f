"""A lab for databases that are migrated under traffic: services that run the statements of a request, and the real runner.

Two tables, `a` and `b`, with a route each; a third route reads both. Every request is served by one side and mirrored by the other; the
statements run in one transaction that names the request. A statement that a database refuses, e.g. for lack of a column, is answered
with 500, as an application would.
"""

import asyncio
import itertools
import json
import time
import uuid
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import asyncpg
import msgspec
from aiohttp import ClientSession, web

from comparator.capture.clone import CloneMethod, CloneOptions, clone
from comparator.capture.publication import prepare
from comparator.capture.session import connect
from comparator.capture.settings import CaptureSettings, Driver, shadow_capture
from comparator.capture.trigger_log import install
from comparator.capture.verify import DatabasePair, verify
from comparator.exchanges.model import Exchange, Request, Response, Side
from comparator.settings import CompareSettings
from comparator.tables import AttributionKey, Table
from proxy.config.databases import DatabasesSettings
from proxy.config.journal import JournalSettings
from proxy.config.routes import RouteSettings
from proxy.config.runner import RunnerSettings
from proxy.config.settings import Settings
from proxy.demo.free_ports import free_port
from proxy.journal.driver import JournalWriter
from proxy.journal.registry import open_writer
from proxy.rollout.accounting import Samples, total
from proxy.runner.app import serve
from tests.support import postgres
from tests.support.backends import backends_of
from tests.support.mirroring import settled
from tests.support.scraping import scrape, until

SCHEMA = """
CREATE TABLE a (id bigserial PRIMARY KEY, owner text NOT NULL, v text, w integer);
CREATE TABLE b (id bigserial PRIMARY KEY, owner text NOT NULL, v text);
INSERT INTO a (owner, v, w) SELECT 'seed', 'seed ' || n, n FROM generate_series(1, 20) n;
INSERT INTO b (owner, v) SELECT 'seed', 'seed ' || n FROM generate_series(1, 20) n;
"""
OWNER = (AttributionKey(kind="address", column="owner"),)
TABLES = {
    "a": Table(natural_key=("owner", "v"), keys=OWNER),
    "b": Table(natural_key=("owner", "v"), keys=OWNER),
}
TAG = "SELECT pg_logical_emit_message(true, 'shadow.request', $1), set_config('shadow.request', $1, true)"


@dataclass
class StatementService:
    """One instance of one side; `instead` has the statements that it runs in place of those of a request."""

    dsn: str
    instead: dict[str, Sequence[str]] = field(default_factory=dict)
    url: str = ""

    async def handle(self, request: web.Request) -> web.Response:
        request_id = request.headers["X-Request-Id"]
        statements = self.instead.get(request_id) or await request.json()
        conn = await asyncpg.connect(self.dsn, statement_cache_size=0)
        try:
            async with conn.transaction():
                await conn.execute(TAG, request_id)
                rows = [[list(map(str, row)) for row in await conn.fetch(statement)] for statement in statements]
        except asyncpg.PostgresError as error:
            return web.json_response({"error": error.sqlstate}, status=500)
        finally:
            await conn.close()
        return web.json_response({"rows": rows})


@dataclass
class SchemaLab:
    """Databases and services; `sent` counts the requests by route."""

    settings: Settings
    services: dict[tuple[Side, str], StatementService]
    writer: JournalWriter
    session: ClientSession
    rules: list[CompareSettings] = field(default_factory=list)
    sent: dict[str, int] = field(default_factory=dict)
    _numbers: itertools.count = field(default_factory=itertools.count)

    @property
    def live(self) -> str:
        return self.settings.databases.live

    @property
    def shadow(self) -> str:
        return self.settings.databases.shadow

    async def migrate(self, statements: str, *, on: str) -> None:
        """Run DDL on live or the shadow, as a migration does."""
        conn = await asyncpg.connect({"live": self.live, "shadow": self.shadow}[on], statement_cache_size=0)
        try:
            await conn.execute(statements)
        finally:
            await conn.close()

    async def capture(self, *tables: str) -> None:
        """Capture these tables of both databases and no others, as `shadow capture check --apply` and `install` do."""
        await capture_tables(self.live, self.settings.capture, tables)
        await capture_tables(self.shadow, shadow_capture(self.settings.capture), tables)

    async def request(
        self,
        route: str,
        *statements: str,
        instead: Sequence[str] = (),
        key: str = "",
        method: str = "POST",
        side: Side | None = None,
    ) -> tuple[str, int]:
        """Make one request, with another key each time unless one is given; return its id and status."""
        number = next(self._numbers)
        key, side = key or f"0x{number}", side or (Side.LEGACY, Side.CANDIDATE)[number % 2]
        statements = tuple(statement.replace("{key}", key) for statement in statements)
        request_id = uuid.uuid4().hex
        if instead:
            self.services[side.other, "shadow"].instead[request_id] = [s.replace("{key}", key) for s in instead]
        body = json.dumps(statements).encode()
        headers = {"X-Request-Id": request_id, "Content-Type": "application/json"}
        started = time.time_ns()
        async with self.session.post(
            f"{self.services[side, 'live'].url}/{route}", data=body, headers=headers
        ) as response:
            answer = await response.read()
        outcome = Response(response.status, (("Content-Type", "application/json; charset=utf-8"),), answer)
        request = Request(method, f"/{route}", tuple(headers.items()), body)
        exchange = Exchange(request_id, route, key, side, "test", started, time.time_ns(), request, outcome)
        assert self.writer.append(exchange)
        self.sent[route] = self.sent.get(route, 0) + 1
        return request_id, response.status

    async def idle(self, also: Callable[[Samples], bool] = lambda _: True) -> Samples:
        """Wait until the runner has nothing left to do, and `also` is true."""
        count = sum(self.sent.values())
        return await until(self.settings.runner.port, lambda s: settled(s, count) and also(s))

    async def resumed(self) -> Samples:
        """Wait until every table is compared again."""
        return await self.idle(lambda samples: not paused(samples))

    async def scrape(self) -> Samples:
        return await scrape(self.settings.runner.port)

    async def status(self) -> dict:
        """Return the runner's status."""
        async with self.session.get(f"http://127.0.0.1:{self.settings.runner.port}/status") as response:
            return await response.json()

    async def verdicts(self) -> dict[str, str]:
        """Return the verdict by request id, once all are stored."""
        async with asyncio.timeout(60):
            while (await self.status())["unsaved"]:
                await asyncio.sleep(0.05)
        conn = await asyncpg.connect(self.settings.databases.store)
        try:
            return {
                row["exchange_id"]: row["verdict"]
                for row in await conn.fetch("SELECT exchange_id, verdict FROM shadow.comparison")
            }
        finally:
            await conn.close()

    async def unequal(self, *tables: str) -> list[str]:
        """Return the tables whose rows differ."""
        live, shadow = await connect(self.live, timeout_s=10), await connect(self.shadow, timeout_s=10)
        try:
            return [f"{report}" for report in await verify(DatabasePair(live, shadow), tables) if not report.equal]
        finally:
            await live.close()
            await shadow.close()


def paused(samples: Samples) -> set[str]:
    """Return the tables that are not compared now."""
    return {dict(labels)["table"] for labels, on in samples.get("shadow_table_schema_differs", {}).items() if on}


def skipped(samples: Samples, route: str) -> dict[str, float]:
    """Return the skipped exchanges of a route, by cause."""
    return {
        dict(labels)["cause"]: count
        for labels, count in samples.get("shadow_skipped_total", {}).items()
        if dict(labels)["route"] == route
    }


def compared(samples: Samples, route: str) -> float:
    """Return the number of compared exchanges of a route."""
    return sum(n for labels, n in samples.get("shadow_compared_total", {}).items() if dict(labels)["route"] == route)


async def capture_tables(dsn: str, capture: CaptureSettings, tables: Sequence[str]) -> None:
    conn = await asyncpg.connect(dsn)
    try:
        await (install if capture.driver is Driver.TRIGGERS else prepare)(conn, capture, tables)
    finally:
        await conn.close()


@asynccontextmanager
async def _serving(service: StatementService) -> AsyncGenerator[StatementService, None]:
    app = web.Application()
    app.router.add_post("/{route}", service.handle)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    service.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield service
    finally:
        await runner.cleanup()


@asynccontextmanager
async def schema_lab(
    server_dsn: str,
    folder: Path,
    driver: Driver,
    *,
    schema: str = SCHEMA,
    tables: dict[str, Table] | None = None,
    captured: Sequence[str] = ("a", "b"),
    routes: Sequence[RouteSettings] = (),
) -> AsyncGenerator[SchemaLab, None]:
    """Create live, clone it, start services and the runner."""
    capture = CaptureSettings(driver=driver, tables=tuple(captured), poll_ms=20, lock_timeout_ms=10_000)
    async with AsyncExitStack() as stack:
        live = await stack.enter_async_context(postgres.temporary_database(server_dsn))
        store = await stack.enter_async_context(postgres.temporary_database(server_dsn))
        conn = await asyncpg.connect(live)
        await conn.execute(schema)
        await conn.close()
        await capture_tables(live, capture, captured)
        shadow = postgres.with_database(live, f"shadow_{uuid.uuid4().hex[:12]}")
        stack.push_async_callback(postgres.drop_database, shadow)
        await clone(live, shadow, CloneOptions(method=CloneMethod.TEMPLATE))
        await capture_tables(shadow, shadow_capture(capture), captured)
        services = {
            (side, role): await stack.enter_async_context(_serving(StatementService(dsn)))
            for side in Side
            for role, dsn in (("live", live), ("shadow", shadow))
        }
        settings = Settings(
            backends=backends_of({key: one.url for key, one in services.items()}),
            databases=DatabasesSettings(live=live, shadow=shadow, store=store),
            journal=JournalSettings(directory=str(folder / "journal"), flush_ms=2.0),
            capture=capture,
            routes=tuple(routes),
            runner=RunnerSettings(
                port=free_port(), claim_wait_ms=1_500, confirm_per_s_max=10_000, tagged_sides=tuple(Side)
            ),
            compare=CompareSettings(tables=TABLES if tables is None else tables),
        )
        writer = open_writer(settings.journal, {})
        writer.start()
        stack.callback(writer.close)
        session = await stack.enter_async_context(ClientSession(timeout=aiohttp.ClientTimeout(total=60)))
        lab = SchemaLab(settings, services, writer, session)
        yield await stack.enter_async_context(_mirrored(lab))


@asynccontextmanager
async def _mirrored(lab: SchemaLab) -> AsyncGenerator[SchemaLab, None]:
    """Run the runner until the end of the block; it loads what is appended to `lab.rules`."""

    def reload() -> Settings | None:
        return msgspec.structs.replace(lab.settings, compare=lab.rules.pop(0)) if lab.rules else None

    stop = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(serve(lab.settings, {}, stop=stop, reload=reload), name="runner-under-test")
        try:
            await until(lab.settings.runner.port, lambda s: total(s, "shadow_resyncs_total") >= 1)
            yield lab
        finally:
            stop.set()
