"""Decide what the frame around every screen says: who serves, whether a rollback is ready, what is down.

proxy-1 candidate 25 %, proxy-2 candidate 25 %       Candidate 25 %
proxy-1 rolled back, proxy-2 candidate 25 %          Legacy on 1 of 2
proxy-1 candidate 25 %, proxy-2 does not answer      Candidate 25 %, and 1 of 2 proxies
no proxy answers                                     Not known
"""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from proxy.rollout.rollback_impact import RollbackImpact
from proxy.ui.outcome_words import RUNBOOK_DOWN, RUNBOOK_DRIFT, RUNBOOK_SCHEMA, RUNBOOK_SKIPPED
from proxy.ui.parts import Parts, ProxyPart
from proxy.ui.words import number, plain_percent, plural


@dataclass(frozen=True, slots=True)
class ProxyLine:
    """One proxy: the candidate's share of the keys that is set, and the words for it.

    Attributes:
        share: 0 to 1; None where the proxy does not answer.
        text: `candidate 25 %`, or why it does not answer.
        rolled_back: the on-call switch is on.
    """

    name: str
    address: str
    share: float | None
    text: str
    rolled_back: bool
    took_ms: float
    error: str = ""


@dataclass(frozen=True, slots=True)
class Banner:
    """One thing that is wrong: what, what it means and what still works, and the section of the runbook."""

    tone: str
    title: str
    detail: str
    runbook: str = ""
    link: str = ""
    link_text: str = ""


@dataclass(frozen=True, slots=True)
class Frame:
    """The header, the banners and the figures of the menu.

    Attributes:
        serves: who serves clients, in words.
        agree: all proxies that answer serve the same.
        share: the candidate's share where they agree.
        ready: a rollback is ready: the legacy is not known to be unhealthy, and all proxies answer.
        health: `legacy healthy, 2 of 2 proxies`.
        cost: `candidate wrote 47 requests otherwise`.
        open_causes: causes that are new or regressed; None where the store does not answer.
        rolled_back: any proxy that answers is rolled back.
    """

    serves: str
    agree: bool
    share: float | None
    ready: bool
    health: str
    cost: str
    proxies: tuple[ProxyLine, ...]
    banners: tuple[Banner, ...]
    open_causes: int | None
    rolled_back: bool


def frame_of(parts: Parts, impact: RollbackImpact | None, now: dt.datetime) -> Frame:
    """Return the frame around every screen."""
    lines = tuple(proxy_line(one) for one in parts.proxies)
    answering = [line for line in lines if line.share is not None]
    shares = {line.share for line in answering}
    legacy = sum(line.share == 0 for line in answering)
    if not answering:
        serves = "Not known"
    elif len(shares) == 1:
        serves = _share_text(answering[0].share or 0.0)
    elif legacy:
        serves = f"Legacy on {legacy} of {len(lines)}"
    else:
        serves = f"{len(shares)} different shares"
    health = impact.legacy_health if impact else None
    healthy = "checking legacy" if health is None else "legacy healthy" if health.healthy else "legacy NOT healthy"
    return Frame(
        serves=serves,
        agree=len(shares) == 1,
        share=answering[0].share if len(shares) == 1 else None,
        ready=(health is None or health.healthy) and len(answering) == len(lines),
        health=f"{healthy}, {len(answering)} of {len(lines)} proxies",
        cost=cost_of(impact),
        proxies=lines,
        banners=tuple(_banners(parts, lines, now)),
        open_causes=_open_causes(parts.store.value.causes) if parts.store.value else None,
        rolled_back=any(line.rolled_back for line in answering),
    )


def proxy_line(proxy: ProxyPart) -> ProxyLine:
    """Return what one proxy says of itself."""
    if proxy.status is None:
        return ProxyLine(
            proxy.name, proxy.address, None, proxy.error, rolled_back=False, took_ms=0.0, error=proxy.error
        )
    share = float(proxy.status.get("candidate_share", 0.0))
    switch = cast("Mapping[str, Any]", proxy.status.get("switch") or {})
    text = _share_text(share).lower()
    return ProxyLine(
        proxy.name, proxy.address, share, text, bool(switch.get("rolled_back")), round(proxy.took_s * 1000, 1)
    )


def _share_text(share: float) -> str:
    return f"Candidate {plain_percent(round(share * 100, 2))}" if share else "Legacy 100 %"


def cost_of(impact: RollbackImpact | None) -> str:
    """Return in a few words what a rollback would cost."""
    if impact is None:
        return "cost of a rollback not known yet"
    if impact.differing_requests is None:
        return "what the candidate wrote is not known"
    if not impact.differing_requests:
        return "candidate wrote no request otherwise"
    return f"candidate wrote {plural(impact.differing_requests, 'request')} otherwise"


def _open_causes(by_state: Mapping[str, int]) -> int:
    return by_state.get("new", 0) + by_state.get("regressed", 0)


def _banners(parts: Parts, lines: Sequence[ProxyLine], now: dt.datetime) -> list[Banner]:
    """Return what is wrong, by the harm that it does to clients: proxies, backends, the shadow, the runner, the store."""
    banners = [
        Banner(
            "bad",
            f"{line.name} does not answer.",
            f"{line.address}: {line.error}. A rollback reaches it when it is back; until then take it out of the load balancer.",
            RUNBOOK_DOWN,
        )
        for line in lines
        if line.share is None
    ]
    for proxy in parts.proxies:
        banners += _backend_banners(proxy)
    runner = parts.runner.value
    if runner is None:
        detail = f"{parts.runner.error}. Clients are served; nothing is compared until it runs, and gates wait."
        banners.append(Banner("bad", "The runner does not answer.", detail, RUNBOOK_DOWN))
    else:
        banners += _runner_banners(runner, now)
    if parts.store.value is None:
        detail = f"{parts.store.error}. Clients are served, rollback works; verdicts wait in the journal."
        banners.append(Banner("bad", "The store is unavailable.", detail, RUNBOOK_DOWN))
    return banners


def _backend_banners(proxy: ProxyPart) -> list[Banner]:
    banners: list[Banner] = []
    status = proxy.status or {}
    for side, backend in cast("Mapping[str, Mapping[str, Any]]", status.get("backends") or {}).items():
        if backend.get("ejected"):
            banners.append(Banner("bad", f"{proxy.name} has ejected the {side}.", "It fails clients' requests.", ""))
        elif backend.get("healthy") is False:
            detail = f"GET {backend.get('checked')} fails at {proxy.name}."
            banners.append(Banner("bad", f"The {side} is not healthy.", detail, ""))
    config = cast("Mapping[str, Any]", status.get("config") or {})
    if config.get("error"):
        banners.append(
            Banner("few", f"{proxy.name} has refused config.yaml.", f"{config['error']}. The former one is in force.")
        )
    return banners


def _runner_banners(runner: Mapping[str, Any], now: dt.datetime) -> list[Banner]:
    banners: list[Banner] = []
    shadow = cast("Mapping[str, Any]", runner.get("shadow") or {})
    works = "Clients are served; gates wait; rollback works."
    if shadow.get("needs_clone"):
        banners.append(Banner("bad", "The shadow needs a new clone.", works, RUNBOOK_DRIFT))
    elif shadow.get("resyncing"):
        banners.append(Banner("few", "The shadow is resyncing.", works, RUNBOOK_SKIPPED))
    elif shadow.get("resync_due"):
        banners.append(Banner("few", f"A resync of the shadow is due: {shadow['resync_due']}.", works, RUNBOOK_SKIPPED))
    schema = cast("Mapping[str, Any]", runner.get("schema") or {})
    for table in cast("Sequence[Mapping[str, Any]]", schema.get("differs") or ()):
        since = dt.datetime.fromtimestamp(table["since_s"], dt.UTC)
        detail = (
            f"{'; '.join(table['reasons'])}. Its rows are not compared for {number((now - since).total_seconds())} s."
        )
        banners.append(Banner("few", f"The table {table['table']} differs.", detail, RUNBOOK_SCHEMA))
    return banners
