"""Causes on the findings of 17 real faults of the stand-in, and how they keep their names."""

import datetime as dt
import itertools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from comparator.exchanges.difference import Kind
from comparator.findings.cause_solver import solve
from comparator.findings.causes import (
    CauseChange,
    FindingSet,
    KnownCause,
    NamedCauses,
    cause_id,
    compare_causes,
    find_causes,
)
from comparator.findings.clustering import Severity, Signature
from comparator.findings.tokens import Level, Token, token_of
from tests.support.cause_worlds import Score, World, column, cut, load_world, rate, reply, row, status
from tests.support.comparison_faults import EFFECT_FAULTS, RESPONSE_FAULTS
from tests.support.comparisons import NOW
from tests.support.corpus_worlds import corpus_world
from tests.support.matrix import sliced

# Written by `make bench-causes ARGS="--addresses 500 --save FILE"`: each address has any of 17 faults.
STAND_IN = load_world((Path(__file__).parent / "stand_in_world.json").read_bytes())
FAULTS = sorted(STAND_IN.faults)
CORPUS = (*RESPONSE_FAULTS, *EFFECT_FAULTS)


def total(worlds: Sequence[World]) -> Score:
    return sum((rate(world, solve(world.counts)) for world in worlds), Score())


def test_each_fault_of_the_stand_in_is_one_cause() -> None:
    score = total([cut(STAND_IN, {fault}) for fault in FAULTS])
    assert (score.faults, score.causes, score.hidden, score.right_share) == (17, 17, 0, 1.0)


def test_any_two_faults_at_once_are_two_causes() -> None:
    score = total([cut(STAND_IN, set(pair)) for pair in itertools.combinations(FAULTS, 2)])
    assert (score.faults, score.hidden) == (272, 0)
    assert score.per_fault <= 1.05
    assert score.right_share >= 0.99


def test_any_two_faults_of_the_corpus_are_two_causes() -> None:
    numbers = sorted(itertools.combinations(range(len(CORPUS)), 2), key=lambda pair: pair[1] - pair[0])
    # Each fault with the next three, whose places are near.
    pairs = sliced(numbers, 3 * len(CORPUS) - 6)
    score = total([corpus_world((CORPUS[first], CORPUS[second])) for first, second in pairs])
    assert (score.hidden, score.causes) == (0, score.faults)
    # Two forms of the address show the same.
    assert score.faults == 2 * len(pairs) - 1
    assert score.right_share >= 0.99


@pytest.mark.parametrize(("often", "rarely"), [(3, 1), (4, 1)])
def test_rare_fault_that_shows_a_part_of_another_is_not_hidden_by_it(often: int, rarely: int) -> None:
    everything = (STAMP, EVENT, *(column("score", f"c{n}") for n in range(8)), *(reply(f"f{n}") for n in range(4)))
    causes = find_causes([finding_set("a", *everything, count=often), finding_set("b", EVENT, count=rarely)]).causes
    assert [cause.sets for cause in causes] == [{"a"}, {"b"}]


def test_row_with_another_key_is_not_a_case_of_a_row_that_is_missing() -> None:
    lost = next(fault for fault in CORPUS if fault.name == "link lost")
    moved = next(fault for fault in CORPUS if fault.name == "row of another community")
    score = total([corpus_world((lost, moved))])
    assert (score.faults, score.causes, score.hidden) == (2, 2, 0)


def test_all_faults_at_once_are_as_many_causes() -> None:
    score = total([STAND_IN])
    assert (score.faults, score.hidden) == (17, 0)
    assert score.per_fault <= 1.2


def finding_set(name: str, *tokens: Token, count: int = 10, keys: int = 5, route: str = "r") -> FindingSet:
    findings = {f"{route} {token.name}": token for token in tokens}
    return FindingSet(name, route, findings, count, NOW, NOW, keys=tuple(range(keys)))


def known_of(named: NamedCauses) -> list[KnownCause]:
    return [KnownCause(c.id, c.body.title, c.sets, c.first_seen) for c in named.causes]


STAMP, EVENT = row("stamp"), row("event")
SCORE, PASSING = reply("score"), reply("passing")


WHOLE = {
    "row": (STAMP, column("score", "a"), reply("x"), reply("y")),
    "row with much": (STAMP, *(column("score", f"c{n}") for n in range(8)), *(reply(f"f{n}") for n in range(4))),
    "two rows": (STAMP, EVENT, column("score", "a"), reply("x"), reply("y")),
}


@pytest.mark.parametrize("often", [60, 1_000])
@pytest.mark.parametrize("whole", WHOLE.values(), ids=WHOLE)
def test_fault_that_shows_what_another_does_but_for_its_rows_is_not_hidden_by_it(
    whole: Sequence[Token], often: int
) -> None:
    part = [token for token in whole if token.level is not Level.ROW]
    for rarely in (2, 3, 20, 31):
        causes = find_causes([finding_set("a", *whole, count=often), finding_set("b", *part, count=rarely)]).causes
        assert [cause.sets for cause in causes] == [{"a"}, {"b"}], rarely
    (one,) = find_causes([finding_set("a", *whole, count=often), finding_set("b", *part, count=1)]).causes
    assert one.sets == {"a", "b"}


def test_title_is_the_most_telling_token() -> None:
    (cause,) = find_causes([finding_set("a", STAMP, SCORE, column("score", "score"))]).causes
    assert cause.body.title == STAMP
    assert cause.id == cause_id(STAMP)


def test_one_fault_on_several_routes_is_one_cause_with_the_findings_of_all() -> None:
    sets = [finding_set(route, STAMP, SCORE, route=route) for route in ("r1", "r2", "r3")]
    (cause,) = find_causes(sets).causes
    assert (cause.exchanges, len(cause.findings)) == (30, 6)


def test_failed_responses_of_two_routes_are_two_causes() -> None:
    sets = [finding_set(route, status(route), route=route) for route in ("r1", "r2")]
    assert len(find_causes(sets).causes) == 2


def test_missing_rows_hide_the_columns_of_their_table_only() -> None:
    event, score = column("event", "data.score"), column("score", "score")
    sets = [
        finding_set("a", event, score, count=50),
        finding_set("b", EVENT, score, count=5),
        finding_set("c", EVENT, count=20),
    ]
    weight, lost = find_causes(sets).causes
    assert {shown.token for shown in weight.body.always} == {event, score}
    assert weight.exchanges == 55
    assert lost.exchanges == 25


def test_failed_response_hides_everything_else() -> None:
    sets = [finding_set("a", status("r"), STAMP, EVENT, SCORE), finding_set("b", SCORE)]
    failed, score = find_causes(sets).causes
    assert [shown.token for shown in failed.body.always][:1] == [status("r")]
    assert score.sets == {"b"}


def test_cause_keeps_its_id_when_another_title_becomes_more_telling() -> None:
    first = find_causes([finding_set("a", SCORE)])
    later = find_causes(
        [finding_set("a", SCORE), finding_set("b", SCORE, column("score", "score"), count=90)], known_of(first)
    )
    assert first.causes[0].id in {cause.id for cause in later.causes}


def test_id_of_a_title_in_use_is_not_given_to_another_cause() -> None:
    known = [KnownCause(cause_id(EVENT), STAMP, frozenset({"a"}), NOW)]
    named = find_causes([finding_set("a", STAMP), finding_set("b", EVENT)], known)
    ids = {cause.body.title: cause.id for cause in named.causes}
    assert ids == {STAMP: cause_id(EVENT), EVENT: cause_id(EVENT, 1)}


def test_id_that_no_cause_carries_points_to_its_heir() -> None:
    known = [
        KnownCause("old1", STAMP, frozenset({"a"}), NOW),
        KnownCause("old2", EVENT, frozenset({"b"}), NOW),
    ]
    named = find_causes([finding_set("a", STAMP), finding_set("b", STAMP, SCORE, count=4)], known)
    assert [cause.id for cause in named.causes] == ["old1"]
    assert named.merged == {"old2": "old1"}


def test_two_causes_have_two_titles_where_the_data_allow() -> None:
    sets = [
        finding_set("a", SCORE, *(reply(f"x{n}") for n in range(5))),
        finding_set("b", SCORE, *(reply(f"y{n}") for n in range(5)), count=20),
    ]
    named = find_causes(sets)
    assert len({cause.body.title for cause in named.causes}) == len(named.causes)


@pytest.mark.parametrize(
    ("count", "keys", "provisional"), [(2, 2, True), (3, 2, False), (29, 1, True), (30, 1, False), (3, 0, False)]
)
def test_few_exchanges_or_one_key_are_provisional(count: int, keys: int, *, provisional: bool) -> None:
    (cause,) = find_causes([finding_set("a", STAMP, count=count, keys=keys)]).causes
    assert cause.provisional is provisional


def test_exemplar_has_the_fewest_other_causes_then_the_fewest_findings() -> None:
    sets = [
        finding_set("both", STAMP, SCORE, EVENT, count=50),
        finding_set("more", STAMP, SCORE, PASSING, count=50),
        finding_set("clear", STAMP, SCORE),
        finding_set("event", EVENT, count=20),
    ]
    exemplars = {cause.body.title: cause.body.exemplar for cause in find_causes(sets).causes}
    assert exemplars == {STAMP: "clear", EVENT: "event"}


def test_exemplar_shows_the_title() -> None:
    sets = [finding_set("whole", STAMP, SCORE, PASSING, count=500), finding_set("lost", SCORE, PASSING, count=8)]
    many = [finding_set(f"s{n}", STAMP, SCORE, PASSING, reply(f"x{n}"), count=50) for n in range(4)]
    lossy = [finding_set("score", STAMP, PASSING, count=9), finding_set("passing", STAMP, SCORE, count=10)]
    (cause,) = find_causes([*sets, *many, *lossy]).causes
    assert cause.body.title == STAMP
    assert cause.sets >= {"lost"}
    assert cause.body.exemplar in {"score", "passing"}


def test_severity_is_the_gravest_of_what_it_always_shows() -> None:
    (cause,) = find_causes([finding_set("a", SCORE, reply("gone", Kind.MISSING, "absent / text"))]).causes
    assert cause.severity is Severity.BROKEN


def test_order_of_sets_changes_nothing() -> None:
    sets = [finding_set(f"s{n}", *tokens) for n, tokens in enumerate([(STAMP, SCORE), (EVENT,), (STAMP, EVENT, SCORE)])]
    assert {c.id: c.exchanges for c in find_causes(sets).causes} == {
        c.id: c.exchanges for c in find_causes(sets[::-1]).causes
    }


def test_first_and_last_releases_are_those_of_the_first_and_last_exchange() -> None:
    later = NOW + dt.timedelta(hours=1)
    old = replace(finding_set("a", STAMP), first_release="1 / 8", last_release="1 / 8")
    new = replace(
        finding_set("b", STAMP, SCORE), first_seen=later, last_seen=later, first_release="2 / 8", last_release="2 / 8"
    )
    (cause,) = find_causes([new, old]).causes
    assert (cause.first_release, cause.last_release) == ("1 / 8", "2 / 8")


def test_two_runs_are_compared_with_new_causes_first() -> None:
    changes = compare_causes({"a": 5, "b": 3}, {"b": 4, "c": 1}, {"a": "A", "b": "B", "c": "C"})
    assert changes == (CauseChange("c", "C", 0, 1), CauseChange("a", "A", 5, 0), CauseChange("b", "B", 3, 4))
    assert [change.outcome for change in changes] == ["new", "gone", "both"]


@pytest.mark.parametrize(
    ("signature", "level"),
    [
        (Signature("r", Kind.STATUS, "status", "500 / 200"), Level.STATUS),
        (Signature("r", Kind.STATUS, "status", "201 / 200"), Level.FIELD),
        (Signature("r", Kind.MISSING_ROW, "stamp", "missing_row", "stamp"), Level.ROW),
        (Signature("r", Kind.LATE, "stamp", "late", "stamp"), Level.ROW),
        (Signature("r", Kind.COLUMN, "stamp.a", "null / text", "stamp"), Level.COLUMN),
        (Signature("r", Kind.CHANGED, "stamp.a.b", "null / text", "stamp"), Level.COLUMN),
        (Signature("r", Kind.CHANGED, "score", "null / text"), Level.FIELD),
        (Signature("r", Kind.HEADER, "location", "text / text"), Level.HEADER),
    ],
)
def test_level_of_a_token_follows_kind_and_place(signature: Signature, level: Level) -> None:
    token = token_of(signature)
    assert token.level is level
    assert token.route == ("r" if level is Level.STATUS else "")
