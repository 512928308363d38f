"""The committed files are what the code makes, and every metric, label and value in them exists."""

import json
import re
from collections import Counter
from collections.abc import Iterator

import pytest
import yaml

from comparator.difference import Kind
from comparator.exchanges.model import Side
from comparator.exchanges.skip import Skip
from comparator.findings.clustering import Severity
from comparator.verdict import Verdict
from dashboards import sources as at
from dashboards.files import generated
from dashboards.recording import RECORDED
from tests.support.paths import ROOT

DIRECTORY = ROOT / "dashboards"
TEXTS = generated()
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
RECORDED_NAME = re.compile(r"\b[a-z]+:[a-z0-9_]+:[a-z0-9_]+\b")
RAW_NAME = re.compile(r"(?<![:\w])((?:shadow|scorer|process)_[a-z0-9_]+)(?![:\w])(\{)?")
GROUPING = re.compile(r"\b(?:by|on) \(([^)]*)\)")
ENDINGS = ("", "_bucket", "_count", "_sum")

CLOSED = {"side": Side, "verdict": Verdict, "kind": Kind, "severity": Severity}
"""Labels whose values are an enumeration of the packages, whichever metric carries them."""


def expressions() -> Iterator[str]:
    yield from (target["expr"] for panel in PANELS for target in panel.get("targets", ()))
    yield from (rule["expr"] for rule in RULES)
    yield from (
        re.sub(r"^label_values\((.*), \w+\)$", r"\1", one["definition"])
        for built in DASHBOARDS.values()
        for one in built["templating"]["list"]
        if one["type"] == "query"
    )


EXPRESSIONS = tuple(expressions())
SHOWN = {
    (one.job, one.name + ending): one.labels | at.TARGET_LABELS | ({"le"} if ending == "_bucket" else set())
    for one in at.DECLARED | {at.up(job) for job in at.JOBS}
    for ending in ENDINGS
}
MADE = {one.name: one.labels for one in RECORDED}


def selectors() -> Iterator[tuple[str, list[tuple[str, str, str]]]]:
    for expression in EXPRESSIONS:
        for name, inside in SELECTOR.findall(expression):
            yield name, MATCHER.findall(inside)


def test_committed_files_are_what_the_code_makes() -> None:
    committed = {path.name: path.read_text(encoding="utf-8") for path in (DIRECTORY / "generated").iterdir()}

    assert committed == TEXTS, "run `make dashboards`"


@pytest.mark.parametrize("name", DASHBOARDS)
def test_ids_of_panels_are_unique(name: str) -> None:
    ids = Counter(panel["id"] for panel in DASHBOARDS[name]["panels"])

    assert set(ids.values()) == {1}


def test_dashboards_have_uids_of_their_own() -> None:
    assert len({built["uid"] for built in DASHBOARDS.values()}) == len(DASHBOARDS) == 4


def test_every_panel_asks_something() -> None:
    assert not [p["title"] for p in PANELS if p["type"] != "row" and not [t for t in p["targets"] if t["expr"].strip()]]


def test_every_panel_has_a_title_of_its_own_on_its_dashboard() -> None:
    titles = Counter((name, panel["title"]) for name, built in DASHBOARDS.items() for panel in built["panels"])

    assert set(titles.values()) == {1}


def test_every_raw_metric_is_selected_by_its_job() -> None:
    raw = [(name, brace) for expression in EXPRESSIONS for name, brace in RAW_NAME.findall(expression)]

    assert raw
    assert not [name for name, brace in raw if not brace]


def test_every_selector_names_a_metric_and_labels_that_its_job_shows() -> None:
    unknown = [
        (name, label)
        for name, matchers in selectors()
        if ":" not in name
        for job in [value for label, _, value in matchers if label == "job"]
        for label, _, _ in matchers
        if label not in SHOWN.get((job, name), ())
    ]

    assert unknown == []


def test_every_recorded_series_that_is_read_is_made() -> None:
    assert {name for expression in EXPRESSIONS for name in RECORDED_NAME.findall(expression)} <= MADE.keys()


def test_every_recorded_series_is_read_with_labels_it_has() -> None:
    unknown = [
        (name, label)
        for name, matchers in selectors()
        if ":" in name
        for label, _, _ in matchers
        if label not in MADE[name]
    ]

    assert unknown == []


def test_every_grouping_is_by_labels_of_what_is_grouped() -> None:
    unknown = [
        (label, expression)
        for expression in EXPRESSIONS
        for group in GROUPING.findall(expression)
        for label in filter(None, group.split(", "))
        if label not in labels_within(expression)
    ]

    assert unknown == []


def labels_within(expression: str) -> set[str]:
    """Labels of all series that an expression names."""
    raw = [
        SHOWN[job, name]
        for name, inside in SELECTOR.findall(expression)
        for job in re.findall(r'job="([^"]*)"', inside)
    ]
    made = [MADE[name] for name in RECORDED_NAME.findall(expression)]
    return {label for labels in (*raw, *made) for label in labels}


def test_every_legend_is_of_labels_that_the_query_has() -> None:
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


def test_what_policy_leaves_out_is_named_as_the_proxy_names_it() -> None:
    assert {"policy", "write"} <= set(Skip)


def test_every_metric_is_on_a_dashboard_or_in_a_rule() -> None:
    text = "\n".join(EXPRESSIONS)
    unseen = {
        one.name for one in at.DECLARED if not re.search(rf'{one.name}(_bucket|_count|_sum)?\{{job="{one.job}"', text)
    }

    assert unseen == set()


def test_every_recorded_series_stands_after_those_it_reads() -> None:
    names = [one.name for one in RECORDED]
    late = [
        (one.name, read)
        for place, one in enumerate(RECORDED)
        for read in RECORDED_NAME.findall(one.expression)
        if names.index(read) >= place
    ]

    assert late == []
