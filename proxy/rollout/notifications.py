"""What is said to Slack-compatible webhooks and to PagerDuty about the rollout. Pure.

PagerDuty: Events API v2. A rollback and its end have one dedup_key, so that resuming resolves the incident.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from proxy.rollout.audit import AuditEntry
from proxy.rollout.evidence import SuspectFinding

TEXT_MAX: Final = 1_000
SEVERITIES: Final[Mapping[str, str]] = {"roll_back": "critical", "gate_failed": "warning", "finding": "info"}
NOTIFIED_EVENTS: Final = frozenset({"roll_back", "resume", "gate_failed", "promote", "complete", "begin", "pause"})
"""Events of the log that people are told."""
PAGED_EVENTS: Final = frozenset({"roll_back", "resume", "gate_failed"})


@dataclass(frozen=True, slots=True)
class Notice:
    """One thing to say. `key` is what makes two messages the same; `paged`: whether PagerDuty hears it too."""

    key: str
    event: str
    group: str
    text: str
    at: str
    paged: bool = False
    details: Mapping[str, Any] | None = None


def notice_of(entry: AuditEntry) -> Notice | None:
    """What to say about an entry of the log; None for what concerns nobody."""
    if entry.event not in NOTIFIED_EVENTS:
        return None
    group = entry.group or "all"
    details = {"actor": entry.actor, "reason": entry.reason, "finding": entry.finding, "forced": entry.forced}
    text = f"Rollout {group}: {entry.event.replace('_', ' ')} by {entry.actor}"
    if entry.after and entry.before:
        text += f" ({entry.before.phase} {entry.before.step} → {entry.after.phase} {entry.after.step})"
    text += f": {entry.reason}" if entry.reason else ""
    return Notice(entry.id, entry.event, group, text[:TEXT_MAX], entry.at.isoformat(), entry.event in PAGED_EVENTS, details)


def notice_of_finding(group: str, suspect: SuspectFinding, at: str) -> Notice:
    """What to say about a finding that is new."""
    return Notice(f"finding/{suspect.id}", "finding", group, f"Rollout {group}: new {suspect}"[:TEXT_MAX], at)


def slack(message: Notice) -> dict[str, Any]:
    """The body for a Slack-compatible webhook."""
    return {"text": message.text}


def pagerduty(message: Notice, routing_key: str) -> dict[str, Any]:
    """The body for PagerDuty."""
    dedup_key = f"shadow/{message.group}/{'gates' if message.event == 'gate_failed' else 'rollback'}"
    if message.event == "resume":
        return {"routing_key": routing_key, "event_action": "resolve", "dedup_key": dedup_key}
    return {
        "routing_key": routing_key,
        "event_action": "trigger",
        "dedup_key": dedup_key,
        "payload": {
            "summary": message.text,
            "source": "shadow",
            "severity": SEVERITIES.get(message.event, "info"),
            "timestamp": message.at,
            "component": message.group,
            "custom_details": dict(message.details or {}),
        },
    }
