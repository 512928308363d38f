"""What is proposed from one side compared with itself, and that a proposal hides what it was made from."""

from typing import Any

import pytest
import yaml

from comparator.findings.calibration import Proposal, propose, render_proposals
from comparator.findings.clustering import Clusterer
from comparator.settings import CompareSettings
from comparator.tables import Table
from comparator.verdict import Comparator, Verdict
from proxy.config.conversion import convert
from tests.support.comparisons import NOW, effects, insert, mirrored, response, served

TABLES = {"event": Table(natural_key=("name",))}


def pairs_of(*pairs: tuple[Any, Any]) -> list[tuple[Any, Any]]:
    return [(response(a), response(b)) for a, b in pairs]


def proposals(*pairs: tuple[Any, Any], seen_min: int = 2) -> tuple[Proposal, ...]:
    comparator = Comparator(CompareSettings())
    found = [("r", comparator.compare("r", served(a), mirrored(b), now=NOW)) for a, b in pairs_of(*pairs)]
    return propose(found, Clusterer(CompareSettings().dynamic), seen_min=seen_min)


T = "2026-03-04T12:00:0"
NOISE = {
    "times": (
        [({"x": f"{T}0Z"}, {"x": f"{T}1.2Z"}), ({"x": f"{T}0Z"}, {"x": f"{T}0.5Z"})],
        "- {path: x, time_within_ms: 2400}",
    ),
    "notation of times": ([({"x": f"{T}0Z"}, {"x": f"{T}0+00:00"})] * 2, "- {path: x, same: time}"),
    "numbers": ([({"x": 1}, {"x": 1.25}), ({"x": "2"}, {"x": "2.1"})], '- {path: x, absolute: "0.25"}'),
    "notation of numbers": ([({"x": "1"}, {"x": "1.00"})] * 2, "- {path: x, same: number}"),
    "order": ([({"x": [1, 2]}, {"x": [2, 1]})] * 2, "- {path: x, unordered: true}"),
    "random text": ([({"x": "a"}, {"x": "b"}), ({"x": "c"}, {"x": "d"})], "- {path: x, ignore: true}"),
    "names that are data": (
        [({"stamps": {"A": 1}}, {"stamps": {"A": 2}}), ({"stamps": {"B": 1}}, {"stamps": {"B": 2}})],
        "- {path: 'stamps.*', absolute: \"1\"}",
    ),
}


@pytest.mark.parametrize("name", NOISE)
def test_narrowest_rule_is_proposed(name: str) -> None:
    pairs, rule = NOISE[name]
    (proposal,) = proposals(*pairs)
    assert (proposal.section, proposal.rule, proposal.seen, proposal.compared) == ("compare.routes.r.rules", rule, 2, 2)


@pytest.mark.parametrize("name", NOISE)
def test_accepted_proposal_hides_its_noise(name: str) -> None:
    pairs, _ = NOISE[name]
    (proposal,) = proposals(*pairs)
    rules = yaml.safe_load(proposal.rule)
    comparator = Comparator(convert({"rules": rules}, CompareSettings))
    verdicts = {comparator.compare("r", served(a), mirrored(b), now=NOW).verdict for a, b in pairs_of(*pairs)}
    assert verdicts == {Verdict.MATCH}


def test_missing_member_is_listed_without_a_rule() -> None:
    (proposal,) = proposals(({"x": 1}, {}), ({"x": 1}, {}))
    assert (proposal.rule, "look at the examples" in proposal.why) == ("", True)


def test_single_difference_is_not_a_pattern() -> None:
    assert proposals(({"x": 1}, {"x": 2}), ({"x": 1}, {"x": 1})) == ()


@pytest.mark.parametrize(
    ("column", "values", "section", "rule"),
    [
        (
            "at",
            ("2026-03-04 12:00:00+00", "2026-03-04 12:00:00.4+00"),
            "compare.tables.event.volatile",
            "at: {within_ms: 800}",
        ),
        ("token", ("a", "b"), "compare.tables.event.volatile", "token: {ignore: true}"),
        ("data", ({"at": f"{T}0Z"}, {"at": f"{T}1Z"}), "compare.tables.event.json.data", "within_ms: {at: 2000}"),
        ("data", ({"id": "a"}, {"id": "b"}), "compare.tables.event.json.data", "ignore: [id]"),
    ],
)
def test_noise_in_rows_is_proposed_for_the_table(column: str, values: tuple, section: str, rule: str) -> None:
    comparator = Comparator(CompareSettings(tables=TABLES))
    sides = [effects(insert("event", id=1, name="n", **{column: value})) for value in values]
    found = comparator.compare("r", served(response({}), sides[0]), mirrored(response({}), sides[1]), now=NOW)
    (proposal,) = propose([("r", found), ("r", found)], Clusterer())
    assert (proposal.section, proposal.rule) == (section, rule)


def test_text_shows_frequency_values_and_rule() -> None:
    text = render_proposals(proposals(({"x": "a"}, {"x": "b"}), ({"x": "a"}, {"x": "b"}), ({"x": "a"}, {"x": "a"})))
    assert text.splitlines() == [
        "r  x  in 2 of 3 (66.7%): values without a pattern",
        '    e.g. "a" / "b"',
        '    e.g. "a" / "b"',
        "    compare.routes.r.rules: - {path: x, ignore: true}",
        "a rule hides real defects too: accept one only where you know why the side differs from itself",
    ]
