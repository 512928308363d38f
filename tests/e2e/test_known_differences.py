"""Intended differences of the new scorer affect the concerned addresses only; a declared one is counted by its reason."""

import datetime as dt
from collections import defaultdict
from collections.abc import AsyncIterator
from dataclasses import dataclass

import asyncpg
import msgspec
import pytest
import pytest_asyncio

from comparator.store import queries
from proxy.demo.summary import wait_for_outcomes
from proxy.demo.traffic import TrafficGenerator
from tests.e2e.systems import installation

ADDRESSES = 44
REASON = "the new scorer protects every nullifier, the legacy only those of the first version"
DECLARED = {"reason": REASON, "ticket": "NULL-1", "table": "registry_hashscorerlink", "kind": "missing_row"}

pytestmark = pytest.mark.asyncio(loop_scope="module")


@dataclass(frozen=True, slots=True)
class VerdictsByCase:
    """Verdicts by the case of the address, and the number of differences that each reason explains."""

    verdicts: dict[str, set[str]]
    reasons: dict[str, int]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def verdicts_by_case(postgres_dsn: str) -> AsyncIterator[VerdictsByCase]:
    async with installation(
        postgres_dsn, addresses=ADDRESSES, known_differences=True, compare={"known_differences": [DECLARED]}
    ) as running:
        targets = [
            msgspec.structs.replace(target, headers={**target.headers, "X-Request-Id": f"{number}.{target.case}"})
            for number, target in enumerate(running.targets)
        ]
        await TrafficGenerator(running.url, targets, concurrency=4).as_fast_as_possible(len(targets))
        await wait_for_outcomes(running)
        now = dt.datetime.now(dt.UTC)
        conn = await asyncpg.connect(running.addresses.store_dsn)
        rows = await queries.comparisons(conn, since=now - dt.timedelta(hours=1), limit=1_000)
        known = await queries.known_totals(conn, since=(now - dt.timedelta(hours=1)).date())
        await conn.close()
    verdicts = defaultdict(set)
    for row in rows:
        verdicts[row.exchange_id.partition(".")[2]].add(row.verdict)
    yield VerdictsByCase(dict(verdicts), {total.reason: total.count for total in known})


async def test_all_others_match(verdicts_by_case: VerdictsByCase) -> None:
    others = {
        case: verdicts
        for case, verdicts in verdicts_by_case.verdicts.items()
        if case not in ("hash_form", "second_version")
    }
    assert len(others) > 14
    assert set().union(*others.values()) == {"match"}


async def test_undeclared_difference_is_a_mismatch(verdicts_by_case: VerdictsByCase) -> None:
    assert verdicts_by_case.verdicts["hash_form"] == {"mismatch"}


async def test_declared_difference_is_known_and_counted_by_its_reason(verdicts_by_case: VerdictsByCase) -> None:
    assert verdicts_by_case.verdicts["second_version"] == {"known"}
    assert verdicts_by_case.reasons[REASON] == 2
