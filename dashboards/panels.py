"""Builders of Grafana panels and dashboards. Pure: queries in, JSON values out, laid out from left to right.

Format: Grafana's dashboard JSON model, schema version 39. Nothing names a data source: each dashboard has a variable for it.
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
    """One PromQL expression and how its series are named."""

    expression: str
    legend: str = ""


@dataclass(frozen=True, slots=True)
class Panel:
    """A panel without its place. `width` in columns of 24, `height` in rows of about 30 pixels."""

    body: Json
    width: int
    height: int


def timeseries(
    title: str, *queries: Query, unit: str = "short", about: str = "", width: int = 8, stacked: bool = False
) -> Panel:
    """Curves over time."""
    custom: Json = {
        "drawStyle": "line",
        "fillOpacity": 30 if stacked else 5,
        "showPoints": "never",
        "stacking": {"mode": "normal" if stacked else "none"},
    }
    body = _body("timeseries", title, about, queries)
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
    about: str = "",
    width: int = 4,
    steps: Sequence[tuple[float | None, str]] = ((None, "text"),),
    words: Mapping[int, str] | None = None,
) -> Panel:
    """The present value, large. `steps` colour it from a value on (None: from the lowest); `words` stand for values."""
    body = _body("stat", title, about, queries)
    mappings = [{"type": "value", "options": {str(value): {"text": text} for value, text in (words or {}).items()}}]
    body["fieldConfig"] = {
        "defaults": {
            "unit": unit,
            "mappings": mappings if words else [],
            "thresholds": {"mode": "absolute", "steps": [{"value": value, "color": color} for value, color in steps]},
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
    title: str, query: Query, *, unit: str = "short", about: str = "", width: int = 12, hidden: Sequence[str] = ()
) -> Panel:
    """One row for each series, its labels as columns, the largest value first."""
    body = _body("table", title, about, (query,))
    body["targets"] = [target | {"instant": True, "range": False, "format": "table"} for target in body["targets"]]
    excluded = dict.fromkeys(("Time", *hidden), True)
    body["transformations"] = [{"id": "organize", "options": {"excludeByName": excluded, "renameByName": {}}}]
    body["fieldConfig"] = {"defaults": {"unit": unit}, "overrides": []}
    body["options"] = {"showHeader": True, "sortBy": [{"displayName": "Value", "desc": True}]}
    return Panel(body, width, 8)


def heading(title: str) -> Panel:
    """A line across the dashboard."""
    return Panel({"type": "row", "title": title, "collapsed": False, "panels": []}, COLUMNS, 1)


def variable(name: str, label: str, query: str) -> Json:
    """A choice among the values of a label: one, several or all."""
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


def dashboard(uid: str, title: str, about: str, panels: Sequence[Panel], variables: Sequence[Json] = ()) -> Json:
    """A whole dashboard; ids are the panels' places, so that a change of one panel changes one place of the file."""
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
        "description": about,
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
        "panels": _placed(panels),
    }


def _body(kind: str, title: str, about: str, queries: Sequence[Query]) -> Json:
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
    return {"type": kind, "title": title, "description": about, "datasource": dict(DATASOURCE), "targets": targets}


def _placed(panels: Sequence[Panel]) -> list[Json]:
    """Fill lines of 24 columns; a panel that does not fit begins the next line."""
    placed: list[Json] = []
    left = top = tallest = 0
    for number, panel in enumerate(panels, start=1):
        if left + panel.width > COLUMNS:
            left, top, tallest = 0, top + tallest, 0
        place = {"x": left, "y": top, "w": panel.width, "h": panel.height}
        placed.append({"id": number, **panel.body, "gridPos": place})
        left, tallest = left + panel.width, max(tallest, panel.height)
    return placed
