"""Rules that are proposed from one side compared with itself hide what they were made from; what was not judged is named."""

from dataclasses import replace
from typing import Any

import pytest
import yaml

from comparator.exchanges.comparison import Comparison, Verdict
from comparator.exchanges.model import EffectsOutcome, Failed, FailureCause, LeftOutReason, Side
from comparator.findings.calibration import (
    Calibration,
    Proposal,
    RouteMethod,
    RunPair,
    calibration_of,
    propose,
    render_calibration,
    render_proposals,
)
from comparator.findings.clustering import Clusterer
from comparator.rules.run_times import Run, RunTimes
from comparator.settings import CompareSettings
from comparator.tables import Table
from comparator.verdict import Comparator
from proxy.config.conversion import convert
from tests.support.comparisons import NOW, effects, insert, mirrored, response, served

TABLES = {"event": Table(natural_key=("name",))}


def pairs_of(*pairs: tuple[Any, Any]) -> list[tuple[Any, Any]]:
    return [(response(a), response(b)) for a, b in pairs]


def proposals(*pairs: tuple[Any, Any], seen_min: int = 2) -> tuple[Proposal, ...]:
    return propose([run_pair(a, b) for a, b in pairs], Clusterer(CompareSettings().dynamic), seen_min=seen_min)


AT = RouteMethod("r", "GET")


def run_pair(
    a: Any,
    b: Any,
    *,
    delay_s: float = 0,
    took_s: float = 0,
    at: RouteMethod = AT,
    status: tuple[int, int] = (200, 200),
    served_status: int = 200,
    two_processes: bool = True,
) -> RunPair:
    """Return two runs with these documents, or with these row effects, or with a failure."""
    runs = [served(_outcome(a, status[0])), mirrored(_outcome(b, status[1]))]
    comparison = Comparator(CompareSettings()).compare(at.route, *runs, now=NOW)
    began_us = round(delay_s * 1_000_000)
    took_us = round(took_s * 1_000_000)
    times = RunTimes(Run(0, took_us), Run(began_us, began_us + took_us))
    return RunPair(at, status, served_status, comparison, times, two_processes)


def _outcome(document: Any, status: int) -> Any:
    return document if isinstance(document, Failed) else response(document, status=status)


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
    "seconds since 1970": (
        [({"x": 1764491932}, {"x": 1764491934}), ({"x": 1764491932.25}, {"x": 1764491932.5})],
        "- {path: x, time_within_ms: 4000, epoch: s}",
    ),
    "milliseconds since 1970": (
        [({"x": 1764491932000}, {"x": 1764491932010}), ({"x": "1764491932000"}, {"x": "1764491932001"})],
        "- {path: x, time_within_ms: 1000, epoch: ms}",
    ),
    "microseconds since 1970": (
        [({"x": 1764491932000000}, {"x": 1764491933000000})] * 2,
        "- {path: x, time_within_ms: 2000, epoch: us}",
    ),
    "UUIDs": (
        [({"x": "/a/6f1c1a3e-0c54-4f1f-9c0e-3d1e0b9f1a11"}, {"x": "/a/7f1c1a3e-0c54-4f1f-9c0e-3d1e0b9f1a12"})] * 2,
        "- {path: x, generated: '[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}'}",
    ),
    "hexadecimal ids": (
        [({"x": "0cc175b9c0f1b6a8"}, {"x": "92eb5ffee6ae2fec"})] * 2,
        "- {path: x, generated: '[0-9a-f]{16,}'}",
    ),
    "ids of rows": ([({"id": 7}, {"id": 9}), ({"id": 8}, {"id": 4})], "- {path: id, ignore: true}"),
    "ids of shadow sequences": ([({"x": 7}, {"x": 2**40 + 7})] * 2, "- {path: x, ignore: true}"),
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
            "at: {within_ms: 1000}",
        ),
        ("token", ("a", "b"), "compare.tables.event.volatile", "token: {ignore: true}"),
        (
            "at_ms",
            ("1764491932000", "1764491932010"),
            "compare.tables.event.volatile",
            "at_ms: {within_ms: 1000, epoch: ms}",
        ),
        (
            "token",
            ("0cc175b9c0f1b6a8", "92eb5ffee6ae2fec"),
            "compare.tables.event.volatile",
            "token: {generated: '[0-9a-f]{16,}'}",
        ),
        (
            "data",
            ({"at": 1764491932000}, {"at": 1764491932010}),
            "compare.tables.event.json.data",
            "within_ms: {at: 1000}, epoch: {at: ms}",
        ),
        ("data", ({"at": f"{T}0Z"}, {"at": f"{T}1Z"}), "compare.tables.event.json.data", "within_ms: {at: 2000}"),
        ("data", ({"id": "a"}, {"id": "b"}), "compare.tables.event.json.data", "ignore: [id]"),
    ],
)
def test_noise_in_rows_is_proposed_for_the_table(column: str, values: tuple, section: str, rule: str) -> None:
    comparator = Comparator(CompareSettings(tables=TABLES))
    sides = [effects(insert("event", id=1, name="n", **{column: value})) for value in values]
    found = comparator.compare("r", served(response({}), sides[0]), mirrored(response({}), sides[1]), now=NOW)
    (proposal,) = propose([RunPair(AT, (200, 200), 200, found)] * 2, Clusterer())
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


def test_times_of_a_later_run_are_compared_as_if_it_had_run_at_once() -> None:
    pairs = [run_pair({"x": 1764491932000}, {"x": 1764491952300}, delay_s=20)] * 2
    (proposal,) = propose(pairs, Clusterer())
    assert proposal.rule == "- {path: x, time_within_ms: 1000, epoch: ms}"


def test_tolerance_holds_for_runs_that_are_faster_than_those_seen() -> None:
    pairs = [run_pair({"x": 1764491932000}, {"x": 1764491957000}, delay_s=20, took_s=4)] * 2
    (proposal,) = propose(pairs, Clusterer())
    assert proposal.rule == "- {path: x, time_within_ms: 10000, epoch: ms}"


def test_rows_under_other_keys_say_how_to_declare_generated_ones() -> None:
    comparator = Comparator(CompareSettings(tables=TABLES))
    sides = [effects(insert("event", id=1, name=name)) for name in ("a", "b")]
    found = comparator.compare("r", served(response({}), sides[0]), mirrored(response({}), sides[1]), now=NOW)
    (proposal,) = propose([RunPair(AT, (200, 200), 200, found)] * 2, Clusterer())
    assert (proposal.rule, "generated id" in proposal.why) == ("", True)


def calibrated(*pairs: RunPair, **left_out: int) -> Calibration:
    causes = {(AT, cause): count for cause, count in left_out.items()}
    return calibration_of(
        pairs,
        Clusterer(),
        traffic={AT: len(pairs) + sum(left_out.values())},
        left_out=causes,
        seen_min=2,
    )


@pytest.mark.parametrize(
    ("pair", "reason"),
    [
        (run_pair({}, {}, status=(412, 412), served_status=412), "412 in both runs"),
        (run_pair({}, {}, status=(412, 412)), "412 where the client got 200: not the state that it started from"),
        (
            run_pair({}, {}, status=(200, 200), served_status=201),
            "200 where the client got 201: not the state that it started from",
        ),
        (run_pair({}, Failed(FailureCause.TIMEOUT, "x"), status=(200, 0)), "failed: mirrored_timeout"),
        (RunPair(AT, (200, 200), 200, None), "rows were lost, or another's"),
    ],
)
def test_pair_that_shows_nothing_is_not_judged(pair: RunPair, reason: str) -> None:
    result = calibrated(pair, overlapped=3)
    (route,) = result.routes
    assert (route.equal, route.different, route.covered, result.covered_share) == (0, 0, False, 0.0)
    assert route.not_judged == {"overlapped": 3, reason: 1}


def test_status_that_differs_between_the_runs_is_a_difference() -> None:
    (route,) = calibrated(run_pair({}, {}, status=(200, 500))).routes
    assert (route.succeeded, route.different, route.not_judged) == (0, 1, {})


def with_rows(*outcomes: EffectsOutcome, left_out: tuple[str, ...] = ()) -> RunPair:
    """Return a match with rows, or without for these outcomes of both sides."""
    reasons = dict.fromkeys(left_out, LeftOutReason.SHARED)
    compared = Comparison(Verdict.MATCH, None, Side.LEGACY, effects_compared=not outcomes, left_out=reasons)
    return RunPair(AT, (200, 200), 200, replace(compared, effects_outcomes=outcomes or None))


SURE, PART = EffectsOutcome.ATTRIBUTED, "equal as far as they were compared, but not all rows were"


@pytest.mark.parametrize(
    ("pair", "equal", "responses_only", "not_judged"),
    [
        (with_rows(), 1, 0, {}),
        (with_rows(left_out=("log",)), 0, 0, {PART: 1}),
        (with_rows(SURE, EffectsOutcome.AMBIGUOUS), 0, 0, {PART: 1}),
        (with_rows(EffectsOutcome.OVERLAPPED, EffectsOutcome.OFF), 0, 0, {PART: 1}),
        (with_rows(EffectsOutcome.OFF, EffectsOutcome.OFF), 0, 1, {}),
    ],
)
def test_only_pairs_whose_rows_were_all_compared_count_as_equal(
    pair: RunPair, equal: int, responses_only: int, not_judged: dict[str, int]
) -> None:
    (route,) = calibrated(pair).routes
    assert (route.equal, route.responses_only, dict(route.not_judged)) == (equal, responses_only, not_judged)


def test_covered_share_is_that_of_routes_and_methods_with_a_judged_success() -> None:
    patch = RouteMethod("r", "PATCH")
    pairs = [run_pair({}, {}), run_pair({}, {}, at=patch, status=(412, 412))]
    result = calibration_of(
        pairs, Clusterer(), traffic={AT: 30, patch: 10, RouteMethod("", "GET"): 10}, left_out={}, seen_min=2
    )
    assert result.covered_share == 0.6
    assert render_calibration(result, "legacy").splitlines()[-1] == (
        "covered: 60.0% of the traffic; without a judged 2xx: (none) GET, r PATCH"
    )


@pytest.mark.parametrize(("two_processes", "said"), [(True, False), (False, True)])
def test_what_differs_between_processes_is_said_to_be_unseen(two_processes: bool, said: bool) -> None:
    text = render_calibration(calibrated(run_pair({}, {}, two_processes=two_processes)), "legacy")
    assert ("unseen in 1 of 1 pairs" in text) is said
