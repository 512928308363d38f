"""Functions that build Grafana panels. Pure: queries in, JSON values out, laid out from left to right.

Format: Grafana's dashboard JSON model, schema version 39. No panel names a data source: each dashboard has a variable for it. Every panel
says what it shows and in which unit, and leads to the screen of the web UI or the section of the runbook that helps further.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from dashboards.links import Link

Json = dict[str, Any]

COLUMNS: Final = 24
DATASOURCE: Final[Mapping[str, str]] = {"type": "prometheus", "uid": "${datasource}"}


@dataclass(frozen=True, slots=True)
class Query:
    """One PromQL expression.

    Attributes:
        legend: the template of its series' names: `{{side}} p95`.
        exemplars: whether the traces of single requests are shown beside the series; the expression has to select a histogram
            that has them.
    """

    expression: str
    legend: str = ""
    exemplars: bool = False


@dataclass(frozen=True, slots=True)
class Panel:
    """A panel without its position. `width` in 24ths of the dashboard, `height` in grid rows of about 30 pixels."""

    body: Json
    width: int
    height: int


def timeseries(
    title: str,
    *queries: Query,
    unit: str,
    description: str,
    link: Link,
    width: int = 8,
    stacked: bool = False,
    signed: bool = False,
) -> Panel:
    """Build a graph over time; its axis begins at 0, unless values may be below it (`signed`)."""
    custom: Json = {
        "drawStyle": "line",
        "fillOpacity": 30 if stacked else 5,
        "showPoints": "never",
        "stacking": {"mode": "normal" if stacked else "none"},
    }
    body = _body("timeseries", title, description, queries, link)
    body["fieldConfig"] = {
        "defaults": {"unit": unit, "custom": custom} | ({} if signed else {"min": 0}),
        "overrides": [],
    }
    body["options"] = {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
        "tooltip": {"mode": "multi", "sort": "desc"},
    }
    return Panel(body, width, 8)


def stat(
    title: str,
    *queries: Query,
    unit: str,
    description: str,
    link: Link,
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
        link: where the panel leads to.
        width: in 24ths of the dashboard.
        thresholds: pairs of lowest value and colour; None stands for minus infinity.
        value_names: the text that is shown in place of a value.
    """
    body = _body("stat", title, description, queries, link)
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
    title: str,
    query: Query,
    *,
    unit: str,
    description: str,
    link: Link,
    width: int = 12,
    hidden: Sequence[str] = ("installation",),
) -> Panel:
    """Build a table with one row for each series and one column for each label, the largest value first."""
    body = _body("table", title, description, (query,), link)
    body["targets"] = [target | {"instant": True, "range": False, "format": "table"} for target in body["targets"]]
    excluded = dict.fromkeys(("Time", *hidden), True)
    body["transformations"] = [{"id": "organize", "options": {"excludeByName": excluded, "renameByName": {}}}]
    body["fieldConfig"] = {"defaults": {"unit": unit}, "overrides": []}
    body["options"] = {"showHeader": True, "sortBy": [{"displayName": "Value", "desc": True}]}
    return Panel(body, width, 8)


def section(title: str) -> Panel:
    """Build the title line of a section."""
    return Panel({"type": "row", "title": title, "collapsed": False, "panels": []}, COLUMNS, 1)


def _body(kind: str, title: str, description: str, queries: Sequence[Query], link: Link) -> Json:
    targets = [
        {
            "refId": chr(ord("A") + index),
            "datasource": dict(DATASOURCE),
            "expr": query.expression,
            "legendFormat": query.legend,
            "range": True,
            "exemplar": query.exemplars,
        }
        for index, query in enumerate(queries)
    ]
    return {
        "type": kind,
        "title": title,
        "description": description,
        "datasource": dict(DATASOURCE),
        "targets": targets,
        "links": [
            {
                "title": link.title,
                "type": "link",
                "url": f"${{ui}}{link.path}",
                "icon": "external link",
                "tooltip": "",
                "tags": [],
                "asDropdown": False,
                "targetBlank": True,
                "includeVars": False,
                "keepTime": False,
            }
        ],
    }


def with_positions(panels: Sequence[Panel]) -> list[Json]:
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
