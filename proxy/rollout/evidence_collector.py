"""Measures a group since its step was entered: the comparator's store, and the metrics pages of all processes."""

import asyncio
import datetime as dt
from dataclasses import replace
from typing import Final

import asyncpg

from comparator.errors import CaseError
from proxy.config.settings import MirrorPolicy, Settings
from proxy.rollout import evidence_sql, store
from proxy.rollout.admin_client import all_targets
from proxy.rollout.evidence import AccountingTotals, Evidence, RouteEvidence
from proxy.rollout.group_state import ALL, GroupState
from proxy.rollout.rollback_impact import runner_pages
from proxy.rollout.scraper import Samples, ScrapedPages, scrape_all, total

TIMEOUT_S: Final = 10.0
POLICY: Final = ("policy", "write")
"""Causes for which the runner leaves out what it was told to leave out: no lack of coverage."""
OUTCOMES: Final = ("shadow_compared_total", "shadow_skipped_total", "shadow_failed_total", "shadow_dropped_total")


def routes_of(settings: Settings, group: str) -> tuple[str, ...]:
    """The routes of a group that are mirrored."""
    elsewhere = {route for one in settings.rollout.groups for route in one.routes if one.name != group}
    own = next((one.routes for one in settings.rollout.groups if one.name == group), None)
    return tuple(
        route.name
        for route in settings.routes
        if route.mirror is MirrorPolicy.MIRROR
        and route.sample > 0
        and (route.name in own if own is not None else group == ALL and route.name not in elsewhere)
    )


async def collect_evidence(settings: Settings, state: GroupState, *, now: dt.datetime) -> Evidence:
    """The evidence there is; what could not be read is named in `unread`."""
    since = state.entered_at or now
    names = routes_of(settings, state.group)
    stored, scraped = await asyncio.gather(_stored(settings, since, names), _scraped(settings, names))
    return replace(
        stored,
        seconds=(now - since).total_seconds(),
        rss_bytes=scraped.rss_bytes,
        ended=scraped.completed,
        compared=scraped.compared,
        totals=scraped.accounting,
        unread=(*stored.unavailable, *scraped.unavailable),
    )


async def _stored(settings: Settings, since: dt.datetime, names: tuple[str, ...]) -> Evidence:
    nothing = Evidence(routes={name: RouteEvidence() for name in names})
    if not settings.databases.store:
        return replace(nothing, unread=("databases.store is not set",))
    try:
        async with asyncio.timeout(TIMEOUT_S):
            conn = await asyncpg.connect(settings.databases.store, command_timeout=TIMEOUT_S)
            try:
                return await _read(conn, settings, since, names)
            finally:
                conn.terminate()
    except (*store.UNAVAILABLE, asyncpg.UndefinedTableError, CaseError) as error:
        return replace(nothing, unread=(f"the store: {type(error).__name__}",))


async def _read(conn: store.Connection, settings: Settings, since: dt.datetime, names: tuple[str, ...]) -> Evidence:
    gates = settings.rollout.gates
    tables = gates.points_tables
    since = await evidence_sql.begin_of(conn, since=since, names=names, comparisons_max=gates.comparisons_max)
    compared, mismatches = await evidence_sql.effects(conn, since=since, names=names)
    return Evidence(
        routes=await evidence_sql.routes(conn, since=since, names=names),
        effect_mismatches=mismatches,
        points_mismatches=await evidence_sql.points_mismatches(conn, since=since, names=names, tables=tables)
        if mismatches
        else 0,
        effects_compared=compared,
        durations=await evidence_sql.durations(conn, since=since, names=names),
        suspects=await evidence_sql.suspects(conn, since=since, names=names),
    )


async def _scraped(settings: Settings, names: tuple[str, ...]) -> Evidence:
    timeout_s = settings.rollout.sources.timeout_s
    proxies, runners, candidates = await asyncio.gather(
        scrape_all(proxy_pages(settings), timeout_s=timeout_s),
        scrape_all(runner_pages(settings), timeout_s=timeout_s),
        scrape_all(settings.rollout.sources.candidates, timeout_s=timeout_s),
    )
    ended, compared = coverage_of(runners, names)
    return Evidence(
        rss_bytes=rss_of(candidates),
        completed=ended,
        compared=compared,
        accounting=totals_of(proxies, runners),
        unavailable=(*proxies.unread, *runners.unread, *candidates.unread),
    )


def proxy_pages(settings: Settings) -> tuple[str, ...]:
    """The metrics pages of the proxies: as configured, else those of this installation and of its peers."""
    own = tuple(f"http{'s' if one.tls else ''}://{one}/metrics" for one in all_targets(settings))
    return settings.rollout.sources.proxies or own


def rss_of(candidates: ScrapedPages) -> int | None:
    """The largest resident memory of a candidate process; None when a page, or the figure on it, is missing."""
    sizes = [total(samples, "process_resident_memory_bytes") for samples in candidates.read]
    return int(max(sizes)) if sizes and all(sizes) and not candidates.unread else None


def coverage_of(runners: ScrapedPages, names: tuple[str, ...]) -> tuple[int | None, int]:
    """Exchanges of these routes that ended since the runners started, without those left out by policy; compared ones."""
    if runners.unread or not runners.read:
        return None, 0

    def count(metric: str, **labels: str) -> float:
        return sum(total(samples, metric, route=name, **labels) for samples in runners.read for name in names)

    ended = sum(count(metric) for metric in OUTCOMES) - sum(
        count("shadow_skipped_total", cause=cause) for cause in POLICY
    )
    return int(ended), int(count("shadow_compared_total"))


def totals_of(proxies: ScrapedPages, runners: ScrapedPages) -> AccountingTotals | None:
    """The accounting of every process, each by its own law, so that a restart of one breaks none.

    A proxy: served = written + dropped + skipped + queued. A runner never ends more than it was given: its `in flight` is not
    below 0. None when a page is missing.
    """
    if proxies.unread or runners.unread or not proxies.read or not runners.read:
        return None

    def count(pages: tuple[Samples, ...], *metrics: str) -> int:
        return int(sum(total(samples, metric) for samples in pages for metric in metrics))

    twice = sum(min(0, int(total(samples, "shadow_in_flight"))) for samples in runners.read)
    accounted = count(
        proxies.read, "shadow_journal_written_total", "shadow_journal_dropped_total", "shadow_skipped_total"
    )
    return AccountingTotals(
        served=count(proxies.read, "shadow_served_total"),
        accounted=accounted - twice,
        in_flight=count(proxies.read, "shadow_journal_queued"),
    )
