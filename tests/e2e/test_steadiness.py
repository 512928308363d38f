"""Without faults nothing differs under load; a mirrored legacy that is killed, hung or slow does not affect clients.

The module shares one installation: the tests run in order, and each leaves the mirrored legacy working.
"""

import asyncio
import dataclasses
import datetime as dt
import json
import re
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
from proxy.cli.calibrate import run_recorded, summed_up
from proxy.config.loader import read_settings
from proxy.demo.children import ChildProcess, running
from proxy.demo.installation import Installation
from proxy.demo.summary import wait_for_outcomes
from proxy.demo.traffic import TrafficGenerator, TrafficResult
from proxy.rollout.accounting import Accounting, read
from tests.e2e.systems import installation
from tests.support.matrix import FULL

LOAD = 2_000 if FULL else 400
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
    """The installation, the current process of the mirrored legacy, and the traffic result before the first fault."""

    installation: Installation
    mirror: ChildProcess
    before: TrafficResult = dataclasses.field(default_factory=TrafficResult)

    @property
    def logs(self) -> Path:
        return self.installation.config_path.parent / "logs"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def system(postgres_dsn: str) -> AsyncIterator[System]:
    # The legacy slows down with concurrency: on a busy machine 16 requests at a time could exceed the runner's timeout.
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
    """Return the stamps of some addresses, each a `{provider, stamp}` as the app sends it."""
    conn = await asyncpg.connect(installation.addresses.live_dsn)
    try:
        return {address: json.loads(stamps) for address, stamps in await conn.fetch(HELD)}
    finally:
        await conn.close()


async def app_writes(session: aiohttp.ClientSession, address: str, stamps: list[dict[str, Any]]) -> None:
    """Send one of each write of the app. Except for the score, only the token names the address."""
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
    conn = await asyncpg.connect(installation.addresses.store_dsn)
    try:
        since = dt.datetime.now(dt.UTC) - dt.timedelta(hours=1)
        rows = await queries.comparisons(conn, since=since, limit=10 * LOAD)
    finally:
        await conn.close()
    return [row for row in rows if row.route in routes]


async def send(system: System, count: int, *, concurrency: int = 4) -> TrafficResult:
    traffic = TrafficGenerator(system.installation.url, system.installation.targets, concurrency=concurrency)
    await traffic.as_fast_as_possible(count)
    return traffic.result


async def send_in_chunks(system: System, count: int) -> TrafficResult:
    """Send requests in chunks; before each, wait until the mirrored legacy, which is slower, has nearly caught up."""
    traffic = TrafficGenerator(system.installation.url, system.installation.targets, concurrency=CONCURRENCY)
    for _ in range(0, count, CHUNK):
        await traffic.as_fast_as_possible(CHUNK)
        async with asyncio.timeout(CATCH_UP_S):
            while (await accounting_now(system)).in_flight > BEHIND_MAX:
                # The counts belong to another process: poll them ten times a second.
                await asyncio.sleep(0.1)
    return traffic.result


def grown(before: Accounting, after: Accounting, part: str) -> dict[str, int]:
    """Return the growth of each count in one part of the accounting."""
    old, new = getattr(before, part), getattr(after, part)
    return {name: count - old.get(name, 0) for name, count in new.items() if count != old.get(name, 0)}


async def test_mixed_requests_have_no_mismatch(system: System) -> None:
    seen = await send_in_chunks(system, LOAD)
    accounting = (await wait_for_outcomes(system.installation, timeout_s=CATCH_UP_S)).accounting
    assert not seen.unexpected
    assert accounting.served == LOAD
    assert set(accounting.compared) == {"match"}
    # A stalled machine may cost a few: a request, or its predecessor on the same keys, timed out.
    assert sum(accounting.compared.values()) >= LOAD * 0.98
    assert set(accounting.failed) <= {"mirrored_timeout"}
    assert not accounting.dropped
    assert accounting.balance == 0


async def test_stamps_added_and_removed_by_token_match(system: System) -> None:
    held = await held_stamps(system.installation)
    before = await accounting_now(system)
    async with aiohttp.ClientSession(system.installation.url) as session:
        for address, stamps in held.items():
            await app_writes(session, address, stamps)
    accounting = (await wait_for_outcomes(system.installation)).accounting
    assert grown(before, accounting, "compared") == {"match": 5 * len(held)}
    assert not grown(before, accounting, "skipped")
    rows = await compared_on(system.installation, "ceramic_stamps", "ceramic_score")
    assert len(rows) == 5 * len(held)
    assert all(row.effects_compared and row.rows_served == row.rows_mirrored > 0 for row in rows)


async def test_counts_add_up_while_requests_are_in_flight(system: System) -> None:
    async with asyncio.TaskGroup() as tasks:
        asking = tasks.create_task(send(system, 100, concurrency=CONCURRENCY), name="traffic")
        balances = []
        while not asking.done():
            balances.append((await accounting_now(system)).balance)
    accounting = (await wait_for_outcomes(system.installation)).accounting
    assert balances
    # Exchanges that are being written to disk during the scrape are not counted yet.
    assert all(0 <= balance <= CONCURRENCY for balance in balances)
    assert accounting.balance == 0


async def test_killed_mirror_does_not_affect_clients(system: System) -> None:
    system.before = await send(system, FEW)
    before = (await wait_for_outcomes(system.installation)).accounting
    async with asyncio.TaskGroup() as tasks:
        asking = tasks.create_task(send(system, FEW), name="traffic")
        system.mirror.stopping = True
        system.mirror.process.kill()
    after = (await wait_for_outcomes(system.installation)).accounting
    assert_unaffected(system, asking.result())
    assert set(grown(before, after, "failed")) <= {"mirrored_refused", "mirrored_reset"}
    assert grown(before, after, "failed")
    assert after.balance == 0


async def test_hung_mirror_does_not_affect_clients_and_is_used_again_afterwards(system: System) -> None:
    async with new_mirror(system):
        await assert_all_match(system)
        before = (await wait_for_outcomes(system.installation)).accounting
        system.mirror.process.send_signal(signal.SIGSTOP)
        seen = await send(system, FEW)
        await wait_for_failure(system, before)
        system.mirror.process.send_signal(signal.SIGCONT)
        after = (await wait_for_outcomes(system.installation)).accounting
        assert_unaffected(system, seen)
        assert set(grown(before, after, "failed")) == {"mirrored_timeout"}
        assert grown(before, after, "compared").get("mismatch", 0) == 0
        assert after.balance == 0
        await assert_all_match(system)


async def test_slow_mirror_does_not_affect_clients(system: System) -> None:
    before = (await wait_for_outcomes(system.installation)).accounting
    async with new_mirror(system, SHADOW_DIVERGENCES="slow_response", SHADOW_SLOW_RESPONSE_S="1"):
        seen = await send(system, FEW)
        after = (await wait_for_outcomes(system.installation)).accounting
    assert_unaffected(system, seen)
    assert set(grown(before, after, "compared")) == {"match"}
    assert after.balance == 0


async def wait_for_failure(system: System, before: Accounting) -> None:
    """Wait for the first mirrored request that timed out."""
    async with asyncio.timeout(120):
        while not grown(before, await accounting_now(system), "failed"):
            await asyncio.sleep(0.1)


@asynccontextmanager
async def new_mirror(system: System, **environment: str) -> AsyncIterator[None]:
    """Start a mirrored legacy in place of the killed one."""
    plan = system.mirror.plan
    changed = dataclasses.replace(plan, environment={**plan.environment, **environment})
    async with running(changed, system.logs) as child:
        await child.ready()
        system.mirror = child
        yield


async def assert_all_match(system: System) -> None:
    before = (await wait_for_outcomes(system.installation)).accounting
    await send(system, FEW)
    after = (await wait_for_outcomes(system.installation)).accounting
    assert set(grown(before, after, "compared")) == {"match"}
    assert not grown(before, after, "failed")


def assert_unaffected(system: System, seen: TrafficResult) -> None:
    """Check that clients got the expected responses and did not wait for the mirror, which takes a second or more.

    `make bench-faults` measures the change of clients' latency; here the limit is loose, because a busy machine adds noise.
    """
    assert not seen.unexpected
    assert seen.quantile_ms(0.5) <= 1.5 * system.before.quantile_ms(0.5) + 400


async def test_proposed_rules_make_a_noisy_side_equal_to_itself(system: System) -> None:
    await send(system, FEW)
    runner = system.installation.children["runner"]
    runner.stopping = True
    runner.process.terminate()
    await runner.process.wait()
    await system.mirror.stop()
    settings = read_settings(system.installation.config_path)
    async with new_mirror(system, SHADOW_NOISE_S="5"):
        noise = await run_recorded(settings, Side.LEGACY, requests=CALIBRATED)
        noisy = summed_up(settings, noise, seen_min=1)
        accepted = msgspec.structs.replace(settings, compare=with_rules(settings.compare, noisy.proposals))
        clean = summed_up(accepted, await run_recorded(accepted, Side.LEGACY, requests=CALIBRATED), seen_min=1)
    assert noisy.different >= 2
    assert {proposal.place.rpartition(".")[2] for proposal in noisy.proposals} == {
        "expiration_timestamp",
        "expiration_date",
    }
    assert {proposal.section.partition(".")[2].partition(".")[0] for proposal in noisy.proposals} == {
        "routes",
        "tables",
    }
    assert {
        ("compare.tables.registry_score.volatile", "expiration_date: {within_ms: N}"),
        ("compare.tables.registry_event.json.data", "within_ms: {fields.expiration_date: N}"),
    } <= {(proposal.section, re.sub(r"\d+", "N", proposal.rule)) for proposal in noisy.proposals}
    assert (clean.different, clean.pairs, clean.proposals) == (0, CALIBRATED, ())
    refused = {reason for route in clean.routes for reason in route.not_judged}
    assert refused <= {"beyond --requests", "400 in both runs", "401 in both runs", "404 in both runs"}
    assert clean.covered_share > 0


def with_rules(compare: CompareSettings, proposals: Sequence[Proposal]) -> CompareSettings:
    """Return the section with every proposed rule copied to its place, as an operator does."""
    document = {"compare": msgspec.to_builtins(compare)}
    for proposal in proposals:
        rule: Any = yaml.safe_load(proposal.rule)
        for name in reversed(proposal.section.split(".")):
            rule = {name: rule}
        document = merged(document, rule)
    return msgspec.convert(document["compare"], CompareSettings)


def merged(into: Any, more: Any) -> Any:
    if isinstance(into, dict):
        return {**into, **{name: merged(into.get(name), value) for name, value in more.items()}}
    return [*into, *more] if isinstance(more, list) and into else more
