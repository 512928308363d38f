"""The evidence of a step, read from comparisons that the comparator stored."""

import datetime as dt
import random
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from msgspec import structs

from comparator.exchanges.model import Effects, Failed, FailureCause, Observation, Response, Role, Side
from comparator.exchanges.row_changes import RowChange
from comparator.findings.clustering import Clusterer
from comparator.settings import StoreSettings
from comparator.store.comparison_detail import ComparedExchange
from comparator.store.store import Store
from comparator.verdict import Comparator
from proxy.config.databases import DatabasesSettings
from proxy.config.loader import load
from proxy.config.rollout import RolloutSettings, SourceSettings
from proxy.config.settings import Settings
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
        replace(exchange(identity, at=at), served_by=by), served, mirrored, comparison, at, 1, occurrences
    )


def _observed(
    side: Side, role: dict[Side, Role], outcome: Response | Failed | None, committed: Effects, us: int
) -> Observation:
    return Observation(side, role[side], outcome or response({"score": "1"}), us * 1000, committed)


async def collected(dsn: str, since: dt.datetime = NOW, *, comparisons_max: int = 1_000) -> Evidence:
    settings = settings_for(dsn)
    gates = structs.replace(settings.rollout.gates, comparisons_max=comparisons_max)
    bounded = structs.replace(settings, rollout=structs.replace(settings.rollout, gates=gates))
    return await collect_evidence(EvidenceSources.of(bounded), GroupState(entered_at=since), now=LATER)


async def test_only_comparisons_of_this_step_count(store: Store, database: str) -> None:
    await store.add([compared("old", at=NOW - dt.timedelta(minutes=1)), compared("a"), compared("b")])
    evidence = await collected(database)
    assert evidence.routes["v2_score"].counts.match == 2
    assert evidence.seconds == 600


async def test_newest_comparisons_of_a_long_step_count(store: Store, database: str) -> None:
    await store.add([compared(f"x{second}", at=NOW + dt.timedelta(seconds=second)) for second in range(9)])
    evidence = await collected(database, comparisons_max=4)
    assert evidence.overall.counts.match == 4


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
    assert (evidence.pairs, evidence.candidate_only_errors, evidence.legacy_only_errors) == (6, 3, 1)


async def test_differing_rows_and_points_are_counted_with_their_findings(store: Store, database: str) -> None:
    stamp = insert("ceramic_cache_ceramiccache", id=1, type="V1", address="0xabc", provider="p")
    await store.add(
        [
            compared("a", candidate_rows=(stamp,)),
            compared("b", legacy_rows=(insert("registry_humanpoints", id=1, **POINT),)),
            compared("c"),
        ]
    )
    evidence = await collected(database)
    assert (evidence.effects_compared, evidence.effect_mismatches, evidence.points_mismatches) == (3, 2, 1)
    assert {suspect.place.partition(".")[0] for suspect in evidence.suspects} == {
        "ceramic_cache_ceramiccache",
        "registry_humanpoints",
    }


async def test_durations_are_separate_by_side_and_role(store: Store, database: str) -> None:
    await store.add([compared("a", us=(1_000, 2_000)), compared("b", by=Side.LEGACY, us=(3_000, 4_000))])
    evidence = (await collected(database)).durations
    assert {key: round(sketch.quantile(0.5), -2) for key, sketch in evidence.items()} == {
        (Side.CANDIDATE, Role.SERVED): 1_000,
        (Side.LEGACY, Role.MIRRORED): 2_000,
        (Side.LEGACY, Role.SERVED): 4_000,
        (Side.CANDIDATE, Role.MIRRORED): 3_000,
    }


async def test_unavailable_pages_are_named_and_leave_figures_unknown(database: str) -> None:
    evidence = await collected(database)
    assert (evidence.rss_bytes, evidence.completed, evidence.accounting) == (None, None, None)
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
