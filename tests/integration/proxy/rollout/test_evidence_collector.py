"""The evidence of a step, read from what the comparator really stored."""

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
from comparator.store.store import Store
from comparator.stored_comparison import ComparedExchange
from comparator.verdict import Comparator
from proxy.config.rollout import RolloutSettings, SourceSettings
from proxy.config.settings import DatabasesSettings, Settings, load
from proxy.rollout import rollback_impact as readiness
from proxy.rollout.evidence import Evidence
from proxy.rollout.evidence_collector import collect_evidence
from proxy.rollout.group_state import GroupState
from tests.support.comparisons import NOW, effects, exchange, insert, response
from tests.support.paths import ROOT

CONFIG = load((ROOT / "config.yaml").read_text(), {})
DEAD = "http://127.0.0.1:1/metrics"
LATER = NOW + dt.timedelta(minutes=10)
POINT = {"address": "0xabc", "action": "SCB", "chain_id": "1", "provider": "p", "tx_hash": "0x1"}


@pytest.fixture
async def store(database: str) -> AsyncIterator[Store]:
    async with Store(StoreSettings(dsn=database, timeout_s=10), random.Random(7)) as opened:
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


def told(
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
    """A comparison as the runner gives it: what candidate and legacy said and wrote; `us` of candidate and legacy."""
    role = {by: Role.SERVED, by.other: Role.MIRRORED}
    seen = {
        Side.CANDIDATE: _observed(Side.CANDIDATE, role, candidate, effects(*candidate_rows), us[0]),
        Side.LEGACY: _observed(Side.LEGACY, role, legacy, effects(*legacy_rows), us[1]),
    }
    found = Comparator(CONFIG.compare).compare("v2_score", seen[by], seen[by.other], now=at)
    ours = replace(exchange(identity, at=at), served_by=by)
    return ComparedExchange(ours, seen[by], seen[by.other], found, at, 1, Clusterer().sightings("v2_score", found))


def _observed(
    side: Side, role: dict[Side, Role], outcome: Response | Failed | None, found: Effects, us: int
) -> Observation:
    return Observation(side, role[side], outcome or response({"score": "1"}), us * 1000, found)


async def measured(dsn: str, since: dt.datetime = NOW, *, comparisons_max: int = 1_000) -> Evidence:
    settings = settings_for(dsn)
    gates = structs.replace(settings.rollout.gates, comparisons_max=comparisons_max)
    bounded = structs.replace(settings, rollout=structs.replace(settings.rollout, gates=gates))
    return await collect_evidence(bounded, GroupState(entered_at=since), now=LATER)


async def test_only_what_was_served_at_this_step_counts(store: Store, database: str) -> None:
    await store.add([told("old", at=NOW - dt.timedelta(minutes=1)), told("a"), told("b")])
    found = await measured(database)
    assert found.routes["v2_score"].counts.match == 2
    assert found.seconds == 600


async def test_of_a_long_step_only_the_newest_comparisons_count(store: Store, database: str) -> None:
    await store.add([told(f"x{second}", at=NOW + dt.timedelta(seconds=second)) for second in range(9)])
    found = await measured(database, comparisons_max=4)
    assert found.overall.counts.match == 4


async def test_routes_without_comparisons_are_there_with_zeros(store: Store, database: str) -> None:
    found = await measured(database)
    assert found.routes["v2_score"].counts.compared == 0


async def test_errors_count_for_the_side_that_alone_had_them_whoever_served(store: Store, database: str) -> None:
    broken, timeout = response({}, status=500), Failed(FailureCause.TIMEOUT, "")
    await store.add(
        [
            told("a", candidate=broken),
            told("b", by=Side.LEGACY, candidate=broken),
            told("c", candidate=timeout),
            told("d", legacy=broken),
            told("e", candidate=broken, legacy=broken),
            told("f", by=Side.LEGACY, candidate=Failed(FailureCause.REFUSED, "")),
            told("g"),
        ]
    )
    found = (await measured(database)).overall
    assert (found.pairs, found.candidate_only_errors, found.legacy_only_errors) == (6, 3, 1)


async def test_differing_rows_and_points_are_counted_and_name_their_finding(store: Store, database: str) -> None:
    stamp = insert("ceramic_cache_ceramiccache", id=1, type="V1", address="0xabc", provider="p")
    await store.add(
        [
            told("a", candidate_rows=(stamp,)),
            told("b", legacy_rows=(insert("registry_humanpoints", id=1, **POINT),)),
            told("c"),
        ]
    )
    found = await measured(database)
    assert (found.effects_compared, found.effect_mismatches, found.points_mismatches) == (3, 2, 1)
    assert {suspect.place.partition(".")[0] for suspect in found.suspects} == {
        "ceramic_cache_ceramiccache",
        "registry_humanpoints",
    }


async def test_durations_are_kept_apart_by_side_and_role(store: Store, database: str) -> None:
    await store.add([told("a", us=(1_000, 2_000)), told("b", by=Side.LEGACY, us=(3_000, 4_000))])
    found = (await measured(database)).durations
    assert {key: round(sketch.quantile(0.5), -2) for key, sketch in found.items()} == {
        (Side.CANDIDATE, Role.SERVED): 1_000,
        (Side.LEGACY, Role.MIRRORED): 2_000,
        (Side.LEGACY, Role.SERVED): 4_000,
        (Side.CANDIDATE, Role.MIRRORED): 3_000,
    }


async def test_pages_that_do_not_answer_are_named_and_leave_their_gates_open(database: str) -> None:
    found = await measured(database)
    assert (found.rss_bytes, found.completed, found.accounting) == (None, None, None)
    assert len([words for words in found.unavailable if words.startswith(DEAD)]) == 3


async def test_a_store_that_is_away_is_named(tmp_path: Path) -> None:
    found = await measured("postgresql://nobody@127.0.0.1:1/none")
    assert found.unavailable[0].startswith("the store:")
    assert found.overall.counts.compared == 0


async def test_readiness_says_what_the_candidate_wrote_otherwise(store: Store, database: str) -> None:
    point = insert("registry_humanpoints", id=1, **POINT)
    await store.add([told("a", candidate_rows=(point,)), told("b", candidate_rows=(point,), legacy_rows=(point,))])
    found = await readiness.assess_impact(settings_for(database), now=LATER)
    assert found["written_otherwise"] == 1
    assert found["rows_written_by_candidate"] == 2
    assert found["legacy_mirror"] == {"compared": 2, "matched": 1, "errors": 0, "asked": 2}
    assert not found["ready"]
    assert "! 1 requests were written by the candidate otherwise than the legacy would have" in readiness.render(found)
