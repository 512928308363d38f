"""The texts of notifications about the rollout, for Slack-compatible webhooks and PagerDuty. Pure.

PagerDuty: Events API v2. A rollback and its end have one dedup_key, so resuming resolves the incident.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from proxy.rollout.audit import AuditEntry, AuditEvent
from proxy.rollout.evidence import SuspectFinding

TEXT_MAX: Final = 1_000


class PagerDutySeverity(StrEnum):
    """The severities of PagerDuty that are used."""

    CRITICAL = "critical"
    WARNING = "warning"
    INFO = "info"


SEVERITIES: Final[Mapping[AuditEvent, PagerDutySeverity]] = {
    AuditEvent.ROLL_BACK: PagerDutySeverity.CRITICAL,
    AuditEvent.GATE_FAILED: PagerDutySeverity.WARNING,
}
"""The severity of each event; info for the others."""
PAGED_EVENTS: Final = frozenset({AuditEvent.ROLL_BACK, AuditEvent.RESUME, AuditEvent.GATE_FAILED})


@dataclass(frozen=True, slots=True)
class Notice:
    """One notification.

    Attributes:
        key: notices with one key are one notice.
        event: the event of the audit log; None for a new cause.
        at: the time, in ISO 8601.
        paged: sent to PagerDuty, too.
        details: further figures for PagerDuty.
    """

    key: str
    event: AuditEvent | None
    group: str
    text: str
    at: str
    paged: bool = False
    details: Mapping[str, Any] | None = None


def notice_of(entry: AuditEntry) -> Notice:
    """Describe an entry of the audit log."""
    group = entry.group or "all"
    details = {"actor": entry.actor, "reason": entry.reason, "finding": entry.finding, "forced": entry.forced}
    text = f"Rollout {group}: {entry.event.replace('_', ' ')} by {entry.actor}"
    if entry.after and entry.before:
        text += f" ({entry.before.phase} {entry.before.step} → {entry.after.phase} {entry.after.step})"
    text += f": {entry.reason}" if entry.reason else ""
    paged = entry.event in PAGED_EVENTS
    return Notice(entry.id, entry.event, group, text[:TEXT_MAX], entry.at.isoformat(), paged, details)


def notice_of_cause(group: str, suspect: SuspectFinding, at: str) -> Notice:
    """Describe a new cause by one of its findings."""
    return Notice(f"cause/{suspect.cause}", None, group, f"Rollout {group}: new {suspect}"[:TEXT_MAX], at)


def slack(notice: Notice) -> dict[str, Any]:
    """Return the body for a Slack-compatible webhook."""
    return {"text": notice.text}


def pagerduty(notice: Notice, routing_key: str) -> dict[str, Any]:
    """Return the body for PagerDuty."""
    incident = "gates" if notice.event is AuditEvent.GATE_FAILED else "rollback"
    dedup_key = f"shadow/{notice.group}/{incident}"
    if notice.event is AuditEvent.RESUME:
        return {"routing_key": routing_key, "event_action": "resolve", "dedup_key": dedup_key}
    severity = SEVERITIES.get(notice.event, PagerDutySeverity.INFO) if notice.event else PagerDutySeverity.INFO
    return {
        "routing_key": routing_key,
        "event_action": "trigger",
        "dedup_key": dedup_key,
        "payload": {
            "summary": notice.text,
            "source": "shadow",
            "severity": severity.value,
            "timestamp": notice.at,
            "component": notice.group,
            "custom_details": dict(notice.details or {}),
        },
    }
