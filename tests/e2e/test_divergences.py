"""Each fault that is switched on in the mirrored legacy is found, named, and blamed on no other exchange.

All faults are on at once, each for its own share of the people; a person is looked at by what was chosen for it.
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
from proxy.demo.summary import settled
from proxy.demo.traffic import DemoRequest, TrafficGenerator
from tests.e2e.systems import installation
from tests.legacy.divergences import Divergence, Divergences

# Few people score exactly the threshold, so that fault is chosen for more of them.
SHARES = dict.fromkeys(Divergence, 0.08) | {Divergence.THRESHOLD_OFF_BY_ONE: 0.4}
EVERYTHING = ",".join(f"{divergence.value}:{share}" for divergence, share in SHARES.items())
CHOSEN = Divergences.parse(EVERYTHING)
ADDRESSES = 200
# A mirrored response later than this failed; on a busy machine a right one takes well under a second.
TIMEOUT_S = 4.0

pytestmark = pytest.mark.asyncio(loop_scope="module")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one person's request: the faults chosen for the person, and the stored comparison."""

    target: DemoRequest
    faults: frozenset[Divergence]
    row: ComparisonRow

    @property
    def signs(self) -> set[str]:
        """Where the comparison differs: `kind place` of rows, `place` of the response."""
        differences = self.row.detail.differences
        return {f"{one.kind} {one.place.partition('.')[0]}" if one.key else one.place for one in differences}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def outcomes(postgres_dsn: str) -> AsyncIterator[list[Outcome]]:
    late = {"SHADOW_SLOW_RESPONSE_S": str(1.5 * TIMEOUT_S)}
    async with installation(
        postgres_dsn,
        addresses=ADDRESSES,
        divergences=EVERYTHING,
        environment=late,
        runner={"timeout_s": TIMEOUT_S},
    ) as running:
        targets = [named(target, number) for number, target in enumerate(running.targets)]
        traffic = TrafficGenerator(running.url, targets, concurrency=4)
        await traffic.as_fast_as_possible(len(targets))
        await settled(running)
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
    return frozenset(divergence for divergence in Divergence if CHOSEN.diverges(divergence, address))


async def compared(running: Installation) -> Mapping[str, ComparisonRow]:
    conn = await asyncpg.connect(running.places.store_dsn)
    try:
        since = dt.datetime.now(dt.UTC) - dt.timedelta(hours=1)
        rows = await queries.comparisons(conn, since=since, limit=10 * ADDRESSES)
    finally:
        await conn.close()
    return {row.exchange_id: row for row in rows}


def only(outcomes: list[Outcome], divergence: Divergence, *, case: str = "") -> list[Outcome]:
    """The people for whom just this fault was chosen, and who hold stamps that count."""
    return [
        one
        for one in outcomes
        if one.faults == {divergence} and one.target.case != "none" and case in ("", one.target.case)
    ]


async def test_people_without_a_fault_match(outcomes: list[Outcome]) -> None:
    sound = [one for one in outcomes if not one.faults]
    assert len(sound) > ADDRESSES // 5
    assert {one.row.verdict for one in sound} == {"match"}


async def test_wrong_weight_is_a_changed_score_in_response_and_row(outcomes: list[Outcome]) -> None:
    found = only(outcomes, Divergence.WRONG_WEIGHT)
    assert found
    assert {one.row.verdict for one in found} == {"mismatch"}
    assert all({"score", "changed registry_score", "changed registry_event"} <= one.signs for one in found)
    assert not any("registry_stamp" in sign for one in found for sign in one.signs)


async def test_lost_stamp_is_a_missing_row_of_registry_stamp(outcomes: list[Outcome]) -> None:
    found = only(outcomes, Divergence.LOST_STAMP)
    assert found
    assert {one.row.verdict for one in found} == {"mismatch"}
    assert all("missing_row registry_stamp" in one.signs for one in found)
    assert all(any(sign.startswith("stamps.") for sign in one.signs) for one in found)


async def test_missing_event_is_a_missing_row_and_nothing_else(outcomes: list[Outcome]) -> None:
    found = only(outcomes, Divergence.MISSING_EVENT)
    assert found
    assert {one.row.verdict for one in found} == {"mismatch"}
    assert all(one.signs == {"missing_row registry_event"} for one in found)


async def test_doubled_event_is_an_extra_row_and_nothing_else(outcomes: list[Outcome]) -> None:
    found = only(outcomes, Divergence.DOUBLED_EVENT)
    assert found
    assert {one.row.verdict for one in found} == {"mismatch"}
    assert all(one.signs == {"extra_row registry_event"} for one in found)


async def test_threshold_off_by_one_shows_only_where_the_score_equals_the_threshold(outcomes: list[Outcome]) -> None:
    found = only(outcomes, Divergence.THRESHOLD_OFF_BY_ONE)
    assert found
    equal = [one for one in found if one.row.verdict == "mismatch"]
    assert equal
    assert {one.target.case for one in equal} <= {"exact", "lapsed_clash", "tampered"}
    assert all({"passing_score", "column registry_score"} <= one.signs for one in equal)
    assert all("score" not in one.signs for one in equal)


async def test_error_500_is_another_status_and_missing_rows(outcomes: list[Outcome]) -> None:
    found = only(outcomes, Divergence.ERROR_500)
    assert found
    assert {one.row.verdict for one in found} == {"mismatch"}
    assert {(one.row.served_status, one.row.mirrored_status) for one in found} == {(200, 500)}
    assert all("missing_row registry_event" in one.signs for one in found)


async def test_response_that_is_too_late_is_a_failed_mirror_not_a_mismatch(outcomes: list[Outcome]) -> None:
    found = only(outcomes, Divergence.SLOW_RESPONSE)
    assert found
    assert {(one.row.verdict, one.row.cause) for one in found} == {("failed", "mirrored_timeout")}
