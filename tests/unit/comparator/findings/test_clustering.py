"""How differences become findings, how bad they are, and how examples are drawn."""

import random
from collections import Counter
from typing import Any

import pytest

from comparator.exchanges.comparison import Comparison, Verdict
from comparator.exchanges.difference import Difference, Kind
from comparator.exchanges.json_values import ABSENT, NonFinite
from comparator.exchanges.model import Side
from comparator.findings.clustering import DISCRIMINATORS_MAX, Clusterer, Severity, reservoir_slot, shape_of
from comparator.settings import CompareSettings
from comparator.tables import Table
from comparator.verdict import Comparator, confirm
from tests.support.comparison_faults import EFFECT_FAULTS, RESPONSE_FAULTS, score_response, with_fault
from tests.support.comparisons import NOW, mirrored, response, served

DYNAMIC = CompareSettings().dynamic


def mismatch_of(a: Any, b: Any, *, by: Side = Side.CANDIDATE) -> Comparison:
    return Comparator(CompareSettings()).compare(
        "r", served(response(a), side=by), mirrored(response(b), side=by.other), now=NOW
    )


def places(a: Any, b: Any) -> list[str]:
    return [s.signature.place for s in Clusterer(DYNAMIC).occurrences("r", mismatch_of(a, b))]


def test_match_has_no_findings() -> None:
    assert Clusterer().occurrences("r", mismatch_of({}, {})) == ()


def test_differences_of_many_stamps_are_one_finding() -> None:
    a = score_response(20)
    b = {**a, "stamps": {name: {**stamp, "score": "0"} for name, stamp in a["stamps"].items()}}
    (sighting,) = Clusterer(DYNAMIC).occurrences("r", mismatch_of(a, b))
    assert (sighting.signature.place, sighting.count) == ("stamps.*.score", 20)


@pytest.mark.parametrize(
    ("table", "column", "path", "template"),
    [
        ("registry_score", "evidence", ("rawScore",), "registry_score.evidence.rawScore"),
        ("registry_score", "stamp_scores", ("Ens",), "registry_score.stamp_scores.*"),
        ("registry_event", "data", ("fields", "stamps", "Ens", "score"), "registry_event.data.fields.stamps.*.score"),
        ("", "", ("items", 3, "0x3eb2bf8ebba02fd2b95f4d03befb890f9f4d9fcc"), "items.*.*"),
        ("", "", ("by_day", "20260304"), "by_day.*"),
        ("", "", ("last_score_timestamp",), "last_score_timestamp"),
    ],
)
def test_names_that_are_data_are_templated(table: str, column: str, path: tuple, template: str) -> None:
    difference = Difference(Kind.CHANGED, path, 1, 2, table, (), column)
    assert Clusterer(DYNAMIC).template(difference) == template


def test_place_with_too_many_names_is_templated() -> None:
    clusterer = Clusterer(names_max=5)
    found = {clusterer.template(Difference(Kind.CHANGED, ("m", f"name{c}"), 1, 2)) for c in "abcdefghij"}
    assert "m.*" in found
    assert len(found) == 6


def test_finding_is_the_same_whichever_side_serves() -> None:
    lost = {"a": 1, "b": 2}, {"a": 1}
    candidate_serves = Clusterer().occurrences("r", mismatch_of(lost[1], lost[0], by=Side.CANDIDATE))
    legacy_serves = Clusterer().occurrences("r", mismatch_of(lost[0], lost[1], by=Side.LEGACY))
    assert [s.signature for s in candidate_serves] == [s.signature for s in legacy_serves]
    assert candidate_serves[0].signature.kind is Kind.MISSING


@pytest.mark.parametrize(
    ("kind", "severity"),
    [
        (Kind.STATUS, Severity.BROKEN),
        (Kind.TYPE, Severity.BROKEN),
        (Kind.MISSING, Severity.BROKEN),
        (Kind.MISSING_ROW, Severity.BROKEN),
        (Kind.CHANGED, Severity.CHANGED),
        (Kind.COLUMN, Severity.CHANGED),
        (Kind.EXTRA_ROW, Severity.CHANGED),
        (Kind.EXTRA, Severity.ADDITIVE),
    ],
)
def test_severity_follows_the_kind(kind: Kind, severity: Severity) -> None:
    signature = Clusterer().signature("r", Side.LEGACY, Difference(kind, ("a",), 1, 2))
    assert signature.severity is severity


@pytest.mark.parametrize(
    ("kind", "legacy", "candidate", "shape"),
    [
        (Kind.STATUS, 200, 500, "500 / 200"),
        (Kind.TYPE, "a", None, "null / text"),
        (Kind.CHANGED, "1.00000", "1", "number, notation"),
        (Kind.CHANGED, "2026-03-04T12:00:00Z", "2026-03-04T12:00:00+00:00", "time, notation"),
        (Kind.CHANGED, "1.0", "2.0", "numeric text / numeric text"),
        (Kind.TYPE, 1, True, "true / number"),
        (Kind.MISSING, {}, ABSENT, "absent / object"),
        (Kind.TYPE, NonFinite("NaN"), [], "array / nonfinite"),
        (Kind.MISSING_ROW, {}, ABSENT, "missing_row"),
    ],
)
def test_shape_describes_candidate_and_legacy(kind: Kind, legacy: Any, candidate: Any, shape: str) -> None:
    assert shape_of(Difference(kind, (), legacy, candidate)) == shape


def test_ids_are_stable_and_distinct() -> None:
    clusterer = Clusterer()
    found = [clusterer.signature("r", Side.LEGACY, Difference(Kind.CHANGED, (name,), "a", "b")) for name in "xyx"]
    assert found[0].id == found[2].id != found[1].id


EVENTS = {"event": Table(natural_key=("action", "address"), discriminator=("action",))}


def event_of(action: str, kind: Kind = Kind.MISSING_ROW) -> Difference:
    return Difference(kind, (), {"action": action}, ABSENT, "event", (action, "0x1"))


def test_rows_of_two_discriminators_are_two_findings() -> None:
    clusterer = Clusterer(tables=EVENTS)
    signatures = [clusterer.signature("r", Side.LEGACY, event_of(action)) for action in ("SCU", "LDP", "SCU")]
    assert [signature.discriminator for signature in signatures] == ["action=SCU", "action=LDP", "action=SCU"]
    assert signatures[0].id == signatures[2].id != signatures[1].id


def test_without_a_discriminator_rows_of_a_table_are_one_finding() -> None:
    clusterer = Clusterer()
    assert len({clusterer.signature("r", Side.LEGACY, event_of(action)).id for action in ("SCU", "LDP")}) == 1


def test_discriminator_with_too_many_values_is_none() -> None:
    clusterer = Clusterer(tables=EVENTS)
    found = {clusterer.signature("r", Side.LEGACY, event_of(f"a{number}")).discriminator for number in range(1_000)}
    assert len(found) == DISCRIMINATORS_MAX + 1
    assert "action=*" in found


def test_every_fault_of_the_corpus_has_a_finding_of_its_own_place() -> None:
    truth = score_response()
    found = [places(truth, with_fault(truth, fault)) for fault in RESPONSE_FAULTS]
    assert all(len(one) == 1 for one in found)
    assert len(EFFECT_FAULTS) >= 20


def test_reservoir_gives_every_example_the_same_chance() -> None:
    source, kept = random.Random(3), Counter[int]()
    for _ in range(2_000):
        slots: dict[int, int] = {}
        for seen in range(1, 21):
            slot = reservoir_slot(seen, 4, source)
            slots |= {} if slot is None else {slot: seen}
        kept.update(slots.values())
    assert all(320 <= kept[seen] <= 480 for seen in range(1, 21))


def second(a: Any, b: Any) -> Comparison:
    return mismatch_of(a, b)


def test_mismatch_that_reproduces_is_confirmed() -> None:
    first = mismatch_of({"a": 1, "b": 1}, {"a": 2, "b": 2})
    again = confirm(first, second({"a": 1, "b": 1}, {"a": 3, "b": 1}))
    assert (again.verdict, again.confirmed) == (Verdict.MISMATCH, True)


def test_mismatch_that_does_not_reproduce_is_transient() -> None:
    again = confirm(mismatch_of({"a": 1}, {"a": 2}), second({"a": 1}, {"a": 1}))
    assert (again.verdict, again.confirmed) == (Verdict.TRANSIENT, False)


def test_mismatch_elsewhere_does_not_confirm_the_first() -> None:
    again = confirm(mismatch_of({"a": 1, "b": 1}, {"a": 2, "b": 1}), second({"a": 1, "b": 1}, {"a": 1, "b": 2}))
    assert again.verdict is Verdict.TRANSIENT


def test_match_needs_no_confirmation() -> None:
    first = mismatch_of({}, {})
    assert confirm(first, first) is first
