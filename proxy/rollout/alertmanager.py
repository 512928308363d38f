"""What a notification of Alertmanager asks for. Pure.

Format: https://prometheus.io/docs/alerting/latest/configuration/#webhook_config, version 4.
"""

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum

import msgspec

from proxy.config.rollout import AlertmanagerSettings


class AlertAction(StrEnum):
    """What an alert may do, as its label says."""

    PAUSE = "pause"
    ROLLBACK = "rollback"


class AlertmanagerAlert(msgspec.Struct, frozen=True):
    """One alert of a notification."""

    status: str = ""
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    fingerprint: str = ""


class AlertmanagerNotification(msgspec.Struct, frozen=True):
    """The body of a webhook; only what is needed is read."""

    alerts: tuple[AlertmanagerAlert, ...]
    version: str = "4"


@dataclass(frozen=True, slots=True)
class AlertRequest:
    """The gravest action that the firing alerts ask for. `group` is "" for everything."""

    action: AlertAction
    group: str
    reason: str
    finding: str = ""


def requested_action(
    notification: AlertmanagerNotification, settings: AlertmanagerSettings, groups: Collection[str]
) -> AlertRequest | None:
    """What to do, None for nothing. A rollback wins over a pause; a group that does not exist means everything.

    Several alerts for different groups mean everything too: one notification is one change.
    """
    firing = [alert for alert in notification.alerts if alert.status == "firing"]
    for action in (AlertAction.ROLLBACK, AlertAction.PAUSE):
        asking = [alert for alert in firing if alert.labels.get(settings.label) == action]
        if asking:
            named = {alert.labels.get(settings.group_label, "") for alert in asking}
            group = named.pop() if len(named) == 1 else ""
            reason = "; ".join(_words(alert) for alert in asking)
            return AlertRequest(action, group if group in groups else "", reason, asking[0].labels.get("finding", ""))
    return None


def _words(alert: AlertmanagerAlert) -> str:
    name = alert.labels.get("alertname", "alert")
    summary = alert.annotations.get("summary", "")
    return f"{name}: {summary}" if summary else name
