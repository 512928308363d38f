"""deploy/helm: what can be said of the chart without rendering it; `make lint-deploy` renders it."""

import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from typing import Any

import jsonschema_rs
import pytest
import yaml

from dashboards.generated_files import render_files
from dashboards.links import BaseUrls
from proxy.config.loader import load
from proxy.config.settings import Settings
from tests.support.chart import CHART, VALUES_FILES
from tests.support.paths import ROOT

VALUES: Mapping[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text())
SCHEMA: Mapping[str, Any] = json.loads((CHART / "values.schema.json").read_text())
VALIDATOR = jsonschema_rs.validator_for(dict(SCHEMA))
TEMPLATES = "\n".join(path.read_text() for path in sorted((CHART / "templates").iterdir()))
FREE = {"config", "requests", "limits", "affinity", "tlsConfig"}
"""Values that hold a document of somebody else's."""


def merged(values: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return values with those of a file over them, as Helm merges them."""
    both = {
        key: merged(values[key], given[key]) for key in values.keys() & given.keys() if isinstance(given[key], dict)
    }
    return {**values, **given, **both}


def open_objects(schema: Mapping[str, Any], path: str) -> Iterator[str]:
    """Yield the paths of the objects in a schema that take members without a name."""
    if "$ref" in schema:
        schema = SCHEMA["$defs"][schema["$ref"].rpartition("/")[2]]
    if schema.get("type") == "object" and schema.get("additionalProperties") is not False:
        yield path
    for name, member in schema.get("properties", {}).items():
        yield from open_objects(member, f"{path}.{name}")


def named_paths(schema: Mapping[str, Any], path: str = "") -> Iterator[str]:
    for name, member in schema.get("properties", {}).items():
        yield f"{path}{name}"
        yield from named_paths(member, f"{path}{name}.")


def value_paths(values: Mapping[str, Any], path: str = "") -> Iterator[str]:
    for name, value in values.items():
        yield f"{path}{name}"
        if isinstance(value, dict):
            yield from value_paths(value, f"{path}{name}.")


def test_schema_is_one() -> None:
    assert jsonschema_rs.meta.is_valid(dict(SCHEMA))


@pytest.mark.parametrize("given", [{}, *(yaml.safe_load(path.read_text()) for path in VALUES_FILES)])
def test_values_are_valid(given: dict[str, Any]) -> None:
    assert [error.message for error in VALIDATOR.iter_errors(merged(VALUES, given))] == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"proxy": {"replica": 2}},
        {"proxy": {"replicas": 0}},
        {"image": {"digest": "latest"}},
        {"installation": "two words"},
        {"monitoring": {"uiUrl": "shadow.example.com"}},
        {"networkPolicy": {"uiFrom": [{}]}},
        {"existingSecrets": [{"name": "secret"}]},
    ],
    ids=lambda wrong: next(iter(wrong)),
)
def test_wrong_values_are_refused(wrong: dict[str, Any]) -> None:
    assert not VALIDATOR.is_valid(merged(VALUES, wrong))


def test_schema_and_values_name_the_same() -> None:
    written = {path for path in value_paths(VALUES) if not any(f".{part}." in f".{path}" for part in FREE)}
    written = {path for path in written if path.rpartition(".")[0].rpartition(".")[2] not in {"labels", "annotations"}}
    named = set(named_paths(SCHEMA)) - {"global"}

    assert named - written == set()
    assert {path for path in written - named if not path.rpartition(".")[0].endswith(".resources")} == set()


def test_schema_is_open_only_where_others_say_what_is_right() -> None:
    found = {path.rpartition(".")[2] for path in open_objects(SCHEMA, "")}
    texts = {"annotations", "labels", "nodeSelector", "podAnnotations", "podLabels"}

    assert found <= FREE | texts | {"global"}


def test_every_value_is_used() -> None:
    leaves = {
        path.rpartition(".")[2]
        for path in named_paths(SCHEMA)
        if path.rpartition(".")[2] not in {*FREE, "global", "requests", "limits"}
    }

    assert {name for name in leaves if not re.search(rf"\.{name}\b", TEMPLATES)} == set()


def test_dashboards_and_rules_are_those_that_are_generated() -> None:
    assert {path.name: path.read_text() for path in (CHART / "files").iterdir()} == render_files()


def test_links_that_the_chart_replaces_are_those_of_the_files() -> None:
    urls = BaseUrls()

    assert f'replace "{urls.ui}"' in TEMPLATES
    assert f'replace "{urls.grafana}"' in TEMPLATES
    assert (VALUES["monitoring"]["uiUrl"], VALUES["monitoring"]["grafanaUrl"]) == (urls.ui, urls.grafana)


def test_versions_are_those_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())

    assert chart["appVersion"] == project["version"]


def test_disk_holds_the_journals() -> None:
    settings = load("{}", {})
    journals = settings.journal.retention.disk_max_bytes + settings.journal.mismatches.retention.disk_max_bytes

    assert int(VALUES["proxy"]["persistence"]["size"].removesuffix("Gi")) * 1024**3 > journals


def default_ports(settings: Settings) -> set[int]:
    return {settings.listen.port, settings.admin.port, settings.runner.port, settings.ui.port}


def test_ports_are_those_of_the_image_and_the_configuration() -> None:
    (exposed,) = re.findall(r"^EXPOSE (.*)$", (ROOT / "deploy/Containerfile").read_text(), re.MULTILINE)
    settings = load("{}", {})

    assert {int(port) for port in exposed.split()} == default_ports(settings)
    assert f'"port" {settings.listen.port}' in TEMPLATES
    assert f'"port" {settings.admin.port}' in TEMPLATES
    assert f"containerPort: {settings.listen.port}" in TEMPLATES


def test_paths_are_those_of_the_image() -> None:
    containerfile = (ROOT / "deploy/Containerfile").read_text()
    (state,) = re.findall(r'^VOLUME \["(.*)"\]$', containerfile, re.MULTILINE)
    (config,) = re.findall(r'"--config", "(\S+)"', containerfile)

    assert f"mountPath: {state}\n" in TEMPLATES
    assert f'"--config", "{config}"' in TEMPLATES
