"""Every dashboard is valid by Grafana's own types (tests/data/grafana), with the options and the field configuration of each panel."""

import json
from collections.abc import Mapping
from typing import Any

import jsonschema_rs
import pytest

from dashboards.generated_files import render_files
from dashboards.panels import Json
from tests.support.paths import ROOT

SCHEMAS: Mapping[str, Any] = json.loads((ROOT / "tests" / "data" / "grafana" / "schemas.json").read_text())
DASHBOARDS: Mapping[str, Json] = {
    name: json.loads(text) for name, text in render_files().items() if name.endswith(".json")
}
# Prometheus' own members of an annotation; the schema knows those of Grafana's own data source only.
OF_PROMETHEUS = ("expr", "step", "titleFormat", "textFormat", "tagKeys", "target")


def errors(schema: Any, value: object) -> list[str]:
    validator = jsonschema_rs.Draft7Validator(schema)
    return [
        f"{'/'.join(str(part) for part in error.instance_path)}: {error.message[:200]}"
        for error in validator.iter_errors(value)
    ]


def definition(name: str) -> Any:
    return {"$ref": f"#/definitions/{name}", "definitions": SCHEMAS["dashboard"]["definitions"]}


def panels_of(name: str) -> list[Json]:
    return DASHBOARDS[name]["panels"]


@pytest.mark.parametrize("name", DASHBOARDS)
def test_dashboard_is_valid(name: str) -> None:
    annotations = [
        {member: value for member, value in annotation.items() if member not in OF_PROMETHEUS}
        for annotation in DASHBOARDS[name]["annotations"]["list"]
    ]
    # Panels apart: in the union of their kinds an error would not be said where it is.
    frame = DASHBOARDS[name] | {"panels": [], "annotations": {"list": annotations}}
    assert errors(SCHEMAS["dashboard"], frame) == []


@pytest.mark.parametrize("name", DASHBOARDS)
def test_panels_are_valid(name: str) -> None:
    row, panel = definition("RowPanel"), definition("Panel")
    found = {one["title"]: errors(row if one["type"] == "row" else panel, one) for one in panels_of(name)}
    assert {title: said for title, said in found.items() if said} == {}


@pytest.mark.parametrize("name", DASHBOARDS)
def test_options_and_field_configuration_are_those_of_the_kind_of_panel(name: str) -> None:
    found: dict[str, list[str]] = {}
    for panel in panels_of(name):
        if panel["type"] != "row":
            schemas = SCHEMAS[panel["type"]]
            custom = panel["fieldConfig"]["defaults"].get("custom", {})
            found[panel["title"]] = [
                *unknown(schemas["Options"], "Options", panel["options"]),
                *unknown(schemas["FieldConfig"], "FieldConfig", custom),
            ]
    assert {title: said for title, said in found.items() if said} == {}


def unknown(schema: Any, name: str, value: Json) -> list[str]:
    """Return the errors of a value that leaves members to Grafana's defaults."""
    return errors({"definitions": _optional(schema["definitions"]), "$ref": f"#/definitions/{name}"}, value)


def _optional(schema: Any) -> Any:
    if isinstance(schema, dict):
        return {
            name: _optional(part)
            for name, part in schema.items()
            if not (name == "required" and isinstance(part, list))
        }
    return [_optional(part) for part in schema] if isinstance(schema, list) else schema


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"title": 7}, "title"),
        ({"titel": "a"}, "titel"),
        ({"gridPos": {"x": 0, "y": 0, "w": "wide", "h": 4}}, "gridPos/w"),
        ({"links": [{"title": "a"}]}, "links/0"),
    ],
)
def test_schema_finds_what_is_wrong(change: Json, message: str) -> None:
    panel = next(panel for panel in panels_of("shadow-overview.json") if panel["type"] == "stat")
    assert any(message in error for error in errors(definition("Panel"), panel | change))


def test_schema_of_options_finds_what_is_wrong() -> None:
    assert unknown(SCHEMAS["stat"]["Options"], "Options", {"colorMode": "loud"})
    assert unknown(SCHEMAS["timeseries"]["FieldConfig"], "FieldConfig", {"drawStyle": "wavy"})
