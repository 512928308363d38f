"""The committed files are up to date, and every metric, label and label value in them exists."""

import json
import re
from collections import Counter
from collections.abc import Iterator

import pytest
import yaml

from comparator.exchanges.comparison import Verdict
from comparator.exchanges.difference import Kind
from comparator.exchanges.model import Side
from comparator.exchanges.skip import Skip
from comparator.findings.clustering import Severity
from comparator.stats.confidence import JudgementOutcome
from dashboards import links, rollout
from dashboards import metric_catalog as metrics
from dashboards.generated_files import render_files
from dashboards.recording_rules import RECORDING_RULES
from proxy.rollout.gate_measure import MeasureUnit
from proxy.rollout.gates import GateName
from proxy.rollout.state_machine import Phase
from proxy.runner.metrics import RetriedStep
from proxy.runner.shadow_state import ResyncReason
from proxy.ui.app import SCREENS
from proxy.ui.runbook import sections_of
from tests.support.paths import ROOT

DIRECTORY = ROOT / "dashboards"
TEXTS = render_files()
DASHBOARDS = {name: json.loads(text) for name, text in TEXTS.items() if name.endswith(".json")}
RULES = [
    rule
    for name, text in TEXTS.items()
    if name.endswith(".yml")
    for group in yaml.safe_load(text)["groups"]
    for rule in group["rules"]
]
PANELS = [panel for built in DASHBOARDS.values() for panel in built["panels"]]

SELECTOR = re.compile(r"([a-z_]+(?::[a-z0-9_:]+)?)\{([^}]*)\}")
MATCHER = re.compile(r'([a-z_]+)(=~|!~|!=|=)"([^"]*)"')
RECORDED_SERIES = re.compile(r"\b[a-z]+:[a-z0-9_]+:[a-z0-9_]+\b")
RAW_METRIC = re.compile(r"(?<![:\w])((?:shadow|scorer|process)_[a-z0-9_]+)(?![:\w])(\{)?")
GROUPING = re.compile(r"\b(?:by|on) \(([^)]*)\)")
SUFFIXES = ("", "_bucket", "_count", "_sum")

CLOSED = {
    "side": Side,
    "verdict": Verdict,
    "kind": Kind,
    "severity": Severity,
    "step": RetriedStep,
    "reason": ResyncReason,
    "gate": GateName,
    "outcome": JudgementOutcome,
    "phase": Phase,
    "unit": MeasureUnit,
}
"""Labels whose values are an enumeration, on every metric that has them."""


def expressions() -> Iterator[str]:
    yield from (target["expr"] for panel in PANELS for target in panel.get("targets", ()))
    yield from (rule["expr"] for rule in RULES)
    yield from (annotation["expr"] for built in DASHBOARDS.values() for annotation in built["annotations"]["list"])
    yield from (
        re.sub(r"^label_values\((.*), \w+\)$", r"\1", variable["query"]["query"])
        for built in DASHBOARDS.values()
        for variable in built["templating"]["list"]
        if variable["type"] == "query"
    )


EXPRESSIONS = tuple(expressions())
EXPORTED = {
    (metric.job, metric.name + suffix): metric.labels
    | metrics.TARGET_LABELS
    | ({"le"} if suffix == "_bucket" else set())
    for metric in metrics.ALL_METRICS | {metrics.up(job) for job in metrics.JOBS}
    for suffix in SUFFIXES
}
RECORDED_LABELS = {rule.name: rule.labels for rule in RECORDING_RULES}


def selectors() -> Iterator[tuple[str, list[tuple[str, str, str]]]]:
    for expression in EXPRESSIONS:
        for name, inside in SELECTOR.findall(expression):
            yield name, MATCHER.findall(inside)


def test_committed_files_are_up_to_date() -> None:
    committed = {path.name: path.read_text(encoding="utf-8") for path in (DIRECTORY / "generated").iterdir()}

    assert committed == TEXTS, "run `make dashboards`"


@pytest.mark.parametrize("name", DASHBOARDS)
def test_panel_ids_are_unique(name: str) -> None:
    ids = Counter(panel["id"] for panel in DASHBOARDS[name]["panels"])

    assert set(ids.values()) == {1}


def test_dashboard_uids_are_unique() -> None:
    assert len({built["uid"] for built in DASHBOARDS.values()}) == len(DASHBOARDS) == 5


def test_every_panel_has_a_query() -> None:
    assert not [p["title"] for p in PANELS if p["type"] != "row" and not [t for t in p["targets"] if t["expr"].strip()]]


def test_panel_titles_are_unique_within_a_dashboard() -> None:
    titles = Counter((name, panel["title"]) for name, built in DASHBOARDS.items() for panel in built["panels"])

    assert set(titles.values()) == {1}


QUERIES = [
    (panel["title"], target["expr"]) for panel in PANELS for target in panel.get("targets", ()) if target["expr"]
]
GRAPHS = [panel for panel in PANELS if panel["type"] != "row"]
STATE = re.compile(r"\b(?:max|min|avg|count)(?: by \(([^)]*)\))? ?\(")
"""An aggregate that shows one of several processes in place of all."""


def test_every_panel_has_description_unit_and_link() -> None:
    incomplete = [
        panel["title"]
        for panel in GRAPHS
        if not (panel["description"].endswith(".") and panel["fieldConfig"]["defaults"]["unit"] and panel["links"])
    ]

    assert incomplete == []


def test_every_link_leads_to_a_screen_or_a_section_of_the_runbook() -> None:
    anchors = {f"/runbook#{part.name}" for part in sections_of((ROOT / "RUNBOOK.md").read_text())}
    paths = {link["url"].removeprefix("${ui}") for panel in GRAPHS for link in panel["links"]}

    assert paths <= anchors | {screen.path for screen in SCREENS}
    assert {screen.path for screen in links.SCREENS} <= paths


@pytest.mark.parametrize("name", DASHBOARDS)
def test_every_dashboard_has_the_common_variables(name: str) -> None:
    variables = {item["name"]: item for item in DASHBOARDS[name]["templating"]["list"]}

    assert list(variables)[:5] == ["datasource", "installation", "job", "instance", "ui"]
    assert not variables["installation"]["multi"]
    assert {item["allValue"] for item in variables.values() if item.get("includeAll")} == {".+"}


def test_every_query_of_a_panel_is_narrowed_by_the_variables() -> None:
    narrow = {
        (title, label)
        for title, expression in QUERIES
        for name, inside in SELECTOR.findall(expression)
        for label in ("installation", "job", "instance")
        if label in RECORDED_LABELS.get(name, metrics.TARGET_LABELS) and f'{label}=~"${label}"' not in inside
    }

    assert narrow == set()


def test_no_panel_shows_one_process_in_place_of_all() -> None:
    """A proxy that did not roll back, or a runner that waits for a resync, must not hide behind another one.

    What a whole installation shares may be aggregated: the settings of the gates, the causes in the store, and spreads (max - min).
    """
    hiding = [
        (title, expression)
        for title, expression in QUERIES
        for grouping in STATE.findall(expression)
        if "instance" not in grouping
        and not re.search(r"shadow_rollout_gate_setting|shadow_causes\b", expression)
        and " - min by" not in expression
    ]

    assert hiding == []


def test_every_gate_has_a_panel() -> None:
    assert {name for name, _, _ in rollout.GATES} == set(GateName)


@pytest.mark.parametrize("name", DASHBOARDS)
def test_events_are_marked_on_every_dashboard(name: str) -> None:
    names = [annotation["name"] for annotation in DASHBOARDS[name]["annotations"]["list"]]

    assert names == ["Promotions", "Rollbacks", "Pauses", "Reloads", "Rules loaded", "Restarts", "Resyncs"]


def test_every_recording_rule_keeps_the_installation() -> None:
    assert [rule.name for rule in RECORDING_RULES if "installation" not in rule.labels] == []


def test_every_aggregate_of_a_rule_keeps_the_installation() -> None:
    groupings = [
        found for rule in RULES for found in re.findall(r"\b(?:sum|max|min)\b(?: by \(([^)]*)\))?", rule["expr"])
    ]

    assert groupings
    assert [labels for labels in groupings if not labels.startswith("installation")] == []


def test_recording_rules_keep_the_labels_that_they_declare() -> None:
    lost = [
        (rule.name, labels)
        for rule in RECORDING_RULES
        for labels in re.findall(r"sum by \(([^)]*)\)", rule.expression)
        if not rule.labels <= {*labels.split(", ")}
    ]

    assert lost == []


def test_every_metric_is_selected_by_its_job() -> None:
    raw = [(name, brace) for expression in EXPRESSIONS for name, brace in RAW_METRIC.findall(expression)]

    assert raw
    assert not [name for name, brace in raw if not brace]


def test_every_selector_names_metric_and_labels_that_its_job_exports() -> None:
    unknown = [
        (name, label)
        for name, matchers in selectors()
        if ":" not in name
        for job in [value for label, operator, value in matchers if label == "job" and operator == "="]
        for label, _, _ in matchers
        if label not in EXPORTED.get((job, name), ())
    ]

    assert unknown == []


def test_every_recorded_series_that_is_read_has_a_rule() -> None:
    assert {
        name for expression in EXPRESSIONS for name in RECORDED_SERIES.findall(expression)
    } <= RECORDED_LABELS.keys()


def test_every_recorded_series_is_read_by_its_own_labels() -> None:
    unknown = [
        (name, label)
        for name, matchers in selectors()
        if ":" in name
        for label, _, _ in matchers
        if label not in RECORDED_LABELS[name]
    ]

    assert unknown == []


def test_every_grouping_is_by_labels_of_its_series() -> None:
    unknown = [
        (label, expression)
        for expression in EXPRESSIONS
        for group in GROUPING.findall(expression)
        for label in filter(None, group.split(", "))
        if label not in labels_within(expression)
    ]

    assert unknown == []


def labels_within(expression: str) -> set[str]:
    """Return the labels of all series that an expression names."""
    raw = [
        EXPORTED[job, name]
        for name, inside in SELECTOR.findall(expression)
        for job in re.findall(r'job="([^"]*)"', inside)
    ]
    recorded = [RECORDED_LABELS[name] for name in RECORDED_SERIES.findall(expression)]
    return {label for labels in (*raw, *recorded) for label in labels}


def test_every_legend_uses_labels_of_its_query() -> None:
    unknown = [
        (panel["title"], label)
        for panel in PANELS
        for target in panel.get("targets", ())
        for label in re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])
        if label not in labels_within(target["expr"])
    ]

    assert unknown == []


def test_every_value_of_a_closed_label_exists() -> None:
    unknown = [
        (label, value)
        for _, matchers in selectors()
        for label, _, values in matchers
        if label in CLOSED
        for value in values.split("|")
        if value not in set(CLOSED[label])
    ]

    assert unknown == []


def test_policy_causes_are_skip_causes() -> None:
    assert {"policy", "write"} <= set(Skip)


def test_every_metric_is_shown_or_used_in_a_rule() -> None:
    text = "\n".join(EXPRESSIONS)
    unused = {
        metric.name
        for metric in metrics.ALL_METRICS
        if not re.search(rf'{metric.name}(_bucket|_count|_sum)?\{{[^}}]*job="{metric.job}"', text)
    }

    assert unused == set()


def test_every_recording_rule_stands_after_the_rules_it_reads() -> None:
    names = [rule.name for rule in RECORDING_RULES]
    misplaced = [
        (rule.name, read)
        for position, rule in enumerate(RECORDING_RULES)
        for read in RECORDED_SERIES.findall(rule.expression)
        if names.index(read) >= position
    ]

    assert misplaced == []
