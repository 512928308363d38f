"""Read the action that a notification of Alertmanager requests. Pure.

Format: https://prometheus.io/docs/alerting/latest/configuration/#webhook_config, version 4.
"""

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum

import msgspec

from proxy.config.rollout import AlertmanagerSettings


class AlertAction(StrEnum):
    """The values of the label that requests an action."""

    PAUSE = "pause"
    ROLLBACK = "rollback"


class AlertmanagerAlert(msgspec.Struct, frozen=True):
    """One alert of a notification."""

    status: str = ""
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    fingerprint: str = ""
    startsAt: str = ""  # noqa: N815 (Alertmanager's name)


class AlertmanagerNotification(msgspec.Struct, frozen=True):
    """The part of the webhook's body that is used."""

    alerts: tuple[AlertmanagerAlert, ...]
    version: str = "4"


@dataclass(frozen=True, slots=True)
class AlertRequest:
    """The gravest action that the firing alerts request. `group` is "" for all groups; `id` is the same each time that it is repeated."""

    action: AlertAction
    group: str
    reason: str
    finding: str | None = None
    id: str = ""


def requested_action(
    notification: AlertmanagerNotification, settings: AlertmanagerSettings, groups: Collection[str]
) -> AlertRequest | None:
    """Return the action to take, None for nothing. A rollback wins over a pause.

    An unknown group means all groups, and so do alerts for different groups: one notification is one change.
    """
    firing = [alert for alert in notification.alerts if alert.status == "firing"]
    for action in (AlertAction.ROLLBACK, AlertAction.PAUSE):
        alerts = [alert for alert in firing if alert.labels.get(settings.label) == action]
        if alerts:
            named = {alert.labels.get(settings.group_label, "") for alert in alerts}
            group = named.pop() if len(named) == 1 else ""
            reason = "; ".join(_describe(alert) for alert in alerts)
            finding = alerts[0].labels.get("finding") or None
            identity = ",".join(sorted({f"{alert.fingerprint}@{alert.startsAt}" for alert in alerts}))
            return AlertRequest(action, group if group in groups else "", reason, finding, identity)
    return None


def _describe(alert: AlertmanagerAlert) -> str:
    name = alert.labels.get("alertname", "alert")
    summary = alert.annotations.get("summary", "")
    return f"{name}: {summary}" if summary else name
