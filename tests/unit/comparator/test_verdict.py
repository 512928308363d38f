"""Known differences are found and named, every one; changes of form alone are not found."""

import copy
import datetime as dt
import gzip
import json
import zlib
from dataclasses import replace

import pytest
import zstandard

from comparator.exchanges.comparison import Comparison, Verdict, VerdictCause
from comparator.exchanges.difference import Kind
from comparator.exchanges.json_values import digest_of
from comparator.exchanges.model import Effects, EffectsOutcome, Failed, FailureCause, Observation, Response, Role, Side
from comparator.responses.json_diff import DIFFERENCES_MAX
from comparator.settings import CompareSettings, HeaderRules, RuleSettings
from comparator.store.comparison_detail import detail_of
from comparator.verdict import Comparator, confirm
from tests.support.comparison_faults import (
    EFFECT_FAULTS,
    EQUIVALENT_FORMS,
    RESPONSE_FAULTS,
    Fault,
    Rows,
    as_inserts,
    legacy_settings,
    score_response,
    score_rows,
    with_fault,
)
from tests.support.comparisons import JSON_TYPE, NOW, body_of, effects, insert, mirrored, response, served
from tests.support.schemas import LEGACY_SCHEMAS

COMPARATOR = Comparator(legacy_settings())


def compare_responses(a: Response, b: Response) -> Comparison:
    return COMPARATOR.compare("v2_score", served(a), mirrored(b), now=NOW)


def compare_rows(a: Rows, b: Rows) -> Comparison:
    left = Effects(EffectsOutcome.ATTRIBUTED, as_inserts(a), LEGACY_SCHEMAS)
    right = Effects(EffectsOutcome.ATTRIBUTED, as_inserts(b), LEGACY_SCHEMAS)
    return COMPARATOR.compare("v2_score", served(response({}), left), mirrored(response({}), right), now=NOW)


def found(comparison: Comparison) -> list[tuple[str, Kind]]:
    return [(difference.place, difference.kind) for difference in comparison.differences]


def named(fault: Fault) -> str:
    return fault.name


def test_corpus_has_at_least_forty_kinds() -> None:
    assert len(RESPONSE_FAULTS) + len(EFFECT_FAULTS) >= 40


@pytest.mark.parametrize("fault", RESPONSE_FAULTS, ids=named)
def test_response_fault_is_the_only_difference(fault: Fault) -> None:
    truth = score_response()
    comparison = compare_responses(response(truth), response(with_fault(truth, fault)))
    assert comparison.verdict is Verdict.MISMATCH
    assert found(comparison) == [(fault.location, fault.kind)]


@pytest.mark.parametrize("fault", EFFECT_FAULTS, ids=named)
def test_effects_fault_is_located(fault: Fault) -> None:
    comparison = compare_rows(score_rows(), with_fault(score_rows(), fault))
    assert comparison.verdict is Verdict.MISMATCH
    assert found(comparison)[0] == (fault.location, fault.kind)


@pytest.mark.parametrize("fault", EFFECT_FAULTS, ids=named)
def test_fault_is_detected_although_all_ids_differ(fault: Fault) -> None:
    comparison = compare_rows(score_rows(), with_fault(score_rows(first_id=2**40), fault))
    assert found(comparison)[0] == (fault.location, fault.kind)


@pytest.mark.parametrize("form", EQUIVALENT_FORMS)
def test_change_of_notation_is_not_a_difference(form: str) -> None:
    truth = score_response()
    comparison = compare_responses(response(truth), Response(200, JSON_TYPE, EQUIVALENT_FORMS[form](truth)))
    assert (comparison.verdict, comparison.differences) == (Verdict.MATCH, ())


def test_other_ids_and_later_times_are_not_differences() -> None:
    later = json.loads(json.dumps(score_rows(first_id=2**40)).replace("12:00:00.685", "12:00:01.002"))
    comparison = compare_rows(score_rows(), later)
    assert (comparison.verdict, comparison.differences) == (Verdict.MATCH, ())


def test_rows_in_any_order_and_transactions_are_the_same_effects() -> None:
    backwards = {table: rows[::-1] for table, rows in reversed(score_rows().items())}
    assert compare_rows(score_rows(), backwards).verdict is Verdict.MATCH


def test_status_headers_and_body_are_each_reported() -> None:
    b = response({"detail": "no"}, status=500, headers=(("Content-Type", "application/json"), ("Retry-After", "1")))
    kinds = {difference.kind for difference in compare_responses(response({"detail": "yes"}), b).differences}
    assert kinds == {Kind.STATUS, Kind.HEADER, Kind.CHANGED}


@pytest.mark.parametrize("name", ["Date", "Server", "Content-Length", "Connection", "X-Request-Id", "Set-Cookie"])
def test_hop_headers_are_not_compared(name: str) -> None:
    a, b = (response({}, headers=(*JSON_TYPE, (name, value))) for value in ("1", "2"))
    assert compare_responses(a, b).verdict is Verdict.MATCH


def test_html_page_instead_of_json_differs_in_body_and_type() -> None:
    page = Response(200, (("Content-Type", "text/html"),), b"<h1>Server Error (500)</h1>")
    assert [d.kind for d in compare_responses(response({}), page).differences] == [Kind.HEADER, Kind.BODY]


@pytest.mark.parametrize(
    ("coding", "encode"),
    [
        ("gzip", gzip.compress),
        ("deflate", zlib.compress),
        ("deflate", lambda body: zlib.compress(body)[2:-4]),
        ("zstd", zstandard.compress),
        ("gzip, zstd", lambda body: zstandard.compress(gzip.compress(body))),
    ],
    ids=["gzip", "deflate", "raw deflate", "zstd", "two codings"],
)
def test_compressed_body_is_compared_by_content(coding: str, encode) -> None:
    truth = body_of(score_response())
    packed = Response(200, (*JSON_TYPE, ("Content-Encoding", coding)), encode(truth))
    assert compare_responses(Response(200, JSON_TYPE, truth), packed).verdict is Verdict.MATCH


@pytest.mark.parametrize("coding", ["gzip", "deflate", "zstd", "br", "unheard-of"])
def test_damaged_or_unknown_coding_is_reported(coding: str) -> None:
    damaged = Response(200, (*JSON_TYPE, ("Content-Encoding", coding)), b"\x1f\x8b damaged")
    (difference,) = compare_responses(response({}), damaged).differences
    assert difference.kind is Kind.INVALID_BODY


def test_decompression_bomb_is_reported_and_not_unpacked() -> None:
    bomb = Response(200, (*JSON_TYPE, ("Content-Encoding", "gzip")), gzip.compress(b" " * 20_000_000))
    (difference,) = compare_responses(response({}), bomb).differences
    assert "more than" in str(difference.mirrored)


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"\xff\xfe\x00{",
        b'{"a": "\xff"}',
        b"",
        b"null null",
        b"[" * 100_000,
        b'{"a": 1e99999999999999999999}',
        b"NaN",
    ],
    ids=["cut", "bad utf-16", "bad utf-8", "empty", "two documents", "deep", "huge exponent", "nan"],
)
def test_malformed_body_is_reported(body: bytes) -> None:
    assert compare_responses(response({"a": 1}), Response(200, JSON_TYPE, body)).verdict is Verdict.MISMATCH


@pytest.mark.parametrize(
    ("a", "b", "kind"),
    [
        (b'{"a": 1}', b'{"a": 1, "a": 1}', Kind.DUPLICATE_KEY),
        (b'{"a": 1, "a": 2}', b'{"a": 2, "a": 1}', Kind.DUPLICATE_KEY),
        (b'{"a": NaN}', b'{"a": null}', Kind.TYPE),
        (b'{"a": NaN}', b'{"a": Infinity}', Kind.TYPE),
        (b'{"a": 1}', b'{"a": 1.0}', Kind.TYPE),
        (b'{"a": 1}', b'{"a": true}', Kind.TYPE),
        (b'{"a": 12345678901234567890123}', b'{"a": 12345678901234567890124}', Kind.CHANGED),
        (b'{"a": 9007199254740993}', b'{"a": 9007199254740992}', Kind.CHANGED),
        (b'{"a": 0.1}', b'{"a": 0.1000000000000000055}', Kind.CHANGED),
        (b'{"a": 1e400}', b'{"a": 2e400}', Kind.CHANGED),
        (b'{"a": [1, 2, 3]}', b'{"a": [3, 2, 1]}', Kind.ORDER),
        (b'{"a": [1, 1, 2]}', b'{"a": [1, 2, 2]}', Kind.CHANGED),
        (b'{"a": "1.00000"}', b'{"a": "1"}', Kind.CHANGED),
        (b'{"a": {}}', b'{"a": []}', Kind.TYPE),
    ],
)
def test_values_that_json_libraries_confuse_are_different(a: bytes, b: bytes, kind: Kind) -> None:
    (difference,) = compare_responses(Response(200, JSON_TYPE, a), Response(200, JSON_TYPE, b)).differences
    assert difference.kind is kind


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (b'{"a": 1.0}', b'{"a": 1.00}'),
        (b'{"a": 1e3}', b'{"a": 1000.0}'),
        (b'{"a": NaN}', b'{ "a":NaN }'),
        (b'{"a": 1, "a": 2}', b'{"a":1,"a":2}'),
        (b'{"\xc3\xa9": "\xc3\xa9"}', b'{"\\u00e9": "\\u00E9"}'),
        (b'["\\ud83d\\ude00"]', '["😀"]'.encode()),
    ],
)
def test_one_document_in_two_notations_matches(a: bytes, b: bytes) -> None:
    assert compare_responses(Response(200, JSON_TYPE, a), Response(200, JSON_TYPE, b)).verdict is Verdict.MATCH


@pytest.mark.parametrize("depth", [100, 129, 900, 50_000])
def test_deep_nesting_is_compared_or_reported(depth: int) -> None:
    def nested(core: str) -> Response:
        return Response(200, JSON_TYPE, f"{'[' * depth}{core}{']' * depth}".encode())

    comparison = compare_responses(nested("1"), nested("2"))
    assert comparison.verdict is Verdict.MISMATCH
    assert detail_of(comparison).differences[0].kind in {"changed", "invalid_body"}
    shallow = compare_responses(nested("1"), response({}))
    assert detail_of(shallow).differences


def test_excess_differences_are_summarised_by_digests() -> None:
    a, b = {str(n): n for n in range(3_000)}, {str(n): -1 - n for n in range(3_000)}
    differences = compare_responses(response(a), response(b)).differences
    assert len(differences) == DIFFERENCES_MAX + 1
    assert differences[-1].kind is Kind.TOO_LARGE
    assert (differences[-1].served, differences[-1].mirrored) == (digest_of(body_of(a)), digest_of(body_of(b)))


def test_array_in_another_order_is_one_difference() -> None:
    items = list(range(3_000))
    assert found(compare_responses(response(items), response(items[::-1]))) == [("(order)", Kind.ORDER)]


def test_large_elements_of_an_unordered_array_are_paired_in_order() -> None:
    one, other = ([{"n": n, "v": [n * k] * 200} for n in range(1, 51)] for k in (1, 3))
    comparator = Comparator(CompareSettings(rules=(RuleSettings(path="$", unordered=True),)))
    comparison = comparator.compare("r", served(response(one)), mirrored(response(other)), now=NOW)
    assert {place.partition("]")[2].partition("[")[0] for place, _ in found(comparison)} == {".v", ""}


def test_bodies_with_an_equal_recorded_beginning_are_not_comparable() -> None:
    cut = Response(200, JSON_TYPE, b'{"a": 1', body_truncated=True)
    comparison = compare_responses(cut, cut)
    assert (comparison.verdict, comparison.cause) == (Verdict.FAILED, VerdictCause.TRUNCATED)


def test_bodies_that_differ_before_the_cut_are_a_mismatch() -> None:
    a, b = (Response(200, JSON_TYPE, body, body_truncated=True) for body in (b'{"a": 1', b'{"a": 2'))
    assert compare_responses(a, b).verdict is Verdict.MISMATCH


def test_forms_are_compared_by_name_and_order_of_values() -> None:
    kind = (("Content-Type", "application/x-www-form-urlencoded"),)
    a, b, c = (Response(200, kind, body) for body in (b"x=1&y=a%20b&x=2", b"y=a+b&x=1&x=2", b"y=a+b&x=2&x=1"))
    assert [compare_responses(a, other).verdict for other in (b, c)] == [Verdict.MATCH, Verdict.MISMATCH]


def test_multipart_bodies_are_compared_by_part_not_by_boundary() -> None:
    def multipart(boundary: str, value: str) -> Response:
        body = f'--{boundary}\r\nContent-Disposition: form-data; name="f"\r\n\r\n{value}\r\n--{boundary}--\r\n'
        headers = (("Content-Type", f"multipart/form-data; boundary={boundary}"),)
        return Response(200, headers, body.encode())

    same, other = multipart("two", "v"), multipart("two", "w")
    comparator = Comparator(CompareSettings(headers=HeaderRules(ignore=("content-type",))))
    first = served(multipart("one", "v"))
    verdicts = [comparator.compare("r", first, mirrored(b), now=NOW).verdict for b in (same, other)]
    assert verdicts == [Verdict.MATCH, Verdict.MISMATCH]


def test_binary_bodies_are_compared_by_digest() -> None:
    a, b = (Response(200, (("Content-Type", "image/png"),), body) for body in (b"\x89PNG1", b"\x89PNG2"))
    (difference,) = compare_responses(a, b).differences
    assert (difference.kind, str(difference.served)[:7]) == (Kind.BODY, "sha256:")


def test_text_is_compared_in_its_charset() -> None:
    a = Response(200, (("Content-Type", "text/plain; charset=latin-1"),), "é".encode("latin-1"))
    b = Response(200, (("Content-Type", "text/plain; charset=utf-8"),), "é".encode())
    assert [d.kind for d in compare_responses(a, b).differences] == [Kind.HEADER]


@pytest.mark.parametrize("cause", list(FailureCause))
def test_side_without_a_response_is_a_failure_by_its_cause(cause: FailureCause) -> None:
    gone = Observation(Side.LEGACY, Role.MIRRORED, Failed(cause, "x"), 1)
    comparison = COMPARATOR.compare("v2_score", served(response({})), gone, now=NOW)
    assert (comparison.verdict, comparison.cause) == (Verdict.FAILED, f"mirrored_{cause}")


@pytest.mark.parametrize("outcome", [o for o in EffectsOutcome if o is not EffectsOutcome.ATTRIBUTED])
def test_unattributed_effects_are_not_compared(outcome: EffectsOutcome) -> None:
    rows = Effects(EffectsOutcome.ATTRIBUTED, as_inserts(score_rows()), LEGACY_SCHEMAS)
    unsure = Effects(outcome, as_inserts(with_fault(score_rows(), EFFECT_FAULTS[0])), LEGACY_SCHEMAS)
    comparison = COMPARATOR.compare("v2_score", served(response({}), rows), mirrored(response({}), unsure), now=NOW)
    assert (comparison.verdict, comparison.effects_compared) == (Verdict.MATCH, False)
    assert comparison.effects_note == f"legacy (mirrored): {outcome}"


def test_faults_do_not_change_the_original() -> None:
    truth = score_response()
    before = copy.deepcopy(truth)
    with_fault(truth, RESPONSE_FAULTS[0])
    assert truth == before
    assert NOW.tzinfo is dt.UTC


@pytest.mark.parametrize("outcome", [o for o in EffectsOutcome if o is not EffectsOutcome.ATTRIBUTED])
def test_second_run_whose_rows_were_not_compared_refutes_no_row_difference(outcome: EffectsOutcome) -> None:
    a, b = served(response({}), effects(insert("audit", id=1, what="x"))), mirrored(response({}))
    unsure = replace(b, effects=replace(b.effects, outcome=outcome))
    comparator = Comparator(CompareSettings())
    first, second = comparator.compare("r", a, b, now=NOW), comparator.compare("r", a, unsure, now=NOW)
    assert (first.verdict, second.verdict) == (Verdict.MISMATCH, Verdict.MATCH)
    assert confirm(first, second) is first


def test_second_run_with_another_status_refutes_no_row_difference() -> None:
    row = insert("audit", id=1, what="x")
    a, b = served(response({}), effects(row)), mirrored(response({}), effects(insert("audit", id=2, what="y")))
    failing = mirrored(response({}, status=500))
    comparator = Comparator(CompareSettings())
    first, second = comparator.compare("r", a, b, now=NOW), comparator.compare("r", a, failing, now=NOW)
    assert first.verdict is Verdict.MISMATCH
    assert confirm(first, second) is first


def test_second_run_whose_rows_were_not_compared_refutes_a_difference_of_responses() -> None:
    a, b = served(response({"a": 1})), mirrored(response({"a": 2}))
    equal = mirrored(response({"a": 1}))
    unsure = replace(equal, effects=replace(equal.effects, outcome=EffectsOutcome.OVERLAPPED))
    comparator = Comparator(CompareSettings())
    first, second = comparator.compare("r", a, b, now=NOW), comparator.compare("r", a, unsure, now=NOW)
    assert confirm(first, second).verdict is Verdict.TRANSIENT
