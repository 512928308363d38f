"""Collect the evidence of a group since its step was entered: from the comparator's store, and the metrics pages of all processes."""

import asyncio
import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import asyncpg

from comparator.errors import CaseError
from comparator.postgres import UNAVAILABLE, Connection, connect
from proxy.config.rollout import RolloutSettings
from proxy.config.routes import MirrorPolicy, RouteSettings
from proxy.config.settings import Settings
from proxy.rollout import evidence_sql
from proxy.rollout.accounting import MetricsPages, coverage_of, rss_of, scrape_all, totals_of
from proxy.rollout.evidence import Evidence, RouteEvidence
from proxy.rollout.group_state import ALL, GroupState

TIMEOUT_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class EvidenceSources:
    """The places that evidence is read from.

    Attributes:
        store_dsn: the comparator's store; "" for none.
        routes: section `routes:`.
        rollout: section `rollout:`.
        pages: the metrics pages of all processes.
    """

    store_dsn: str
    routes: tuple[RouteSettings, ...]
    rollout: RolloutSettings
    pages: MetricsPages

    @classmethod
    def of(cls, settings: Settings) -> "EvidenceSources":
        """Pick the sources from config.yaml."""
        return cls(settings.databases.store, settings.routes, settings.rollout, MetricsPages.of(settings))


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
    routes = routes_of(sources.routes, sources.rollout, state.group)
    stored, scraped = await asyncio.gather(_read_store(sources, since, routes), _read_pages(sources.pages, routes))
    return replace(
        stored,
        seconds=(now - since).total_seconds(),
        rss_bytes=scraped.rss_bytes,
        completed=scraped.completed,
        compared=scraped.compared,
        accounting=scraped.accounting,
        unavailable=(*stored.unavailable, *scraped.unavailable),
    )


async def _read_store(sources: EvidenceSources, since: dt.datetime, routes: Sequence[str]) -> Evidence:
    empty = Evidence(routes={route: RouteEvidence() for route in routes})
    if not sources.store_dsn:
        return replace(empty, unavailable=("databases.store is not set",))
    try:
        async with asyncio.timeout(TIMEOUT_S):
            conn = await connect(sources.store_dsn, timeout_s=TIMEOUT_S, command_timeout_s=TIMEOUT_S)
            try:
                return await _query(conn, sources.rollout, since, routes)
            finally:
                conn.terminate()
    except (*UNAVAILABLE, asyncpg.UndefinedTableError, CaseError) as error:
        return replace(empty, unavailable=(f"the store: {type(error).__name__}",))


async def _query(conn: Connection, rollout: RolloutSettings, since: dt.datetime, routes: Sequence[str]) -> Evidence:
    gates = rollout.gates
    since = await evidence_sql.begin_of(conn, since=since, names=routes, comparisons_max=gates.comparisons_max)
    compared, mismatches = await evidence_sql.effects(conn, since=since, names=routes)
    return Evidence(
        routes=await evidence_sql.routes(conn, since=since, names=routes),
        effect_mismatches=mismatches,
        points_mismatches=await evidence_sql.points_mismatches(
            conn, since=since, names=routes, tables=gates.points_tables
        )
        if mismatches
        else 0,
        effects_compared=compared,
        durations=await evidence_sql.durations(conn, since=since, names=routes),
        suspects=await evidence_sql.suspects(conn, since=since, names=routes),
    )


async def _read_pages(pages: MetricsPages, routes: Sequence[str]) -> Evidence:
    proxies, runners, candidates = await asyncio.gather(
        scrape_all(pages.proxies, timeout_s=pages.timeout_s),
        scrape_all(pages.runners, timeout_s=pages.timeout_s),
        scrape_all(pages.candidates, timeout_s=pages.timeout_s),
    )
    completed, compared = coverage_of(runners, routes)
    return Evidence(
        rss_bytes=rss_of(candidates),
        completed=completed,
        compared=compared,
        accounting=totals_of(proxies, runners),
        unavailable=(*proxies.unavailable, *runners.unavailable, *candidates.unavailable),
    )
