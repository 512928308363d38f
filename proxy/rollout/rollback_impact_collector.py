"""Collect the impact of a rollback from the legacy's health path, the comparator's store and the runners' metrics pages."""

import asyncio
import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from comparator.exchanges.model import Role, Side
from comparator.findings.clustering import FindingState
from comparator.postgres import LACKING, UNAVAILABLE, Connection, connect
from comparator.settings import KnownDifference
from comparator.store import causes
from comparator.store.rollups import slot_of
from proxy.config.backends import BackendSettings
from proxy.config.settings import Settings
from proxy.health_probe import probe_backend, probe_url
from proxy.rollout.accounting import LAG, MetricsPages, scrape_all, total
from proxy.rollout.rollback_impact import (
    KnownTableDifference,
    LegacyHealth,
    LegacyMirror,
    RollbackImpact,
    RowCause,
    with_warnings,
)

TIMEOUT_S: Final = 3.0
LOOK_BACK: Final = dt.timedelta(days=7)
RECENT: Final = dt.timedelta(hours=1)
CAUSES_MAX: Final = 10
HEALTH_PATH: Final = "/health/"
NOT_FOUND_STATUSES: Final = (404, 405, 410)
MISTYPED: Final = (
    "; {url} is most likely a mistyped path: name the right one by backends.legacy.live.health_check.path or "
    "rollout.sources.legacy_health"
)

SELECT_MIRRORED_LEGACY = """
SELECT
    coalesce(sum(compared), 0)::bigint AS compared,
    coalesce(sum(mismatches), 0)::bigint AS mismatches,
    coalesce(sum(mirrored_errors), 0)::bigint AS errors,
    coalesce(sum(requests), 0)::bigint AS requests,
    coalesce(sum(rows_served), 0)::bigint AS rows_written,
    coalesce(sum(row_mismatches), 0)::bigint AS differing
FROM shadow.slot_total WHERE served_by = 'candidate' AND slot >= $1
"""
SELECT_KNOWN = """
SELECT declaration, max(reason) AS reason, max(ticket) AS ticket, sum(count)::bigint AS count
FROM shadow.known_total WHERE day >= $1 GROUP BY declaration ORDER BY declaration
"""


@dataclass(frozen=True, slots=True)
class ImpactSources:
    """The places that the impact is read from.

    Attributes:
        legacy: the live instance of the legacy.
        legacy_health: URL of its health check; "" for the health path of `legacy`.
        store_dsn: the comparator's store; "" for none.
        known_differences: section `compare.known_differences`.
        pages: the metrics pages of all processes.
    """

    legacy: BackendSettings
    legacy_health: str
    store_dsn: str
    known_differences: Sequence[KnownDifference]
    pages: MetricsPages

    @classmethod
    def of(cls, settings: Settings) -> "ImpactSources":
        """Pick the sources from config.yaml."""
        return cls(
            legacy=settings.backends.of(Side.LEGACY, Role.SERVED),
            legacy_health=settings.rollout.sources.legacy_health,
            store_dsn=settings.databases.store,
            known_differences=settings.compare.known_differences,
            pages=MetricsPages.of(settings),
        )


async def collect_impact(sources: ImpactSources, *, now: dt.datetime | None = None) -> RollbackImpact:
    """Determine all that can be determined within a few seconds; the rest is in `undetermined`, with the reason."""
    at = now or dt.datetime.now(dt.UTC)
    health, impact, (lag_s, unread) = await asyncio.gather(
        _legacy_health(sources), _stored(sources, at), _lag(sources.pages)
    )
    return with_warnings(
        msgspec.structs.replace(impact, legacy_health=health, lag_s=lag_s, undetermined=(*impact.undetermined, *unread))
    )


async def _legacy_health(sources: ImpactSources) -> LegacyHealth:
    if sources.legacy_health:
        url, result = sources.legacy_health, await probe_url(sources.legacy_health, timeout_s=TIMEOUT_S)
    else:
        path = sources.legacy.health_check.path or HEALTH_PATH
        url = sources.legacy.url.rstrip("/") + path
        result = await probe_backend(sources.legacy, path, timeout_s=TIMEOUT_S)
    detail = result.error or f"{result.status} in {result.took_s * 1000:.1f} ms"
    if result.status in NOT_FOUND_STATUSES:
        detail += MISTYPED.format(url=url)
    return LegacyHealth(url, result.healthy, detail)


async def _stored(sources: ImpactSources, at: dt.datetime) -> RollbackImpact:
    empty = RollbackImpact(at=at.isoformat())
    if not sources.store_dsn:
        return _without_comparisons(empty, "databases.store is not set")
    try:
        conn = await connect(sources.store_dsn, timeout_s=TIMEOUT_S, command_timeout_s=TIMEOUT_S)
    except UNAVAILABLE as error:
        return _without_comparisons(empty, f"the store is unavailable: {type(error).__name__}")
    try:
        return await _query(conn, sources, at, empty)
    except (*UNAVAILABLE, *LACKING) as error:
        return _without_comparisons(empty, type(error).__name__)
    finally:
        conn.terminate()


def _without_comparisons(impact: RollbackImpact, reason: str) -> RollbackImpact:
    return msgspec.structs.replace(impact, undetermined=(f"what was compared ({reason})",))


async def _query(conn: Connection, sources: ImpactSources, at: dt.datetime, impact: RollbackImpact) -> RollbackImpact:
    recent = await conn.fetchrow(SELECT_MIRRORED_LEGACY, slot_of(at - RECENT))
    week = await conn.fetchrow(SELECT_MIRRORED_LEGACY, slot_of(at - LOOK_BACK))
    assert recent is not None
    assert week is not None
    listed = await causes.causes(conn, since=(at - LOOK_BACK).date())
    known = await conn.fetch(SELECT_KNOWN, (at - LOOK_BACK).date())
    tables = {
        f"compare.known_differences[{declared.name}]": ", ".join(
            dict.fromkeys(one.table for one in declared.where if one.table)
        )
        for declared in sources.known_differences
    }
    return msgspec.structs.replace(
        impact,
        legacy_mirror=LegacyMirror(
            requests=recent["requests"],
            errors=recent["errors"],
            compared=recent["compared"],
            matched=recent["compared"] - recent["mismatches"],
        ),
        candidate_rows=week["rows_written"],
        differing_requests=week["differing"],
        causes=tuple(
            RowCause(cause.id, cause.title, cause.exchanges)
            for cause in listed.causes
            if cause.state != FindingState.FIXED
            and not cause.provisional
            and any(shown.token.table for shown in cause.body.always)
        )[:CAUSES_MAX],
        known_differences=tuple(
            [
                KnownTableDifference(tables[record["declaration"]], record["reason"], record["ticket"], record["count"])
                for record in known
                if tables.get(record["declaration"])
            ]
        ),
    )


async def _lag(pages: MetricsPages) -> tuple[float | None, tuple[str, ...]]:
    runners = await scrape_all(pages.runners, timeout_s=pages.timeout_s)
    unread = tuple(f"how far the mirror is behind ({reason})" for reason in runners.unavailable)
    return max((total(samples, LAG) for samples in runners.read), default=None), unread
