"""The rollout screen: steps, gates, the audit chain; and the drawer that rolls back."""

import asyncio
import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, cast

import msgspec

from comparator.exchanges.model import Side
from comparator.stats.confidence import Interval, rate_interval
from comparator.store import series
from proxy.config.rollout import RolloutSettings, steps_of
from proxy.rollout import store as rollout_store
from proxy.rollout.audit import AuditEntry, AuditEvent, ChainLink, ChainVerification, verify
from proxy.rollout.group_state import ALL, GroupState
from proxy.rollout.traffic_split import stage_of
from proxy.ui.frame import proxy_line
from proxy.ui.gate_tiles import GateTile, blocked_by, outcomes_of, tiles_of
from proxy.ui.parts import PartAnswer, ProxyPart, asked
from proxy.ui.screens import ScreenRequest
from proxy.ui.words import duration, parsed_time

ENTRIES_SHOWN: Final = 8
PAGE_SIZE: Final = 50


@dataclass(frozen=True, slots=True)
class AuditLine:
    """One entry of the audit chain."""

    sequence: int
    at: dt.datetime
    event: str
    group: str
    step: str
    actor: str
    reason: str
    forced: bool
    hash: str
    evidence: Mapping[str, object] = field(default_factory=dict[str, object])


@dataclass(frozen=True, slots=True)
class AuditChain:
    """The audit chain: verified as a whole, and some of its entries, the newest first.

    Attributes:
        older: the number to page from; None at the end.
    """

    verification: ChainVerification
    entries: tuple[AuditLine, ...]
    older: int | None = None


@dataclass(frozen=True, slots=True)
class StepLine:
    """One step of a group.

    Attributes:
        state: passed, present or ahead.
        note: how long it lasted, or what it needs.
    """

    percent: float
    state: str
    note: str


@dataclass(frozen=True, slots=True)
class ProxyShare:
    """One proxy: the candidate's share that is set, and what both sides have served under it.

    Attributes:
        share: 0 to 1; None where the proxy does not answer.
        error: why it does not, "" if it does.
        served: requests that the candidate and the legacy have served.
        interval: of the candidate's actual share; None before a request.
    """

    name: str
    share: float | None
    error: str
    served: tuple[int, int]
    interval: Interval | None


@dataclass(frozen=True, slots=True)
class GroupPanel:
    """One group.

    Attributes:
        outcomes: how many gates fail, have not enough evidence, and pass.
        blocked: why a promotion would be refused; "" if it would not.
        next_evaluation_s: time until the gates are evaluated again; None where they are not.
        actual: requests of this step by the side that served them; None where the store does not answer.
    """

    name: str
    phase: str
    step: int
    steps: tuple[StepLine, ...]
    percent: float
    next_percent: float | None
    latched: bool
    paused: bool
    by: str
    at: dt.datetime | None
    reason: str
    gates: tuple[GateTile, ...]
    outcomes: tuple[tuple[str, str], ...]
    blocked: str
    gates_at: dt.datetime | None
    next_evaluation_s: float | None
    actual: PartAnswer[tuple[int, int]]
    actual_interval: Interval | None


@dataclass(frozen=True, slots=True)
class RolloutDocument:
    """The rollout; `told_by` names the proxy that it is read from."""

    enabled: bool
    auto_promote: bool
    proxies: tuple[ProxyShare, ...]
    groups: tuple[GroupPanel, ...]
    told_by: str
    revision: str
    pending: int
    audit: PartAnswer[AuditChain]


async def read(request: ScreenRequest) -> RolloutDocument:
    """Read the rollout from the proxies, and the audit chain from the store."""
    links = await asked(lambda: _links(request))
    proxy, document = newest_rollout(request)
    groups = await asyncio.gather(
        *(
            _group(request, group, links.value or ())
            for group in cast("Sequence[Mapping[str, Any]]", document.get("groups") or ())
        )
    )
    return RolloutDocument(
        enabled=bool(document.get("enabled")),
        auto_promote=bool(document.get("auto_promote")),
        proxies=tuple(proxy_share(one, alpha=request.settings.rollout.gates.alpha) for one in request.parts.proxies),
        groups=tuple(groups),
        told_by=proxy,
        revision=str(document.get("revision", "")),
        pending=int(document.get("pending", 0)),
        audit=PartAnswer(error=links.error)
        if links.value is None
        else PartAnswer(await asyncio.to_thread(chain_of, links.value, request.settings.rollout, limit=ENTRIES_SHOWN)),
    )


def proxy_share(proxy: ProxyPart, *, alpha: float) -> ProxyShare:
    """Return what one proxy serves."""
    line = proxy_line(proxy)
    counts = cast("Mapping[str, int]", (proxy.status or {}).get("served_under_split") or {})
    served = int(counts.get(Side.CANDIDATE, 0)), int(counts.get(Side.LEGACY, 0))
    interval = rate_interval(served[0], sum(served), alpha=alpha) if sum(served) else None
    return ProxyShare(line.name, line.share, line.error, served, interval)


def newest_rollout(request: ScreenRequest) -> tuple[str, Mapping[str, Any]]:
    """Return the proxy whose gates were evaluated last, with its document of GET /rollout: the one that leads evaluates."""
    documents = [
        (proxy.name, cast("Mapping[str, Any]", proxy.status.get("rollout") or {}))
        for proxy in request.parts.proxies
        if proxy.status is not None
    ]

    def evaluated_at(item: tuple[str, Mapping[str, Any]]) -> str:
        groups = cast("Sequence[Mapping[str, Any]]", item[1].get("groups") or ())
        gates = [cast("Mapping[str, object]", group.get("gates") or {}) for group in groups]
        return max((str(one.get("at", "")) for one in gates), default="")

    nothing: tuple[str, Mapping[str, Any]] = ("", {})
    return max(documents, key=evaluated_at, default=nothing)


async def _group(request: ScreenRequest, group: Mapping[str, Any], links: Sequence[ChainLink]) -> GroupPanel:
    settings = request.settings.rollout
    name, step = str(group["group"]), int(group["step"])
    percents = [float(percent) for percent in group["steps"]]
    phase = str(group["phase"])
    latched = phase == "rolled_back"
    gates = cast("Mapping[str, Any]", group.get("gates") or {})
    tiles, gates_at = tiles_of(gates, settings), parsed_time(gates.get("at"))
    actual = await asked(lambda: _actual(request, group))
    trials = sum(actual.value) if actual.value else 0
    notes = step_notes(links, name, settings, request.now)
    return GroupPanel(
        name=name,
        phase=phase,
        step=step,
        steps=tuple(
            StepLine(
                percent, "present" if index == step else "passed" if index < step else "ahead", notes.get(index, "")
            )
            for index, percent in enumerate(percents)
        ),
        percent=float(group["percent"]),
        next_percent=percents[step + 1] if step + 1 < len(percents) else None,
        latched=latched,
        paused=phase == "paused",
        by=str(group.get("actor", "")),
        at=parsed_time(group.get("at")),
        reason=str(group.get("reason", "")),
        gates=tiles,
        outcomes=outcomes_of(tiles),
        blocked=blocked_by(tiles),
        gates_at=gates_at,
        next_evaluation_s=max(0.0, settings.evaluate_s - (request.now - gates_at).total_seconds())
        if gates_at and not latched
        else None,
        actual=actual,
        actual_interval=rate_interval(actual.value[0], trials, alpha=settings.gates.alpha)
        if actual.value and trials
        else None,
    )


async def _actual(request: ScreenRequest, group: Mapping[str, Any]) -> tuple[int, int]:
    """Return how many requests of this step the candidate and the legacy have served, as far as they were compared."""
    settings = request.settings.rollout
    known = {name: group[name] for name in GroupState.__struct_fields__ if name in group}
    state = msgspec.convert(known, GroupState)
    since = state.entered_at or request.now - dt.timedelta(days=1)
    async with request.reader.store.connection() as conn:
        counts = await series.served_at_stage(
            conn, since=since, stage=stage_of(settings, state), routes=routes_of(settings, state.group)
        )
    return counts[Side.CANDIDATE], counts[Side.LEGACY]


def routes_of(settings: RolloutSettings, group: str) -> Sequence[str]:
    """Return the routes of a group; none for `all`, whose stage has a name of its own."""
    return next((one.routes for one in settings.groups if one.name == group), ())


# The audit chain.


async def read_audit(request: ScreenRequest) -> AuditChain:
    """Read a page of the audit chain, `before` a number."""
    before = request.query.get("before", "")
    links = await _links(request)
    number = int(before) if before.isdigit() else None
    return await asyncio.to_thread(chain_of, links, request.settings.rollout, limit=PAGE_SIZE, before=number)


async def _links(request: ScreenRequest) -> tuple[ChainLink, ...]:
    async with request.reader.store.connection() as conn:
        return await rollout_store.read_links(conn)


def step_notes(
    links: Sequence[ChainLink], group: str, settings: RolloutSettings, now: dt.datetime
) -> Mapping[int, str]:
    """Return by step how long a group was at it the last time, and whether it was left by force."""
    notes: dict[int, str] = {}
    present: tuple[int, dt.datetime] | None = None
    for entry in (link.entry for link in links):
        if entry.after is None or entry.after.group != group or entry.event is AuditEvent.GATE_FAILED:
            continue
        if present is not None and present[0] == entry.after.step and not entry.after.phase.latched:
            continue
        if present is not None:
            forced = ", left by force" if entry.forced else ""
            notes[present[0]] = f"{duration((entry.at - present[1]).total_seconds())}{forced}"
        present = None if entry.after.phase.latched else (entry.after.step, entry.at)
    if present is not None:
        step, since = present
        steps = steps_of(settings, group)
        needed = steps[min(step, len(steps) - 1)].time_min_s
        needed = settings.gates.time_min_s if needed is None else needed
        notes[step] = f"{duration((now - since).total_seconds())} of {duration(needed)}"
    return notes


def chain_of(
    links: Sequence[ChainLink], settings: RolloutSettings, *, limit: int, before: int | None = None
) -> AuditChain:
    """Verify a whole chain, and return its last entries, or the last ones before a number."""
    verification = verify(links)
    shown = [link for link in links if before is None or link.sequence < before][-limit:]
    older = shown[0].sequence if shown and shown[0].sequence > 1 else None
    return AuditChain(verification, tuple(audit_line(link, settings) for link in reversed(shown)), older)


def audit_line(link: ChainLink, settings: RolloutSettings) -> AuditLine:
    """Return an entry as the screens show it."""
    entry = link.entry
    return AuditLine(
        link.sequence,
        entry.at,
        entry.event.value,
        entry.group or ALL,
        step_text(entry, settings),
        entry.actor,
        entry.reason,
        entry.forced,
        link.hash,
        entry.evidence,
    )


def step_text(entry: AuditEntry, settings: RolloutSettings) -> str:
    """Return the step of an entry in percent: `5 → 25 %`, or `25 %` where it stays."""
    before, after = share_of(entry.before, settings), share_of(entry.after, settings)
    if after is None:
        return ""
    if before is None or before == after or entry.event is AuditEvent.GATE_FAILED:
        return f"{after:g} %"
    return f"{before:g} → {after:g} %"


def share_of(state: GroupState | None, settings: RolloutSettings) -> float | None:
    """Return the candidate's share in percent at a state."""
    if state is None:
        return None
    steps = steps_of(settings, state.group)
    return 0.0 if state.phase.latched else steps[min(state.step, len(steps) - 1)].percent
