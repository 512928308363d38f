"""Marks on every graph: promotions, rollbacks, pauses, reloads, restarts and resyncs, read from the metrics themselves."""

from typing import Final

from dashboards import metric_catalog as metrics
from dashboards.panels import DATASOURCE, Json
from dashboards.promql import increased, max_by, sum_by
from dashboards.variables import narrowed

STEP: Final = "$__interval"
"""Grafana's variable for the distance of two points, at least MIN_STEP: an event between two points is marked at the later one."""
MIN_STEP: Final = "30s"


def _begun(series: str) -> str:
    """Return the series that have become 1 since the point before."""
    return f"{series} == 1 and changes({series}[{STEP}]) > 0"


def _phase_begun(phase: str) -> str:
    series = metrics.ROLLOUT_PHASE.select(phase=phase)
    return max_by(_begun(series), "group")


_STARTS: Final = " or ".join(
    f"changes({started.select()}[{STEP}]) > 0"
    for started in (metrics.PROXY_STARTED, metrics.RUNNER_STARTED, metrics.CANDIDATE_STARTED)
)

ANNOTATIONS: Final = (
    (
        "Promotions",
        "green",
        max_by(f"delta({metrics.ROLLOUT_STEP.select()}[{STEP}]) > 0", "group"),
        "{{group}} one step ahead",
    ),
    ("Rollbacks", "red", _begun(metrics.ROLLED_BACK.select()), "{{instance}} rolled back"),
    ("Pauses", "orange", _phase_begun("paused"), "{{group}} paused"),
    ("Reloads", "blue", f"changes({metrics.CONFIG_LOADED.select()}[{STEP}]) > 0", "{{instance}} loaded config.yaml"),
    (
        "Rules loaded",
        "light-blue",
        f"changes({metrics.RULES_LOADED.select()}[{STEP}]) > 0",
        "{{instance}} loaded comparison rules",
    ),
    (
        "Restarts",
        "purple",
        f"{_STARTS} or {increased(metrics.WORKER_RESTARTS.select(), STEP)}",
        "{{job}} {{instance}} started",
    ),
    (
        "Resyncs",
        "yellow",
        sum_by(increased(metrics.RESYNCS.select(), STEP), "reason"),
        "shadow database resynced: {{reason}}",
    ),
)
"""Name, colour, query and text of each kind of event."""


def annotation_list() -> list[Json]:
    """Return the annotations of a dashboard."""
    return [
        {
            "datasource": dict(DATASOURCE),
            "enable": True,
            "hide": False,
            "iconColor": color,
            "name": name,
            "step": MIN_STEP,
            "target": {"refId": "Anno", "expr": narrowed(expression), "range": True, "interval": MIN_STEP},
            "expr": narrowed(expression),
            "titleFormat": name,
            "textFormat": text,
            "tagKeys": "installation,instance",
        }
        for name, color, expression, text in ANNOTATIONS
    ]
