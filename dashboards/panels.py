"""Functions that build Grafana panels and dashboards. Pure: queries in, JSON values out, laid out from left to right.

Format: Grafana's dashboard JSON model, schema version 39. No panel names a data source: each dashboard has a variable for it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

Json = dict[str, Any]

SCHEMA_VERSION: Final = 39
COLUMNS: Final = 24
DATASOURCE: Final[Mapping[str, str]] = {"type": "prometheus", "uid": "${datasource}"}


@dataclass(frozen=True, slots=True)
class Query:
    """One PromQL expression; `legend` is the template of its series' names: `{{side}} p95`."""

    expression: str
    legend: str = ""


@dataclass(frozen=True, slots=True)
class Panel:
    """A panel without its position. `width` in 24ths of the dashboard, `height` in grid rows of about 30 pixels."""

    body: Json
    width: int
    height: int


def timeseries(
    title: str, *queries: Query, unit: str = "short", description: str = "", width: int = 8, stacked: bool = False
) -> Panel:
    """Build a graph over time."""
    custom: Json = {
        "drawStyle": "line",
        "fillOpacity": 30 if stacked else 5,
        "showPoints": "never",
        "stacking": {"mode": "normal" if stacked else "none"},
    }
    body = _body("timeseries", title, description, queries)
    body["fieldConfig"] = {"defaults": {"unit": unit, "min": 0, "custom": custom}, "overrides": []}
    body["options"] = {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
        "tooltip": {"mode": "multi", "sort": "desc"},
    }
    return Panel(body, width, 8)


def stat(
    title: str,
    *queries: Query,
    unit: str = "short",
    description: str = "",
    width: int = 4,
    thresholds: Sequence[tuple[float | None, str]] = ((None, "text"),),
    value_names: Mapping[int, str] | None = None,
) -> Panel:
    """Build a panel that shows the present value in large type.

    Args:
        title: the heading of the panel.
        queries: one value for each series.
        unit: Grafana's unit id, such as `percentunit`.
        description: the text behind the panel's info icon.
        width: in 24ths of the dashboard.
        thresholds: pairs of lowest value and colour; None stands for minus infinity.
        value_names: the text that is shown in place of a value.
    """
    body = _body("stat", title, description, queries)
    mappings = [
        {"type": "value", "options": {str(value): {"text": text} for value, text in (value_names or {}).items()}}
    ]
    body["fieldConfig"] = {
        "defaults": {
            "unit": unit,
            "mappings": mappings if value_names else [],
            "thresholds": {
                "mode": "absolute",
                "steps": [{"value": value, "color": color} for value, color in thresholds],
            },
        },
        "overrides": [],
    }
    body["options"] = {
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "colorMode": "value",
        "graphMode": "none",
        "textMode": "auto",
    }
    return Panel(body, width, 4)


def table(
    title: str, query: Query, *, unit: str = "short", description: str = "", width: int = 12, hidden: Sequence[str] = ()
) -> Panel:
    """Build a table with one row for each series and one column for each label, the largest value first."""
    body = _body("table", title, description, (query,))
    body["targets"] = [target | {"instant": True, "range": False, "format": "table"} for target in body["targets"]]
    excluded = dict.fromkeys(("Time", *hidden), True)
    body["transformations"] = [{"id": "organize", "options": {"excludeByName": excluded, "renameByName": {}}}]
    body["fieldConfig"] = {"defaults": {"unit": unit}, "overrides": []}
    body["options"] = {"showHeader": True, "sortBy": [{"displayName": "Value", "desc": True}]}
    return Panel(body, width, 8)


def section(title: str) -> Panel:
    """Build the title line of a section."""
    return Panel({"type": "row", "title": title, "collapsed": False, "panels": []}, COLUMNS, 1)


def variable(name: str, label: str, query: str) -> Json:
    """Build a selector for one, several or all values of a label; queries use it as `$name`."""
    return {
        "type": "query",
        "name": name,
        "label": label,
        "datasource": dict(DATASOURCE),
        "query": {"query": query, "refId": f"variable-{name}"},
        "definition": query,
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
    }


def dashboard(uid: str, title: str, description: str, panels: Sequence[Panel], variables: Sequence[Json] = ()) -> Json:
    """Build a dashboard. Panels are numbered in their order, so that a change of one panel changes one place of the file."""
    source: Json = {
        "type": "datasource",
        "name": "datasource",
        "label": "Data source",
        "query": "prometheus",
        "refresh": 1,
        "current": {},
    }
    return {
        "uid": uid,
        "title": title,
        "description": description,
        "tags": ["shadow"],
        "schemaVersion": SCHEMA_VERSION,
        "version": 1,
        "editable": False,
        "graphTooltip": 1,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "utc",
        "templating": {"list": [source, *variables]},
        "annotations": {"list": []},
        "links": [
            {"type": "dashboards", "title": "Shadow", "tags": ["shadow"], "asDropdown": True, "includeVars": False}
        ],
        "panels": _with_positions(panels),
    }


def _body(kind: str, title: str, description: str, queries: Sequence[Query]) -> Json:
    targets = [
        {
            "refId": chr(ord("A") + index),
            "datasource": dict(DATASOURCE),
            "expr": query.expression,
            "legendFormat": query.legend,
            "range": True,
        }
        for index, query in enumerate(queries)
    ]
    return {
        "type": kind,
        "title": title,
        "description": description,
        "datasource": dict(DATASOURCE),
        "targets": targets,
    }


def _with_positions(panels: Sequence[Panel]) -> list[Json]:
    """Fill lines of 24 columns from left to right; a panel that does not fit starts the next line."""
    positioned: list[Json] = []
    left = top = tallest = 0
    for number, panel in enumerate(panels, start=1):
        if left + panel.width > COLUMNS:
            left, top, tallest = 0, top + tallest, 0
        position = {"x": left, "y": top, "w": panel.width, "h": panel.height}
        positioned.append({"id": number, **panel.body, "gridPos": position})
        left, tallest = left + panel.width, max(tallest, panel.height)
    return positioned
