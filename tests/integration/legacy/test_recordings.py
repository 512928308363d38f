"""The stand-in sends the recorded responses and writes the recorded rows, in V2 score scenarios and the app's writes."""

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import pytest_asyncio

from comparator.exchanges.model import Failed
from tests.golden import database as golden_database
from tests.golden import scenario as golden
from tests.golden import wire
from tests.integration.legacy import rows
from tests.legacy.running import ROOT, running
from tests.support.postgres import temporary_database

SCENARIOS = ROOT / "tests" / "golden" / "scenarios"
MIGRATION = ROOT / "scorer" / "db" / "migrations" / "0001_legacy_tables.sql"
# The recordings were made with rows read in heap order.
REORDERING = ("indexscan", "indexonlyscan", "bitmapscan", "hashjoin", "mergejoin", "sort")
HEAP_ORDER = " ".join(f"-c enable_{method}=off" for method in REORDERING)
# The tables that the endpoints write.
WRITTEN = (
    "ceramic_cache_ceramiccache",
    "account_accountapikey",
    "account_accountapikeyanalytics",
    "registry_event",
    "registry_hashscorerlink",
    "registry_humanpoints",
    "registry_humanpointscommunityqualifiedusers",
    "registry_passport",
    "registry_score",
    "registry_stamp",
)


def is_v2_score(call: golden.Call) -> bool:
    parts = call.target.partition("?")[0].split("/")
    return parts[1:3] == ["v2", "stamps"] and len(parts) == 6 and parts[4] == "score" and call.method == "GET"


def replayable(path: Path) -> bool:
    """Return whether every step is one V2 score request without rate limits, which the stand-in supports."""
    scenario = golden.load(path)
    if scenario.settings.get("RATELIMIT_ENABLE") == "true":
        return False
    return all(len(step.calls) == 1 and is_v2_score(step.calls[0]) for step in scenario.steps)


APP_WRITES = (
    "cc_delete",
    "cc_jwt_accepted",
    "cc_patch",
    "cc_patch_deletes_type2",
    "cc_patch_empty",
    "cc_post_empty_list",
    "cc_post_ignores_payload_address",
    "cc_post_other_subject",
    "cc_post_provider_mismatch",
    "cc_post_replaces",
    "cc_post_stamps",
    "cc_post_unconfigured_scorer",
    "cc_score_post",
)
# Defects of the legacy that neither the scorer nor the stand-in copies (compare.known_differences in config.yaml).
DEFECTS = ("dedup_shared_nullifier_expirations",)
PATHS = [
    path
    for path in golden.paths_of(SCENARIOS)
    if (replayable(path) or path.stem in APP_WRITES) and path.stem not in DEFECTS
]


class StandIns:
    """One database and one running stand-in per set of settings, started at its first use."""

    def __init__(self, stack: AsyncExitStack, dsn: str) -> None:
        self._stack, self.dsn = stack, dsn
        self._ports: dict[str, int] = {}

    async def port(self, settings: dict[str, str]) -> int:
        environment = {**settings, "ALLOWED_HOSTS": '["testserver"]', "PGOPTIONS": HEAP_ORDER}
        key = json.dumps(environment, sort_keys=True)
        if key not in self._ports:
            self._ports[key] = await self._stack.enter_async_context(running(self.dsn, environment))
        return self._ports[key]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stand_ins(postgres_dsn: str) -> AsyncIterator[StandIns]:
    async with AsyncExitStack() as stack:
        dsn = await stack.enter_async_context(temporary_database(postgres_dsn))
        conn = await asyncpg.connect(dsn)
        await conn.execute(MIGRATION.read_text())
        await conn.close()
        yield StandIns(stack, dsn)


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
async def test_stand_in_behaves_as_recorded(stand_ins: StandIns, path: Path) -> None:
    scenario = golden.load(path)
    port = await stand_ins.port(scenario.settings)
    conn = await asyncpg.connect(stand_ins.dsn)
    try:
        await rows.prepare_jsonb(conn)
        await golden_database.seed(conn, scenario)
        observed = [await observe(conn, port, step) for step in scenario.steps]
    finally:
        await conn.close()
    assert rows.differences(observed, [expected(step) for step in scenario.steps]) == []


@pytest.mark.asyncio(loop_scope="module")
async def test_stand_in_writes_the_recorded_analytics(stand_ins: StandIns) -> None:
    scenario = golden.load(SCENARIOS / "analytics_on.json")
    # The later steps follow requests to other endpoints, which wrote rows as well.
    steps = scenario.steps[:2]
    assert all(is_v2_score(step.calls[0]) for step in steps)
    port = await stand_ins.port(scenario.settings)
    conn = await asyncpg.connect(stand_ins.dsn)
    try:
        await rows.prepare_jsonb(conn)
        await golden_database.seed(conn, scenario)
        observed = [await observe(conn, port, step) for step in steps]
    finally:
        await conn.close()
    assert rows.differences(observed, [expected(step) for step in steps]) == []


async def observe(conn: asyncpg.Connection, port: int, step: golden.Step) -> Any:
    """Return the stand-in's response and row changes with volatile values masked."""
    before = await rows.read(conn, WRITTEN)
    response = await wire.send(port, step.calls[0])
    assert not isinstance(response, Failed), response
    document = {
        "response": {"status": response.status, "headers": headers(dict(response.headers)), **body(response.body)},
        "db_changes": rows.changes(before, await rows.read(conn, WRITTEN)),
    }
    return rows.masked(document, pointers(step))


def expected(step: golden.Step) -> Any:
    document = {"response": {**step.calls[0].response}, "db_changes": step.db_changes}
    return rows.masked(document, pointers(step))


def pointers(step: golden.Step) -> list[str]:
    return [pointer for pointer in step.volatile if pointer.startswith(("/response/", "/db_changes/"))]


def headers(received: dict[str, str]) -> dict[str, str]:
    unrecorded = {"date", "server", "content-length"}
    return {name.lower(): value for name, value in received.items() if name.lower() not in unrecorded}


def body(content: bytes) -> dict[str, Any]:
    try:
        return {"body": json.loads(content)}
    except ValueError:
        return {"body_text": content.decode()}
