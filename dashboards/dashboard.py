"""The frame of all dashboards: variables, annotations, links to each other, and panels narrowed to what the variables select."""

from collections.abc import Sequence
from typing import Final

from dashboards.annotations import annotation_list
from dashboards.links import BaseUrls, DashboardUid
from dashboards.panels import Json, Panel, with_positions
from dashboards.variables import common_variables, narrowed

SCHEMA_VERSION: Final = 39
TAG: Final = "shadow"
REFRESH: Final = "30s"
"""Two scrapes of provisioning/prometheus/prometheus.yml."""


def dashboard(
    uid: DashboardUid,
    title: str,
    description: str,
    panels: Sequence[Panel],
    urls: BaseUrls,
    variables: Sequence[Json] = (),
) -> Json:
    """Build a dashboard. Panels are numbered in their order, so that a change of one panel changes one place of the file."""
    return {
        "uid": uid.value,
        "title": title,
        "description": description,
        "tags": [TAG],
        "schemaVersion": SCHEMA_VERSION,
        "version": 1,
        "editable": False,
        "graphTooltip": 1,
        "refresh": REFRESH,
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "utc",
        "templating": {"list": [*common_variables(urls), *variables]},
        "annotations": {"list": annotation_list()},
        "links": [
            {
                "type": "dashboards",
                "title": "Shadow",
                "tags": [TAG],
                "asDropdown": True,
                "icon": "external link",
                "includeVars": True,
                "keepTime": True,
                "targetBlank": False,
                "tooltip": "",
                "url": "",
            }
        ],
        "panels": [_narrowed_panel(panel) for panel in with_positions(panels)],
    }


def _narrowed_panel(panel: Json) -> Json:
    if "targets" not in panel:
        return panel
    return panel | {"targets": [target | {"expr": narrowed(target["expr"])} for target in panel["targets"]]}
