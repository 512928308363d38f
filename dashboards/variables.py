"""The variables of the dashboards, and the matchers that narrow every query of a panel to what they select.

A dashboard shows one installation at a time, and one, several or all of its jobs and instances:

    rate(shadow_served_total{job="shadow-proxy"}[5m])
    rate(shadow_served_total{installation=~"$installation",job=~"$job",instance=~"$instance",job="shadow-proxy"}[5m])

A recorded series is narrowed by those of the labels that it keeps.
"""

import re
from typing import Final

from dashboards import metric_catalog as metrics
from dashboards.links import BaseUrls
from dashboards.panels import DATASOURCE, Json
from dashboards.recording_rules import RECORDING_RULES

NARROWING: Final = ("installation", "job", "instance")
_RAW: Final = re.compile(r'\{(?=job=")')
_RECORDED: Final = re.compile(r"\b([a-z]+:[a-z0-9_]+:[a-z0-9_]+)(?:\{([^}]*)\})?")
_LABELS: Final = {rule.name: rule.labels for rule in RECORDING_RULES}
_ANY_JOB: Final = f'job=~"{"|".join(metrics.JOBS)}"'


def narrowed(expression: str) -> str:
    """Return the expression with the matchers of the variables in every selector."""
    return _RECORDED.sub(_narrow_recorded, _RAW.sub("{" + _matchers(NARROWING) + ",", expression))


def _narrow_recorded(found: re.Match[str]) -> str:
    name, inside = found[1], found[2]
    matchers = _matchers(tuple(label for label in NARROWING if label in _LABELS[name]))
    return f"{name}{{{matchers}{',' + inside if inside else ''}}}"


def _matchers(labels: tuple[str, ...]) -> str:
    return ",".join(f'{label}=~"${label}"' for label in labels)


def common_variables(urls: BaseUrls) -> list[Json]:
    """Return the variables that every dashboard has."""
    source: Json = {
        "type": "datasource",
        "name": "datasource",
        "label": "Data source",
        "query": "prometheus",
        "refresh": 1,
    }
    installation = _query_variable("installation", "Installation", f"label_values(up{{{_ANY_JOB}}}, installation)")
    within = 'installation=~"$installation"'
    ui: Json = {
        "type": "textbox",
        "name": "ui",
        "label": "Web UI",
        "query": urls.ui,
        "current": {"text": urls.ui, "value": urls.ui},
        "options": [{"text": urls.ui, "value": urls.ui, "selected": True}],
    }
    return [
        source,
        installation,
        _several(_query_variable("job", "Job", f"label_values(up{{{within},{_ANY_JOB}}}, job)")),
        _several(_query_variable("instance", "Instance", f'label_values(up{{{within},job=~"$job"}}, instance)')),
        ui,
    ]


def variable(name: str, label: str, query: str) -> Json:
    """Build a selector for one, several or all values of a label; queries use it as `$name`."""
    return _several(_query_variable(name, label, narrowed(query)))


def _query_variable(name: str, label: str, query: str) -> Json:
    return {
        "type": "query",
        "name": name,
        "label": label,
        "datasource": dict(DATASOURCE),
        "query": {"query": query, "refId": f"variable-{name}"},
        "refresh": 2,
        "sort": 1,
        "multi": False,
        "includeAll": False,
    }


def _several(single: Json) -> Json:
    chosen = {"text": ["All"], "value": ["$__all"]}
    return single | {"multi": True, "includeAll": True, "allValue": ".+", "current": chosen}
