"""The database goes away in the middle: requests fail cleanly or are done again, and the scorer recovers by itself."""

import asyncio
import json
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import pytest

from comparator.exchanges.model import Failed, Response
from proxy.demo.embedded_postgres import EmbeddedPostgres
from scorer.db import migrate
from tests.golden import database
from tests.golden.races import broken_promises
from tests.golden.serving import serving
from tests.integration.scorer_faults.conftest import SESSION
from tests.integration.scorer_faults.world import (
    World,
    address,
    at_once,
    credential,
    document,
    environment,
    person,
    status,
)

TERMINATE_OTHERS = """
SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND application_name = 'scorer'
"""
WAITING = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND application_name = 'scorer'"
WAIT_S = 10.0
MANY = 24


async def until(conn: asyncpg.Connection, question: str) -> None:
    """Ask until the answer is true."""
    async with asyncio.timeout(WAIT_S):
        while not await conn.fetchval(question):
            await asyncio.sleep(0)


class OwnCluster:
    """A cluster that a test may stop and start; the next test finds it running."""

    def __init__(self, server: EmbeddedPostgres) -> None:
        self._server = server
        self._running = False

    @property
    def dsn(self) -> str:
        """Its default database."""
        return self._server.dsn()

    def stop(self) -> None:
        """As a crash would."""
        self._server.stop(mode="immediate")
        self._running = False

    def start(self) -> None:
        """Nothing happens when it runs."""
        if not self._running:
            self._server.start()
            self._running = True


@pytest.fixture(scope="module")
def module_cluster() -> Iterator[OwnCluster]:
    """One cluster for the module, initialised once; not below pytest's own folder, which PostgreSQL's user cannot enter."""
    with tempfile.TemporaryDirectory(prefix="shadow-faults-") as folder:
        cluster = OwnCluster(EmbeddedPostgres(Path(folder) / "data"))
        yield cluster
        cluster.stop()


@pytest.fixture
def own_cluster(module_cluster: OwnCluster) -> OwnCluster:
    """Provide the module's cluster, running."""
    module_cluster.start()
    return module_cluster


@pytest.fixture
async def restartable(own_cluster: OwnCluster) -> AsyncIterator[World]:
    """Run a scorer on a cluster of its own, with one person."""
    conn = await asyncpg.connect(own_cluster.dsn, server_settings=SESSION)
    await migrate.migrate(conn)
    world = World(own_cluster.dsn, conn, await database.recorded_tables(conn))
    await world.settle([person(1, credential(1, "Github"))])
    await conn.close()
    async with serving(environment(own_cluster.dsn), registry=world.registry) as port:
        world.port = port
        yield world


async def test_connections_cut_while_idle_are_replaced_silently(world: World):
    await world.settle([person(1, credential(1, "Github"))])
    await world.score_all([address(1)] * 4)
    await world.conn.execute(TERMINATE_OTHERS)
    outcomes = await world.score_all([address(1)] * 4)
    assert [document(outcome)["score"] for outcome in outcomes] == ["2.00000"] * 4


async def scored_with_a_cut(world: World) -> Response | Failed:
    """Score a known address; its transaction is cut while it waits for the passport, which is free right after."""
    await world.settle([person(1, credential(1, "Github"))])
    await world.score(address(1))
    holder = await asyncpg.connect(world.dsn)
    try:
        holding = holder.transaction()
        await holding.start()
        await holder.execute("SELECT FROM registry_passport FOR UPDATE")
        async with asyncio.TaskGroup() as group:
            asked = group.create_task(world.score(address(1)), name="cut")
            await until(world.conn, f"SELECT ({WAITING}) > 0")
            await world.conn.execute(TERMINATE_OTHERS)
            await holding.rollback()
        return asked.result()
    finally:
        await holder.close()


async def test_scoring_cut_before_its_commit_is_done_again(world: World):
    assert document(await scored_with_a_cut(world))["score"] == "2.00000"


async def test_scoring_done_again_is_stored_once(world: World):
    await scored_with_a_cut(world)
    assert await world.count("registry_event", "action = 'SCU'") == 2


async def test_scoring_done_again_is_counted(world: World):
    await scored_with_a_cut(world)
    assert world.metric("scorer_attempts_repeated_total", cause="connection") == 1


async def test_cuts_under_load_tear_nothing(world: World):
    await world.settle(person(n, credential(n, "Github"), credential(n, "Ens", "v0:shared")) for n in range(MANY))
    before = await world.photograph()
    async with asyncio.TaskGroup() as group:
        asked = group.create_task(world.score_all(address(n) for n in range(MANY)), name="load")
        for _ in range(3):
            await world.conn.execute(TERMINATE_OTHERS)
    assert {status(outcome) for outcome in asked.result()} <= {200, 500, 503}
    assert broken_promises((), await world.changes_since(before)) == []


async def test_after_cuts_under_load_everybody_is_scored(world: World):
    await world.settle(person(n, credential(n, "Github")) for n in range(MANY))
    async with asyncio.TaskGroup() as group:
        group.create_task(world.score_all(address(n) for n in range(MANY)), name="load")
        await world.conn.execute(TERMINATE_OTHERS)
    outcomes = await world.score_all(address(n) for n in range(MANY))
    assert {document(outcome)["score"] for outcome in outcomes} == {"2.00000"}


async def test_restart_is_survived_without_a_restart_of_the_scorer(restartable: World, own_cluster: OwnCluster):
    assert status(await restartable.score(address(1))) == 200
    await asyncio.to_thread(own_cluster.stop)
    await asyncio.to_thread(own_cluster.start)
    assert document(await restartable.score(address(1)))["score"] == "2.00000"


async def test_requests_fail_cleanly_while_the_database_is_unavailable(restartable: World, own_cluster: OwnCluster):
    await restartable.score(address(1))
    await asyncio.to_thread(own_cluster.stop)
    outcomes = await at_once(*(restartable.score(address(1)) for _ in range(4)))
    assert all(isinstance(outcome, Response) and outcome.status in {500, 503} for outcome in outcomes)


async def test_readiness_reports_the_unavailable_database(restartable: World, own_cluster: OwnCluster):
    await restartable.score(address(1))
    await asyncio.to_thread(own_cluster.stop)
    response = await restartable.ask("GET", "/health/ready")
    assert (status(response), document(response)["database"]) == (503, "unavailable")


async def test_liveness_does_not_depend_on_the_database(restartable: World, own_cluster: OwnCluster):
    await asyncio.to_thread(own_cluster.stop)
    assert status(await restartable.ask("GET", "/health/live")) == 200


async def test_crash_and_recovery_is_survived(restartable: World, own_cluster: OwnCluster):
    await restartable.score(address(1))
    await asyncio.to_thread(own_cluster.stop)
    await restartable.score(address(1))
    await asyncio.to_thread(own_cluster.start)
    response = await restartable.score(address(1))
    assert json.loads(response.body)["score"] == "2.00000" if isinstance(response, Response) else response


async def test_scorer_starts_while_the_database_is_unavailable(quiet_world: World, tmp_path: Path):
    nowhere = environment(f"postgresql://postgres@/nobody?host={tmp_path}")
    async with serving(nowhere) as port:
        quiet_world.port = port
        assert status(await quiet_world.ask("GET", "/health/ready")) == 503
