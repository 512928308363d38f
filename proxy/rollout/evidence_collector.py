"""Collect the evidence of a group since its step was entered: from the comparator's store, and the metrics pages of all processes."""

import asyncio
import datetime as dt
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from comparator.capture.settings import Driver
from comparator.errors import CaseError
from comparator.postgres import LACKING, UNAVAILABLE, Connection, connect
from comparator.stats.duration_buckets import log_quantile
from comparator.store.step_evidence import minute_of
from proxy.config.rollout import GateSettings, RolloutSettings, StepSettings
from proxy.config.routes import MirrorPolicy, RouteSettings
from proxy.config.settings import Settings
from proxy.rollout import evidence_sql
from proxy.rollout.accounting import MetricsPages, drops_of, rss_of, scrape_all, totals_of
from proxy.rollout.alpha_spending import window_begins
from proxy.rollout.evidence import AccountingTotals, Evidence, RecentWindow, RouteEvidence, WindowEvidence
from proxy.rollout.evidence_sql import StepScope
from proxy.rollout.group_state import ALL, GroupState
from proxy.rollout.latency_blocks import LatencyBlock, LatencyComparison, blocks_of
from proxy.rollout.traffic_split import stage_of, step_of

TIMEOUT_S: Final = 10.0
SETTLED_AFTER: Final = dt.timedelta(minutes=2)
"""Age of a minute whose durations may become part of a block; comparisons that are stored later are left out."""
SHOWN: Final = dt.timedelta(hours=1)
"""The part of the step whose quantiles are shown."""


@dataclass(frozen=True, slots=True)
class EvidenceSources:
    """The places that evidence is read from.

    Attributes:
        store_dsn: the comparator's store; "" for none.
        routes: section `routes:`.
        rollout: section `rollout:`.
        pages: the metrics pages of all processes.
        captures_rows: row changes are captured.
    """

    store_dsn: str
    routes: tuple[RouteSettings, ...]
    rollout: RolloutSettings
    pages: MetricsPages
    captures_rows: bool

    @classmethod
    def of(cls, settings: Settings) -> "EvidenceSources":
        """Pick the sources from config.yaml."""
        captures_rows = settings.capture.driver is not Driver.OFF
        return cls(
            settings.databases.store, settings.routes, settings.rollout, MetricsPages.of(settings), captures_rows
        )


def routes_of(routes: Sequence[RouteSettings], rollout: RolloutSettings, group: str) -> tuple[str, ...]:
    """List the routes of a group that are mirrored."""
    in_others = {route for other in rollout.groups for route in other.routes if other.name != group}
    own = next((one.routes for one in rollout.groups if one.name == group), None)
    return tuple(
        route.name
        for route in routes
        if route.mirror is MirrorPolicy.MIRROR
        and route.sample > 0
        and (route.name in own if own is not None else group == ALL and route.name not in in_others)
    )


async def collect_evidence(sources: EvidenceSources, state: GroupState, *, now: dt.datetime) -> Evidence:
    """Read the evidence there is; `unavailable` names the sources that did not answer."""
    since = state.entered_at or now
    names = routes_of(sources.routes, sources.rollout, state.group)
    # The pages come first: what the proxies have dropped belongs to the evidence.
    pages = await _read_pages(sources.pages)
    scope = StepScope(stage_of(sources.rollout, state), minute_of(since), names)
    stored = await _read_store(sources, state, scope, pages.drops, now)
    return replace(
        stored,
        seconds=(now - since).total_seconds(),
        quiet_routes=frozenset(route.name for route in sources.routes if route.quiet),
        captures_rows=sources.captures_rows,
        rows_routes=frozenset(route.name for route in sources.routes if route.key and sources.captures_rows),
        measures_memory=bool(sources.pages.candidates),
        rss_bytes=pages.rss_bytes,
        accounting=pages.accounting,
        unavailable=(*stored.unavailable, *pages.unavailable),
    )


async def _read_store(
    sources: EvidenceSources,
    state: GroupState,
    scope: StepScope,
    drops: Mapping[str, Mapping[str, int]] | None,
    now: dt.datetime,
) -> Evidence:
    empty = Evidence(step=WindowEvidence({route: RouteEvidence() for route in scope.routes}))
    if not sources.store_dsn:
        return replace(empty, unavailable=("databases.store is not set",))
    try:
        async with asyncio.timeout(TIMEOUT_S):
            conn = await connect(sources.store_dsn, timeout_s=TIMEOUT_S, command_timeout_s=TIMEOUT_S)
            try:
                return await _query(conn, sources.rollout, state, scope, drops, now)
            finally:
                conn.terminate()
    except (*UNAVAILABLE, *LACKING, CaseError) as error:
        return replace(empty, unavailable=(f"the store: {type(error).__name__}",))


async def _query(
    conn: Connection,
    rollout: RolloutSettings,
    state: GroupState,
    scope: StepScope,
    drops: Mapping[str, Mapping[str, int]] | None,
    now: dt.datetime,
) -> Evidence:
    gates = rollout.gates
    if drops is not None:
        await evidence_sql.count_drops(conn, drops, now)
    fresh = [
        (length_s, begin_s)
        for length_s, begin_s in window_begins(now.timestamp())
        if begin_s >= scope.since.timestamp()
    ]
    begins = [scope.since, *(dt.datetime.fromtimestamp(begin_s, dt.UTC) for _, begin_s in fresh)]
    step, *recent = await evidence_sql.windows(conn, scope, begins, points_tables=gates.points_tables)
    return Evidence(
        step=step,
        recent=tuple(RecentWindow(*kind, window) for kind, window in zip(fresh, recent, strict=True)),
        blocks=await _blocks(conn, scope, gates, step_of(rollout, state), now),
        quantile_us=await _quantiles(conn, scope.from_minute(now - SHOWN), gates.latency_quantile),
        dropped=None if drops is None else await evidence_sql.dropped(conn, scope.since, scope.routes),
        suspects=await evidence_sql.suspects(conn, since=scope.since, names=scope.routes),
    )


async def _blocks(
    conn: Connection, scope: StepScope, gates: GateSettings, step: StepSettings, now: dt.datetime
) -> tuple[LatencyBlock, ...]:
    """Return the blocks of latency, after storing those that have become complete."""
    stored, begin = await evidence_sql.blocks(conn, scope)
    minutes = await evidence_sql.durations(conn, scope, begin=begin, end=minute_of(now - SETTLED_AFTER))
    new = blocks_of(
        minutes,
        LatencyComparison.at(step.percent),
        share=gates.latency_quantile,
        durations_min=gates.latency_durations_min,
    )
    if new:
        await evidence_sql.add_blocks(conn, scope, new)
    return (*stored, *new)


async def _quantiles(conn: Connection, scope: StepScope, share: float) -> dict[str, float]:
    cells = await evidence_sql.recent_durations(conn, scope)
    return {f"{side}_{role}": math.exp(log_quantile(cells[side, role], share)) for side, role in sorted(cells)}


@dataclass(frozen=True, slots=True)
class PageFigures:
    """The figures on the metrics pages: those of pages that did not answer are None."""

    rss_bytes: int | None
    accounting: AccountingTotals | None
    drops: Mapping[str, Mapping[str, int]] | None
    unavailable: tuple[str, ...]


async def _read_pages(pages: MetricsPages) -> PageFigures:
    proxies, runners, candidates = await asyncio.gather(
        scrape_all(pages.proxies, timeout_s=pages.timeout_s),
        scrape_all(pages.runners, timeout_s=pages.timeout_s),
        scrape_all(pages.candidates, timeout_s=pages.timeout_s),
    )
    return PageFigures(
        rss_bytes=rss_of(candidates),
        accounting=totals_of(proxies, runners),
        drops=drops_of(proxies),
        unavailable=(*proxies.unavailable, *runners.unavailable, *candidates.unavailable),
    )
