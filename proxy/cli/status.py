"""`shadow status`: who serves, whether the accounting adds up, the match rate with its denominator, the top differences.

Each part is asked on its own, so that one that is down costs its lines only: the rest is what on-call needs then.
"""

import argparse
import asyncio
import datetime as dt
import random
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

import aiohttp
import msgspec

from comparator.errors import StoreError
from comparator.store import queries
from comparator.store.report import Summary, rate_in_words, render_summary
from comparator.store.store import Store
from proxy.accounting import Accounting, Reading, read
from proxy.cli import rollout_text as overview
from proxy.cli.exit_codes import Exit
from proxy.cli.proxy import read_settings
from proxy.config.settings import Settings
from proxy.rollout import rollback_impact as readiness
from proxy.rollout.switch import SwitchState

CONFIG = Path("config.yaml")
FINDINGS_SHOWN = 5
ASK_TIMEOUT_S = 5.0

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Status:
    """What could be learned; a part that did not answer is None, and `unreachable` says why."""

    proxy: Mapping[str, object] | None
    reading: Reading | None
    summary: Summary | None
    unreachable: Mapping[str, str]
    readiness: Mapping[str, Any] | None = None


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("--config", type=Path, default=CONFIG, help="default: %(default)s")
    parser.add_argument("--days", type=int, default=1, help="how many days of verdicts to sum up (default: 1, today)")
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def run(args: argparse.Namespace) -> int:
    """Print the status; NO when the accounting does not add up, AWAY when a part did not answer."""
    settings = read_settings(args.config)
    status = asyncio.run(gather(settings, days=args.days))
    text = as_json(status) if args.json else render(status, config=args.config)
    sys.stdout.write(text + "\n")
    if status.reading is not None and status.reading.accounting.balance != 0:
        return Exit.NEGATIVE
    return Exit.UNAVAILABLE if status.unreachable else Exit.DONE


async def gather(settings: Settings, *, days: int) -> Status:
    """Ask the proxy, the runner and the store, each under a timeout."""
    unreachable: dict[str, str] = {}

    async def ask(part: str, question: Callable[[], Awaitable[T]]) -> T | None:
        try:
            async with asyncio.timeout(ASK_TIMEOUT_S):
                return await question()
        except (OSError, TimeoutError, aiohttp.ClientError, StoreError, ValueError) as error:
            unreachable[part] = str(error) or type(error).__name__
            return None

    async with aiohttp.ClientSession() as session:
        proxy = await ask("proxy", lambda: _proxy(session, settings))
        reading = await ask("runner", lambda: _reading(session, settings))
    summary = await ask("store", lambda: _summary(settings, days=days))
    ready = await ask("readiness", lambda: readiness.assess_impact(settings))
    return Status(proxy, reading, summary, unreachable, ready)


def _proxy_url(settings: Settings) -> str:
    return f"http://{settings.admin.host}:{settings.admin.port}"


async def _proxy(session: aiohttp.ClientSession, settings: Settings) -> Mapping[str, object]:
    headers = {"Authorization": f"Bearer {settings.admin.token}"} if settings.admin.token else {}
    async with session.get(f"{_proxy_url(settings)}/status", headers=headers) as answer:
        answer.raise_for_status()
        return await answer.json()


async def _reading(session: aiohttp.ClientSession, settings: Settings) -> Reading:
    return await read(session, _proxy_url(settings), f"http://{settings.runner.host}:{settings.runner.port}")


async def _summary(settings: Settings, *, days: int) -> Summary | None:
    dsn = settings.store.dsn or settings.databases.store
    if not dsn:
        return None
    now = dt.datetime.now(dt.UTC)
    since = (now - dt.timedelta(days=days - 1)).date()
    store = Store(msgspec.structs.replace(settings.store, dsn=dsn), random.SystemRandom())
    async with store, store.connection() as conn:
        totals = await queries.totals(conn, since=since)
        return Summary(
            by_route={route: queries.counts_of(totals, route=route) for route in {t.route for t in totals}},
            findings=await queries.findings(conn, limit=FINDINGS_SHOWN),
            known=await queries.known_totals(conn, since=since),
            latency=await queries.latency(conn, since=dt.datetime.combine(since, dt.time(), dt.UTC)),
        )


def render(status: Status, *, config: Path = CONFIG) -> str:
    """The status as text, of an installation that `config` describes."""
    lines = [*_serving_lines(status), *(_accounting_lines(status.reading) if status.reading else [])]
    if status.summary is not None:
        lines += ["", render_summary(status.summary)]
        if status.summary.findings:
            option = "" if config == CONFIG else f" --config {config}"
            lines += ["", f"look closer: shadow findings show {status.summary.findings[0].id}{option}"]
    if status.readiness is not None:
        lines += ["", "if the legacy has to serve everybody:", *readiness.render(status.readiness).splitlines()]
    lines += [f"{part} did not answer: {why}" for part, why in status.unreachable.items()]
    return "\n".join(lines)


def _serving_lines(status: Status) -> list[str]:
    if status.proxy is None:
        return ["serving   unknown: no proxy answered on its admin port"]
    lines = [f"stage     {status.proxy.get('stage')}"]
    lines += overview.render(cast("Mapping[str, Any]", status.proxy.get("rollout") or {"enabled": False, "groups": ()}))
    switch = msgspec.convert(status.proxy.get("switch") or {}, SwitchState)
    if switch.rolled_back:
        lines.append(f"ROLLED BACK at {switch.at} by {switch.actor}: {switch.reason}")
    return lines + _trouble_lines(status.proxy)


def _trouble_lines(proxy: Mapping[str, Any]) -> list[str]:
    """What is wrong with the backends and with the configuration; nothing when nothing is."""
    lines: list[str] = []
    for side, backend in cast("Mapping[str, Mapping[str, Any]]", proxy.get("backends") or {}).items():
        if backend.get("ejected"):
            lines.append(f"EJECTED   the {side} fails clients' requests and is spared")
        elif backend.get("healthy") is False:
            lines.append(f"unhealthy the {side}'s health check fails: GET {backend.get('checked')}")
    config = cast("Mapping[str, Any]", proxy.get("config") or {})
    if config.get("error"):
        lines.append(f"config    the new file was refused: {config['error']}")
    if config.get("needs_restart"):
        lines.append(f"config    only a restart changes {', '.join(config['needs_restart'])}")
    return lines


def _accounting_lines(reading: Reading) -> list[str]:
    sums = reading.accounting
    parts = [("compared", sums.compared), ("skipped", sums.skipped), ("dropped", sums.dropped), ("failed", sums.failed)]
    lines = [f"served    {sums.served}  (lag {reading.lag_s:.1f} s)"]
    for name, by_label in parts:
        causes = ", ".join(f"{label} {count}" for label, count in sorted(by_label.items()))
        lines.append(f"  {name:<9} {sum(by_label.values()):>8}  {causes}".rstrip())
    lines.append(f"  in flight {sums.in_flight:>8}")
    lines.append("  adds up" if sums.balance == 0 else f"  DOES NOT ADD UP: {sums.balance} unaccounted for")
    return lines


def as_json(status: Status) -> str:
    """The status as one JSON document."""
    summary, accounting = status.summary, status.reading.accounting if status.reading else None
    document: dict[str, object] = {
        "proxy": status.proxy,
        "accounting": _accounting_document(accounting) if accounting else None,
        "lag_s": status.reading.lag_s if status.reading else None,
        "routes": {
            route: {"counts": counts, "match_rate": rate_in_words(counts)} for route, counts in summary.by_route.items()
        }
        if summary
        else None,
        "findings": summary.findings if summary else None,
        "known": summary.known if summary else None,
        "latency": summary.latency if summary else None,
        "readiness": status.readiness,
        "unreachable": status.unreachable,
    }
    return msgspec.json.format(msgspec.json.encode(document), indent=2).decode()


def _accounting_document(accounting: Accounting) -> dict[str, object]:
    return {
        **msgspec.structs.asdict(msgspec.convert(accounting, AccountingSums, from_attributes=True)),
        "balance": accounting.balance,
    }


class AccountingSums(msgspec.Struct, frozen=True):
    """`Accounting` as it is printed."""

    served: int
    compared: dict[str, int]
    skipped: dict[str, int]
    dropped: dict[str, int]
    failed: dict[str, int]
    in_flight: int
