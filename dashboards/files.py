"""The generated files: Grafana dashboards as JSON, Prometheus rules as YAML. Pure: names and texts; `__main__` writes them."""

import json
from collections.abc import Mapping
from typing import Any, Final

import yaml

from dashboards import comparison, overview, proxy, scorer
from dashboards.alerts import GROUPS, Action, Alert
from dashboards.recording import RECORDED

INTERVAL: Final = "15s"
ACTION_LABEL: Final = "shadow_action"
"""What `rollout.alerts.label` of config.yaml says by default."""
_BEGINNING: Final = "# Made by `make dashboards` from dashboards/*.py. Do not edit.\n"


def generated() -> Mapping[str, str]:
    """Text by file name."""
    built = (overview.build(), comparison.build(), scorer.build(), proxy.build())
    texts = {f"{one['uid']}.json": json.dumps(one, indent=2, ensure_ascii=False) + "\n" for one in built}
    return texts | {"recording.rules.yml": _text(recording_rules()), "alerts.rules.yml": _text(alert_rules())}


def recording_rules() -> dict[str, Any]:
    """Prometheus' recording rules, one group: it is evaluated in order."""
    rules = [{"record": one.name, "expr": one.expression} for one in RECORDED]
    return {"groups": [{"name": "shadow-recording", "interval": INTERVAL, "rules": rules}]}


def alert_rules() -> dict[str, Any]:
    """Prometheus' alerting rules."""
    groups = [
        {"name": name, "interval": INTERVAL, "rules": [_alert(alert) for alert in alerts]}
        for name, alerts in GROUPS.items()
    ]
    return {"groups": groups}


def _alert(alert: Alert) -> dict[str, Any]:
    labels = {"severity": alert.severity.value}
    if alert.action is not Action.NONE:
        labels[ACTION_LABEL] = alert.action.value
    return {
        "alert": alert.name,
        "expr": alert.expression,
        "for": alert.lasting,
        "labels": labels,
        "annotations": {"summary": alert.summary, "description": alert.do},
    }


def _text(value: Mapping[str, Any]) -> str:
    return _BEGINNING + yaml.safe_dump(value, sort_keys=False, width=120, allow_unicode=True)
