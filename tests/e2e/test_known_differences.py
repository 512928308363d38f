"""The known differences of config.yaml between the legacy's stand-in and the scorer: declared ones are known, faults beside them are found."""

import datetime as dt
from collections.abc import AsyncIterator
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
from tests.support.matrix import sliced

ADDRESSES = 44
FAULTS = {"candidate": "missing_event:0.12,lost_field:0.02", "legacy": ""}
"""Faults of the mirrored legacy by the side that serves; where the legacy serves, its mirrored instance is not asked."""
FOUND = {
    "candidate": {(Divergence.MISSING_EVENT, "registry_event"), (Divergence.LOST_FIELD, "possible_points_data")},
    "legacy": set[tuple[Divergence, str]](),
}
"""The places at which the faults show beside known differences."""
CASES = {"hash_form": "old-form-credentials-do-not-count", "second_version": "every-nullifier-is-linked"}
POINTS = "human-points-on-request"

pytestmark = pytest.mark.asyncio(loop_scope="module")


@dataclass(frozen=True, slots=True)
class Outcome:
    """The comparison of one request, the case of its address, and the faults that its address shows."""

    case: str
    asks_for_points: bool
    faults: frozenset[Divergence]
    row: ComparisonRow

    @property
    def reasons(self) -> set[str]:
        """The names of the declarations that explain differences."""
        return {known.rule.partition("[")[2].rstrip("]") for known in self.row.detail.known}


@dataclass(frozen=True, slots=True)
class Outcomes:
    """The comparisons of all requests, and the number of differences that each declaration explains."""

    side: str
    outcomes: tuple[Outcome, ...]
    totals: dict[str, int]

    def of(self, *cases: str, faulty: bool = False, points: bool = False) -> list[Outcome]:
        """Return the outcomes of these cases, with or without a fault."""
        return [
            one
            for one in self.outcomes
            if one.case in cases and bool(one.faults) is faulty and one.asks_for_points is points
        ]

    @property
    def other_cases(self) -> set[str]:
        """The cases that both sides decide alike."""
        return {one.case for one in self.outcomes} - CASES.keys()


def requests(running: Installation) -> list[DemoRequest]:
    """Return each request, and each score once more with the parameter that only the scorer knows."""
    scores = [target for target in running.targets if target.status == 200 and "?" not in target.path]
    asking = [msgspec.structs.replace(target, path=f"{target.path}?include_human_points=true") for target in scores]
    return [
        msgspec.structs.replace(target, headers={**target.headers, "X-Request-Id": f"{number}.{target.case}"})
        for number, target in enumerate([*running.targets, *asking])
    ]


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=sliced(list(FAULTS), 1))
async def outcomes(request: pytest.FixtureRequest, postgres_dsn: str) -> AsyncIterator[Outcomes]:
    side = request.param
    async with installation(
        postgres_dsn,
        addresses=ADDRESSES,
        known_differences=True,
        divergences=FAULTS[side],
        environment={"HUMAN_POINTS_ENABLED": "true"},
        serve={"side": side},
        runner={"claim_wait_ms": 8_000},  # a busy machine may take longer than the default
    ) as running:
        sent = requests(running)
        await TrafficGenerator(running.url, sent, concurrency=4).as_fast_as_possible(len(sent))
        await wait_for_outcomes(running)
        since = dt.datetime.now(dt.UTC) - dt.timedelta(hours=1)
        conn = await asyncpg.connect(running.addresses.store_dsn)
        rows = await queries.comparisons(conn, since=since, limit=1_000)
        known = await queries.known_totals(conn, since=since.date())
        await conn.close()
    by_id = {target.headers["X-Request-Id"]: target for target in sent}
    totals = {total.declaration.partition("[")[2].rstrip("]"): total.count for total in known}
    yield Outcomes(side, tuple(outcome_of(by_id[row.exchange_id], row, side) for row in rows), totals)


def outcome_of(target: DemoRequest, row: ComparisonRow, side: str) -> Outcome:
    path, _, query = target.path.partition("?")
    selected = Divergences.parse(FAULTS[side])
    faults = frozenset(one for one in Divergence if selected.diverges(one, path.rpartition("/")[2]))
    return Outcome(target.case, "include_human_points=true" in query, faults, row)


async def test_all_others_match(outcomes: Outcomes) -> None:
    assert len(outcomes.other_cases) > 14
    assert {one.row.verdict for one in outcomes.of(*outcomes.other_cases)} == {"match"}


@pytest.mark.parametrize("case", CASES)
async def test_declared_difference_is_known_by_its_name(outcomes: Outcomes, case: str) -> None:
    shown = outcomes.of(case)
    assert {one.row.verdict for one in shown} == {"known"}
    assert set().union(*(one.reasons for one in shown)) == {CASES[case]}
    assert outcomes.totals[CASES[case]] > 0


async def test_difference_of_a_parameter_is_known_where_it_is_given(outcomes: Outcomes) -> None:
    asking = outcomes.of(*outcomes.other_cases, points=True)
    assert {one.row.verdict for one in asking} <= {"match", "known"}
    assert {name for one in asking for name in one.reasons} == {POINTS}
    assert POINTS not in {name for one in outcomes.outcomes if not one.asks_for_points for name in one.reasons}


async def test_fault_beside_a_known_difference_is_found(outcomes: Outcomes) -> None:
    beside = outcomes.of(*CASES, faulty=True)
    assert {one.row.verdict for one in beside} == {"candidate": {"mismatch"}, "legacy": set()}[outcomes.side]
    assert all(one.row.detail.known for one in beside)
    found = {(fault, d.place) for one in beside for fault in one.faults for d in one.row.detail.differences}
    assert found == FOUND[outcomes.side]
