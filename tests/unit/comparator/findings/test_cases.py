"""A case written and read again is the same case, without what is to be kept out of it."""

import json

import pytest
from prometheus_client import CollectorRegistry

from comparator.errors import CaseError
from comparator.exchanges.comparison import Verdict
from comparator.exchanges.difference import Difference, Kind
from comparator.exchanges.model import Failed, FailureCause, Observation, Response, Role, Side
from comparator.findings.cases import Case, case_of, dump, load, open_case
from comparator.findings.clustering import Clusterer
from comparator.findings.redaction import Redactor, digest_key, keyed_digest
from comparator.metrics import OTHER_ROUTE, ComparatorMetrics
from comparator.stats.confidence import VerdictCounts
from comparator.store.comparison_detail import detail_of, packed_detail, unpack, unpacked_detail
from comparator.store.deepdiff_rendering import render
from comparator.store.report import Summary, explain, render_comparison, render_summary
from comparator.verdict import Comparator
from tests.support.comparison_faults import legacy_settings
from tests.support.comparisons import (
    JSON_TYPE,
    NOW,
    effects,
    exchange,
    insert,
    mirrored,
    mismatch,
    response,
    served,
    update,
)

REDACT = ("authorization", "x-api-key", "**.proofValue", "registry_stamp.secret", "address")
REDACTOR = Redactor(REDACT, keyed_digest(b"salt"))
BEFORE = {"id": 1, "address": "0xabc", "community_id": 1}


def example(*, body: bytes = b'{"address": "0xabc", "proof": {"proofValue": "sig", "n": 1.10}}') -> Case:
    found = effects(
        update("registry_passport", BEFORE, requires_calculation=True),
        insert("registry_stamp", id=1, secret="s3", credential={"proofValue": "sig2", "x": 1}),
    )
    a = served(response(body=body, headers=(*JSON_TYPE, ("Authorization", "Bearer t"))), found)
    return case_of(exchange(), a, mirrored(response(body=body), found), REDACTOR)


def test_case_is_written_and_read_without_loss() -> None:
    case = example()
    assert load(dump(case)) == case


def test_opened_case_compares_like_the_original() -> None:
    opened = open_case(load(dump(mismatch("a").case or example())))
    found = Comparator(legacy_settings()).compare(opened.route, opened.served, opened.mirrored, now=NOW)
    assert (found.verdict, [d.place for d in found.differences]) == (Verdict.MISMATCH, ["score"])


@pytest.mark.parametrize("secret", ["sig", "Bearer t", "s3", '"secret"'])
def test_redacted_values_do_not_occur_in_the_file(secret: str) -> None:
    assert secret.encode() not in dump(example()).replace(b'"secret":"redacted', b"").replace(b"X-API-Key", b"")


def test_equal_values_stay_equal_and_different_ones_different() -> None:
    assert REDACTOR.value("a") == REDACTOR.value("a") != REDACTOR.value("b")
    assert Redactor((), keyed_digest(b"other")).value("a") != REDACTOR.value("a")


def test_unredacted_values_keep_every_digit() -> None:
    body = json.dumps(json.loads(dump(example()))["served"]["response"]["body"]["text"])
    assert "1.10" in body


def test_body_without_redacted_places_is_kept_byte_for_byte() -> None:
    case = example(body=b'{ "n" : 1.10 }')
    assert case.served.response is not None
    assert case.served.response.body.text == '{ "n" : 1.10 }'


def test_binary_body_is_kept_as_base64() -> None:
    opened = open_case(load(dump(example(body=b"\xff\x00"))))
    assert isinstance(opened.served.outcome, Response)
    assert opened.served.outcome.body == b"\xff\x00"


def test_case_contains_the_rows_before_the_request() -> None:
    (row,) = example().before["registry_passport"]
    assert (row["id"], row["community_id"]) == ("1", "1")


def test_side_without_a_response_is_kept_with_its_cause() -> None:
    gone = Observation(Side.LEGACY, Role.MIRRORED, Failed(FailureCause.TIMEOUT, "30 s"), 5)
    opened = open_case(load(dump(case_of(exchange(), served(response({})), gone, REDACTOR))))
    assert opened.mirrored == gone


@pytest.mark.parametrize(
    "text",
    [b"", b"{}", b"[1]", b"\xff", dump(example()).replace(b'"exchange":', b'"version":2,"exchange":')],
    ids=["empty", "no members", "a list", "not utf-8", "another version"],
)
def test_text_that_is_not_a_case_is_refused(text: bytes) -> None:
    with pytest.raises(CaseError):
        load(text)


def test_case_without_an_outcome_is_refused() -> None:
    text = json.loads(dump(example()))
    del text["served"]["response"]
    with pytest.raises(CaseError, match="neither response nor failure"):
        open_case(load(json.dumps(text).encode()))


def test_key_digest_is_a_signed_64_bit_number() -> None:
    numbers = {digest_key(f"0x{i}", b"salt") for i in range(1_000)}
    assert len(numbers) == 1_000
    assert all(-(2**63) <= number < 2**63 for number in numbers)


def test_stored_detail_reads_back() -> None:
    comparison = mismatch("a").comparison
    assert unpacked_detail(packed_detail(comparison)) == detail_of(comparison)


def test_damaged_detail_is_a_named_error() -> None:
    with pytest.raises(CaseError):
        unpack(b"not zstd")


def test_rendered_comparison_names_places_values_and_rules() -> None:
    text = render_comparison(mismatch("a").comparison)
    assert text.splitlines() == [
        "mismatch (response); served by the candidate; rows written: candidate 0, legacy 0",
        "  changed        score",
        '      candidate (served)   "1.00000"',
        '      legacy (mirrored)    "2.00000"',
    ]


def test_explanation_names_rule_and_place() -> None:
    assert explain(mismatch("a").comparison) == "compare.rules[0]  (1 place)\n  last_score_timestamp"


def test_summary_shows_the_match_rate_with_its_denominator() -> None:
    text = render_summary(Summary({"v2_score": VerdictCounts(match=98, mismatch=2)}))
    assert "98/100 = 98.000%" in text


def test_summary_has_a_rate_of_its_own_for_comparisons_by_the_response_only() -> None:
    counts = VerdictCounts(match=98, mismatch=2)
    text = render_summary(Summary({"a": counts}, {"a": {"served: off": VerdictCounts(match=50)}}))
    assert "48/50 = 96.000%" in text
    assert "50/50 = 100.000%" in text
    assert "rows were not compared (served: off)" in text
    assert "48/50" not in render_summary(
        Summary({"a": VerdictCounts(match=50)}, {"a": {"served: off": VerdictCounts(match=50)}})
    )


def test_detail_renders_containers_only() -> None:
    inside = render(Difference(Kind.ORDER, ("x",), [1, 2], [2, 1]))
    assert "x[0]" in inside
    assert render(Difference(Kind.CHANGED, ("x",), 1, 2)) == ""


def test_metrics_count_differences_by_route_kind_and_severity() -> None:
    registry = CollectorRegistry()
    metrics = ComparatorMetrics(registry, ["v2_score"])
    one = mismatch("a").comparison
    for route in ("v2_score", "/made/up"):
        metrics.observe(route, one, occurrences=Clusterer().occurrences(route, one), seconds=0.001)
    metrics.observe("v2_score", mismatch("b", known=True).comparison)

    def value(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(name, labels)

    changed = {"kind": "changed", "severity": "changed"}
    assert value("shadow_differences_total", route="v2_score", **changed) == 1
    assert value("shadow_differences_total", route=OTHER_ROUTE, **changed) == 1
    assert value("shadow_known_differences_total", route="v2_score") == 1
    assert value("shadow_compare_seconds_count", route="v2_score") == 1
