"""Known differences: a verdict of their own, at declared places, under declared conditions, and nothing beside them."""

import datetime as dt
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest

from comparator.errors import RuleError
from comparator.exchanges.comparison import Comparison, Verdict
from comparator.exchanges.model import Effects, EffectsOutcome, Request, Response, Side
from comparator.settings import CompareSettings
from comparator.tables import Table
from comparator.verdict import Comparator
from tests.support.comparisons import JSON_TYPE, NOW, body_of, effects, insert, mirrored, response, served, update

TABLES = {
    "registry_stamp": Table(natural_key=("provider",)),
    "registry_event": Table(natural_key=("action", "address")),
}


def settings(*declared: Mapping[str, Any]) -> CompareSettings:
    """Return settings with these declarations; the mandatory fields have defaults."""
    known = [{"name": f"known-{n}", "reason": "rounding", **one} for n, one in enumerate(declared)]
    return msgspec.convert({"known_differences": known, "tables": TABLES}, CompareSettings, from_attributes=True)


def compared(
    declared: CompareSettings,
    candidate: object,
    legacy: object,
    *,
    rows: tuple[Effects | None, Effects | None] = (None, None),
    served_by: Side = Side.CANDIDATE,
    route: str = "r",
    request: Request | None = None,
    key: str = "",
) -> Comparison:
    """Compare the candidate with the legacy; documents become responses."""
    outcomes = [one if isinstance(one, Response) else response(one) for one in (candidate, legacy)]
    pairs = dict(zip((Side.CANDIDATE, Side.LEGACY), zip(outcomes, rows, strict=True), strict=True))
    a, b = pairs[served_by], pairs[served_by.other]
    return Comparator(declared).compare(
        route,
        served(a[0], a[1], side=served_by),
        mirrored(b[0], b[1], side=served_by.other),
        now=NOW,
        request=request,
        key=key,
    )


def asked(
    method: str = "GET", target: str = "/x", *, headers: tuple[tuple[str, str], ...] = (), body: object = None
) -> Request:
    return Request(method, target, headers, b"" if body is None else body_of(body))


X = {"where": [{"path": "x"}]}


def test_known_difference_is_a_verdict_of_its_own() -> None:
    found = compared(settings({**X, "ticket": "T-1"}), {"x": 1}, {"x": 2})
    assert (found.verdict, found.differences, found.known[0].ticket) == (Verdict.KNOWN, (), "T-1")


def test_known_difference_does_not_excuse_another_one() -> None:
    found = compared(settings(X), {"x": 1, "y": 1}, {"x": 2, "y": 2})
    assert (found.verdict, [d.place for d in found.differences], len(found.known)) == (Verdict.MISMATCH, ["y"], 1)


@pytest.mark.parametrize("served_by", Side)
@pytest.mark.parametrize(
    ("place", "explained"),
    [
        ({"candidate": "1"}, True),
        ({"candidate": "2"}, False),
        ({"candidate": r"\d"}, True),
        ({"candidate": "1.+"}, False),
        ({"legacy": "2"}, True),
        ({"legacy": "1"}, False),
        ({"kind": "changed"}, True),
        ({"kind": "missing"}, False),
    ],
)
def test_place_is_narrowed_by_values_and_kind_whichever_side_serves(
    served_by: Side, place: dict[str, str], explained: bool
) -> None:
    declared = settings({"where": [{"path": "x", **place}]})
    found = compared(declared, {"x": 1}, {"x": 2}, served_by=served_by)
    assert (found.verdict is Verdict.KNOWN) is explained


@pytest.mark.parametrize("served_by", Side)
@pytest.mark.parametrize(
    ("kind", "candidate", "legacy"),
    [("extra", {"x": 1}, {}), ("missing", {}, {"x": 1}), ("type", {"x": 1}, {"x": "1"})],
)
def test_kind_is_told_from_the_legacy_whichever_side_serves(
    served_by: Side, kind: str, candidate: dict[str, object], legacy: dict[str, object]
) -> None:
    declared = settings({"where": [{"path": "x", "kind": kind}]})
    assert compared(declared, candidate, legacy, served_by=served_by).verdict is Verdict.KNOWN
    kinds = {"extra": "missing", "missing": "extra", "type": "changed"}
    other = settings({"where": [{"path": "x", "kind": kinds[kind]}]})
    assert compared(other, candidate, legacy, served_by=served_by).verdict is Verdict.MISMATCH


def test_absent_value_matches_no_expression() -> None:
    declared = settings({"where": [{"path": "x", "legacy": ".*"}]})
    assert compared(declared, {"x": 1}, {}).verdict is Verdict.MISMATCH


@pytest.mark.parametrize(("routes", "explained"), [([], True), (["r"], True), (["other"], False)])
def test_declaration_is_narrowed_by_route(routes: list[str], explained: bool) -> None:
    found = compared(settings({**X, "routes": routes}), {"x": 1}, {"x": 2})
    assert (found.verdict is Verdict.KNOWN) is explained


def test_status_and_header_are_declared_as_such() -> None:
    declared = settings({"where": [{"status": True, "candidate": "404", "legacy": "500"}, {"header": "Retry-After"}]})
    late = response({}, status=500, headers=(*JSON_TYPE, ("Retry-After", "1")))
    assert compared(declared, response({}, status=404), late).verdict is Verdict.KNOWN


def test_expired_declaration_is_a_mismatch_and_reported() -> None:
    found = compared(settings({**X, "expires": dt.date(2020, 1, 1)}), {"x": 1}, {"x": 2})
    assert (found.verdict, [hit.rule for hit in found.expired]) == (
        Verdict.MISMATCH,
        ["compare.known_differences[known-0]"],
    )


STAMPS = effects(insert("registry_stamp", id=1, provider="Google", data={"subject": {"hash": "h", "ids": ["a", "b"]}}))
SENT = asked(
    "POST", "/stamps?new=true", headers=(("X_API_KEY", "k"),), body={"stamps": [{"old": "h"}, {"old": None}], "n": 5}
)
FAILED = response(
    {"detail": "no links saved", "list": [{"kind": "a"}]}, status=500, headers=(*JSON_TYPE, ("Retry-After", "9"))
)
CONDITIONS: list[tuple[dict[str, Any], bool]] = [
    ({"of": "request", "methods": ["POST"]}, True),
    ({"of": "request", "methods": ["GET"]}, False),
    ({"of": "request", "target": ".*[?&]new=true.*"}, True),
    ({"of": "request", "target": "new=true"}, False),
    ({"of": "request", "header": "x_api_key"}, True),
    ({"of": "request", "header": "x_api_key", "matches": "z"}, False),
    ({"of": "request", "path": "stamps[*]", "having": {"old": "h"}}, True),
    ({"of": "request", "path": "stamps[*]", "having": {"old": "z"}}, False),
    ({"of": "request", "path": "stamps[*].old", "other_than": {"$": ["string"]}}, True),
    ({"of": "request", "path": "n", "other_than": {"$": ["string", "number"]}}, False),
    ({"of": "request", "path": "none"}, False),
    ({"of": "key", "matches": "0x.*"}, True),
    ({"of": "key", "matches": "0"}, False),
    ({"of": "legacy", "status": [500, 502]}, True),
    ({"of": "candidate", "status": [500]}, False),
    ({"of": "legacy", "header": "retry-after", "matches": "9"}, True),
    ({"of": "legacy", "path": "**", "matches": ".*links.*"}, True),
    ({"of": "candidate", "path": "**", "matches": ".*links.*"}, False),
    ({"of": "legacy", "path": "**", "having": {"kind": "a"}}, True),
    ({"of": "legacy", "table": "registry_stamp", "having": {"data.subject.hash": ".+"}}, True),
    ({"of": "legacy", "table": "registry_stamp", "having": {"data.subject.ids[*]": "b", "provider": "Google"}}, True),
    ({"of": "legacy", "table": "registry_stamp", "having": {"provider": "Ens"}}, False),
    ({"of": "legacy", "table": "registry_stamp", "ops": ["insert"]}, True),
    ({"of": "legacy", "table": "registry_stamp", "ops": ["delete"]}, False),
    ({"of": "legacy", "table": "registry_stamp", "other_than": {"data": ["object"]}}, False),
    ({"of": "candidate", "table": "registry_stamp"}, False),
]


@pytest.mark.parametrize("served_by", Side)
@pytest.mark.parametrize(("condition", "holds"), CONDITIONS, ids=[str(one) for one, _ in CONDITIONS])
def test_condition_decides_whether_a_declaration_explains(
    served_by: Side, condition: dict[str, Any], holds: bool
) -> None:
    declared = settings(
        {
            "where": [{"path": "**"}, {"status": True}, {"header": "retry-after"}, {"table": "registry_stamp"}],
            "when": [condition],
        }
    )
    found = compared(declared, {}, FAILED, rows=(effects(), STAMPS), served_by=served_by, request=SENT, key="0xabc")
    assert (found.verdict is Verdict.KNOWN) is holds


def test_all_conditions_of_when_have_to_hold_and_one_of_when_any() -> None:
    met, unmet = {"of": "legacy", "status": [200]}, {"of": "legacy", "status": [500]}
    lists = [([met], []), ([met, unmet], []), ([], [unmet, met]), ([], [unmet]), ([met], [unmet]), ([unmet], [met])]
    verdicts = [compared(settings({**X, "when": a, "when_any": b}), {"x": 1}, {"x": 2}).verdict for a, b in lists]
    assert [verdict is Verdict.KNOWN for verdict in verdicts] == [True, False, True, False, False, False]


def test_condition_on_an_unknown_request_does_not_hold() -> None:
    declared = settings({**X, "when": [{"of": "request", "target": ".*"}]})
    assert compared(declared, {"x": 1}, {"x": 2}).verdict is Verdict.MISMATCH


def test_condition_on_a_side_that_did_not_take_part_does_not_hold() -> None:
    declared = settings({**X, "when": [{"of": "candidate", "status": [200]}]})
    pair = served(response({"x": 1}), side=Side.LEGACY), mirrored(response({"x": 2}), side=Side.LEGACY)
    assert Comparator(declared).compare("r", *pair, now=NOW).verdict is Verdict.MISMATCH


def test_uncertain_rows_are_no_evidence() -> None:
    uncertain = Effects(EffectsOutcome.OVERLAPPED, STAMPS.transactions, STAMPS.schemas)
    declared = settings({**X, "when": [{"of": "legacy", "table": "registry_stamp"}]})
    assert compared(declared, {"x": 1}, {"x": 2}, rows=(effects(), uncertain)).verdict is Verdict.MISMATCH


OLD_FORM = {
    "where": [{"path": "stamps.{provider}.**"}, {"table": "registry_stamp", "row": {"provider": "{provider}"}}],
    "when": [
        {
            "of": "legacy",
            "table": "registry_stamp",
            "having": {"data.subject.hash": ".+"},
            "take": "provider",
            "name": "provider",
        }
    ],
}


@pytest.mark.parametrize("served_by", Side)
def test_places_use_the_names_that_conditions_found(served_by: Side) -> None:
    found = compared(
        settings(OLD_FORM),
        {"stamps": {}},
        {"stamps": {"Google": {"score": 1}}},
        rows=(effects(), STAMPS),
        served_by=served_by,
    )
    assert found.verdict is Verdict.KNOWN


@pytest.mark.parametrize("served_by", Side)
def test_fault_beside_a_known_difference_is_found(served_by: Side) -> None:
    lost = insert("registry_stamp", id=2, provider="Ens", data={"subject": {"ids": ["c"]}})
    both = effects(STAMPS.transactions[0].changes[0], lost)
    legacy = {"stamps": {"Google": {"score": 1}, "Ens": {"score": 2}}}
    found = compared(settings(OLD_FORM), {"stamps": {}}, legacy, rows=(effects(), both), served_by=served_by)
    assert (found.verdict, sorted(d.place for d in found.differences)) == (
        Verdict.MISMATCH,
        ["registry_stamp", "stamps.Ens"],
    )
    assert sorted(one.difference.place for one in found.known) == ["registry_stamp", "stamps.Google"]


def test_row_of_both_sides_is_known_by_its_natural_key() -> None:
    before = {"id": 1, "action": "LDP", "address": "a", "data": {"n": [1]}}
    sides = [effects(update("registry_event", before, data={"n": [n]})) for n in (2, 3)]
    at = {"table": "registry_event", "column": "data", "path": "n[*]"}
    for row, explained in ({"action": "LDP"}, True), ({"action": "SCU"}, False), ({"data.n[*]": ".*"}, False):
        found = compared(settings({"where": [{**at, "row": row}]}), {}, {}, rows=(sides[0], sides[1]))
        assert (found.verdict is Verdict.KNOWN) is explained


@pytest.mark.parametrize(
    ("declared", "where"),
    [
        ({"where": []}, "[0].where"),
        ({**X, "name": ""}, "[0].name"),
        ({**X, "reason": ""}, "[0].reason"),
        ({"where": [{}]}, "[0].where[0]"),
        ({"where": [{"table": "no"}]}, "[0].where[0].table"),
        ({"where": [{"path": "a", "kind": "odd"}]}, "[0].where[0].kind"),
        ({"where": [{"path": "]"}]}, "[0].where[0].path"),
        ({"where": [{"path": "a", "row": {"a": "b"}}]}, "[0].where[0].row"),
        ({"where": [{"path": "a", "legacy": "("}]}, "[0].where[0].legacy"),
        ({"where": [{"path": "a.{provider}"}]}, "[0].where[0]"),
        ({**X, "when": [{"of": "served"}]}, "[0].when[0].of"),
        ({**X, "when": [{"of": "legacy"}]}, "[0].when[0]"),
        ({**X, "when": [{"of": "key"}]}, "[0].when[0]"),
        ({**X, "when": [{"of": "key", "path": "a"}]}, "[0].when[0].path"),
        ({**X, "when": [{"of": "request", "status": [1]}]}, "[0].when[0].status"),
        ({**X, "when": [{"of": "legacy", "target": "/"}]}, "[0].when[0].target"),
        ({**X, "when": [{"of": "legacy", "status": [1], "having": {"a": "b"}}]}, "[0].when[0].having"),
        ({**X, "when": [{"of": "legacy", "path": "a", "header": "b"}]}, "[0].when[0]"),
        ({**X, "when": [{"of": "legacy", "table": "no"}]}, "[0].when[0].table"),
        ({**X, "when": [{"of": "legacy", "table": "registry_stamp", "ops": ["upsert"]}]}, "[0].when[0].ops"),
        ({**X, "when": [{"of": "legacy", "table": "registry_stamp", "name": "a"}]}, "[0].when[0].take"),
        ({**X, "when": [{"of": "legacy", "path": "a", "other_than": {"a": ["text"]}}]}, "[0].when[0].other_than"),
        ({**X, "when_any": [{"of": "legacy", "path": "a", "matches": "("}]}, "[0].when_any[0].matches"),
    ],
)
def test_wrong_declaration_is_named_by_its_path(declared: dict[str, Any], where: str) -> None:
    with pytest.raises(RuleError) as raised:
        Comparator(settings(declared))
    assert str(raised.value).startswith(f"compare.known_differences{where}:")


def test_name_is_used_once() -> None:
    with pytest.raises(RuleError, match="more than once"):
        Comparator(settings({**X, "name": "a"}, {**X, "name": "a"}))
