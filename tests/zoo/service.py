"""Instances of both sides: one generic service, which runs the statements that a request's body lists.

A transaction names its request, as the tool asks of a side that it calls tagged.
"""

import io
import uuid
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import asyncpg
from aiohttp import web

from tests.zoo.shape import Copy, Shape, Statement

TAG = "SELECT pg_logical_emit_message(true, 'shadow.request', $1), set_config('shadow.request', $1, true)"


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
        asked = decoded(await request.json())
        statements = self.instead.get(request_id, asked)
        assert self.pool is not None
        async with self.pool.acquire() as conn:
            try:
                failures = await run(conn, shape, statements, role=self.role, request_id=request_id)
            except asyncpg.PostgresError as error:
                self.errors.append(f"{shape.name}: {self.role}: {type(error).__name__}: {error}")
                return web.json_response({"error": error.sqlstate}, status=500)
        return web.json_response({"failures": {str(n): state for n, state in failures.items() if n < len(asked)}})


async def run(
    conn: asyncpg.pool.PoolConnectionProxy | asyncpg.Connection,
    shape: Shape,
    statements: Iterable[Statement],
    *,
    role: str,
    request_id: str = "",
) -> dict[int, str]:
    """Run statements in one transaction, which names the request if there is one.

    Returns:
        Error code by number of the statement, of a tolerant shape.
    """
    work_id = request_id or uuid.uuid4().hex
    await conn.execute(shape.begin)
    try:
        if request_id:
            await conn.execute(TAG, request_id)
        failures = await perform(conn, shape, statements, role=role)
        for statement in shape.commit:
            await conn.execute(statement.replace("{role}", role).replace("{id}", work_id))
    except BaseException:
        await conn.execute("ROLLBACK")
        raise
    return failures


async def perform(
    conn: asyncpg.pool.PoolConnectionProxy | asyncpg.Connection,
    shape: Shape,
    statements: Iterable[Statement],
    *,
    role: str,
) -> dict[int, str]:
    """Run statements in the transaction that is open; return the error codes of a tolerant shape."""
    failures: dict[int, str] = {}
    for number, statement in enumerate(statements):
        if isinstance(statement, Copy):
            await conn.copy_to_table(statement.table, source=io.BytesIO(statement.lines.encode()))
        elif shape.tolerant:
            await conn.execute("SAVEPOINT before")
            try:
                await conn.execute(statement)
            except asyncpg.PostgresError as error:
                failures[number] = error.sqlstate or ""
                await conn.execute("ROLLBACK TO before")
            await conn.execute("RELEASE before")
        else:
            await conn.execute(statement.replace("{role}", role))
    return failures


def encoded(statements: Iterable[Statement]) -> list[object]:
    return [[s.table, s.lines] if isinstance(s, Copy) else s for s in statements]


def decoded(items: Iterable[object]) -> tuple[Statement, ...]:
    return tuple(item if isinstance(item, str) else Copy(*item) for item in items)  # pyright: ignore[reportGeneralTypeIssues]


@asynccontextmanager
async def serving(instance: Instance) -> AsyncGenerator[Instance, None]:
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
