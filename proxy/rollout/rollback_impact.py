"""What rolling back would lose, and whether the legacy is fit to take everybody: asked before a rollback, and shown after one.

Both sides write the same live database, so nothing that the candidate wrote is gone when the legacy serves again. What can be lost is
meaning: rows that the candidate wrote otherwise than the legacy would have. These are the differences of committed rows found while
the candidate served, and the declared known differences in tables.
"""

import datetime as dt
import time
from collections.abc import Mapping
from typing import Any, Final

import aiohttp
import asyncpg

from comparator.exchanges.model import Role, Side
from comparator.stats.confidence import rate_interval
from proxy.config.settings import Settings
from proxy.rollout import store
from proxy.rollout.health_probe import ANSWER_MAX_BYTES, connector_of, headers_of, is_healthy_status
from proxy.rollout.scraper import ScrapedPages, scrape_all, total

TIMEOUT_S: Final = 3.0
LOOK_BACK: Final = dt.timedelta(days=7)
RECENT: Final = dt.timedelta(hours=1)
HEALTH_PATH: Final = "/health/"
LAG_MAX_S: Final = 60.0
NO_SUCH_PATH: Final = (404, 405, 410)
MISTYPED: Final = (
    "; {url} is most likely a mistyped path: name the right one by backends.legacy.live.health.path or "
    "rollout.sources.legacy_health"
)

SELECT_MIRRORED_LEGACY = """
SELECT
    count(*) FILTER (WHERE verdict <> 'failed') AS compared,
    count(*) FILTER (WHERE verdict = 'mismatch') AS mismatches,
    count(*) FILTER (WHERE mirrored_status >= 500 OR mirrored_status IS NULL) AS errors,
    count(*) AS asked,
    coalesce(sum(rows_served), 0)::bigint AS rows_written,
    count(*) FILTER (WHERE verdict = 'mismatch' AND cause IN ('effects', 'response_and_effects')) AS written_otherwise
FROM shadow.comparison WHERE served_by = 'candidate' AND served_at >= $1
"""
SELECT_ROW_FINDINGS = """
SELECT id, route, place, kind, count FROM shadow.finding
WHERE kind IN ('missing_row', 'extra_row', 'column', 'late') AND state <> 'fixed' AND last_seen >= $1
ORDER BY count DESC LIMIT 10
"""
SELECT_KNOWN = """
SELECT declaration, max(reason) AS reason, max(ticket) AS ticket, sum(count)::bigint AS count
FROM shadow.known_total WHERE day >= $1 GROUP BY declaration ORDER BY declaration
"""


async def assess_impact(settings: Settings, *, now: dt.datetime | None = None) -> dict[str, Any]:
    """All that is known, as a JSON document; what could not be read says why. Waits a few seconds at most."""
    at = now or dt.datetime.now(dt.UTC)
    found: dict[str, Any] = {"at": at.isoformat(), "unknown": []}
    await _legacy_health(settings, found)
    await _stored(settings, at, found)
    await _lag(settings, found)
    found["warnings"] = warnings(found)
    found["ready"] = not found["warnings"]
    return found


def warnings(found: Mapping[str, Any]) -> list[str]:
    """What speaks against rolling back, in words. Pure."""
    said: list[str] = []
    health = found.get("legacy_health")
    if not health or not health["healthy"]:
        said.append(f"the legacy is not known to be healthy: {health['detail'] if health else 'not asked'}")
    lost = found.get("written_otherwise", 0)
    if lost:
        said.append(f"{lost} requests were written by the candidate otherwise than the legacy would have")
    said += [
        f"finding {one['id']} on {one['place']} ({one['kind']}, {one['count']} times)"
        for one in found.get("findings", ())
    ]
    said += [
        f"known difference in {one['table']}: {one['reason']} [{one['ticket']}] ({one['count']} times)"
        for one in found.get("known_in_tables", ())
    ]
    lag = found.get("lag_s")
    if lag is not None and lag > LAG_MAX_S:
        said.append(f"the mirror is {lag:.0f} s behind: the newest requests are not compared yet")
    said += [f"not known: {words}" for words in found["unknown"]]
    return said


async def _legacy_health(settings: Settings, found: dict[str, Any]) -> None:
    own, backend = settings.rollout.sources.legacy_health, settings.backends.of(Side.LEGACY, Role.SERVED)
    url = own or backend.url.rstrip("/") + (backend.health_check.path or HEALTH_PATH)
    connector, headers = (None, {}) if own else (connector_of(backend), headers_of(backend))
    begun = time.monotonic()
    try:
        async with (
            aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=TIMEOUT_S)) as session,
            session.get(url, headers=headers, allow_redirects=False) as response,
        ):
            status = response.status
            await response.content.read(ANSWER_MAX_BYTES)
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
        found["legacy_health"] = {"url": url, "healthy": False, "detail": f"{type(error).__name__}: {error}"}
        return
    took_ms = round((time.monotonic() - begun) * 1000, 1)
    detail = f"{status} in {took_ms} ms" + (MISTYPED.format(url=url) if status in NO_SUCH_PATH else "")
    found["legacy_health"] = {"url": url, "healthy": is_healthy_status(status), "detail": detail}


async def _stored(settings: Settings, at: dt.datetime, found: dict[str, Any]) -> None:
    if not settings.databases.store:
        found["unknown"].append("what was compared (databases.store is not set)")
        return
    try:
        conn = await asyncpg.connect(settings.databases.store, timeout=TIMEOUT_S, command_timeout=TIMEOUT_S)
    except store.UNAVAILABLE as error:
        found["unknown"].append(f"what was compared (the store is away: {type(error).__name__})")
        return
    try:
        await _read(conn, settings, at, found)
    except (*store.UNAVAILABLE, asyncpg.UndefinedTableError) as error:
        found["unknown"].append(f"what was compared ({type(error).__name__})")
    finally:
        conn.terminate()


async def _read(conn: store.Connection, settings: Settings, at: dt.datetime, found: dict[str, Any]) -> None:
    mirrored = await conn.fetchrow(SELECT_MIRRORED_LEGACY, at - RECENT)
    written = await conn.fetchrow(SELECT_MIRRORED_LEGACY, at - LOOK_BACK)
    assert mirrored is not None
    assert written is not None
    found["legacy_mirror"] = {
        "compared": mirrored["compared"],
        "matched": mirrored["compared"] - mirrored["mismatches"],
        "errors": mirrored["errors"],
        "asked": mirrored["asked"],
    }
    found["rows_written_by_candidate"] = written["rows_written"]
    found["written_otherwise"] = written["written_otherwise"]
    findings = await conn.fetch(SELECT_ROW_FINDINGS, at - LOOK_BACK)
    found["findings"] = [dict(record) for record in findings]
    known = await conn.fetch(SELECT_KNOWN, (at - LOOK_BACK).date())
    tables = {f"compare.known_differences[{i}]": one.table for i, one in enumerate(settings.compare.known_differences)}
    found["known_in_tables"] = [
        {"table": tables[one["declaration"]], "reason": one["reason"], "ticket": one["ticket"], "count": one["count"]}
        for one in known
        if tables.get(one["declaration"])
    ]


async def _lag(settings: Settings, found: dict[str, Any]) -> None:
    pages: ScrapedPages = await scrape_all(runner_pages(settings), timeout_s=settings.rollout.sources.timeout_s)
    found["unknown"] += [f"how far behind the mirror is ({words})" for words in pages.unread]
    if pages.read:
        found["lag_s"] = max(total(samples, "shadow_lag_seconds") for samples in pages.read)


def runner_pages(settings: Settings) -> tuple[str, ...]:
    """The metrics pages of the runners: as configured, else that of this installation."""
    own = f"http://{settings.runner.host}:{settings.runner.port}/metrics"
    return settings.rollout.sources.runners or (own,)


def render(found: Mapping[str, Any]) -> str:
    """The document in words."""
    lines = [f"legacy: {_health_words(found.get('legacy_health'))}"]
    mirror = found.get("legacy_mirror")
    if mirror:
        rate = rate_interval(mirror["matched"], mirror["compared"])
        lines.append(
            f"legacy as mirror, last hour: {mirror['matched']} of {mirror['compared']} matched ({rate.low:.3%} to {rate.high:.3%}), "
            f"{mirror['errors']} errors in {mirror['asked']} requests"
        )
    if "rows_written_by_candidate" in found:
        lines.append(f"rows the candidate wrote in 7 days: {found['rows_written_by_candidate']}")
    if "lag_s" in found:
        lines.append(f"mirror lag: {found['lag_s']:.1f} s")
    lines += [f"! {words}" for words in found["warnings"]]
    lines.append(
        "nothing would be lost"
        if found["ready"]
        else "roll back all the same if clients suffer: the legacy serves at once"
    )
    return "\n".join(lines)


def _health_words(health: Mapping[str, Any] | None) -> str:
    return (
        f"{'healthy' if health['healthy'] else 'NOT HEALTHY'} ({health['detail']}, {health['url']})"
        if health
        else "not asked"
    )
