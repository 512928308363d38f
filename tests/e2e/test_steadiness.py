"""Without faults nothing differs under load; with the mirrored legacy killed, hung or slow clients notice nothing.

One installation for the module; the tests run in their order, each leaves the mirrored legacy well.
"""

import asyncio
import dataclasses
import datetime as dt
import json
import signal
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import jwt
import msgspec
import pytest
import pytest_asyncio
import yaml

from comparator.exchanges.model import Side
from comparator.findings.calibration import Proposal
from comparator.settings import CompareSettings
from comparator.store import queries
from comparator.store.rows import ComparisonRow
from proxy.accounting import Accounting, read
from proxy.cli.calibrate import calibrate
from proxy.config.loader import read_settings
from proxy.demo.children import ChildProcess, running
from proxy.demo.installation import Installation
from proxy.demo.summary import settled
from proxy.demo.traffic import TrafficGenerator, TrafficResult
from tests.e2e.systems import installation

LOAD = 2_000
CHUNK = 200
CONCURRENCY = 16
FEW = 60
CATCH_UP_S = 400.0
BEHIND_MAX = 200
CALIBRATED = 8
MIRROR = "legacy-shadow"
SECRET = "the key of the older sign-in, long enough for HS256"

pytestmark = pytest.mark.asyncio(loop_scope="module")


@dataclasses.dataclass(slots=True)
class System:
    """The installation, the mirrored legacy that runs now, and what clients saw before anything was broken."""

    installation: Installation
    mirror: ChildProcess
    before: TrafficResult = dataclasses.field(default_factory=TrafficResult)

    @property
    def logs(self) -> Path:
        return self.installation.config_path.parent / "logs"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def system(postgres_dsn: str) -> AsyncIterator[System]:
    # The legacy is slower the more it is asked at once: on a busy machine 16 at a time could take it over the runner's timeout.
    runner = {"concurrency": 8}
    secret = {"SECRET_KEY": SECRET}
    async with installation(postgres_dsn, addresses=300, environment=secret, runner=runner) as installed:
        yield System(installed, installed.children[MIRROR])


async def accounting_now(system: System) -> Accounting:
    async with aiohttp.ClientSession() as session:
        reading = await read(session, system.installation.admin_url, system.installation.runner_url)
    return reading.accounting


HELD = """
SELECT address, json_agg(json_build_object('provider', provider, 'stamp', stamp) ORDER BY provider) AS stamps
FROM ceramic_cache_ceramiccache WHERE deleted_at IS NULL AND type = 1
GROUP BY address HAVING count(*) > 2 AND bool_and(stamp #>> '{proof,proofValue}' IS NOT NULL) ORDER BY address LIMIT 3
"""


async def held_stamps(installation: Installation) -> dict[str, list[dict[str, Any]]]:
    """Some people and what they hold, each a `{provider, stamp}` as the app sends it."""
    conn = await asyncpg.connect(installation.places.live_dsn)
    try:
        return {address: json.loads(stamps) for address, stamps in await conn.fetch(HELD)}
    finally:
        await conn.close()


async def app_writes(session: aiohttp.ClientSession, address: str, stamps: list[dict[str, Any]]) -> None:
    """One of each write of the app. The token alone says whose it is, except for the score."""
    bulk, score = "/ceramic-cache/stamps/bulk", f"/ceramic-cache/score/{address}"
    one, two, *_ = stamps
    claims = {"did": f"did:pkh:eip155:1:{address}", "exp": int(time.time()) + 600, "token_type": "access"}
    headers = {"Authorization": f"Bearer {jwt.encode({**claims, 'jti': uuid.uuid4().hex}, SECRET)}"}
    requests = [
        ("POST", bulk, [one, two], 201),
        ("PATCH", bulk, [{"provider": one["provider"], "stamp": None}, two], 200),
        ("DELETE", bulk, [{"provider": two["provider"]}], 200),
        ("POST", score, {"alternate_scorer_id": 1}, 200),
        ("POST", bulk, [two, one], 201),
    ]
    for method, path, body, status in requests:
        async with session.request(method, path, json=body, headers=headers) as response:
            assert response.status == status, await response.text()


async def compared_on(installation: Installation, *routes: str) -> list[ComparisonRow]:
    conn = await asyncpg.connect(installation.places.store_dsn)
    try:
        since = dt.datetime.now(dt.UTC) - dt.timedelta(hours=1)
        rows = await queries.comparisons(conn, since=since, limit=10 * LOAD)
    finally:
        await conn.close()
    return [row for row in rows if row.route in routes]


async def ask(system: System, count: int, *, concurrency: int = 4) -> TrafficResult:
    traffic = TrafficGenerator(system.installation.url, system.installation.targets, concurrency=concurrency)
    await traffic.as_fast_as_possible(count)
    return traffic.seen


async def ask_in_step(system: System, count: int) -> TrafficResult:
    """Ask in chunks, each when the mirrored legacy, which is slower than the scorer that serves, has nearly caught up."""
    traffic = TrafficGenerator(system.installation.url, system.installation.targets, concurrency=CONCURRENCY)
    for _ in range(0, count, CHUNK):
        await traffic.as_fast_as_possible(CHUNK)
        async with asyncio.timeout(CATCH_UP_S):
            while (await accounting_now(system)).in_flight > BEHIND_MAX:
                # (the counts are another process's: asked for ten times a second)
                await asyncio.sleep(0.1)
    return traffic.seen


def grown(before: Accounting, after: Accounting, part: str) -> dict[str, int]:
    """How much each count of a part of the accounting grew."""
    old, new = getattr(before, part), getattr(after, part)
    return {name: count - old.get(name, 0) for name, count in new.items() if count != old.get(name, 0)}


async def test_two_thousand_mixed_requests_have_no_mismatch(system: System) -> None:
    seen = await ask_in_step(system, LOAD)
    accounting = (await settled(system.installation, timeout_s=CATCH_UP_S)).accounting
    assert not seen.unexpected
    assert accounting.served == LOAD
    assert set(accounting.compared) == {"match"}
    # A machine that stands still may cost a few: a request took too long, or the one before it on its keys.
    assert sum(accounting.compared.values()) >= LOAD * 0.98
    assert set(accounting.failed) <= {"mirrored_timeout"}
    assert not accounting.dropped
    assert accounting.balance == 0


async def test_stamps_that_people_add_and_remove_by_token_match(system: System) -> None:
    held = await held_stamps(system.installation)
    before = await accounting_now(system)
    async with aiohttp.ClientSession(system.installation.url) as session:
        for address, stamps in held.items():
            await app_writes(session, address, stamps)
    accounting = (await settled(system.installation)).accounting
    assert grown(before, accounting, "compared") == {"match": 5 * len(held)}
    assert not grown(before, accounting, "skipped")
    rows = await compared_on(system.installation, "ceramic_stamps", "ceramic_score")
    assert len(rows) == 5 * len(held)
    assert all(row.effects_compared and row.rows_served == row.rows_mirrored > 0 for row in rows)


async def test_counts_add_up_while_requests_are_in_flight(system: System) -> None:
    async with asyncio.TaskGroup() as tasks:
        asking = tasks.create_task(ask(system, 200, concurrency=CONCURRENCY), name="traffic")
        balances = []
        while not asking.done():
            balances.append((await accounting_now(system)).balance)
    accounting = (await settled(system.installation)).accounting
    assert balances
    # What is being written to the disk at the moment of the reading is in no count yet.
    assert all(0 <= balance <= CONCURRENCY for balance in balances)
    assert accounting.balance == 0


async def test_clients_notice_nothing_when_the_mirror_is_killed(system: System) -> None:
    system.before = await ask(system, FEW)
    before = (await settled(system.installation)).accounting
    async with asyncio.TaskGroup() as tasks:
        asking = tasks.create_task(ask(system, FEW), name="traffic")
        system.mirror.stopping = True
        system.mirror.process.kill()
    after = (await settled(system.installation)).accounting
    assert_unnoticed(system, asking.result())
    assert set(grown(before, after, "failed")) <= {"mirrored_refused", "mirrored_reset"}
    assert grown(before, after, "failed")
    assert after.balance == 0


async def test_clients_notice_nothing_when_the_mirror_hangs_and_it_is_used_again_afterwards(system: System) -> None:
    async with another_mirror(system):
        await assert_all_match(system)
        before = (await settled(system.installation)).accounting
        system.mirror.process.send_signal(signal.SIGSTOP)
        seen = await ask(system, FEW)
        await some_failed(system, before)
        system.mirror.process.send_signal(signal.SIGCONT)
        after = (await settled(system.installation)).accounting
        assert_unnoticed(system, seen)
        assert set(grown(before, after, "failed")) == {"mirrored_timeout"}
        assert grown(before, after, "compared").get("mismatch", 0) == 0
        assert after.balance == 0
        await assert_all_match(system)


async def test_clients_notice_nothing_when_the_mirror_is_slow(system: System) -> None:
    before = (await settled(system.installation)).accounting
    async with another_mirror(system, SHADOW_DIVERGENCES="slow_response", SHADOW_SLOW_RESPONSE_S="1"):
        seen = await ask(system, FEW)
        after = (await settled(system.installation)).accounting
    assert_unnoticed(system, seen)
    assert set(grown(before, after, "compared")) == {"match"}
    assert after.balance == 0


async def some_failed(system: System, before: Accounting) -> None:
    """Wait for the first mirrored request that was given up."""
    async with asyncio.timeout(120):
        while not grown(before, await accounting_now(system), "failed"):
            await asyncio.sleep(0.1)


@asynccontextmanager
async def another_mirror(system: System, **environment: str) -> AsyncIterator[None]:
    """Start a mirrored legacy in the place of the one that was killed."""
    plan = system.mirror.plan
    changed = dataclasses.replace(plan, environment={**plan.environment, **environment})
    async with running(changed, system.logs) as child:
        await child.ready()
        system.mirror = child
        yield


async def assert_all_match(system: System) -> None:
    before = (await settled(system.installation)).accounting
    await ask(system, FEW)
    after = (await settled(system.installation)).accounting
    assert set(grown(before, after, "compared")) == {"match"}
    assert not grown(before, after, "failed")


def assert_unnoticed(system: System, seen: TrafficResult) -> None:
    """Clients got what they should and waited for no mirror, which takes a second or more here.

    How much a client's latency changes is measured by `make bench-faults`; a busy machine has noise of its own.
    """
    assert not seen.unexpected
    assert seen.quantile_ms(0.5) <= 1.5 * system.before.quantile_ms(0.5) + 400


async def test_rules_that_a_calibration_proposes_make_the_noisy_side_equal_to_itself(system: System) -> None:
    runner = system.installation.children["runner"]
    runner.stopping = True
    runner.process.terminate()
    await runner.process.wait()
    await system.mirror.stop()
    settings = read_settings(system.installation.config_path)
    async with another_mirror(system, SHADOW_NOISE_S="5"):
        noisy = await calibrate(settings, Side.LEGACY, requests=CALIBRATED, seen_min=1)
        accepted = msgspec.structs.replace(settings, compare=with_rules(settings.compare, noisy.proposals))
        clean = await calibrate(accepted, Side.LEGACY, requests=CALIBRATED, seen_min=1)
    assert noisy.different >= 2
    assert {one.place.rpartition(".")[2] for one in noisy.proposals} == {"expiration_timestamp", "expiration_date"}
    assert {one.section.partition(".")[2].partition(".")[0] for one in noisy.proposals} == {"routes", "tables"}
    assert {
        ("compare.tables.registry_score.volatile", "expiration_date: {within_ms: 10000}"),
        ("compare.tables.registry_event.json.data", "within_ms: {fields.expiration_date: 10000}"),
    } <= {(one.section, one.rule) for one in noisy.proposals}
    assert (clean.different, clean.failed, clean.proposals) == (0, 0, ())
    assert clean.equal == CALIBRATED


def with_rules(compare: CompareSettings, proposals: Sequence[Proposal]) -> CompareSettings:
    """The section with every proposed rule copied to where it says, as a person does."""
    document = {"compare": msgspec.to_builtins(compare)}
    for proposal in proposals:
        rule: Any = yaml.safe_load(proposal.rule)
        for name in reversed(proposal.section.split(".")):
            rule = {name: rule}
        document = joined(document, rule)
    return msgspec.convert(document["compare"], CompareSettings)


def joined(into: Any, more: Any) -> Any:
    if isinstance(into, dict):
        return {**into, **{name: joined(into.get(name), value) for name, value in more.items()}}
    return [*into, *more] if isinstance(more, list) and into else more
