"""Layout and content of panels."""

import json
from itertools import combinations

from dashboards import metric_catalog as metrics
from dashboards.generated_files import render_files
from dashboards.links import ROLLOUT
from dashboards.panels import COLUMNS, Query, section, stat, table, timeseries, with_positions

ABOUT = {"unit": "short", "description": "About.", "link": ROLLOUT}
PANELS = (
    section("One"),
    timeseries("A", Query("up", "{{job}}"), Query("down"), width=16, **ABOUT),
    stat("B", Query("up"), value_names={0: "no", 1: "yes"}, **ABOUT),
    table("C", Query("up"), **ABOUT),
    section("Two"),
    timeseries("D", Query("up"), **ABOUT),
)
BUILT = with_positions(PANELS)


def overlap(first: dict[str, int], second: dict[str, int]) -> bool:
    beside = first["x"] + first["w"] <= second["x"] or second["x"] + second["w"] <= first["x"]
    above = first["y"] + first["h"] <= second["y"] or second["y"] + second["h"] <= first["y"]
    return not beside and not above


def test_panels_do_not_overlap() -> None:
    positions = [panel["gridPos"] for panel in BUILT]

    assert not [pair for pair in combinations(positions, 2) if overlap(*pair)]


def test_panels_stay_within_the_columns() -> None:
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= COLUMNS for panel in BUILT)


def test_panels_that_fit_are_side_by_side() -> None:
    assert BUILT[1]["gridPos"]["y"] == BUILT[2]["gridPos"]["y"]


def test_queries_of_a_panel_have_their_own_letters() -> None:
    assert [target["refId"] for target in BUILT[1]["targets"]] == ["A", "B"]


def test_table_is_an_instant_query() -> None:
    assert BUILT[3]["targets"][0]["instant"] is True


def test_value_names_become_mappings() -> None:
    assert BUILT[2]["fieldConfig"]["defaults"]["mappings"] == [
        {"type": "value", "options": {"0": {"text": "no"}, "1": {"text": "yes"}}}
    ]


def test_data_source_is_a_variable() -> None:
    assert {panel["datasource"]["uid"] for panel in BUILT if panel["type"] != "row"} == {"${datasource}"}


def test_every_panel_of_a_histogram_with_exemplars_shows_them_and_no_other() -> None:
    files = [json.loads(text) for name, text in render_files().items() if name.endswith(".json")]
    targets = [target for file in files for panel in file["panels"] for target in panel.get("targets", ())]
    with_exemplars = [
        f"{metric.name}_bucket{{"
        for metric in (metrics.SERVED_SECONDS, metrics.MIRRORED_SECONDS, metrics.SCORER_SECONDS)
    ]
    expected = {t["expr"] for t in targets if any(name in t["expr"] for name in with_exemplars)}
    assert {t["expr"] for t in targets if t["exemplar"]} == expected
    assert all(any(name in expression for expression in expected) for name in with_exemplars)
