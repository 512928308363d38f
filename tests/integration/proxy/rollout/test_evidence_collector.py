"""The evidence of a step, read from comparisons that the comparator stored."""

import datetime as dt
import math
import random
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from msgspec import structs

from comparator.exchanges.comparison import Comparison, Verdict
from comparator.exchanges.model import (
    Effects,
    EffectsOutcome,
    Failed,
    FailureCause,
    LeftOutReason,
    Observation,
    Response,
    Role,
    Side,
)
from comparator.exchanges.row_changes import RowChange
from comparator.findings.clustering import Clusterer
from comparator.settings import StoreSettings
from comparator.store.causes import refresh_causes
from comparator.store.comparison_detail import ComparedExchange
from comparator.store.store import Store
from comparator.verdict import Comparator, confirm
from proxy.cli.rollout_plan import seen_traffic
from proxy.config.databases import DatabasesSettings
from proxy.config.loader import load
from proxy.config.rollout import DEFAULT_STEPS, RolloutSettings, SourceSettings
from proxy.config.settings import Settings
from proxy.rollout import evidence_sql
from proxy.rollout.evidence import Evidence
from proxy.rollout.evidence_collector import EvidenceSources, collect_evidence
from proxy.rollout.group_state import GroupState
from proxy.rollout.rollback_impact import LegacyMirror, render
from proxy.rollout.rollback_impact_collector import ImpactSources, collect_impact
from tests.support.comparisons import NOW, effects, exchange, insert, response
from tests.support.paths import ROOT

CONFIG = load((ROOT / "config.yaml").read_text(), {})
DEAD = "http://127.0.0.1:1/metrics"
LATER = NOW + dt.timedelta(minutes=10)
LAST_STEP = GroupState(step=len(DEFAULT_STEPS) - 1, entered_at=NOW)
"""The step of the stage `candidate_100`, which exchanges carry by default."""
MATCH = Comparison(Verdict.MATCH, None, Side.CANDIDATE)
POINT = {"address": "0xabc", "action": "SCB", "chain_id": "1", "provider": "p", "tx_hash": "0x1"}


@pytest.fixture
async def store(database: str) -> AsyncIterator[Store]:
    async with Store(database, StoreSettings(timeout_s=10), random.Random(7)) as opened:
        await opened.maintain(NOW)
        yield opened


def settings_for(dsn: str) -> Settings:
    sources = SourceSettings(proxies=(DEAD,), runners=(DEAD,), candidates=(DEAD,), legacy_health=DEAD, timeout_s=1.0)
    return Settings(
        databases=DatabasesSettings(store=dsn),
        routes=CONFIG.routes,
        compare=CONFIG.compare,
        rollout=RolloutSettings(sources=sources),
    )


def compared(
    identity: str,
    *,
    by: Side = Side.CANDIDATE,
    at: dt.datetime = NOW,
    candidate: Response | Failed | None = None,
    legacy: Response | Failed | None = None,
    candidate_rows: tuple[RowChange, ...] = (),
    legacy_rows: tuple[RowChange, ...] = (),
    us: tuple[int, int] = (1_000, 2_000),
    key: int | None = 1,
    stage: str = "candidate_100",
) -> ComparedExchange:
    """Return a comparison as the runner stores it. `us`: durations of candidate and legacy."""
    role = {by: Role.SERVED, by.other: Role.MIRRORED}
    observations = {
        Side.CANDIDATE: _observed(Side.CANDIDATE, role, candidate, effects(*candidate_rows), us[0]),
        Side.LEGACY: _observed(Side.LEGACY, role, legacy, effects(*legacy_rows), us[1]),
    }
    served, mirrored = observations[by], observations[by.other]
    comparison = Comparator(CONFIG.compare).compare("v2_score", served, mirrored, now=at)
    occurrences = Clusterer().occurrences("v2_score", comparison)
    return ComparedExchange(
        replace(exchange(identity, at=at), served_by=by, stage=stage),
        served,
        mirrored,
        comparison,
        at,
        key,
        occurrences,
    )


def _observed(
    side: Side, role: dict[Side, Role], outcome: Response | Failed | None, committed: Effects, us: int
) -> Observation:
    return Observation(side, role[side], outcome or response({"score": "1"}), us * 1000, committed)


async def collected(
    dsn: str, since: dt.datetime = NOW, *, now: dt.datetime = LATER, settings: Settings | None = None
) -> Evidence:
    state = structs.replace(LAST_STEP, entered_at=since)
    return await collect_evidence(EvidenceSources.of(settings or settings_for(dsn)), state, now=now)


async def test_only_comparisons_of_this_step_count(store: Store, database: str) -> None:
    before = NOW - dt.timedelta(minutes=1)
    await store.add([compared("old", at=before), compared("a"), compared("b"), compared("c", stage="candidate_75")])
    evidence = await collected(database)
    assert evidence.routes["v2_score"].counts.match == 2
    assert evidence.seconds == 600


async def test_comparison_that_is_stored_again_counts_once(store: Store, database: str) -> None:
    for _ in range(2):
        await store.add([compared("a"), compared("b", candidate=response({"score": "2"}))])
    overall = (await collected(database)).overall
    assert (overall.counts.compared, overall.mismatches.count) == (2, 1)


async def test_fresh_evidence_is_that_of_the_last_minutes(store: Store, database: str) -> None:
    await store.add([compared(f"x{minute}", at=NOW + dt.timedelta(minutes=minute)) for minute in range(60)])
    evidence = await collected(database, now=NOW + dt.timedelta(minutes=62))
    counts = [(window.length_s, window.evidence.overall.counts.match) for window in evidence.recent]
    assert counts == [
        (300, 0),
        (300, 5),
        (300, 10),
        (300, 15),
        (1_200, 0),
        (1_200, 20),
        (1_200, 40),
        (1_200, 60),
        (4_800, 60),
    ]
    assert evidence.overall.counts.match == 60


async def test_route_without_comparisons_has_zeros(store: Store, database: str) -> None:
    evidence = await collected(database)
    assert evidence.routes["v2_score"].counts.compared == 0


async def test_errors_count_for_the_side_that_alone_had_them(store: Store, database: str) -> None:
    broken, timeout = response({}, status=500), Failed(FailureCause.TIMEOUT, "")
    await store.add(
        [
            compared("a", candidate=broken),
            compared("b", by=Side.LEGACY, candidate=broken),
            compared("c", candidate=timeout),
            compared("d", legacy=broken),
            compared("e", candidate=broken, legacy=broken),
            compared("f", by=Side.LEGACY, candidate=Failed(FailureCause.REFUSED, "")),
            compared("g"),
        ]
    )
    evidence = (await collected(database)).overall
    assert (evidence.pairs, evidence.candidate_only_errors.count, evidence.legacy_only_errors.count) == (6, 3, 1)


async def test_failures_of_the_legacy_alone_are_no_mismatches(store: Store, database: str) -> None:
    """The verdict of each of these comparisons is a mismatch."""
    broken = response({}, status=500)
    await store.add([compared(f"x{number}", by=Side.LEGACY, legacy=broken, key=number) for number in range(5)])
    overall = (await collected(database)).overall
    assert (overall.counts.mismatch, overall.judged, overall.mismatches.count) == (5, 0, 0)
    assert overall.legacy_only_errors.count == 5


async def test_hits_of_one_client_are_known_as_such(store: Store, database: str) -> None:
    wrong = response({"score": "2"})
    await store.add(
        [
            *(compared(f"r{number}", candidate=wrong, key=7) for number in range(8)),
            *(compared(f"s{number}", candidate=wrong, key=number) for number in (8, 9)),
            *(compared(f"m{number}", key=100 + number) for number in range(2_000)),
        ]
    )
    hits = (await collected(database)).overall.mismatches
    assert (hits.count, hits.keys) == (10, 3)
    assert hits.design_effect == pytest.approx((64 + 2) / 10, rel=0.02)


async def test_hits_of_a_busy_client_are_what_its_requests_explain(store: Store, database: str) -> None:
    wrong = response({"score": "2"})
    await store.add(
        [
            *(compared(f"r{number}", candidate=wrong, key=7) for number in range(10)),
            *(compared(f"m{number}", key=7) for number in range(990)),
            *(compared(f"s{number}", candidate=wrong, key=1_000 + number) for number in range(10)),
            *(compared(f"n{number}", key=2_000 + number) for number in range(990)),
        ]
    )
    hits = (await collected(database)).overall.mismatches
    assert (hits.count, hits.keys, hits.design_effect) == (20, 11, 1.0)


async def test_comparisons_by_the_responses_and_those_without_some_tables_are_counted_apart(
    store: Store, database: str
) -> None:
    wrong, unsure = response({"score": "2"}), (EffectsOutcome.ATTRIBUTED, EffectsOutcome.LOST)
    by_response = [compared(f"r{number}", candidate=wrong if number < 2 else None, key=number) for number in range(5)]
    in_part = [compared(f"p{number}", key=number) for number in range(3)]
    await store.add(
        [
            *(
                replace(one, comparison=replace(one.comparison, effects_compared=False, effects_outcomes=unsure))
                for one in by_response
            ),
            *(
                replace(one, comparison=replace(one.comparison, left_out={"audit": LeftOutReason.SHARED}))
                for one in in_part
            ),
            *(compared(f"c{number}", candidate=wrong if number < 1 else None, key=number) for number in range(4)),
        ]
    )
    overall = (await collected(database)).overall
    assert (overall.judged, overall.effects_compared, overall.partial) == (12, 4, 3)
    assert (overall.mismatches.count, overall.response_only_mismatches.count) == (3, 2)


async def test_client_without_a_key_is_the_target_of_its_requests(store: Store, database: str) -> None:
    wrong = response({"score": "2"})
    batch = [
        replace(compared(f"x{number}", candidate=wrong, key=None), target_digest=number % 3) for number in range(9)
    ]
    await store.add(batch)
    hits = (await collected(database)).overall.mismatches
    assert (hits.count, hits.keys) == (9, 3)


async def test_differing_rows_and_points_are_counted_with_their_findings(store: Store, database: str) -> None:
    stamp = insert("ceramic_cache_ceramiccache", id=1, type="V1", address="0xabc", provider="p")
    qualified = insert("registry_humanpointscommunityqualifiedusers", id=1, address="0xabc", community_id=1)
    await store.add(
        [compared("a", candidate_rows=(stamp,)), compared("b", legacy_rows=(qualified,), key=2), compared("c")]
    )
    evidence = await collected(database)
    overall = evidence.overall
    assert (overall.effects_compared, overall.effects.count, overall.points.count) == (3, 2, 1)
    assert overall.mismatches.count == 2
    assert {suspect.place.partition(".")[0] for suspect in evidence.suspects} == {
        "ceramic_cache_ceramiccache",
        "registry_humanpointscommunityqualifiedusers",
    }


async def test_findings_name_their_causes_once_these_are_more_than_provisional(store: Store, database: str) -> None:
    stamp = insert("ceramic_cache_ceramiccache", id=1, type="V1", address="0xabc", provider="p")
    found: list[str] = []
    for number in range(3):
        await store.add([compared(f"a{number}", candidate_rows=(stamp,), key=number)])
        async with store.connection() as conn:
            await refresh_causes(conn, now=LATER, force=True)
        (suspect,) = (await collected(database)).suspects
        found.append(suspect.cause_title)
    assert found == ["", "", "ceramic_cache_ceramiccache: row only on candidate"]


async def test_rows_of_low_confidence_tables_are_apart(store: Store, database: str) -> None:
    await store.add([compared("a", legacy_rows=(insert("registry_humanpoints", id=1, **POINT),))])
    overall = (await collected(database)).overall
    assert (overall.counts.mismatch, overall.low_confidence.count) == (1, 1)
    assert (overall.mismatches.count, overall.effects.count, overall.points.count) == (0, 0, 0)


async def test_transient_differences_belong_to_the_side_that_ran_twice(store: Store, database: str) -> None:
    wrong = response({"score": "2"})
    batch = [
        compared("a", by=Side.LEGACY, candidate=wrong),
        compared("b", by=Side.LEGACY),
        compared("c", by=Side.CANDIDATE, legacy=wrong),
    ]
    await store.add([replace(one, comparison=confirm(one.comparison, MATCH)) for one in batch])
    overall = (await collected(database)).overall
    assert (overall.candidate_transient.count, overall.candidate_mirrored) == (1, 2)
    assert (overall.legacy_transient.count, overall.legacy_mirrored) == (1, 1)
    assert overall.mismatches.count == 0


async def test_blocks_of_latency_are_stored_once_and_go_on(store: Store, database: str) -> None:
    def minutes(first: int, last: int) -> list[ComparedExchange]:
        return [
            compared(f"{side}{minute}.{number}", by=side, us=(1_000, 2_000), at=NOW + dt.timedelta(minutes=minute))
            for minute in range(first, last)
            for number in range(20)
            for side in Side
        ]

    await store.add(minutes(0, 4))
    first = await collected(database, now=NOW + dt.timedelta(minutes=6))
    assert await collected(database, now=NOW + dt.timedelta(minutes=6)) == first
    await store.add(minutes(4, 8))
    evidence = await collected(database, now=NOW + dt.timedelta(minutes=10))
    assert [block.begin_s - NOW.timestamp() for block in evidence.blocks] == [0, 120, 240, 360]
    assert evidence.blocks[:2] == first.blocks
    assert [math.exp(block.log_ratio) for block in evidence.blocks] == pytest.approx([0.5] * 4, rel=0.05)
    assert {name: round(value, -2) for name, value in evidence.quantile_us.items()} == {
        "candidate_served": 1_000,
        "candidate_mirrored": 1_000,
        "legacy_served": 2_000,
        "legacy_mirrored": 2_000,
    }


async def test_exchanges_that_were_not_compared_are_known_by_route_and_cause(store: Store, database: str) -> None:
    causes = {"overlapped": 5, "rate_limited": 7, "policy": 11, "overload": 13}
    skipped = {("candidate_100", NOW, "v2_score", cause): count for cause, count in causes.items()}
    await store.add([compared("a")], {**skipped, ("candidate_75", NOW, "v2_score", "overload"): 99})
    one = (await collected(database)).routes["v2_score"]
    assert (one.overlapped, one.excluded, one.lost, one.counts.compared) == (5, 18, 13, 1)


async def test_drops_of_the_proxies_count_from_the_first_look_on(store: Store, database: str) -> None:
    """The counter begins again when a proxy is restarted."""
    await collected(database)
    async with store.connection() as conn:
        looks = ((1, 100, 7), (2, 130, 7), (3, 130, 9), (4, 20, 0))
        for at, score, unknown in looks:
            totals = {"http://a": {"v2_score": score, "": unknown}}
            await evidence_sql.count_drops(conn, totals, NOW + dt.timedelta(minutes=at))
        assert await evidence_sql.dropped(conn, NOW, ["v2_score"]) == 52
        assert await evidence_sql.dropped(conn, NOW, ["allow_list"]) == 2
        assert await evidence_sql.dropped(conn, NOW + dt.timedelta(minutes=4), ["v2_score"]) == 20
    by_route = (await collected(database)).routes
    assert (by_route["v2_score"].dropped, by_route["v2_score"].called, by_route["v2_score"].lost) == (50, 50, 0)


async def test_first_drop_of_a_route_counts_where_the_page_is_known(store: Store, database: str) -> None:
    async with store.connection() as conn:
        for totals in ({"": 0}, {"v2_score": 3, "": 0}):
            await evidence_sql.count_drops(conn, {"http://a": totals}, NOW + dt.timedelta(minutes=1))
    assert (await collected(database)).routes["v2_score"].dropped == 3


async def test_plan_reads_the_traffic_that_was_seen(store: Store, database: str) -> None:
    wrong, broken = response({"score": "2"}), response({}, status=500)
    batch = [compared(f"x{number}", by=Side.LEGACY, at=NOW + dt.timedelta(seconds=number)) for number in range(90)]
    await store.add([*batch, compared("w", candidate=wrong), compared("b", candidate=broken)])
    hours = (dt.datetime.now(dt.UTC) - NOW).total_seconds() / 3600 + 1
    async with store.connection() as conn:
        traffic = await seen_traffic(conn, settings_for(database), ("v2_score", "allow_list"), hours=hours)
    assert traffic.per_s == {"v2_score": pytest.approx(92 / hours / 3600), "allow_list": 0.0}
    assert traffic.mismatch_rate == pytest.approx(1 / 91)
    assert traffic.error_rates == (pytest.approx(1 / 92), 0.0001)
    assert traffic.latency_ratio == 1.0


async def test_unavailable_pages_are_named_and_leave_figures_unknown(database: str) -> None:
    evidence = await collected(database)
    assert (evidence.rss_bytes, evidence.dropped, evidence.accounting) == (None, None, None)
    assert evidence.measures_memory
    assert len([source for source in evidence.unavailable if source.startswith(DEAD)]) == 3


async def test_unavailable_store_is_named(tmp_path: Path) -> None:
    evidence = await collected("postgresql://nobody@127.0.0.1:1/none")
    assert evidence.unavailable[0].startswith("the store:")
    assert evidence.overall.counts.compared == 0


async def test_impact_counts_requests_with_differing_rows(store: Store, database: str) -> None:
    point = insert("registry_humanpoints", id=1, **POINT)
    await store.add(
        [compared("a", candidate_rows=(point,)), compared("b", candidate_rows=(point,), legacy_rows=(point,))]
    )
    impact = await collect_impact(ImpactSources.of(settings_for(database)), now=LATER)
    assert impact.differing_requests == 1
    assert impact.candidate_rows == 2
    assert impact.legacy_mirror == LegacyMirror(requests=2, errors=0, compared=2, matched=1)
    assert not impact.ready
    assert "! 1 requests in which the candidate wrote other rows than the legacy would have" in render(impact)
