"""Where panels stand, and what they consist of."""

from itertools import combinations

from dashboards.panels import COLUMNS, Query, dashboard, heading, stat, table, timeseries, variable

PANELS = (
    heading("One"),
    timeseries("A", Query("up", "{{job}}"), Query("down"), width=16),
    stat("B", Query("up"), words={0: "no", 1: "yes"}),
    table("C", Query("up")),
    heading("Two"),
    timeseries("D", Query("up")),
)
BUILT = dashboard("uid", "Title", "About.", PANELS, [variable("route", "Route", "label_values(up, job)")])["panels"]


def overlap(one: dict[str, int], other: dict[str, int]) -> bool:
    beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
    above = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
    return not beside and not above


def test_panels_do_not_overlap() -> None:
    places = [panel["gridPos"] for panel in BUILT]

    assert not [pair for pair in combinations(places, 2) if overlap(*pair)]


def test_panels_stay_within_the_width() -> None:
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= COLUMNS for panel in BUILT)


def test_panels_that_fit_stand_side_by_side() -> None:
    assert BUILT[1]["gridPos"]["y"] == BUILT[2]["gridPos"]["y"]


def test_queries_of_a_panel_are_told_apart() -> None:
    assert [target["refId"] for target in BUILT[1]["targets"]] == ["A", "B"]


def test_a_table_asks_for_the_present_only() -> None:
    assert BUILT[3]["targets"][0]["instant"] is True


def test_words_stand_for_values() -> None:
    assert BUILT[2]["fieldConfig"]["defaults"]["mappings"] == [
        {"type": "value", "options": {"0": {"text": "no"}, "1": {"text": "yes"}}}
    ]


def test_the_data_source_is_the_readers_choice() -> None:
    assert {panel["datasource"]["uid"] for panel in BUILT if panel["type"] != "row"} == {"${datasource}"}
