"""Each fault injected into the mirrored legacy is reported with its kind, and on the affected exchanges only.

All faults are active at once, each for its own share of the addresses.
"""

import datetime as dt
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass

import asyncpg
import msgspec
import pytest
import pytest_asyncio

from comparator.store import queries
from comparator.store.rows import ComparisonRow
from proxy.demo.installation import Installation
from proxy.demo.summary import wait_for_outcomes
from proxy.demo.traffic import DemoRequest, TrafficGenerator
from tests.e2e.systems import installation
from tests.legacy.divergences import Divergence, Divergences

FAULTS = (
    Divergence.WRONG_WEIGHT,
    Divergence.LOST_STAMP,
    Divergence.MISSING_EVENT,
    Divergence.DOUBLED_EVENT,
    Divergence.THRESHOLD_OFF_BY_ONE,
    Divergence.SLOW_RESPONSE,
    Divergence.ERROR_500,
)
# Few addresses score exactly the threshold, so this fault has a larger share.
SHARES = dict.fromkeys(FAULTS, 0.08) | {Divergence.THRESHOLD_OFF_BY_ONE: 0.4}
ALL_FAULTS = ",".join(f"{divergence.value}:{share}" for divergence, share in SHARES.items())
SELECTED = Divergences.parse(ALL_FAULTS)
ADDRESSES = 200
# A mirrored response later than this has failed; even on a busy machine a correct one takes well under a second.
TIMEOUT_S = 4.0

pytestmark = pytest.mark.asyncio(loop_scope="module")


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of one address's request: the faults selected for the address, and the stored comparison."""

    target: DemoRequest
    faults: frozenset[Divergence]
    row: ComparisonRow

    @property
    def differences(self) -> set[str]:
        """The differences: `kind table` of rows, and the place in the response."""
        return {f"{d.kind} {d.place.partition('.')[0]}" if d.key else d.place for d in self.row.detail.differences}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def outcomes(postgres_dsn: str) -> AsyncIterator[list[Outcome]]:
    late = {"SHADOW_SLOW_RESPONSE_S": str(1.5 * TIMEOUT_S)}
    async with installation(
        postgres_dsn,
        addresses=ADDRESSES,
        divergences=ALL_FAULTS,
        environment=late,
        runner={"timeout_s": TIMEOUT_S},
    ) as running:
        targets = [named(target, number) for number, target in enumerate(running.targets)]
        traffic = TrafficGenerator(running.url, targets, concurrency=4)
        await traffic.as_fast_as_possible(len(targets))
        await wait_for_outcomes(running)
        rows = await compared(running)
    yield [
        Outcome(target, faults_of(target), rows[target.headers["X-Request-Id"]])
        for target in targets
        if target.status == 200
    ]


def named(target: DemoRequest, number: int) -> DemoRequest:
    return msgspec.structs.replace(target, headers={**target.headers, "X-Request-Id": f"e2e-{number}"})


def faults_of(target: DemoRequest) -> frozenset[Divergence]:
    address = target.path.rpartition("/")[2]
    return frozenset(divergence for divergence in Divergence if SELECTED.diverges(divergence, address))


async def compared(running: Installation) -> Mapping[str, ComparisonRow]:
    conn = await asyncpg.connect(running.addresses.store_dsn)
    try:
        since = dt.datetime.now(dt.UTC) - dt.timedelta(hours=1)
        rows = await queries.comparisons(conn, since=since, limit=10 * ADDRESSES)
    finally:
        await conn.close()
    return {row.exchange_id: row for row in rows}


def with_only(outcomes: list[Outcome], divergence: Divergence, *, case: str = "") -> list[Outcome]:
    """Return the outcomes of addresses with exactly this fault that hold valid stamps."""
    return [
        outcome
        for outcome in outcomes
        if outcome.faults == {divergence} and outcome.target.case != "none" and case in ("", outcome.target.case)
    ]


async def test_addresses_without_a_fault_match(outcomes: list[Outcome]) -> None:
    unaffected = [outcome for outcome in outcomes if not outcome.faults]
    assert len(unaffected) > ADDRESSES // 5
    assert {outcome.row.verdict for outcome in unaffected} == {"match"}


async def test_wrong_weight_is_a_changed_score_in_response_and_row(outcomes: list[Outcome]) -> None:
    affected = with_only(outcomes, Divergence.WRONG_WEIGHT)
    assert affected
    assert {outcome.row.verdict for outcome in affected} == {"mismatch"}
    assert all(
        {"score", "changed registry_score", "changed registry_event"} <= outcome.differences for outcome in affected
    )
    assert not any("registry_stamp" in text for outcome in affected for text in outcome.differences)


async def test_lost_stamp_is_a_missing_row_of_registry_stamp(outcomes: list[Outcome]) -> None:
    affected = with_only(outcomes, Divergence.LOST_STAMP)
    assert affected
    assert {outcome.row.verdict for outcome in affected} == {"mismatch"}
    assert all("missing_row registry_stamp" in outcome.differences for outcome in affected)
    assert all(any(text.startswith("stamps.") for text in outcome.differences) for outcome in affected)


async def test_missing_event_is_a_missing_row_and_nothing_else(outcomes: list[Outcome]) -> None:
    affected = with_only(outcomes, Divergence.MISSING_EVENT)
    assert affected
    assert {outcome.row.verdict for outcome in affected} == {"mismatch"}
    assert all(outcome.differences == {"missing_row registry_event"} for outcome in affected)


async def test_doubled_event_is_an_extra_row_and_nothing_else(outcomes: list[Outcome]) -> None:
    affected = with_only(outcomes, Divergence.DOUBLED_EVENT)
    assert affected
    assert {outcome.row.verdict for outcome in affected} == {"mismatch"}
    assert all(outcome.differences == {"extra_row registry_event"} for outcome in affected)


async def test_threshold_off_by_one_shows_only_where_the_score_equals_the_threshold(outcomes: list[Outcome]) -> None:
    affected = with_only(outcomes, Divergence.THRESHOLD_OFF_BY_ONE)
    assert affected
    equal = [outcome for outcome in affected if outcome.row.verdict == "mismatch"]
    assert equal
    assert {outcome.target.case for outcome in equal} <= {"exact", "lapsed_clash", "tampered"}
    assert all({"passing_score", "column registry_score"} <= outcome.differences for outcome in equal)
    assert all("score" not in outcome.differences for outcome in equal)


async def test_error_500_is_a_different_status_and_missing_rows(outcomes: list[Outcome]) -> None:
    affected = with_only(outcomes, Divergence.ERROR_500)
    assert affected
    assert {outcome.row.verdict for outcome in affected} == {"mismatch"}
    assert {(outcome.row.served_status, outcome.row.mirrored_status) for outcome in affected} == {(200, 500)}
    assert all("missing_row registry_event" in outcome.differences for outcome in affected)


async def test_late_response_is_a_failed_mirrored_request_not_a_mismatch(outcomes: list[Outcome]) -> None:
    affected = with_only(outcomes, Divergence.SLOW_RESPONSE)
    assert affected
    assert {(outcome.row.verdict, outcome.row.cause) for outcome in affected} == {("failed", "mirrored_timeout")}
