"""A build fixes a finding, or not: judged from the case, the new runs, and the legacy as the control."""

import datetime as dt
from dataclasses import replace

import pytest

from comparator.exchanges.model import (
    Effects,
    EffectsOutcome,
    Exchange,
    Failed,
    FailureCause,
    Observation,
    Request,
    Response,
    Role,
    Side,
)
from comparator.findings.cases import OpenedCase
from comparator.findings.clustering import Signature
from comparator.findings.verification import (
    CaseVerification,
    FindingPlace,
    FindingVerifier,
    VerificationOutcome,
    overall,
    timeless,
)
from comparator.settings import CompareSettings, RouteCompare, RuleSettings
from comparator.tables import JsonColumn, Table, Volatile

NOW = dt.datetime(2026, 3, 1, tzinfo=dt.UTC)
REQUEST = Request("GET", "/score/1", (), b"")
FINDING = FindingPlace("score", "value")
SETTINGS = CompareSettings(rules=(RuleSettings("at", time_within_ms=1000),))


def observed(side: Side, body: str | None, role: Role) -> Observation:
    headers = (("Content-Type", "application/json"),)
    outcome = Failed(FailureCause.RESET, "") if body is None else Response(200, headers, body.encode())
    return Observation(side, role, outcome, 1, Effects(EffectsOutcome.ATTRIBUTED, ()))


def case(legacy: str | None, candidate: str | None, *, served_by: Side = Side.LEGACY) -> OpenedCase:
    bodies = {Side.LEGACY: legacy, Side.CANDIDATE: candidate}
    served = observed(served_by, bodies[served_by], Role.SERVED)
    mirrored = observed(served_by.other, bodies[served_by.other], Role.MIRRORED)
    exchange = Exchange("e1", "score", "", served_by, "", 0, 1, REQUEST, served.outcome)
    return OpenedCase("score", exchange, served, mirrored)


RECORDED = case(
    '{"value": 1, "at": "2026-02-01T10:00:00Z"}', '{"value": 2, "at": "2026-02-01T10:00:00Z"}', served_by=Side.CANDIDATE
)


@pytest.mark.parametrize(
    ("legacy", "candidate", "outcome", "reason"),
    [
        ('{"value": 1, "at": "2026-03-01T10:00:00Z"}', '{"value": 1, "at": "2026-03-01T10:00:00Z"}', "fixed", ""),
        (
            '{"value": 1, "at": "2026-03-01T10:00:00Z"}',
            '{"value": 3, "at": "2026-03-01T10:00:00Z"}',
            "not_fixed",
            "value",
        ),
        (
            '{"value": 1, "at": "2026-03-01T10:00:00Z"}',
            '{"value": 1, "at": "2026-03-01T10:00:00Z", "debug": true}',
            "something_else_broke",
            "debug",
        ),
        (
            '{"value": 7, "at": "2026-03-01T10:00:00Z"}',
            '{"value": 7, "at": "2026-03-01T10:00:00Z"}',
            "undecided",
            "the legacy does not do what it did",
        ),
        (
            '{"value": 7, "at": "2026-03-01T10:00:00Z"}',
            '{"value": 8, "at": "2026-03-01T10:00:00Z"}',
            "not_fixed",
            "value",
        ),
        ('{"value": 1, "at": "2026-03-01T10:00:00Z"}', None, "undecided", "a side gave no response: mirrored_reset"),
    ],
)
def test_new_runs_are_judged(legacy: str, candidate: str | None, outcome: str, reason: str) -> None:
    verifier = FindingVerifier(SETTINGS, FINDING)

    judged, text, remaining = verifier.judge(RECORDED, case(legacy, candidate), now=NOW)

    assert (judged, remaining) == (outcome, ())
    assert text.startswith(reason)


def test_other_findings_of_the_case_are_named_and_not_counted_as_new() -> None:
    recorded = case('{"value": 1, "unit": "a"}', '{"value": 2, "unit": "b"}')
    verifier = FindingVerifier(SETTINGS, FINDING)

    outcome, _, remaining = verifier.judge(
        recorded, case('{"value": 1, "unit": "a"}', '{"value": 1, "unit": "c"}'), now=NOW
    )

    assert outcome is VerificationOutcome.FIXED
    assert [text.split(":")[0] for text in remaining] == ["unit"]


def test_case_that_the_present_rules_explain_is_unsuitable() -> None:
    settings = CompareSettings(rules=(RuleSettings("value", ignore=True),))

    assert FindingVerifier(SETTINGS, FINDING).unsuitable(RECORDED, now=NOW) == ""
    assert "present rules" in FindingVerifier(settings, FINDING).unsuitable(RECORDED, now=NOW)


def test_request_that_was_cut_is_unsuitable() -> None:
    request = Request("POST", "/score/1", (), b"{", True)
    cut = replace(RECORDED, exchange=replace(RECORDED.exchange, request=request))

    assert "only the beginning" in FindingVerifier(SETTINGS, FINDING).unsuitable(cut, now=NOW)


@pytest.mark.parametrize(
    ("place", "other", "same"),
    [
        ("stamps.*.score", "stamps.Ens.score", True),
        ("stamps.Ens.score", "stamps.*.score", True),
        ("stamps.*.score", "stamps.Ens.expires", False),
        ("stamps.*.score", "stamps.Ens", False),
    ],
)
def test_name_that_is_data_is_the_same_place(place: str, other: str, same: bool) -> None:
    signature = Signature("score", "changed", other, "text / text")  # pyright: ignore[reportArgumentType]

    assert FindingPlace("score", place).is_of(signature) is same
    assert not FindingPlace("another", place).is_of(signature)


def test_tolerances_of_times_become_any_value() -> None:
    table = Table(
        natural_key=("id",),
        volatile={"at": Volatile(within_ms=5), "code": Volatile(generated="x+")},
        json={"data": JsonColumn(ignore=("a",), within_ms={"b": 5})},
    )
    route = RouteCompare(rules=(RuleSettings("when", time_within_ms=5), RuleSettings("n", places=2)))

    wide = timeless(CompareSettings(routes={"r": route}, tables={"t": table}))

    assert wide.tables["t"].volatile == {"at": Volatile(ignore=True), "code": Volatile(generated="x+")}
    assert wide.tables["t"].json == {"data": JsonColumn(ignore=("a", "b"))}
    assert wide.routes["r"].rules == (RuleSettings("when", ignore=True), RuleSettings("n", places=2))


@pytest.mark.parametrize(
    ("outcomes", "expected"),
    [
        (["fixed", "undecided"], "fixed"),
        (["fixed", "not_fixed", "something_else_broke"], "not_fixed"),
        (["fixed", "something_else_broke"], "something_else_broke"),
        (["undecided"], "undecided"),
    ],
)
def test_one_case_against_it_decides(outcomes: list[str], expected: str) -> None:
    cases = [CaseVerification("e", "GET /", VerificationOutcome(outcome)) for outcome in outcomes]

    assert overall(cases) == expected
