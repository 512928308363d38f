"""A table whose rows may be of another request is left out of the comparison on both sides, and named."""

from dataclasses import replace

import msgspec
import pytest
from prometheus_client import CollectorRegistry

from comparator.errors import CaseError
from comparator.exchanges.comparison import Comparison, Verdict, not_compared_text
from comparator.exchanges.model import Effects, EffectsOutcome, LeftOutReason, Observation, Side
from comparator.findings.cases import case_of, dump, load, open_case
from comparator.findings.redaction import Redactor, keyed_digest
from comparator.metrics import ComparatorMetrics
from comparator.settings import CompareSettings
from comparator.stats.confidence import VerdictCounts
from comparator.store.comparison_detail import detail_of, left_out_of, pack, packed_detail, unpacked_detail
from comparator.store.report import Summary, render_comparison, render_finding, render_summary
from comparator.store.rows import Finding
from comparator.verdict import Comparator, confirm
from tests.support.comparisons import NOW, effects, exchange, insert, mirrored, response, served

SHARED = LeftOutReason.SHARED
FINDING = Finding("f", "r", "column", "t.c", "s", "changed", "new", "", "", NOW, NOW, NOW, 1, "", 1)


def leaving_out(observation: Observation, *tables: str) -> Observation:
    return replace(observation, effects=replace(observation.effects, left_out=dict.fromkeys(tables, SHARED)))


@pytest.mark.parametrize("left_out_by", ["served", "mirrored"])
def test_table_whose_rows_may_be_of_another_request_is_left_out_on_both_sides_and_named(left_out_by: str) -> None:
    a = served(response({}), effects(insert("audit", id=1, what="x"), insert("passport", id=1, address="a")))
    b = mirrored(response({}), effects(insert("passport", id=2, address="a")))
    a, b = (leaving_out(a, "audit"), b) if left_out_by == "served" else (a, leaving_out(b, "audit"))
    found = Comparator(CompareSettings()).compare("r", a, b, now=NOW)
    assert (found.verdict, found.left_out, found.undescribed) == (Verdict.MATCH, {"audit": SHARED}, ("passport",))
    assert render_comparison(found).splitlines() == [
        "match, table audit left out; served by the candidate; rows written: candidate 1, legacy 1",
        "  rows of audit not compared: its rows carry no key, and several requests ran when one was committed",
        "  tables without description: passport",
    ]
    assert detail_of(found).left_out == {"audit": SHARED}
    assert unpacked_detail(packed_detail(found)).left_out == {"audit": SHARED}


def test_tables_left_out_are_counted_by_table_and_reason() -> None:
    registry = CollectorRegistry()
    metrics = ComparatorMetrics(registry, routes=["r"], tables=["audit", "job"])
    reasons = {"audit": SHARED, "job": LeftOutReason.OTHER_WRITER, "temporary_7": SHARED}
    for _ in range(2):
        metrics.observe("r", Comparison(Verdict.MATCH, None, Side.LEGACY, effects_compared=True, left_out=reasons))
    counted = {
        table: registry.get_sample_value(
            "shadow_left_out_tables_total", {"route": "r", "table": table, "reason": reason}
        )
        for table, reason in (("audit", "shared"), ("job", "other_writer"), ("other", "shared"))
    }
    assert counted == {"audit": 2.0, "job": 2.0, "other": 2.0}


def test_example_keeps_the_tables_that_were_left_out() -> None:
    both = leaving_out(served(response({})), "audit"), mirrored(response({}))
    case = case_of(exchange("a"), *both, Redactor((), keyed_digest(b"salt")))
    assert load(dump(case)).served.left_out == {"audit": SHARED}


@pytest.mark.parametrize(
    ("stored", "reasons"),
    [
        (None, {}),
        (b"{}", {}),
        (b'{"left_out":[]}', {}),
        (b'{"left_out":["audit","job"]}', {"audit": LeftOutReason.UNKNOWN, "job": LeftOutReason.UNKNOWN}),
        *((f'{{"left_out":{{"t":"{reason}"}}}}'.encode(), {"t": reason}) for reason in LeftOutReason),
    ],
)
def test_tables_left_out_are_read_in_every_form_in_which_a_version_stored_them(
    stored: bytes | None, reasons: dict[str, LeftOutReason]
) -> None:
    packed = None if stored is None else pack(stored)
    assert unpacked_detail(packed).left_out == left_out_of(packed) == reasons
    case = case_of(exchange("a"), served(response({})), mirrored(response({})), Redactor((), keyed_digest(b"salt")))
    side = msgspec.json.decode(dump(case))["served"] | (msgspec.json.decode(stored) if stored else {})
    text = msgspec.json.encode(msgspec.json.decode(dump(case)) | {"served": side})
    assert open_case(load(text)).served.effects.left_out == reasons
    assert msgspec.json.decode(msgspec.json.encode(load(text)))["served"].get("left_out", {}) == side.get(
        "left_out", {}
    )


@pytest.mark.parametrize("damaged", [b"no zstd", pack(b"{"), pack(b'{"left_out":{"t":"of a later version"}}')])
def test_detail_that_cannot_be_read_is_an_error_with_a_name(damaged: bytes) -> None:
    with pytest.raises(CaseError, match="damaged"):
        unpacked_detail(damaged)
    with pytest.raises(CaseError, match="damaged"):
        left_out_of(damaged)


@pytest.mark.parametrize(
    ("rows_compared", "tables", "text"),
    [
        (True, (), ""),
        (True, ("audit",), "table audit left out"),
        (True, ("job", "audit"), "tables audit, job left out"),
        (False, (), "rows not compared"),
        (False, ("audit",), "rows not compared"),
    ],
)
def test_text_says_what_a_verdict_does_not_rest_on(rows_compared: bool, tables: tuple[str, ...], text: str) -> None:
    assert not_compared_text(rows_compared=rows_compared, left_out=tables) == text


@pytest.mark.parametrize(
    ("observation", "text"),
    [
        (served(response({}), effects()), ""),
        (leaving_out(served(response({}), effects()), "audit"), " (table audit left out)"),
        (replace(served(response({})), effects=Effects(EffectsOutcome.LOST)), " (rows not compared)"),
    ],
)
def test_lists_of_examples_say_what_was_not_compared_in_them(observation: Observation, text: str) -> None:
    case = case_of(exchange("a"), observation, mirrored(response({}), effects()), Redactor((), keyed_digest(b"salt")))
    (line,) = [one for one in render_finding(FINDING, [case]).splitlines() if one.startswith("  example a")]
    assert line.endswith(f"{case.request.target}{text}")


def test_summary_tells_apart_what_was_compared_without_a_table() -> None:
    part = {(("audit", SHARED), ("job", LeftOutReason.OTHER_WRITER)): VerdictCounts(match=4, mismatch=1)}
    text = render_summary(Summary({"v2": VerdictCounts(match=104, mismatch=1)}, partial={"v2": part}))
    assert "100/100 = 100.000%" in text
    assert "v2, in part" in text
    assert "4/5 = 80.000%" in text
    assert "rows of audit were left out (shared: its rows carry no key" in text
    assert "rows of job were left out (other_writer: its rows carry no key" in text


def test_nothing_but_a_table_left_out_is_named_too() -> None:
    both = served(response({})), leaving_out(mirrored(response({})), "audit")
    found = Comparator(CompareSettings()).compare("r", *both, now=NOW)
    assert (found.verdict, found.left_out) == (Verdict.MATCH, {"audit": SHARED})
    assert packed_detail(found) is not None


def test_second_run_that_leaves_out_the_differing_table_confirms_nothing() -> None:
    a, b = served(response({}), effects(insert("audit", id=1, what="x"))), mirrored(response({}))
    comparator = Comparator(CompareSettings())
    first = comparator.compare("r", a, b, now=NOW)
    second = comparator.compare("r", a, leaving_out(b, "audit"), now=NOW)
    assert (first.verdict, second.verdict) == (Verdict.MISMATCH, Verdict.MATCH)
    assert confirm(first, second) is first
