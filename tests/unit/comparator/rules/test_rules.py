"""What each rule allows, which one wins, when its term is over, and what a wrong one says."""

import datetime as dt
from dataclasses import replace
from typing import Any

import pytest

from comparator.errors import RuleError
from comparator.exchanges.comparison import Comparison, Verdict, places_by_rule
from comparator.exchanges.difference import Kind
from comparator.live_rules import LiveRules
from comparator.settings import CompareSettings, HeaderRules, RouteCompare, RuleSettings
from comparator.tables import JsonColumn, Table, Volatile
from comparator.verdict import Comparator
from tests.support.comparisons import JSON_TYPE, NOW, mirrored, response, served


def compare(settings: CompareSettings, a: Any, b: Any, *, route: str = "r", now: dt.datetime = NOW) -> Comparison:
    return Comparator(settings).compare(route, served(response(a)), mirrored(response(b)), now=now)


def verdict(a: Any, b: Any, **rule: Any) -> Verdict:
    return compare(CompareSettings(rules=(RuleSettings(**rule),)), a, b).verdict


@pytest.mark.parametrize(
    ("rule", "a", "b", "allowed"),
    [
        ({"ignore": True}, {"x": 1}, {"x": [2]}, True),
        ({"ignore": True}, {"x": 1}, {}, True),
        ({"ignore": True}, {"x": {"y": 1}}, {"x": {"y": 2, "z": 3}}, True),
        ({"absolute": "0.01"}, {"x": "1.00"}, {"x": "1.01"}, True),
        ({"absolute": "0.01"}, {"x": "1.00"}, {"x": "1.0100000001"}, False),
        ({"absolute": "0.01"}, {"x": 1}, {"x": True}, False),
        ({"absolute": "0.01"}, {"x": 1}, {"x": "a"}, False),
        ({"absolute": "0"}, {"x": 10**40}, {"x": 10**40 + 1}, False),
        ({"absolute": "1"}, {"x": 10**40}, {"x": 10**40 + 1}, True),
        ({"relative": "0.1"}, {"x": 100}, {"x": 110}, True),
        ({"relative": "0.1"}, {"x": 100}, {"x": 112}, False),
        ({"places": 2}, {"x": "1.001"}, {"x": "1.002"}, True),
        ({"places": 2}, {"x": "1.001"}, {"x": "1.012"}, False),
        ({"same": "number"}, {"x": 1}, {"x": "1.00000"}, True),
        ({"same": "number"}, {"x": 1}, {"x": "1.00001"}, False),
        ({"same": "number"}, {"x": True}, {"x": 1}, False),
        ({"same": "time"}, {"x": "2026-03-04T12:00:00Z"}, {"x": "2026-03-04T14:00:00+02:00"}, True),
        ({"same": "time"}, {"x": "2026-03-04T12:00:00Z"}, {"x": "2026-03-04T12:00:00.001Z"}, False),
        ({"time_within_ms": 1000}, {"x": "2026-03-04T12:00:00Z"}, {"x": "2026-03-04T12:00:01+00:00"}, True),
        ({"time_within_ms": 1000}, {"x": "2026-03-04T12:00:00Z"}, {"x": "2026-03-04T12:00:01.001Z"}, False),
        ({"time_within_ms": 1000}, {"x": "2026-03-04T12:00:00Z"}, {"x": None}, False),
        *(
            ({"time_within_ms": 1000, "epoch": unit}, {"x": a}, {"x": b}, allowed)
            for unit, a, b, allowed in [
                ("ms", 1764491932000, 1764491933000, True),
                ("ms", 1764491932000, 1764491933001, False),
                ("s", 1764491932, 1764491933, True),
                ("s", 1764491932, 1764491934, False),
                ("s", 1764491932.25, 1764491933.25, True),
                ("s", 1764491932.25, 1764491933.26, False),
                ("s", 1764491932, 1764491932.5, True),
                ("ms", "1764491932000", "1764491933000", True),
                ("ms", "1764491932000.5", "1764491933000.75", False),
                ("ms", 1764491932000, "1764491932000", False),
                ("ms", 1764491932000, None, False),
                ("ms", 1764491932000, True, False),
                ("ms", "2026-03-04T12:00:00Z", "2026-03-04T12:00:01Z", True),
            ]
        ),
        ({"time_within_ms": 1000}, {"x": 1764491932000}, {"x": 1764491932001}, False),
        ({"generated": "[0-9a-f]{8}"}, {"x": "/r/0cc175b9/a"}, {"x": "/r/92eb5ffe/a"}, True),
        ({"generated": "[0-9a-f]{8}"}, {"x": "/r/0cc175b9/a"}, {"x": "/r/92eb5ffe/b"}, False),
        ({"generated": "[0-9a-f]{8}"}, {"x": "/r/tea"}, {"x": "/r/92eb5ffe"}, False),
        ({"generated": "[0-9]{8}"}, {"x": 12345678}, {"x": 12345679}, False),
        ({"unordered": True}, {"x": [1, 2, 2]}, {"x": [2, 1, 2]}, True),
        ({"unordered": True}, {"x": [1, 2, 2]}, {"x": [2, 1, 1]}, False),
        ({"key_by": ("k",)}, {"x": [{"k": 1, "v": 1}, {"k": 2}]}, {"x": [{"k": 2}, {"k": 1, "v": 1}]}, True),
        ({"key_by": ("k",)}, {"x": [{"k": 1, "v": 1}]}, {"x": [{"k": 1, "v": 2}]}, False),
    ],
)
def test_rule_allows_its_differences_only(rule: dict, a: Any, b: Any, allowed: bool) -> None:
    assert (verdict(a, b, path="x", **rule) is Verdict.MATCH) == allowed
    assert (verdict(b, a, path="x", **rule) is Verdict.MATCH) == allowed


@pytest.mark.parametrize(
    ("path", "hit"),
    [
        ("$.a.b", True),
        ("a.*", True),
        ("*.b", True),
        ("**.b", True),
        ("**", True),
        ('a["b"]', True),
        ("a", True),
        ("a.c", False),
        ("b", False),
        ("*", True),
        ("a.b.c", False),
        ("**.c", False),
    ],
)
def test_path_matches_its_place(path: str, hit: bool) -> None:
    assert (verdict({"a": {"b": 1}}, {"a": {"b": 2}}, path=path, ignore=True) is Verdict.MATCH) == hit


STAMPS = {"stamps": [{"provider": "x", "score": 1}, {"provider": "y", "score": 1}]}


@pytest.mark.parametrize(("provider", "allowed"), [("x", True), ("y", False)])
def test_predicate_chooses_elements_by_a_member(provider: str, allowed: bool) -> None:
    changed = {"stamps": [{**s, "score": 2} if s["provider"] == provider else s for s in STAMPS["stamps"]]}
    found = verdict(STAMPS, changed, path='stamps[?provider=="x"].score', ignore=True)
    assert (found is Verdict.MATCH) == allowed


def test_predicate_distinguishes_1_from_true() -> None:
    rule = RuleSettings(path="[?n==1].v", ignore=True)
    assert compare(CompareSettings(rules=(rule,)), [{"n": 1, "v": 1}], [{"n": 1, "v": 2}]).verdict is Verdict.MATCH
    assert (
        compare(CompareSettings(rules=(rule,)), [{"n": True, "v": 1}], [{"n": True, "v": 2}]).verdict
        is Verdict.MISMATCH
    )


def test_unequal_unordered_elements_are_paired_by_similarity() -> None:
    a = [{"id": 1, "v": 1, "w": 1}, {"id": 2, "v": 2, "w": 2}]
    b = [{"id": 2, "v": 2, "w": 9}, {"id": 1, "v": 1, "w": 1}]
    (difference,) = compare(CompareSettings(rules=(RuleSettings(path="$", unordered=True),)), a, b).differences
    assert (difference.place, difference.served, difference.mirrored) == ("[1].w", 2, 9)


def test_rules_below_an_unordered_array_apply_to_its_elements() -> None:
    rules = (RuleSettings(path="$", unordered=True), RuleSettings(path="*.t", ignore=True))
    a, b = [{"id": 1, "t": 1}, {"id": 2, "t": 2}], [{"id": 2, "t": 9}, {"id": 1, "t": 8}]
    assert compare(CompareSettings(rules=rules), a, b).verdict is Verdict.MATCH


def test_inserted_element_is_one_difference() -> None:
    (difference,) = compare(CompareSettings(), [1, 2, 3, 4], [1, 2, 9, 3, 4]).differences
    assert (difference.kind, difference.path, difference.mirrored) == (Kind.EXTRA, (2,), 9)


def test_rule_of_the_route_precedes_the_global_one() -> None:
    settings = CompareSettings(
        rules=(RuleSettings(path="x", ignore=True),),
        routes={"r": RouteCompare(rules=(RuleSettings(path="x", same="number"),))},
    )
    found = compare(settings, {"x": 1}, {"x": "1.0"})
    assert places_by_rule(found) == {"compare.routes.r.rules[0]": ("x",)}


def test_rules_of_one_route_do_not_apply_to_another() -> None:
    settings = CompareSettings(routes={"r": RouteCompare(rules=(RuleSettings(path="x", ignore=True),))})
    verdicts = [compare(settings, {"x": 1}, {"x": 2}, route=route).verdict for route in ("r", "other")]
    assert verdicts == [Verdict.MATCH, Verdict.MISMATCH]


def test_every_rule_hit_is_reported() -> None:
    settings = CompareSettings(rules=(RuleSettings(path="a.*", ignore=True), RuleSettings(path="b", ignore=True)))
    found = compare(settings, {"a": {"x": 1, "y": 1, "z": 1}, "b": 1}, {"a": {"x": 2, "y": 1, "z": 3}, "b": 1})
    assert places_by_rule(found) == {"compare.rules[0]": ("a.x", "a.z")}


EXPIRING = CompareSettings(rules=(RuleSettings(path="x", ignore=True, owner="ann", reason="r", expires=NOW.date()),))


def test_rule_applies_through_its_last_day() -> None:
    assert compare(EXPIRING, {"x": 1}, {"x": 2}, now=NOW.replace(hour=23)).verdict is Verdict.MATCH


@pytest.mark.parametrize(("a", "b"), [({"x": 1}, {"x": 2}), ({"x": {"y": 1}}, {"x": {"y": 2}}), ({"x": 1}, {})])
def test_expired_rule_hides_nothing_and_is_reported(a: Any, b: Any) -> None:
    found = compare(EXPIRING, a, b, now=NOW + dt.timedelta(days=1))
    assert found.verdict is Verdict.MISMATCH
    assert [(touch.rule, touch.place) for touch in found.expired] == [("compare.rules[0]", "x")]


def test_expired_array_rule_hides_nothing() -> None:
    settings = CompareSettings(rules=(RuleSettings(path="x", unordered=True, expires=dt.date(2020, 1, 1)),))
    found = compare(settings, {"x": [1, 2]}, {"x": [2, 1]})
    assert (found.verdict, len(found.expired)) == (Verdict.MISMATCH, 1)


@pytest.mark.parametrize(
    ("settings", "path"),
    [
        (CompareSettings(rules=(RuleSettings(path="a"),)), "compare.rules[0]"),
        (CompareSettings(rules=(RuleSettings(path="a", ignore=True, places=1),)), "compare.rules[0]"),
        (CompareSettings(rules=(RuleSettings(path="a[", ignore=True),)), "compare.rules[0].path"),
        (CompareSettings(rules=(RuleSettings(path="a", absolute="x"),)), "compare.rules[0].absolute"),
        (CompareSettings(rules=(RuleSettings(path="a", relative="-1"),)), "compare.rules[0].relative"),
        (CompareSettings(rules=(RuleSettings(path="a", places=-1),)), "compare.rules[0].places"),
        (CompareSettings(rules=(RuleSettings(path="a", time_within_ms=-1),)), "compare.rules[0].time_within_ms"),
        (
            CompareSettings(rules=(RuleSettings(path="a", time_within_ms=1, epoch="min"),)),
            "compare.rules[0].epoch",
        ),
        (CompareSettings(rules=(RuleSettings(path="a", ignore=True, epoch="s"),)), "compare.rules[0].epoch"),
        (CompareSettings(rules=(RuleSettings(path="a", generated="("),)), "compare.rules[0].generated"),
        (CompareSettings(rules=(RuleSettings(path="a", same="text"),)), "compare.rules[0].same"),
        (CompareSettings(routes={"r": RouteCompare(rules=(RuleSettings(path="a"),))}), "compare.routes.r.rules[0]"),
        (CompareSettings(routes={"r": RouteCompare(body="yaml")}), "compare.routes.r.body"),
        (CompareSettings(tables={"t": Table(natural_key=())}), "compare.tables.t.natural_key"),
        (
            CompareSettings(tables={"t": Table(natural_key=("a",), volatile={"b": Volatile()})}),
            "compare.tables.t.volatile.b",
        ),
        (
            CompareSettings(
                tables={"t": Table(natural_key=("a",), volatile={"b": Volatile(within_ms=1, ignore=True)})}
            ),
            "compare.tables.t.volatile.b",
        ),
        (
            CompareSettings(tables={"t": Table(natural_key=("a",), volatile={"b": Volatile(ignore=True, epoch="s")})}),
            "compare.tables.t.volatile.b.epoch",
        ),
        (
            CompareSettings(tables={"t": Table(natural_key=("a",), json={"j": JsonColumn(epoch={"at": "s"})})}),
            "compare.tables.t.json.j.epoch.at",
        ),
        (
            CompareSettings(tables={"t": Table(natural_key=("a",), json={"j": JsonColumn(ignore=("[",))})}),
            "compare.tables.t.json.j.ignore[0]",
        ),
        (
            CompareSettings(tables={"t": Table(natural_key=("a",), references={"a": "gone"})}),
            "compare.tables.t.references.a",
        ),
        (
            CompareSettings(
                tables={"t": Table(natural_key=("a",), json={"j": JsonColumn(references={"x.id": "gone"})})}
            ),
            "compare.tables.t.json.j.references.x.id",
        ),
        (
            CompareSettings(tables={"t": Table(natural_key=("a",), references={"a": "t"})}),
            "compare.tables.t.references.a",
        ),
    ],
)
def test_invalid_rule_is_named_by_its_path(settings: CompareSettings, path: str) -> None:
    with pytest.raises(RuleError) as caught:
        Comparator(settings)
    assert caught.value.path == path


def header_verdict(name: str, rules: HeaderRules) -> Verdict:
    a, b = (response({}, headers=(*JSON_TYPE, (name, value))) for value in ("1", "2"))
    return Comparator(CompareSettings(headers=rules)).compare("r", served(a), mirrored(b), now=NOW).verdict


def test_header_is_compared_when_it_is_declared() -> None:
    assert header_verdict("X-Rate", HeaderRules(compare=("x-rate",))) is Verdict.MISMATCH


def test_default_header_is_not_compared_when_it_is_ignored() -> None:
    assert header_verdict("Retry-After", HeaderRules(ignore=("RETRY-AFTER",))) is Verdict.MATCH


def test_header_names_ignore_case_and_parameters_ignore_order() -> None:
    a = response({}, headers=(("content-type", "application/json; charset=utf-8"),))
    b = response({}, headers=(("Content-Type", 'application/json;charset="utf-8"'),))
    assert Comparator(CompareSettings()).compare("r", served(a), mirrored(b), now=NOW).verdict is Verdict.MATCH


def test_replay_a_day_later_may_write_later_times() -> None:
    comparator = Comparator(
        CompareSettings(rules=(RuleSettings(path="at", time_within_ms=1000), RuleSettings(path="end", same="time")))
    )
    times = [{"at": f"2026-03-0{day}T12:00:00Z", "end": "2099-01-01T00:00:00Z"} for day in (4, 5)]
    late = [{**times[1], "at": "2026-03-05T12:00:02Z"}, {**times[1], "end": "2099-01-02T00:00:00Z"}]
    began_ns = round(NOW.timestamp() * 1e9)
    day_later_ns = began_ns + 86_400 * 1_000_000_000
    first = replace(served(response(times[0])), started_ns=began_ns)
    verdicts = [
        comparator.compare("r", first, replace(mirrored(response(b)), started_ns=day_later_ns), now=NOW).verdict
        for b in (times[1], *late)
    ]
    assert verdicts == [Verdict.MATCH, Verdict.MISMATCH, Verdict.MISMATCH]


def test_new_rules_are_in_force_from_the_next_comparison_on() -> None:
    rules = LiveRules(CompareSettings())
    assert rules.offer(CompareSettings(rules=(RuleSettings(path="x", ignore=True),))) is None
    found = rules.comparator.compare("r", served(response({"x": 1})), mirrored(response({"x": 2})), now=NOW)
    assert found.verdict is Verdict.MATCH


def test_invalid_new_rules_are_refused_and_the_old_ones_stay() -> None:
    rules = LiveRules(CompareSettings(rules=(RuleSettings(path="x", ignore=True),)))
    before = rules.comparator
    problem = rules.offer(CompareSettings(rules=(RuleSettings(path="x"),)))
    assert problem is not None
    assert problem.startswith("compare.rules[0]: must have exactly one action")
    assert rules.comparator is before
