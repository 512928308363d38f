"""`shadow status`: the stage, the accounting, the match rate with its denominator, the causes of mismatches.

Each part is requested on its own: one that is down costs its lines only, and the rest is what the operator on call needs then.
"""

import argparse
import asyncio
import contextlib
import datetime as dt
import random
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, TypeVar, cast

import aiohttp
import msgspec

from comparator.errors import StoreError
from comparator.settings import StoreSettings
from comparator.stats.confidence import VerdictCounts
from comparator.store import causes, queries
from comparator.store.report import Summary, rate_in_words, render_summary
from comparator.store.rows import LeftOutTables
from comparator.store.store import Store
from proxy.cli import rollout_text
from proxy.cli.exit_codes import Exit
from proxy.cli.output import CONFIG, add_config_option, print_line
from proxy.config.loader import read_settings
from proxy.config.settings import Settings
from proxy.journal.reconciliation import WriterAccount
from proxy.rollout import rollback_impact
from proxy.rollout.accounting import MetricsPages, Reading, read_all
from proxy.rollout.admin_client import AdminEndpoint, endpoints_of
from proxy.rollout.rollback_impact import RollbackImpact
from proxy.rollout.rollback_impact_collector import ImpactSources, collect_impact
from proxy.rollout.switch import SwitchState
from proxy.runner.accountant import SliceState, read_accounts, read_slices, runner_document

CAUSES_SHOWN: Final = 10
LATENCY_SPAN: Final = dt.timedelta(days=1)
"""Time for which latencies are shown, however many days are summed up: older ones say nothing of the present release."""
ENDS_S: Final = 1.7
"""Time from the start of the command after which no part is waited for, so that it ends within two seconds whatever hangs."""
PART_MIN_S: Final = 0.6
"""Time that the parts have, which are all asked at the same time, however long the command took to start."""

IN_FLIGHT_UNKNOWN: Final = "unknown: a process did not answer, or a proxy has started later than the runner"
PAGES_SHARE: Final = 0.45
"""Share of that time for the pages of all runners, and again for those of all proxies: one that hangs hides none of the others."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ProxyStatus:
    """The /status of one proxy process; None with the reason when it did not answer."""

    endpoint: str
    document: Mapping[str, Any] | None
    error: str = ""

    @property
    def stands(self) -> tuple[object, bool]:
        """Its stage, and whether it is rolled back: what all proxies have in common, unless one was not reached."""
        document = self.document or {}
        switch = cast("Mapping[str, object]", document.get("switch") or {})
        return document.get("stage"), bool(switch.get("rolled_back"))


@dataclass(frozen=True, slots=True)
class Status:
    """The status of all parts; a part that did not answer is None, and `unreachable` has the reason."""

    proxies: tuple[ProxyStatus, ...]
    reading: Reading | None
    summary: Summary | None
    unreachable: Mapping[str, str]
    rollback_impact: RollbackImpact | None = None
    schema: Mapping[str, Any] | None = None
    accounts: tuple[WriterAccount, ...] | None = None
    slices: tuple[SliceState, ...] = ()


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    add_config_option(parser)
    parser.add_argument("--days", type=int, default=1, help="number of days of verdicts to sum up (default: 1, today)")
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def run(args: argparse.Namespace) -> int:
    """Print the status; NEGATIVE when exchanges are missing, UNAVAILABLE when a part did not answer."""
    settings = read_settings(args.config)
    status = asyncio.run(gather(settings, days=args.days))
    text = as_json(status) if args.json else render(status, config=args.config)
    print_line(text)
    return exit_of(status)


def exit_of(status: Status) -> Exit:
    """Return NEGATIVE when exchanges are missing, else UNAVAILABLE when a part did not answer."""
    if any(account.missing for account in status.accounts or ()):
        return Exit.NEGATIVE
    return Exit.UNAVAILABLE if status.unreachable else Exit.DONE


async def gather(settings: Settings, *, days: int) -> Status:
    """Request the status of the proxy, the runner and the store, all at the same time and each under a timeout."""
    unreachable: dict[str, str] = {}
    # (by the CPU time that the start took: on a machine that is busy with other things, the parts are slower as well)
    limit_s = max(PART_MIN_S, ENDS_S - time.process_time())

    async def part(name: str, request: Callable[[], Awaitable[T]]) -> T | None:
        try:
            async with asyncio.timeout(limit_s):
                return await request()
        except (OSError, TimeoutError, aiohttp.ClientError, StoreError, ValueError) as error:
            unreachable[name] = str(error) or f"no response within {limit_s:.1f} s"
            return None

    endpoints = endpoints_of(settings.admin, settings.listen.workers, settings.rollout.peers)
    async with aiohttp.ClientSession() as session:
        proxies, reading, schema, summary, impact, (accounts, slices) = await asyncio.gather(
            asyncio.gather(*(_proxy(session, endpoint, settings.admin.token, limit_s) for endpoint in endpoints)),
            part("runner", lambda: read_all(MetricsPages.of(settings), timeout_s=limit_s * PAGES_SHARE)),
            part("runner", lambda: _schema(session, settings.runner.urls)),
            part("store", lambda: _summary(settings.databases.store, settings.store, days=days)),
            part("rollback impact", lambda: collect_impact(ImpactSources.of(settings))),
            asyncio.gather(
                part("accounting", lambda: read_accounts(session, settings)),
                part("slices", lambda: read_slices(settings)),
            ),
        )
    if reading is not None and reading.away:
        unreachable.setdefault("runner", ", ".join(reading.away))
    unreachable |= {f"proxy {one.endpoint}": one.error for one in proxies if one.error}
    return Status(tuple(proxies), reading, summary, unreachable, impact, schema, accounts, slices or ())


async def _proxy(session: aiohttp.ClientSession, endpoint: AdminEndpoint, token: str, limit_s: float) -> ProxyStatus:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        async with asyncio.timeout(limit_s), session.get(f"{endpoint.url}/status", headers=headers) as response:
            response.raise_for_status()
            return ProxyStatus(str(endpoint), await response.json())
    except (OSError, TimeoutError, aiohttp.ClientError, ValueError) as error:
        return ProxyStatus(str(endpoint), None, str(error) or f"no response within {limit_s:.1f} s")


async def _schema(session: aiohttp.ClientSession, runner_urls: Sequence[str]) -> dict[str, Any]:
    """Return the tables and sides that the runner does not compare; empty without capture, and of an older runner.

    With slices it is the first runner that answers: all of them see the same live database.

    Raises:
        aiohttp.ClientError, TimeoutError: none of them answered.
    """
    *others, last = runner_urls
    document: Mapping[str, Any] | None = None
    for url in others:
        with contextlib.suppress(aiohttp.ClientError, TimeoutError):
            document = document or await runner_document(session, url)
    document = document or await runner_document(session, last)
    return {
        **(document.get("schema") or {}),
        "untagged": document.get("untagged") or [],
        "needs_restart": document.get("config", {}).get("needs_restart", []),
    }


async def _summary(dsn: str, settings: StoreSettings, *, days: int) -> Summary | None:
    if not dsn:
        return None
    now = dt.datetime.now(dt.UTC)
    since = (now - dt.timedelta(days=days - 1)).date()
    latency_since = max(since, (now - LATENCY_SPAN).date())
    async with Store(dsn, settings, random.SystemRandom()) as store, store.connection() as conn:
        totals = await queries.totals(conn, since=since)
        return Summary(
            by_route={route: queries.counts_of(totals, route=route) for route in {t.route for t in totals}},
            response_only=await queries.response_only_counts(conn, since=since),
            partial=await queries.partial_counts(conn, since=since),
            causes=await causes.causes(conn, since=since, limit=CAUSES_SHOWN),
            known=await queries.known_totals(conn, since=since),
            latency=await queries.latency(conn, since=latency_since),
            latency_since=latency_since,
        )


def render(status: Status, *, config: Path = CONFIG) -> str:
    """Return the status as text; `config` is named in the command for a closer look."""
    lines = [*_serving_lines(status), *(_accounting_lines(status.reading, status.accounts) if status.reading else [])]
    lines += _account_lines(status.accounts)
    lines += _slice_lines(status.slices)
    lines += _schema_lines(status.schema)
    if status.summary is not None:
        lines += ["", render_summary(status.summary)]
        if status.summary.causes.causes:
            option = "" if config == CONFIG else f" --config {config}"
            lines += ["", f"look closer: shadow causes show {status.summary.causes.causes[0].id}{option}"]
    if status.rollback_impact is not None:
        lines += ["", "if the legacy has to serve all clients:"]
        lines += rollback_impact.render(status.rollback_impact).splitlines()
    lines += [f"{part} did not answer: {reason}" for part, reason in status.unreachable.items()]
    return "\n".join(lines)


def _serving_lines(status: Status) -> list[str]:
    """Describe the first proxy that answered, and the others where they stand elsewhere."""
    answered = [one for one in status.proxies if one.document is not None]
    if not answered:
        return ["serving   unknown: no proxy answered on its admin port"]
    first, document = answered[0], answered[0].document or {}
    lines = [f"stage     {document.get('stage')}"]
    lines += rollout_text.render(cast("Mapping[str, Any]", document.get("rollout") or {"enabled": False, "groups": ()}))
    switch = msgspec.convert(document.get("switch") or {}, SwitchState)
    if switch.rolled_back:
        lines.append(f"ROLLED BACK at {switch.at} by {switch.actor}: {switch.reason}")
    for one in answered[1:]:
        if one.stands != first.stands:
            stage, rolled_back = one.stands
            lines.append(
                f"BUT       {one.endpoint} is at stage {stage}{', rolled back' if rolled_back else ', not rolled back'}"
            )
    for one in answered:
        trouble = _trouble_lines(one.document or {})
        lines += trouble if one is first else [f"{line} ({one.endpoint})" for line in trouble if line not in lines]
    return lines


def _trouble_lines(proxy: Mapping[str, Any]) -> list[str]:
    """Describe what is wrong with the backends and with the configuration."""
    lines: list[str] = []
    for side, backend in cast("Mapping[str, Mapping[str, Any]]", proxy.get("backends") or {}).items():
        if backend.get("ejected"):
            lines.append(f"EJECTED   the {side} fails clients' requests")
        elif backend.get("healthy") is False:
            lines.append(f"unhealthy the {side}'s health check fails: GET {backend.get('checked')}")
    config = cast("Mapping[str, Any]", proxy.get("config") or {})
    if config.get("error"):
        lines.append(f"config    the new file was refused: {config['error']}")
    if config.get("needs_restart"):
        lines.append(f"config    only a restart applies {', '.join(config['needs_restart'])}")
    return lines


def _accounting_lines(reading: Reading, accounts: Sequence[WriterAccount] | None) -> list[str]:
    """Describe what proxies and runner have counted since they started."""
    accounting = reading.accounting
    parts = {
        "compared": accounting.compared,
        "skipped": accounting.skipped,
        "dropped": accounting.dropped,
        "failed": accounting.failed,
    }
    lines = [f"served    {accounting.served}  (lag {reading.lag_s:.1f} s)"]
    for name, by_label in parts.items():
        causes = ", ".join(f"{label} {count}" for label, count in sorted(by_label.items()))
        gaps = f"; of these {accounting.gaps()}" if name == "compared" and accounting.gaps() else ""
        lines.append(f"  {name:<9} {sum(by_label.values()):>8}  {causes}{gaps}".rstrip())
    in_flight = _in_flight(reading, accounts)
    lines.append(f"  in flight {IN_FLIGHT_UNKNOWN if in_flight is None else f'{in_flight:>8}'}")
    lines += [f"  not counted: what this proxy has served: {reason}" for reason in reading.silent]
    lines += [f"  not counted: what this runner has compared: {reason}" for reason in reading.away]
    return lines


def _in_flight(reading: Reading, accounts: Sequence[WriterAccount] | None) -> int | None:
    """Return the number of exchanges without an outcome; the difference of counts only where the numbers of the exchanges are not known.

    Counts of a process begin with it, so their difference says nothing once a proxy has started later than the runner: None.
    """
    if accounts is not None:
        return sum(one.in_flight + one.unread + one.queued for one in accounts)
    return None if reading.silent or reading.away or reading.accounting.in_flight < 0 else reading.accounting.in_flight


def _account_lines(accounts: Sequence[WriterAccount] | None) -> list[str]:
    """Describe what became of the exchanges of each writer, and name those that are missing."""
    if accounts is None:
        return ["exchanges cannot be accounted for by number: that needs the store and the journal"]
    lines: list[str] = []
    for one in accounts:
        lines.append(
            f"writer    {one.writer}: ended {one.ended}, in flight {one.in_flight}, unread {one.unread}, queued {one.queued}"
        )
        if one.unwritten:
            lines.append(f"  LOST with the memory of a proxy that ended: {len(one.unwritten)}, numbers {one.unwritten}")
        if one.lost:
            lines.append(f"  NOT READ, lost in the journal or not decodable: {len(one.lost)}, numbers {one.lost}")
        if one.missing:
            lines.append(f"  MISSING without a trace: {len(one.missing)}, numbers {one.missing}")
    if not any(one.missing or one.unwritten for one in accounts):
        lines.append("  nothing is missing")
    return lines


def _slice_lines(slices: Sequence[SliceState]) -> list[str]:
    """Describe the runner of each slice, and what is not mirrored because one is away."""
    lines: list[str] = []
    for one in slices:
        behind = "" if one.behind is None else f", {one.behind} exchanges without its outcome"
        if one.works:
            lines.append(f"slice     {one.name}: {one.holder}{behind}")
        else:
            last = f"its last runner was {one.holder}" if one.holder else "none has ever run"
            lines.append(f"slice     {one.name}: AWAY, {last}{behind}: those of its keys are not mirrored")
    return lines


def _schema_lines(schema: Mapping[str, Any] | None) -> list[str]:
    """Describe the tables and sides that are not compared, and why."""
    lines: list[str] = []
    if unreadable := (schema or {}).get("unreadable"):
        lines.append(f"schema    {unreadable}")
    for table in (schema or {}).get("differs", ()):
        since = dt.datetime.fromtimestamp(table["since_s"], dt.UTC)
        reasons = "; ".join(table["reasons"])
        lines.append(f"schema    {table['table']} is not compared since {since:%Y-%m-%d %H:%M:%SZ}: {reasons}")
    not_captured = (schema or {}).get("not_captured", ())
    if not_captured:
        lines.append(f"schema    not captured, so rows are not compared: {', '.join(not_captured)}")
    lines += [
        f"UNTAGGED  the {side} names no request in its transactions, as runner.tagged_sides says: its writes are not compared"
        for side in (schema or {}).get("untagged", ())
    ]
    needs_restart = (schema or {}).get("needs_restart", ())
    if needs_restart:
        lines.append(f"runner    only a restart applies {', '.join(needs_restart)}")
    return lines


def as_json(status: Status) -> str:
    """Return the status as one JSON document."""
    summary = status.summary
    document: dict[str, object] = {
        "proxies": status.proxies,
        "accounting": _accounting_document(status.reading, status.accounts) if status.reading else None,
        "exchanges": [_account_document(one) for one in status.accounts] if status.accounts is not None else None,
        "slices": status.slices,
        "lag_s": status.reading.lag_s if status.reading else None,
        "routes": {
            route: {
                "counts": counts,
                "response_only": summary.response_only.get(route, {}),
                "left_out": [
                    {"tables": dict(tables), "counts": part} for tables, part in summary.partial.get(route, {}).items()
                ],
                **_match_rates(counts, summary.response_only.get(route, {}), summary.partial.get(route, {})),
            }
            for route, counts in summary.by_route.items()
        }
        if summary
        else None,
        "causes": summary.causes if summary else None,
        "known": summary.known if summary else None,
        "latency": summary.latency if summary else None,
        "rollback_impact": status.rollback_impact,
        "schema": status.schema,
        "unreachable": status.unreachable,
    }
    return msgspec.json.format(msgspec.json.encode(document), indent=2).decode()


def _match_rates(
    counts: VerdictCounts,
    response_only: Mapping[str, VerdictCounts],
    partial: Mapping[LeftOutTables, VerdictCounts],
) -> dict[str, str]:
    """Return the match rates of comparisons with all rows, of those without the rows of some tables, and by the responses alone."""
    alone, part = (sum(counted.values(), VerdictCounts()) for counted in (response_only, partial))
    return {
        "match_rate": rate_in_words(counts - alone - part),
        "match_rate_in_part": rate_in_words(part),
        "match_rate_response_only": rate_in_words(alone),
    }


def _account_document(account: WriterAccount) -> dict[str, object]:
    return {
        **asdict(account),
        "unwritten": list(account.unwritten),
        "lost": list(account.lost),
        "missing": list(account.missing),
    }


def _accounting_document(reading: Reading, accounts: Sequence[WriterAccount] | None) -> dict[str, object]:
    return {
        **asdict(reading.accounting),
        "in_flight": _in_flight(reading, accounts),
        "not_counted": (*reading.silent, *reading.away),
    }
